"""`precision: bfloat16`: which numbers become coarse and which stay float32; older runs and studies stay what they are."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from curriculum.errors import FileError, UserError
from curriculum.mix import Mix, Phase, Stream
from curriculum.probe import read_probe
from curriculum.probe.specification import ProbeSpecification
from curriculum.proxy import population_training, training
from curriculum.proxy import precision as precisions
from curriculum.proxy.answers import ProxyAnswers
from curriculum.proxy.checkpoint import load_proxy
from curriculum.proxy.feed import heldout_batches
from curriculum.proxy.mixture import Router
from curriculum.proxy.model import ModelShape, Proxy
from curriculum.proxy.population import train_population
from curriculum.proxy.precision import attend, products_in
from curriculum.proxy.recipe import Precision, Recipe
from curriculum.proxy.run import RunRequest, RunResult, perform
from curriculum.proxy.throughput import run_parts, timed_seconds
from curriculum.search.study_file import load_study

RECIPE = Recipe(layers=2, width=32, heads=2, batch=16, readings=4)
SAMPLES = 512
PROBE = ProbeSpecification(name="succession", family="succession", floor=0.0, items=32, builtin="testbed:succession")


def request(recipe: Recipe) -> RunRequest:
    weights = {"arith": Decimal(1), "facts": Decimal(1)}
    streams = {name: Stream(local=f"testbed:{name}") for name in weights}
    mix = Mix(name="m", streams=streams, phases=(Phase(until=Decimal(1), weights=weights),), samples=SAMPLES, seed=4)
    return RunRequest(label="r", mix=mix, seed=1, samples=SAMPLES, recipe=recipe, probes=(PROBE,))


@pytest.fixture(scope="module")
def coarse(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return perform(request(replace(RECIPE, precision="bfloat16")), tmp_path_factory.mktemp("coarse"), keep=1)


def test_a_coarse_run_ends_near_the_exact_one_and_not_on_it(coarse: RunResult, tmp_path: Path) -> None:
    exact = perform(request(RECIPE), tmp_path)
    difference = (coarse.loss["loss"] - exact.loss["loss"]).abs().max()
    assert 0 < difference < 0.05


def test_weights_are_kept_in_float32(coarse: RunResult) -> None:
    weights = load_file(coarse.folder / f"checkpoints/{SAMPLES}/weights.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.float32}
    assert any((weight != weight.bfloat16().float()).any() for weight in weights.values())  # not rounded once and kept so


def test_probes_are_read_in_float32(coarse: RunResult) -> None:
    with training.one_thread():
        again = read_probe(PROBE.draw(0, seed=0), ProxyAnswers(load_proxy(coarse.folder / f"checkpoints/{SAMPLES}")))
    last = coarse.trajectory.table.iloc[-1]
    assert float(last["margin"]) == again.margin


def test_held_out_losses_are_taken_in_float32(coarse: RunResult) -> None:
    model = load_proxy(coarse.folder / f"checkpoints/{SAMPLES}")
    with training.one_thread(), torch.no_grad():
        again = {name: training._mean_loss(model, batch) for name, batch in heldout_batches(request(RECIPE).mix).items()}
    assert again == coarse.final_loss()


def test_gradients_and_the_loss_itself_are_float32() -> None:
    model = Proxy(ModelShape(vocabulary=50, width=32), torch.Generator().manual_seed(0))
    tokens = torch.randint(50, (8, 12), generator=torch.Generator().manual_seed(1))
    batch = training.Batch(tokens=tokens, targets=torch.ones_like(tokens, dtype=torch.bool))
    coarse, exact = (training.training_loss(model, batch, balance=0.0, precision=each) for each in ("bfloat16", "float32"))
    coarse.backward()
    assert coarse.dtype is torch.float32 and coarse.item() != exact.item()
    assert {weight.grad.dtype for weight in model.parameters() if weight.grad is not None} == {torch.float32}


def test_attention_on_a_cpu_is_computed_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[torch.dtype] = []
    original = functional.scaled_dot_product_attention

    def spy(query: torch.Tensor, *others: torch.Tensor, attn_mask: torch.Tensor) -> torch.Tensor:
        asked.append(original(query, *others, attn_mask=attn_mask).dtype)
        return original(query, *others, attn_mask=attn_mask)

    monkeypatch.setattr(precisions.functional, "scaled_dot_product_attention", spy)
    model = Proxy(ModelShape(vocabulary=50, width=32), torch.Generator().manual_seed(0))
    with products_in("bfloat16", torch.device("cpu")):
        logits = model(torch.zeros(2, 12, dtype=torch.int64))
    assert logits.dtype is torch.bfloat16 and asked == [torch.float32] * 2


def test_members_of_a_population_are_attended_to_in_float32_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[torch.dtype] = []
    original = functional.scaled_dot_product_attention

    def spy(*rows: torch.Tensor, attn_mask: torch.Tensor) -> torch.Tensor:
        read = original(*rows, attn_mask=attn_mask)
        asked.append(read.dtype)
        return read

    monkeypatch.setattr(precisions.functional, "scaled_dot_product_attention", spy)
    first = request(replace(RECIPE, precision="bfloat16"))
    assert train_population([first, replace(first, seed=2)], tmp_path) == [None, None]
    assert set(asked) == {torch.float32}


def test_members_of_a_population_are_read_in_float32(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    coarsely: list[bool] = []
    original = population_training.read_members

    def spy(*values: Any, **options: Any) -> Any:
        coarsely.append(torch.is_autocast_enabled("cpu"))
        return original(*values, **options)

    monkeypatch.setattr(population_training, "read_members", spy)
    first = request(replace(RECIPE, precision="bfloat16"))
    assert train_population([first, replace(first, seed=2)], tmp_path) == [None, None]
    assert coarsely and not any(coarsely)


def test_a_plan_times_steps_in_the_precision_of_the_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    original = training.training_loss

    def spy(model: Proxy, batch: training.Batch, *, balance: float, precision: Precision) -> torch.Tensor:
        asked.append(precision)
        return original(model, batch, balance=balance, precision=precision)

    monkeypatch.setattr(training, "training_loss", spy)
    monkeypatch.setattr("curriculum.proxy.throughput._TIMED_SECONDS", 0.01)
    coarse = request(replace(RECIPE, precision="bfloat16"))
    timed_seconds(run_parts(coarse), [coarse.recipe])
    assert set(asked) == {"bfloat16"}


def test_attention_in_float32_or_double_is_left_as_it_is() -> None:
    for kind in (torch.float32, torch.float64):
        rows = torch.randn(1, 2, 5, 4, dtype=kind, generator=torch.Generator().manual_seed(2))
        mask = torch.zeros(5, 5, dtype=kind)
        assert torch.equal(
            attend(rows, rows, rows, mask), functional.scaled_dot_product_attention(rows, rows, rows, attn_mask=mask)
        )


def test_a_mixture_of_experts_routes_its_tokens_as_in_float32(tmp_path: Path) -> None:
    router = Router(64, 8)
    hidden = torch.randn(200, 64, generator=torch.Generator().manual_seed(3))
    with products_in("bfloat16", torch.device("cpu")):
        coarse = router(hidden)
    assert torch.equal(coarse, router(hidden))
    found = perform(request(replace(RECIPE, experts=4, precision="bfloat16")), tmp_path)
    assert all(loss < 5 for loss in found.final_loss().values())


def test_a_float32_run_keeps_the_name_it_had_and_a_coarse_one_has_its_own() -> None:
    plain = request(RECIPE)
    assert "precision" not in plain.identity()["proxy"]
    coarse = request(replace(RECIPE, precision="bfloat16"))
    assert coarse.identity()["proxy"]["precision"] == "bfloat16" and coarse.run_id() != plain.run_id()


def test_a_study_says_it_and_older_studies_stay_what_they_were(tmp_path: Path) -> None:
    text = (Path(__file__).parents[1] / "search/default.yaml").read_text()
    assert "precision" not in load_study().canonical()["recipe"]
    path = tmp_path / "study.yaml"
    path.write_text(text.replace("proxy: {", "proxy: {precision: bfloat16, ", 1))
    study = load_study(path)
    assert study.recipe.precision == study.canonical()["recipe"]["precision"] == "bfloat16"
    path.write_text(text.replace("proxy: {", "proxy: {precision: half, ", 1))
    with pytest.raises(FileError, match=r"float32.*bfloat16.*half"):
        load_study(path)
    with pytest.raises(UserError, match="wanted precision float32 or bfloat16, got 'half'"):
        Recipe(precision="half")  # type: ignore[arg-type]
