"""On real text: does the window's length change what order does, and does a decaying learning rate waste what comes last?

    python examples/natural/prepare.py
    python benchmarks/natural_settings.py [--seeds 5] [--runs FOLDER] [--report-only]

Beside the factors of benchmarks/natural_factors.py, with its curricula on `search/natural.yaml`: static, hold-then-low
(favoured domains early) and the same backwards (late). Windows: a seed plays the same 683 samples of each domain, spread over
its stream, in windows of 1, 64 and 341 of them, so that neighbours in the stream come anywhere, together, or half of a stream
after the other; the last quarter is alike for all. Schedules: a constant rate, cosine to a tenth, and warm-up-stable-decay
to zero over the last fifth, without an equal end, as a full run would play it. A quality-ascending order under decay is said
to waste its data: then what the late order gains in loss of the favoured domains is less than at a constant rate. What asks
for that is the last column: late - early at a setting minus late - early at the first one of its table, by seed. Intervals
are Student's, 95 %, of differences paired by seed, not corrected for their number. Finished runs are kept.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import natural_factors as factors
import numpy as np
from setting import publish, table

from curriculum.mix import Order
from curriculum.mix.subset import Subset
from curriculum.proxy.recipe import RateSchedule
from curriculum.proxy.run import RunRequest, RunResult, perform
from curriculum.search import controls
from curriculum.search.runner import stream_sizes
from curriculum.search.statistics import FloatArray, mean_interval
from curriculum.search.study import Study
from curriculum.search.study_file import load_study

ARMS = ("static", "hold-then-low", "reversed")
WINDOWS = (64, 1, 341)
SCHEDULES: tuple[RateSchedule, ...] = ("constant", "cosine", "wsd")


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """An arm under a window's length, or under a schedule without the common tail (`window` None)."""

    arm: str
    seed: int
    window: int | None = None
    schedule: RateSchedule = "constant"


def settings(seeds: int) -> list[Setting]:
    """Return all runs, seed by seed, so that an early stop leaves whole seeds."""
    return [
        one
        for seed in range(seeds)
        for arm in ARMS
        for one in (
            *(Setting(arm=arm, seed=seed, window=window) for window in WINDOWS),
            *(Setting(arm=arm, seed=seed, schedule=schedule) for schedule in SCHEDULES),
        )
    ]


def request_of(study: Study, one: Setting) -> RunRequest:
    """Return the run of a setting."""
    request = factors.request_of(study, factors.Cell(arm=one.arm, seed=one.seed))
    if one.window is not None:
        order, subset = Order(window=one.window), Subset(samples=-(-study.samples // len(study.streams)), seed=one.seed)
        streams = {name: replace(stream, order=order, subset=subset) for name, stream in request.mix.streams.items()}
        return replace(request, label=f"window-{one.arm}", mix=replace(request.mix, streams=streams))
    mix = replace(request.mix, phases=factors.body_of(study, one.arm))
    return replace(request, label=f"schedule-{one.arm}", mix=mix, recipe=replace(request.recipe, schedule=one.schedule))


def measures(study: Study, one: Setting, run: RunResult) -> dict[str, float]:
    """Return what is compared: margins at the end of the body or of the run, and losses at the end."""
    tail = factors.TAIL if one.window is not None else 0
    stop = int(run.samples * (1 - tail))
    at = run.trajectory.by_probe(start=int(factors.BURN_IN * stop), stop=stop)
    of_family = [
        np.mean([value.final_margin for name, value in at.items() if factors.family_of(name) == family])
        for family in dict.fromkeys(map(factors.family_of, at))
    ]
    losses = run.final_loss()
    favoured = [losses[name] for name in study.favour]
    return {
        "final margin": float(np.mean(of_family)),
        "final margin, induction": float(np.mean([v.final_margin for name, v in at.items() if name.startswith("induction")])),
        "loss": float(np.mean(list(losses.values()))),
        "loss of favoured": float(np.mean(favoured)),
        "loss of others": float(np.mean([loss for name, loss in losses.items() if name not in study.favour])),
    }


def report(study: Study, found: Mapping[Setting, RunResult]) -> Iterator[str]:
    """Yield the parts of the document."""
    values = {one: measures(study, one, run) for one, run in found.items()}
    yield f"{len(found)} runs of `search/natural.yaml`, {study.samples:,} samples each; favoured: {', '.join(study.favour)}."
    windows = {f"{window}": {one: each for one, each in values.items() if one.window == window} for window in WINDOWS}
    yield "## Window length (margins before the common last quarter, losses after it)"
    yield table(*rows("window, samples", windows))
    schedules = {
        schedule: {one: each for one, each in values.items() if one.window is None and one.schedule == schedule}
        for schedule in SCHEDULES
    }
    yield "## Learning-rate schedule (no common tail)"
    rates = ", ".join(f"{schedule} {late_rate(study, schedule):.2f}" for schedule in SCHEDULES)
    yield f"Mean rate, in shares of the highest, at which the late order plays its favoured samples: {rates}."
    yield table(*rows("schedule", schedules))


def rows(label: str, groups: Mapping[str, Mapping[Setting, Mapping[str, float]]]) -> tuple[list[str], list[list[str]]]:
    """Return the header and rows: static as it is, then early and late against it, by measure."""
    names = list(next(iter(next(iter(groups.values())).values())))
    first = next(iter(groups))
    header = [label, "seeds", "measure", "static (sd over seeds)", "early - static", "late - static", "late - early"]
    header.append(f"late - early, against {first}")
    found, differ = [], dict[tuple[str, str], dict[int, float]]()
    for group, values in groups.items():
        for name in names:
            of_arm = {arm: {one.seed: each[name] for one, each in values.items() if one.arm == arm} for arm in ARMS}
            seeds = sorted(set.intersection(*(set(of_seed) for of_seed in of_arm.values())))
            static, early, late = (np.asarray([of_arm[arm][seed] for seed in seeds]) for arm in ARMS)
            plain = f"{static.mean():.3f} ({static.std(ddof=1):.3f})"
            differ[group, name] = dict(zip(seeds, (late - early).tolist(), strict=True))
            at_first = differ[first, name]
            moved = np.asarray([value - at_first[seed] for seed, value in differ[group, name].items() if seed in at_first])
            told = [interval(each) for each in (early - static, late - static, late - early)]
            found.append([group, str(len(seeds)), name, plain, *told, "" if group == first else interval(moved)])
    return header, found


def late_rate(study: Study, schedule: RateSchedule) -> float:
    """Return the mean learning rate of the late order's favoured samples, in shares of the highest."""
    recipe = replace(study.recipe, schedule=schedule, learning_rate=1.0)
    request = request_of(study, Setting(arm="reversed", seed=0, schedule=schedule))
    sizes, _ = stream_sizes(study)
    plan, steps = request.played_mix().plan(sizes), recipe.steps(study.samples)
    due = [sum(float(plan.expected(step * recipe.batch)[name]) for name in study.favour) for step in range(steps + 1)]
    return float(np.average([recipe.rate(step, steps) for step in range(steps)], weights=np.diff(due)))


def interval(differences: FloatArray) -> str:
    """Return a mean with its 95 % t interval."""
    found = mean_interval(differences)
    return f"{found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"


def train_all(study: Study, asked: Sequence[Setting], runs: Path) -> None:
    """Do every run that is not done."""
    for number, one in enumerate(asked, start=1):
        result = perform(request_of(study, one), runs)
        print(f"{number} of {len(asked)}: {one}, {result.seconds:.0f} s", file=sys.stderr, flush=True)


def main() -> None:
    """Do what is missing, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--runs", type=Path, default=factors.ROOT / "examples/natural/data/runs/settings")
    parser.add_argument("--report-only", action="store_true")
    arguments = parser.parse_args()
    study = load_study(factors.STUDY)
    asked = settings(arguments.seeds)
    sizes, _ = stream_sizes(study)
    for setting in {replace(one, arm="static") for one in asked}:
        controls.check_equal_exposure([request_of(study, replace(setting, arm=arm)).played_mix() for arm in ARMS], sizes)
    if not arguments.report_only:
        train_all(study, asked, arguments.runs)
    found = {one: run for one in asked if (run := factors.finished(request_of(study, one), arguments.runs)) is not None}
    parts = [(__doc__ or "").split("\n\n", 2)[2].strip(), *report(study, found)]
    publish(Path(__file__).with_suffix(".md"), "Window length and learning-rate schedule on natural text", parts)


if __name__ == "__main__":
    main()
