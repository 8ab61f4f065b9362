"""Do generalization predictors go with the margin on the default testbed, beyond chance, training time and loss?

    python benchmarks/predictors.py [--seeds 3] [--items 64] [--runs runs/predictors]

The default study's proxy on three curricula of equal exposure, a few seeds each, a checkpoint at every reading. At each one,
on the first items of every probe: five predictors of the activations at the prompt's last token (what enters and leaves each
layer) and of the gradients of the correct answer's loss (each layer, and the rest of the network), correlated with the
margin of all the probe's items. Margins and predictors both drift over training, so that samples seen correlate with
everything; the changes from one checkpoint to the next are therefore correlated as well. Runs are kept: a second call takes
the predictors only.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from setting import publish, table

from curriculum.models.activations import activation_grams
from curriculum.models.gradients import gradient_grams
from curriculum.models.proxy_model import ProxyModel
from curriculum.probe import ItemSet
from curriculum.probe.model import Numbers
from curriculum.probe.predictors import (
    PREDICTORS,
    BestLayer,
    Over,
    RandomBaseline,
    Track,
    best_layer,
    layer_correlations,
    predictors_of,
    random_best_layer,
)
from curriculum.probe.scoring import score_items
from curriculum.proxy.checkpoint import load_proxy
from curriculum.proxy.feed import Batch, batches, heldout_batches
from curriculum.proxy.model import Proxy
from curriculum.proxy.run import RunRequest, perform
from curriculum.proxy.training import next_token_loss, one_thread
from curriculum.search import controls
from curriculum.search.study import Study
from curriculum.search.study_file import load_study
from curriculum.streaming import StreamingDataset

CURRICULA = ("static", "hold-then-low", "ramp-up")
TRAINED_ON = 512  # samples before a checkpoint over which the training loss is taken
TIME, LOSSES = "samples seen", ("training loss", "held-out loss", "loss of the correct answers")


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """What is correlated: a name, what becomes of a series, the fair random series, and the baselines that mean something."""

    name: str
    of: Callable[[Numbers], Numbers]
    chance: tuple[str, ...]
    baselines: tuple[str, ...]


VALUES = View(name="values", of=np.asarray, chance=("values", "walks"), baselines=(TIME, *LOSSES))
CHANGES = View(name="changes from checkpoint to checkpoint", of=np.diff, chance=("values",), baselines=LOSSES)


@dataclass(frozen=True, kw_only=True, slots=True)
class Watched:
    """What one run gives: margins by probe; series by (probe, predictor) and layer; baselines by (probe, name)."""

    margins: dict[str, Numbers]
    series: dict[tuple[str, str], dict[str, list[float]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    baselines: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))


def request(study: Study, curriculum: str, seed: int) -> RunRequest:
    """Return one run."""
    shares = study.shares({})
    phases = controls.static(shares) if curriculum == "static" else controls.hand_made(curriculum, shares, study.favour)
    return RunRequest(
        label=curriculum, mix=study.mix(curriculum, phases), seed=seed, samples=study.samples, recipe=study.recipe,
        probes=study.probes, item_seed=study.seed,
    )  # fmt: skip


def first(items: ItemSet, count: int) -> ItemSet:
    """Return the first items."""
    return ItemSet(prompts=items.prompts[:count], correct=items.correct[:count], shallow=items.shallow[:count])


def watch(asked: RunRequest, runs: Path, count: int) -> Watched:
    """Train one run, or find it, and take every predictor at each of its checkpoints."""
    result = perform(asked, runs, keep=asked.recipe.readings)
    readings = result.trajectory.table
    found = Watched(margins={str(name): probe["margin"].to_numpy(dtype=float) for name, probe in readings.groupby("probe")})
    items = {probe.name: first(probe.draw(asked.draw, seed=asked.item_seed).items, count) for probe in asked.probes}
    with loss_meter(asked) as losses:
        for position in sorted(set(readings["position"])):
            proxy = load_proxy(result.folder / "checkpoints" / str(position))
            general = (position, *losses(proxy, position))
            for probe, chosen in items.items():
                model = ProxyModel(proxy)
                note(found, probe, model, chosen)
                answers = -float(score_items(chosen, model).correct_log.mean())
                for name, value in zip(VALUES.baselines, (*general, answers), strict=True):
                    found.baselines[probe, name].append(value)
    return found


def note(found: Watched, probe: str, model: ProxyModel, items: ItemSet) -> None:
    """Add one checkpoint's predictors."""
    sources = {"activations": activation_grams(model, items), "gradients": gradient_grams(model, items, outside=True)}
    for source, grams in sources.items():
        for layer, gram in grams.items():
            values = predictors_of(gram)
            for name, predictor in PREDICTORS.items():
                found.series[probe, f"{name}, {source}"][layer].append(predictor(values))


@contextmanager
def loss_meter(asked: RunRequest) -> Iterator[Callable[[Proxy, int], tuple[float, float]]]:
    """Give a function of proxy and position: the loss of the samples just trained on, and the mean over held-out streams."""
    mix = asked.played_mix()
    heldout = heldout_batches(mix)

    @torch.no_grad()
    def mean(proxy: Proxy, found: Sequence[Batch]) -> float:
        return float(np.mean([float(next_token_loss(proxy, batch)) for batch in found]))

    def losses(proxy: Proxy, position: int) -> tuple[float, float]:
        trained = list(batches(dataset, asked.recipe.batch, start=position - TRAINED_ON, stop=position))
        return mean(proxy, trained), mean(proxy, list(heldout.values()))

    with closing(StreamingDataset(mix=mix, batch_size=asked.recipe.batch)) as dataset:
        yield losses


Layers = Callable[[Watched], Mapping[str, Sequence[float]]]


def predictor_layers(probe: str, name: str) -> Layers:
    """Return what takes a predictor's series by layer from a run."""
    return lambda run: run.series[probe, name]


def baseline_layer(probe: str, name: str) -> Layers:
    """Return what takes a baseline's series from a run, as its only layer."""
    return lambda run: {"": run.baselines[probe, name]}


def correlated(watched: Sequence[Watched], probe: str, layers: Layers, view: View, over: Over) -> BestLayer:
    """Return the best layer's Spearman correlation with the probe's margin."""
    tracks = [
        Track(
            margin=view.of(run.margins[probe]),
            layers={layer: view.of(np.asarray(values, dtype=float)) for layer, values in layers(run).items()},
        )
        for run in watched
    ]
    return best_layer(layer_correlations(tracks, over=over))


def chance(watched: Sequence[Watched], probe: str, layers: int, view: View, over: Over) -> dict[str, RandomBaseline]:
    """Return what random series of each kind reach with the probe's margins."""
    margins = [view.of(run.margins[probe]) for run in watched]
    return {kind: random_best_layer(margins, layers=layers, over=over, drifting=kind == "walks") for kind in view.chance}


def section(watched: Sequence[Watched], view: View, over: Over) -> list[str]:
    """Return heading, table and summary of one way of correlating."""
    probes = list(watched[0].margins)
    names = list(dict.fromkeys(name for _, name in watched[0].series))
    layers = max(map(len, watched[0].series.values()))
    best = {(n, p): correlated(watched, p, predictor_layers(p, n), view, over) for n in names for p in probes}
    plain = {(n, p): correlated(watched, p, baseline_layer(p, n), view, over) for n in view.baselines for p in probes}
    random = {count: {p: chance(watched, p, count, view, over) for p in probes} for count in (layers, 1)}
    rows = [[name.replace("|", "\\|"), *(cell(best[name, p], random[layers][p]) for p in probes)] for name in names]
    rows += chance_rows(random[layers], view, f"best of {layers}")
    rows += [[f"*{name}*", *(cell(plain[name, p], random[1][p]) for p in probes)] for name in view.baselines]
    rows += chance_rows(random[1], view, "single")
    return [
        f"## {over.capitalize()}: {view.name}",
        table(["predictor", *probes], rows),
        summary(best, plain, random[layers], view),
    ]


def cell(found: BestLayer, chance: Mapping[str, RandomBaseline]) -> str:
    """Return a correlation with its layer, and a star for every kind of random series whose 95th percentile it exceeds."""
    if found.layer is None:
        return "undefined"
    stars = r"\*" * sum(abs(found.correlation) > baseline.high for baseline in chance.values())
    return f"{found.correlation:+.2f}{stars}{f' ({found.layer})' if found.layer else ''}"


def chance_rows(random: Mapping[str, Mapping[str, RandomBaseline]], view: View, what: str) -> list[list[str]]:
    """Return a row for every kind of random series: mean and 95th percentile."""
    return [
        [f"*random {kind}, {what}*", *(f"{found[kind].mean:.2f} (95 %: {found[kind].high:.2f})" for found in random.values())]
        for kind in view.chance
    ]


def summary(
    best: Mapping[tuple[str, str], BestLayer],
    plain: Mapping[tuple[str, str], BestLayer],
    random: Mapping[str, Mapping[str, RandomBaseline]],
    view: View,
) -> str:
    """Return one sentence: how many cells exceed each baseline."""
    sizes = {key: abs(found.correlation) for key, found in best.items()}
    above = [
        f"{sum(size > random[probe][kind].high for (_, probe), size in sizes.items())} exceed random {kind}' 95th percentile"
        for kind in view.chance
    ]
    above += [
        f"{sum(size > abs(plain[name, probe].correlation) for (_, probe), size in sizes.items())} exceed {name}"
        for name in view.baselines
    ]
    return f"Of {len(sizes)} cells, {', '.join(above)}."


def introduction(watched: Sequence[Watched], items: int, study: Study) -> str:
    """Say what was measured and how to read the tables."""
    return (
        f"{len(watched)} runs ({', '.join(CURRICULA)}; {len(watched) // len(CURRICULA)} seeds each), "
        f"{study.recipe.readings} checkpoints a run, predictors of {items} items a probe, margins of {study.probes[0].items}. "
        "A cell: Spearman correlation with the margin at the best of three places (activations: before the layers, layer 0, "
        "layer 1; gradients: layer 0, layer 1, outside the layers), and the place. Within runs: the mean of the runs' own, "
        "signs kept; the place is the best of that mean. Pooled: all runs' checkpoints at once. Random: the same choice over "
        "random predictors, 1,000 draws; *values* have no memory, *walks* drift as margins do. A star for each of these, in "
        "this order, whose 95th percentile is exceeded. Italic rows are baselines. The loss of "
        "the correct answers, of the same items, is what gradients must beat: a gradient is as long as its answer is "
        "improbable, and the margin is made of the same probability."
    )


def main() -> None:
    """Take the predictors and write the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--items", type=int, default=64)
    parser.add_argument("--runs", type=Path, default=Path("runs/predictors"))
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"))
    arguments = parser.parse_args()
    study = load_study()
    with one_thread():
        asked = [request(study, curriculum, 3000 + seed) for curriculum in CURRICULA for seed in range(arguments.seeds)]
        watched = [watch(run, arguments.runs, arguments.items) for run in asked]
    parts = [introduction(watched, arguments.items, study)]
    for view in (VALUES, CHANGES):
        for over in ("within runs", "pooled"):
            parts += section(watched, view, over)
    publish(arguments.out, "Generalization predictors on the default testbed", parts, ("scipy",))


if __name__ == "__main__":
    main()
