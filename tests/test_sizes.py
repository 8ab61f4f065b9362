"""Sizes from one recipe, and what a run of each costs."""

from __future__ import annotations

from dataclasses import replace
from math import log
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from curriculum.errors import UserError
from curriculum.proxy.model import ModelShape, Proxy
from curriculum.proxy.recipe import Recipe
from curriculum.proxy.sizes import Size, count_parameters, layer_parameters, parse_sizes, resized, with_start
from curriculum.proxy.throughput import (
    Device,
    RunShape,
    Sequences,
    forward_flops,
    parse_device,
    run_parts,
    timed_seconds,
    work_of,
)
from curriculum.search.controls import static
from curriculum.search.runner import request_of, stream_sizes
from curriculum.search.study_file import load_study

RECIPES = [
    Recipe(),
    Recipe(layers=3, width=96, heads=4),
    Recipe(layers=1, width=32, heads=1),
    Recipe(experts=4),
    Recipe(layers=3, width=48, heads=3, experts=6, active_experts=3),
]
TINY = """\
version: 1
name: sizes
streams: {arith: {local: "testbed:arith"}, facts: {local: "testbed:facts"}}
length: {samples: 512}
exposure_shares: {arith: 1, facts: 1}
proxy: {layers: 1, width: 16, heads: 1, batch: 16, readings: 4}
probes: [{name: succession, family: succession, builtin: "testbed:succession", floor: 0.0, items: 16}]
"""


def model_of(recipe: Recipe, vocabulary: int, context: int) -> Proxy:
    shape = ModelShape(
        vocabulary=vocabulary, layers=recipe.layers, width=recipe.width, heads=recipe.heads, context=context,
        experts=recipe.experts, active_experts=recipe.active_experts,
    )  # fmt: skip
    return Proxy(shape, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("recipe", RECIPES)
def test_parameters_are_those_of_the_real_model(recipe: Recipe) -> None:
    counted = count_parameters(recipe, vocabulary=109, context=24)
    named = {name: weight.numel() for name, weight in model_of(recipe, 109, 24).named_parameters()}
    assert counted.total == sum(named.values())
    assert counted.layers == sum(count for name, count in named.items() if name.startswith("layers."))


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("positions", [None, [3, 5, 19]])
def test_flops_are_those_that_torch_counts(recipe: Recipe, positions: list[int] | None) -> None:
    model, asked = model_of(recipe, 109, 24), None if positions is None else torch.tensor(positions)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(torch.randint(0, 109, (5, 20)), asked)
    wanted = Sequences(rows=5, tokens=20, asked=20 if positions is None else 3)
    assert counter.get_total_flops() == forward_flops(recipe, 109, wanted)


@settings(max_examples=60)
@given(
    wanted=st.integers(20_000, 2_000_000_000),
    heads=st.integers(1, 4),
    depth=st.sampled_from([8, 16, 32, 64]),
    layers=st.integers(1, 6),
)
def test_a_size_keeps_head_width_and_transfers_the_rate(wanted: int, heads: int, depth: int, layers: int) -> None:
    reference = Recipe(layers=layers, width=heads * depth, heads=heads, learning_rate=3e-3)
    try:
        found = resized(reference, Size(name="x", parameters=wanted))
    except UserError:
        assert wanted < 2 * 8 * depth**2  # between one layer and two of a single head nothing lies
        return
    assert abs(log(found.layers * layer_parameters(found) / wanted)) <= log(1.25)
    assert found.width == found.heads * depth
    assert found.learning_rate * found.width == pytest.approx(reference.learning_rate * reference.width, rel=1e-5)
    same = replace(found, layers=layers, width=reference.width, heads=heads, learning_rate=reference.learning_rate)
    assert same == reference  # nothing else has changed


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_recipe_is_one_of_its_own_sizes(recipe: Recipe) -> None:
    own = Size(name="own", parameters=recipe.layers * layer_parameters(recipe))
    assert resized(recipe, own) == recipe
    assert resized(recipe, Size(name="study", parameters=None)) == recipe


def test_the_aspect_ratio_stays_near_the_reference_over_the_whole_ladder() -> None:
    reference = Recipe(layers=2, width=64, heads=2)
    ladder = [resized(reference, size) for size in parse_sizes("0.1M,1M,10M,100M")]
    assert [(each.layers, each.width) for each in ladder] == [(3, 64), (5, 160), (10, 352), (23, 736)]
    assert all(0.6 < each.width / each.layers / 32 < 1.6 for each in ladder)


def test_sizes_are_read_and_faults_are_said() -> None:
    assert parse_sizes("0.1M, study") == (Size(name="0.1M", parameters=100_000), Size(name="study", parameters=None))
    with pytest.raises(UserError, match="1000 is named twice"):
        parse_sizes("1k,1000")
    with pytest.raises(UserError, match="wanted sizes such as"):
        parse_sizes(" ,")
    with pytest.raises(UserError, match="nearest has 8193"):
        resized(Recipe(), Size(name="2k", parameters=2000))


def test_a_study_that_begins_from_a_checkpoint_needs_one_for_each_size() -> None:
    started = Recipe(start=Path("first"))
    size = Size(name="1M", parameters=10**6)
    with pytest.raises(UserError, match=r"fits its own size alone.*layers: 2, width: 64.*reads starts/1M"):
        with_start(started, size, None)
    assert with_start(started, Size(name="study", parameters=None), None).start == Path("first")
    assert with_start(started, size, "at/{size}/last").start == Path("at/1M/last")
    assert with_start(Recipe(), size, None).start is None
    with pytest.raises(UserError, match=r"\{size\}"):
        with_start(started, size, "at/last")


def test_work_is_six_times_parameters_and_tokens_where_every_token_counts() -> None:
    recipe = Recipe(layers=12, width=512, heads=8)
    all_asked = RunShape(
        vocabulary=1000, context=64, batch=Sequences(rows=32, tokens=64, asked=64), steps=100,
        reading=(), readings=1, heldout=(), losses=0,
    )  # fmt: skip
    work = work_of(recipe, all_asked)
    matrices = count_parameters(recipe, vocabulary=1000, context=64).layers - 12 * 8 + 1000 * 512  # without smear and look-ups
    attention = 12 * recipe.layers * recipe.width * 64 * work.tokens
    assert work.tokens == 100 * 32 * 64 and work.reading == 0
    assert work.training == pytest.approx(6 * matrices * work.tokens + attention, rel=1e-12)


def test_a_runs_shape_is_that_of_what_it_trains_on_and_is_asked(tmp_path: Path) -> None:
    parts = parts_of(tmp_path)
    shape = parts.shape
    assert (shape.vocabulary, shape.context, shape.steps, shape.readings, shape.losses) == (109, 24, 32, 4, 1)
    assert shape.batch.rows == 16 and shape.batch.tokens == 23 and 0 < shape.batch.asked <= 23
    items = {prompt for of in (parts.probes[0].items, parts.probes[0].control) for prompt in of.prompts}
    assert sum(of.rows for of in shape.reading) == len(items) and {of.asked for of in shape.reading} == {1}
    assert [of.rows for of in shape.heldout] == [256, 256]


def test_larger_proxies_are_timed_as_slower(tmp_path: Path) -> None:
    parts = parts_of(tmp_path)
    small, large = timed_seconds(parts, [parts.request.recipe, replace(parts.request.recipe, layers=8, width=128, heads=4)])
    assert 0 < small < large


def parts_of(folder: Path):  # type: ignore[no-untyped-def]
    (folder / "sizes.yaml").write_text(TINY)
    study = load_study(folder / "sizes.yaml")
    sizes, _ = stream_sizes(study)
    return run_parts(request_of(study, "static", study.mix("static", static(study.shares(sizes))), 0))


def test_a_device_elsewhere_is_reckoned_from_its_stated_speed() -> None:
    shape = RunShape(
        vocabulary=109, context=24, batch=Sequences(rows=32, tokens=23, asked=23), steps=1000,
        reading=(), readings=1, heldout=(), losses=0,
    )  # fmt: skip
    slow, large = parse_device("mine=1e12", 0.5), Recipe(layers=10, width=352, heads=11)
    assert slow == Device(name="mine", flops=1e12, utilisation=0.5)
    assert slow.seconds(large, shape) == pytest.approx(work_of(large, shape).training / 0.5e12)
    assert parse_device("cpu") is None
    h100 = parse_device("h100")
    assert h100 is not None and h100.flops == 989e12
    assert h100.seconds(Recipe(), shape) == pytest.approx(2.0)  # 1000 steps of 2 ms: launching, not FLOPs
    for wrong in ("H1000", "mine=fast", "mine=-1"):
        with pytest.raises(UserError, match="--device"):
            parse_device(wrong)
    with pytest.raises(UserError, match="--utilisation"):
        parse_device("H100", 1.5)
