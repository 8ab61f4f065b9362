"""Do expert pathways say when a mixture-of-experts proxy generalises? Correlations with the probes over checkpoints.

    python benchmarks/pathways.py [--seeds 3] [--runs FOLDER]

The default study's proxy with 4 layers of 8 experts (2 active), 20 checkpoints a run, the static mix. Three settings:

    one pass     the default study's streams, where nothing is seen twice, as in most pre-training
    repeated     the same streams cut to 512 samples each: a run sees each 6 to 19 times and can learn it by heart
    unbalanced   one pass, without the load-balancing loss

Of each stream the first 128 samples of the run are followed, and the 20 to 25 % of them that count as memorised at the end are
read at every checkpoint; the mean over streams is then correlated with the accuracy and margin of the probes (mean over
families; mean, least and most over seeds). Distances are Levenshtein distances in expert ids, at threshold .7 unless stated.
Beside them: losses, the samples seen, distances at other thresholds, between streams, over followed samples that
never count as memorised, and over random tokens, about which there is nothing to learn, so that only the router's general
habits (such as its balance) can move it.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import combinations, product
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

import numpy as np
import numpy.typing as npt
import torch
from setting import publish, table

from curriculum.mix import Mix, Stream
from curriculum.models.proxy_model import ProxyModel
from curriculum.models.routing import average_routing, router_matrices, sample_losses
from curriculum.probe import Trajectory
from curriculum.probe.model import Numbers
from curriculum.probe.pathways import (
    THRESHOLDS,
    correlations,
    erraticness,
    layer_cosines,
    mean_distance,
    memorisation_limit,
    memorised_at,
    pathways,
    read_pathways,
    rise_begins,
)
from curriculum.probe.specification import SEARCH_DRAW
from curriculum.probe.testbed import VOCABULARY, generate_samples
from curriculum.proxy.feed import Batch, heldout_batches, make_batch
from curriculum.proxy.model import ModelShape, Proxy
from curriculum.proxy.recipe import Recipe
from curriculum.proxy.training import one_thread, train, training_loss
from curriculum.search import controls
from curriculum.search.study import Study
from curriculum.search.study_file import load_study
from curriculum.streaming import StreamingDataset
from curriculum.streaming.mds import write_stream
from curriculum.streaming.testbed import testbed_folder
from curriculum.units import keyed_seed

FOLLOWED = 128  # samples a stream
HELDOUT = 64  # samples a stream
REPEATED = 512
RANDOM = 64
TRAINED_ON = 256  # samples before a checkpoint over which the training loss is taken
TARGETS = ("accuracy", "margin")
DOMAIN_PROBES = {"arith": ("succession", "repetition"), "icl": ("flipped",)}

Routing = list[Numbers]


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """What differs between the three: `samples` a stream (None: as many as there are) and the balance loss's weight."""

    name: str
    samples: int | None = None
    balance: float = 0.01


SETTINGS = (Setting(name="one pass"), Setting(name="repeated", samples=REPEATED), Setting(name="unbalanced", balance=0.0))


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """What is taken from one checkpoint; `routing` and `losses` of the followed samples, by stream."""

    routing: dict[str, Routing]
    rows: list[Numbers]
    losses: dict[str, Numbers]
    random: Routing
    training_loss: float
    heldout_loss: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Watched:
    """One run's series, a value a checkpoint: over all streams, and by stream."""

    targets: dict[str, Numbers]
    quantities: dict[str, Numbers]
    domains: dict[str, dict[str, Numbers]]
    start: int
    memorised: float


def recipe_of(study: Study, setting: Setting) -> Recipe:
    """Return the proxy."""
    return replace(study.recipe, layers=4, experts=8, active_experts=2, balance=setting.balance)


def small_stream(name: str, folder: Path, samples: int) -> Stream:
    """Write the testbed's stream cut to its first samples, with the whole held-out part; return it."""
    if (folder / "heldout" / "index.json").exists():
        return Stream(local=str(folder))
    tokens, mask = generate_samples(name, samples, 0)
    write_stream(folder, {"tokens": tokens, "loss_mask": mask})
    (folder / "manifest.json").write_text(json.dumps({"stream": name, "samples": samples, "vocabulary": VOCABULARY}))
    shutil.copytree(testbed_folder(name) / "heldout", folder / "heldout")
    return Stream(local=str(folder))


def mix_of(study: Study, setting: Setting, seed: int, folder: Path) -> Mix:
    """Return the run's mix, static."""
    mix = study.mix("static", controls.static(study.shares({})))
    if setting.samples is not None:
        streams = {name: small_stream(name, folder / name, setting.samples) for name in mix.streams}
        mix = replace(mix, streams=streams)
    return replace(mix, seed=keyed_seed("data", mix.seed, seed) % 2**31)


def followed(mix: Mix, dataset: StreamingDataset) -> dict[str, Batch]:
    """Return each stream's first samples in the order in which the run meets them."""
    positions = np.arange(FOLLOWED * 24)
    streams = dataset.plan[positions][0]
    chosen = {name: positions[streams == number][:FOLLOWED] for number, name in enumerate(mix.streams)}
    return {name: make_batch(dataset.__getitems__(found)) for name, found in chosen.items()}


def losses_of(model: ProxyModel, batch: Batch) -> Numbers:
    """Return each sample's loss."""
    return sample_losses(model, batch.tokens.tolist(), batch.targets.tolist(), batch=256)


def watch(study: Study, setting: Setting, seed: int, folder: Path) -> Watched:
    """Train one run and take its series."""
    recipe, mix = recipe_of(study, setting), mix_of(study, setting, seed, folder / "streams")
    probes = [probe.draw(SEARCH_DRAW, seed=study.seed) for probe in study.probes]
    progress = train(
        mix, recipe, seed=seed, samples=study.samples, probes=probes, checkpoints=folder / "checkpoints", keep=recipe.readings
    )
    readings = Trajectory.of(progress.readings).table
    with closing(StreamingDataset(mix=mix, batch_size=recipe.batch)) as dataset:
        checkpoints = list(looks(mix, dataset, folder / "checkpoints", sorted(set(readings["position"])), seed))
    families = readings.groupby(["position", "family"])[list(TARGETS)].mean().groupby("position").mean()
    memorised = {name: memorised_samples([look.losses[name] for look in checkpoints]) for name in mix.streams}
    accuracy = families["accuracy"].to_numpy(dtype=float)
    by_probe = {(str(name), target): part[target].to_numpy() for name, part in readings.groupby("probe") for target in TARGETS}
    return Watched(
        targets={target: families[target].to_numpy(dtype=float) for target in TARGETS},
        quantities=quantities_of(checkpoints, memorised)
        | {"log of samples seen": np.log(families.index.to_numpy(dtype=float))},
        domains={
            name: domain_series(checkpoints, name, memorised[name])
            | {"accuracy": np.mean([by_probe[probe, "accuracy"] for probe in asked], axis=0)}
            for name, asked in DOMAIN_PROBES.items()
        },
        start=rise_begins(accuracy),
        memorised=float(np.mean([chosen.mean() for chosen in memorised.values()])),
    )


def looks(mix: Mix, dataset: StreamingDataset, folder: Path, positions: Sequence[int], seed: int) -> Iterator[Checkpoint]:
    """Yield what is taken from every checkpoint."""
    samples, heldout = followed(mix, dataset), heldout_batches(mix, limit=HELDOUT)
    generator = torch.Generator().manual_seed(keyed_seed("random tokens", seed))
    random = torch.randint(0, VOCABULARY, (RANDOM, 24), generator=generator).tolist()
    for position in positions:
        model = ProxyModel.open(folder / str(position), device="cpu")
        trained = make_batch(dataset.__getitems__(np.arange(position - TRAINED_ON, position)))
        yield Checkpoint(
            routing={name: average_routing(model, batch.tokens.tolist(), batch=256) for name, batch in samples.items()},
            rows=router_matrices(model),
            losses={name: losses_of(model, batch) for name, batch in samples.items()},
            random=average_routing(model, random),
            training_loss=float(losses_of(model, trained).mean()),
            heldout_loss=float(np.mean([losses_of(model, batch).mean() for batch in heldout.values()])),
        )


def memorised_samples(losses: Sequence[Numbers]) -> npt.NDArray[np.bool_]:
    """Return which of a stream's followed samples count as memorised in the end."""
    table = np.stack(losses)
    return memorised_at(table, memorisation_limit(table)) >= 0


def domain_series(checkpoints: Sequence[Checkpoint], name: str, chosen: npt.NDArray[np.bool_]) -> dict[str, Numbers]:
    """Return the series of one stream's memorised samples."""
    found: dict[str, list[float]] = {}
    for look in checkpoints:
        routing = [layer[chosen] for layer in look.routing[name]]
        reading = read_pathways(routing, look.rows)
        values = {"distance, experts": reading.distance.experts, "distance, share of the longer": reading.distance.share}
        values["consistency (1 - C)"] = reading.consistency
        values["consistency, median over samples"] = 1 - float(np.median(erraticness(routing, look.rows)))
        values["cosine of successive layers"] = float(layer_cosines(routing, look.rows).mean())
        values |= {"routing entropy": reading.entropy, "effective dimension": reading.effective_dimension}
        values["experts in a pathway"] = reading.length
        for threshold in (other for other in THRESHOLDS if other != reading.threshold):
            values[f"distance, experts, threshold {threshold}"] = mean_distance(pathways(routing, threshold)).experts
        others = [layer[~chosen] for layer in look.routing[name]]
        values["distance, samples not memorised"] = mean_distance(pathways(others)).experts
        values["loss of the memorised samples"] = float(look.losses[name][chosen].mean())
        for key, value in values.items():
            found.setdefault(key, []).append(value)
    return {key: np.asarray(values) for key, values in found.items()}


def quantities_of(checkpoints: Sequence[Checkpoint], memorised: Mapping[str, npt.NDArray[np.bool_]]) -> dict[str, Numbers]:
    """Return the series over all streams: means over streams, and what has no stream."""
    streams = [domain_series(checkpoints, name, chosen) for name, chosen in memorised.items()]
    found: dict[str, Numbers] = {key: np.mean([series[key] for series in streams], axis=0) for key in streams[0]}
    found["distance between streams"] = np.asarray([between(look, memorised) for look in checkpoints])
    found["distance, random tokens"] = np.asarray([mean_distance(pathways(look.random)).experts for look in checkpoints])
    found["training loss"] = np.asarray([look.training_loss for look in checkpoints])
    found["validation loss"] = np.asarray([look.heldout_loss for look in checkpoints])
    return found


def between(look: Checkpoint, memorised: Mapping[str, npt.NDArray[np.bool_]]) -> float:
    """Return the mean distance of two memorised samples of different streams."""
    ways = {name: pathways([layer[chosen] for layer in look.routing[name]]) for name, chosen in memorised.items()}
    return float(np.mean([mean_distance(ways[one], ways[two]).experts for one, two in combinations(ways, 2)]))


def cell(values: Sequence[float]) -> str:
    """Return mean (least to most)."""
    if np.isnan(values).any():
        return "-"
    return f"{np.mean(values):+.2f} ({min(values):+.2f} to {max(values):+.2f})"


def correlation_table(runs: Sequence[Watched], target: str) -> str:
    """Return one line a quantity: all checkpoints, those from the start of the rise, and changes between the latter."""
    lines = []
    for name in runs[0].quantities:
        cells = []
        for start, change in ((False, False), (True, False), (True, True)):
            found = [
                one_correlation(run.quantities[name], run.targets[target], run.start if start else 0, change) for run in runs
            ]
            cells += [cell([pair[0] for pair in found]), cell([pair[1] for pair in found])]
        lines.append([name, *cells])
    header = ["", "Pearson, all", "Spearman, all", "Pearson, from the rise", "Spearman, from the rise"]
    return table([*header, "Pearson, changes", "Spearman, changes"], lines)


def one_correlation(values: Numbers, target: Numbers, start: int, change: bool) -> tuple[float, float]:
    """Return Pearson and Spearman from `start` on, of the values or of their changes."""
    if change:
        found = correlations({"": np.diff(values[start:])}, np.diff(target[start:]))[0]
    else:
        found = correlations({"": values}, target, start=start)[0]
    return found.pearson, found.spearman


def value_table(runs: Sequence[Watched]) -> str:
    """Return each quantity at the first checkpoint, at the start of the rise and at the last, mean over seeds."""
    series = [run.targets | run.quantities for run in runs]
    lines = []
    for name in series[0]:
        places = [(one[name][0], one[name][run.start], one[name][-1]) for one, run in zip(series, runs, strict=True)]
        lines.append([name, *(f"{value:.3f}" for value in np.mean(places, axis=0))])
    return table(["", "first checkpoint", "rise begins", "last checkpoint"], lines)


def domain_table(runs: Mapping[str, Sequence[Watched]]) -> str:
    """Return the correlation of a stream's pathways with the accuracy of the probes of its own task, from the rise on."""
    lines = []
    for setting, found in runs.items():
        for domain, asked in DOMAIN_PROBES.items():
            cells = []
            for name in ("distance, experts", "consistency (1 - C)", "loss of the memorised samples"):
                each = [
                    one_correlation(run.domains[domain][name], run.domains[domain]["accuracy"], run.start, False)
                    for run in found
                ]
                cells += [cell([pair[0] for pair in each]), cell([pair[1] for pair in each])]
            lines.append([setting, domain, " and ".join(asked), *cells])
    names = [f"{name}, {kind}" for name in ("distance", "consistency", "loss") for kind in ("Pearson", "Spearman")]
    return table(["setting", "stream", "probes", *names], lines)


def speed_table(study: Study) -> str:
    """Return the training speed of mixtures beside dense proxies, tokens a second of processor time, best of seven rounds."""
    tokens = torch.randint(0, VOCABULARY, (study.recipe.batch, 24), generator=torch.Generator().manual_seed(0))
    targets = torch.zeros_like(tokens, dtype=torch.bool)
    targets[:, 2::3] = True
    batch = Batch(tokens=tokens, targets=targets)
    shapes = [
        ModelShape(vocabulary=VOCABULARY, layers=layers, experts=experts, active_experts=active)
        for layers, (experts, active) in product((2, 4), ((0, 2), (8, 1), (8, 2)))
    ]
    proxies = [Proxy(shape, torch.Generator().manual_seed(0)) for shape in shapes]
    optimizers = [torch.optim.AdamW(proxy.parameters(), fused=True) for proxy in proxies]
    seconds = [[seconds_of_steps(*pair, batch) for pair in zip(proxies, optimizers, strict=True)] for _ in range(7)]
    lines = []
    for shape, proxy, best in zip(shapes, proxies, np.min(seconds, axis=0), strict=True):
        parameters = sum(weight.numel() for weight in proxy.parameters())
        kind = f"{shape.active_experts} of {shape.experts} experts" if shape.experts else "dense"
        lines.append([str(shape.layers), kind, f"{parameters:,}", f"{tokens.numel() * 20 / best:,.0f}"])
    return table(["layers", "MLP", "parameters", "tokens/s"], lines)


def seconds_of_steps(proxy: Proxy, optimizer: torch.optim.Optimizer, batch: Batch) -> float:
    """Return the processor time of twenty training steps."""
    started = process_time()
    for _ in range(20):
        loss = training_loss(proxy, batch, balance=0.01)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return process_time() - started


def part(setting: Setting, runs: Sequence[Watched]) -> str:
    """Return the section of one setting."""
    starts = ", ".join(f"{run.start + 1}" for run in runs)
    return "\n\n".join(
        [
            f"## {setting.name.capitalize()}",
            f"The rise begins at checkpoint {starts} of {len(runs[0].targets['accuracy'])} (one number a seed); "
            f"{np.mean([run.memorised for run in runs]):.0%} of the followed samples count as memorised.",
            "With accuracy:",
            correlation_table(runs, "accuracy"),
            "With the margin:",
            correlation_table(runs, "margin"),
            value_table(runs),
        ]
    )


def main() -> None:
    """Train, read, correlate, publish."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--runs", type=Path, help="keep the runs there; a second call goes on from them")
    arguments = parser.parse_args()
    study, started, used = load_study(), perf_counter(), process_time()
    found: dict[str, list[Watched]] = {}
    with one_thread(), TemporaryDirectory() as temporary:
        for setting in SETTINGS:
            folders = [(arguments.runs or Path(temporary)) / f"{setting.name}-{seed}" for seed in range(arguments.seeds)]
            found[setting.name] = [watch(study, setting, seed, folder) for seed, folder in enumerate(folders)]
        speed = speed_table(study)
    took = f"{perf_counter() - started:.0f} s, {process_time() - used:.0f} s of one processor."
    parts = [(__doc__ or "").split("\n\n", 2)[2].strip(), *(part(setting, found[setting.name]) for setting in SETTINGS)]
    parts += ["## By stream, accuracy, from the rise", domain_table(found), "## Speed of training", speed, took]
    publish(Path(__file__).with_suffix(".md"), "Expert pathways and the probes", parts, others=("rapidfuzz",))


if __name__ == "__main__":
    main()
