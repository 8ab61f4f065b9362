"""Probes, orders and exports of other packages: a distribution made here is found, used, named and refused in words."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from curriculum.errors import ChangedError, FileError, UserError
from curriculum.mix import Mix, Phase
from curriculum.mix.canonical import describe_difference
from curriculum.plugins import find_plugin, plugins
from curriculum.probe.specification import PROOF_DRAW, SEARCH_DRAW, ProbeSpecification
from curriculum.search.folder import StudyFolder
from curriculum.search.runner import request_of
from curriculum.search.study_file import load_study

MODULE = """\
import numpy as np
from curriculum.probe.items import ItemSet

def coins(*, control, count, seed, encode):
    numbers = np.random.default_rng(seed).integers(1, 9, size=(count, 6))
    right, wrong = (2, 3) if control else (1, 2)
    return ItemSet(prompts=tuple(map(tuple, numbers.tolist())), correct=((right,),) * count, shallow=((wrong,),) * count)

def backwards(stream, starts, stops):
    return -starts

def short(stream, starts, stops):
    return [1.0]

def nothing(stream, starts, stops):
    return np.full(len(starts), np.nan)

def lazy(*, control, count, seed, encode):
    return coins(control=control, count=count - 1, seed=seed, encode=encode)

def broken(*args, **kwargs):
    raise ZeroDivisionError("by zero")

TEXT = "not a function"
"""
ENTRIES = """\
[curriculum.probes]
coins = {module}:coins
lazy = {module}:lazy
broken = {module}:broken
text = {module}:TEXT
gone = {module}_gone:probe
[curriculum.orders]
backwards = {module}:backwards
short = {module}:short
nothing = {module}:nothing
broken = {module}:broken
"""
MIX = """\
name: planned
samples: 1000
streams:
  web: {{local: /data/web, order: {{by: "plugin:{name}", direction: {direction}, window: 100}}}}
phases: [{{until: 1, weights: {{web: 1}}}}]
"""


def install(folder: Path, *, name: str = "coin-toss", version: str = "0.1", module: str = "coin_toss") -> None:
    """Lay a distribution out as an installer does."""
    (folder / f"{module}.py").write_text(MODULE)
    record = folder / f"{module}-{version}.dist-info"
    record.mkdir()
    (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (record / "entry_points.txt").write_text(ENTRIES.format(module=module))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of installed packages with one that brings plugins."""
    folder = tmp_path / "site"
    folder.mkdir()
    install(folder)
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    for module in [name for name in sys.modules if name.startswith("coin_toss")]:
        del sys.modules[module]


def probe(builtin: str = "plugin:coins") -> ProbeSpecification:
    return ProbeSpecification(name="p", family="f", floor=0.0, items=16, builtin=builtin)


def mix(name: str = "backwards", direction: str = "ascending") -> Mix:
    return Mix.loads(MIX.format(name=name, direction=direction))


def test_looking_plugins_up_names_them_and_imports_nothing(site: Path) -> None:
    assert {"coins", "lazy", "gone"} <= {plugin.name for plugin in plugins("curriculum.probes")}
    found = find_plugin("curriculum.orders", "backwards")
    assert (found.distribution, found.version, found.value) == ("coin-toss", "0.1", "coin_toss:backwards")
    assert "coin_toss" not in sys.modules
    assert not {plugin.name for plugin in plugins("curriculum.exports")} & {"coins", "backwards"}


def test_a_plugin_that_is_not_installed_is_said_with_those_that_are(site: Path) -> None:
    with pytest.raises(
        UserError, match=r"no probe plugin 'coin' is installed \(did you mean 'coins'\?\); .*gone.*curriculum\.probes"
    ):
        find_plugin("curriculum.probes", "coin")


def test_two_packages_with_one_name_are_refused(site: Path) -> None:
    install(site, name="coin-toss-two", module="coin_toss_two")
    with pytest.raises(UserError, match="'coins' is brought by coin-toss and coin-toss-two; uninstall"):
        find_plugin("curriculum.probes", "coins")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gone", r"\(coin_toss_gone:probe, of coin-toss 0\.1\) cannot be loaded: ModuleNotFoundError.*pip uninstall coin-toss"),
        ("text", "wanted a function, got 'not a function'"),
        ("broken", "failed: ZeroDivisionError: by zero"),
        ("lazy", "wanted an ItemSet of 16 items, got 15 items"),
    ],
)
def test_a_broken_probe_plugin_is_said_in_words(site: Path, name: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        probe(f"plugin:{name}").draw(SEARCH_DRAW, seed=1)


def test_a_probe_plugin_is_drawn_afresh_for_the_proof(site: Path) -> None:
    search, proof = (probe().draw(number, seed=1) for number in (SEARCH_DRAW, PROOF_DRAW))
    assert len(search.items) == 16 and search.items.correct[0] == (1,) and search.control.correct[0] == (2,)
    assert search.items.prompts != proof.items.prompts
    assert search.items == probe().draw(SEARCH_DRAW, seed=1).items


def test_a_study_names_a_probe_plugin_and_a_misspelt_one_has_its_line(site: Path, tmp_path: Path) -> None:
    text = Path(__file__).parents[1].joinpath("search/default.yaml").read_text()
    study = tmp_path / "study.yaml"
    study.write_text(text.replace('"testbed:flipped"', '"plugin:coins"'))
    assert load_study(study).probes[2].plugin == "coins"
    study.write_text(text.replace('"testbed:flipped"', '"plugin:coin"'))
    with pytest.raises(FileError, match=r"study\.yaml:19: .*no probe plugin 'coin'"):
        load_study(study)


def change(site: Path) -> None:
    """Edit the plugin where it lies, as an editable install may be."""
    module = site / "coin_toss.py"
    module.write_text(module.read_text() + "# changed\n")


def test_a_changed_probe_plugin_is_another_run_and_another_study(site: Path, tmp_path: Path) -> None:
    text = Path(__file__).parents[1].joinpath("search/default.yaml").read_text()
    (tmp_path / "study.yaml").write_text(text.replace('"testbed:flipped"', '"plugin:coins"'))
    study, folder = load_study(tmp_path / "study.yaml"), StudyFolder(tmp_path)
    played = study.mix("even", (Phase(until=Decimal(1), weights=dict.fromkeys(study.streams, Decimal(1))),))
    request = request_of(study, "even", played, seed=1)
    run = request.run_id()
    folder.remember(study, {})
    folder.remember(study, {})
    assert request.run_id() == run
    change(site)
    assert request.run_id() != run
    with pytest.raises(ChangedError, match=r"study\.plugins\.curriculum\.probes\.coins: coin-toss 0\.1"):
        folder.remember(study, {})


def test_an_order_plugin_decides_which_window_comes_first(site: Path) -> None:
    for direction, first in (("ascending", 900), ("descending", 0)):
        plan = mix(direction=direction).plan(sizes={"web": 1000})
        _, _, samples = plan[np.arange(1000)]
        assert sorted(samples[:100].tolist()) == list(range(first, first + 100))
        assert sorted(samples.tolist()) == list(range(1000))


def test_an_order_plugin_enters_the_fingerprint(site: Path) -> None:
    before, fingerprint = mix().canonical(), mix().fingerprint()
    assert (
        mix().fingerprint() == fingerprint
        and "plugin"
        not in Mix.loads(MIX.format(name="x", direction="ascending").replace("plugin:x", "length")).canonical()["streams"][
            "web"
        ]["order"]
    )
    change(site)
    (line,) = describe_difference(before, mix().canonical())
    assert (
        line.startswith("streams.web.order.plugin: coin-toss 0.1, coin_toss:backwards, ") and mix().fingerprint() != fingerprint
    )


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("short", r"wanted one score for each of the 10 windows of stream 'web', got shape \(1,\)"),
        ("nothing", "window 0 of stream 'web' has the score nan"),
        ("broken", "failed on stream 'web': ZeroDivisionError"),
        ("backward", "did you mean 'backwards'"),
    ],
)
def test_a_broken_order_plugin_is_said_in_words(site: Path, name: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        mix(name).plan(sizes={"web": 1000})


def test_a_mix_with_an_order_plugin_is_written_and_read_back(site: Path, tmp_path: Path) -> None:
    mix().dump(tmp_path / "mix.yaml")
    assert Mix.load(tmp_path / "mix.yaml") == mix() and "by: 'plugin:backwards'" in (tmp_path / "mix.yaml").read_text()
