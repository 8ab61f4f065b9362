"""The same curricula at several sizes of one proxy: how far does what a small one shows hold for a larger one?

Idea: everything but the size is kept: curricula, samples, the seeds (and with them the order of the data), the probe items,
which are those no search has seen. Curricula are static, the study's hand-made ones, points of its space drawn by its seed,
and on wish the best that its search tried: a correlation over good ones alone would be low, over random ones alone it would
say nothing of where a choice is made. The runs are ordinary ones, named by what decides them, so a ladder goes on where it
was, and more sizes, seeds or curricula later cost only what is new (of runs that are trained one by one). Static's first run
of every size goes first, which tells how long the others will take; then size by size, so that the smaller ones can be
looked at early.

    <runs>/<study>-ladder/<size>-<curriculum>-s<seed>-<hash>/
    <runs>/<study>-ladder-tail0.2/<size>-<curriculum>-tail0.2-s<seed>-<hash>/

With a tail every curriculum plays its order before the last share of the run, which is the same for all, and is measured in
that share alone: what of an order outlives it.

The price: equal samples mean that a large proxy is as far from its compute-optimal end as its size is; whether the order of
curricula holds when it is trained for longer, a ladder of equal exposure does not say.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from curriculum.errors import DataError, RunError, UserError
from curriculum.mix import Mix
from curriculum.probe.specification import PROOF_DRAW
from curriculum.proxy.recipe import Recipe
from curriculum.proxy.run import RunRequest, RunResult
from curriculum.proxy.sizes import Size, layer_parameters, resized, with_start
from curriculum.search.executor import Outcome
from curriculum.search.folder import StudyFolder, write_json
from curriculum.search.interrupts import Interrupts
from curriculum.search.ladder_baseline import favoured_late, late_distance
from curriculum.search.ladder_curricula import (
    STATIC,
    best_trials,
    check_exposure,
    named_mixes,
    of_study,
    random_name,
    with_tail,
)
from curriculum.search.ladder_statistics import LadderTables
from curriculum.search.objective import Score, score_run
from curriculum.search.observer import Observer, Silent
from curriculum.search.populations import Populations, settle
from curriculum.search.proportions import Given
from curriculum.search.runner import Runner, stream_sizes
from curriculum.search.space import SearchSpace
from curriculum.search.study import HAND_MADE, Study
from curriculum.search.target import subset_sizes, with_target
from curriculum.search.workers import Workers
from curriculum.units import keyed_seed

FOLDER = "ladder"
_RECORD = "trained.json"
_LEAST_CURRICULA = 3
_SHAPE = ("layers", "width", "heads")


@dataclass(frozen=True, kw_only=True, slots=True)
class Rung:
    """A size with the study's recipe at that size."""

    size: Size
    recipe: Recipe


@dataclass(frozen=True, kw_only=True, slots=True)
class LadderRow:
    """One run of a ladder, measured."""

    size: str
    curriculum: str
    seed: int
    run: str
    seconds: float
    score: Score

    def values(self) -> dict[str, float]:
        """Return what a ladder compares; `loss` is the mean over streams, and missing where runs have none."""
        found = {name: self.score.metric(name) for name in ("time_general", "area", "final_margin")}
        return found | ({"loss": float(np.mean(list(self.score.loss.values())))} if self.score.loss else {})


def rungs_of(study: Study, sizes: Sequence[Size], starts: str | None = None) -> tuple[Rung, ...]:
    """Return the study's recipe at every size, those of fewer parameters first, however they are named.

    Raises UserError for a study of its own trainer, and as `sizes` does.
    """
    if study.command is not None:
        raise UserError(
            f"the study {study.name!r} trains by a command, whose model curriculum cannot resize; wanted a study with `proxy: "
            "{layers: ..., width: ...}`"
        )
    rungs: list[Rung] = []
    for size in sizes:
        recipe = resized(study.recipe, size)
        alike = next((rung.size.name for rung in rungs if _shape_of(rung.recipe) == _shape_of(recipe)), None)
        if alike is not None:
            raise UserError(
                f"--sizes: {alike} and {size.name} are one proxy ({_listed(_shape_of(recipe))}); leave one of them out"
            )
        rungs.append(Rung(size=size, recipe=with_start(recipe, size, starts)))
    return tuple(sorted(rungs, key=lambda rung: rung.recipe.layers * layer_parameters(rung.recipe)))


def check_starts(rungs: Sequence[Rung], mix: Mix | None = None, *, context: int | None = None) -> None:
    """Raise DataError where a rung's checkpoint is missing or of another shape; before anything is trained.

    UserError where it is of another tokenizer, vocabulary or context than the streams of `mix` (`context`: tokens a sample).
    """
    from curriculum.proxy.start import check_start  # torch

    for rung in rungs:
        folder, wanted = rung.recipe.start, _shape_of(rung.recipe)
        if folder is None:
            continue
        try:
            shape = json.loads((folder / "proxy.json").read_text())
            found = {name: int(shape[name]) for name in _SHAPE}
        except (OSError, ValueError, KeyError, TypeError):
            raise DataError(
                f"--starts: no checkpoint for size {rung.size.name} at {folder}: wanted a folder with proxy.json and "
                f"weights.safetensors of a proxy with {_listed(wanted)}"
            ) from None
        if found != wanted:
            raise DataError(
                f"--starts: checkpoint {folder} is of {_listed(found)}, size {rung.size.name} has {_listed(wanted)}"
            )
        if mix is not None:
            check_start(folder, mix, context=rung.recipe.context or context)


def _shape_of(recipe: Recipe) -> dict[str, int]:
    return {name: getattr(recipe, name) for name in _SHAPE}


def _listed(shape: Mapping[str, int]) -> str:
    return ", ".join(f"{name}: {value}" for name, value in shape.items())


class Ladder:
    """One ladder. Use as: `with Ladder(...) as ladder: rows, failed = ladder.run()`.

    `seeds`: how many at every size, or by the size's name. `random` curricula are drawn from the space; `trials` of the
    study's search in `runs` are added, its best, and `mixes` of files. The last share `tail` of every run is the same for all,
    None for none. Raises UserError for too few curricula or trials, names that are taken or unequal exposure, FileError for a
    bad mix, DataError for missing data.
    """

    def __init__(
        self,
        study: Study,
        rungs: Sequence[Rung],
        *,
        runs: Path,
        random: int,
        seeds: int | Mapping[str, int],
        trials: int = 0,
        mixes: Sequence[Path] = (),
        tail: Decimal | None = None,
        workers: int | None = None,
        observer: Observer | None = None,
    ) -> None:
        self.rungs, self._observer = tuple(rungs), observer or Silent()
        self.seeds = {rung.size.name: seeds if isinstance(seeds, int) else seeds[rung.size.name] for rung in self.rungs}
        self.tail, self._interrupts = tail, Interrupts()
        self._suffix = "" if tail is None else f"-tail{tail.normalize():f}"
        self.place = StudyFolder(runs / f"{study.name}-{FOLDER}{self._suffix}")
        sizes, self.tokens_per_sample = stream_sizes(study)
        self.study = with_target(study, sizes, self.tokens_per_sample)
        self.populations = settle(self.study, self._recorded())
        self.workers = workers or self.populations.workers()
        self._executor = self._made_executor()
        shares = study.shares(sizes)
        self.runner = Runner(
            study=self.study,
            space=SearchSpace(self.study, shares, subset_sizes(self.study, sizes, self.tokens_per_sample)),
            shares=shares,
            sizes=sizes,
            executor=self._executor,
            observer=self._observer,
        )
        self.named, self.curricula = self._curricula(random, {**best_trials(runs / study.name, trials), **named_mixes(mixes)})
        if study.exposure == "fixed":
            check_exposure(self.curricula, sizes)

    @property
    def total(self) -> int:
        """How many runs it has."""
        return len(self.curricula) * sum(self.seeds.values())

    def sample(self, rung: Rung) -> RunRequest:
        """Return static's first run at a size."""
        return self._request(rung, STATIC, 0)

    def run(self) -> tuple[list[LadderRow], dict[str, str]]:
        """Train what is not yet trained; return all rows, and the curricula of which a run failed, with its words.

        Raises RunError where static failed, or too few curricula are left; ResourceError; KeyboardInterrupt, with all kept.
        """
        check_starts(self.rungs, self.runner.static, context=self.tokens_per_sample)
        with self.place.owned(), self._interrupts.draining(self._executor, self._observer):
            self._remember()
            self._observer.stage(FOLDER, self.total)
            return self._measured(self._trained())

    def tables(self, rows: Sequence[LadderRow]) -> LadderTables:
        """Return the rows as tables of the curricula of which all runs are there."""
        curricula = tuple(dict.fromkeys(row.curriculum for row in rows))
        sizes = tuple(rung.size.name for rung in self.rungs)
        values = {(row.size, row.curriculum, row.seed): row.values() for row in rows}
        measures = set.intersection(*(set(each) for each in values.values()))
        counted, far = self.counted(), self.distances()
        return LadderTables(
            sizes=sizes,
            curricula=curricula,
            values={
                measure: tuple(
                    np.asarray([[values[s, c, n][measure] for n in range(self.seeds[s])] for c in curricula]) for s in sizes
                )
                for measure in ("time_general", "area", "final_margin", "loss")
                if measure in measures
            },
            named=tuple(name for name in self.named if name in curricula),
            static=curricula.index(STATIC),
            counted=None if counted is None else np.asarray([counted[name] for name in curricula]),
            distance=np.asarray([far[name] for name in curricula]),
        )

    def counted(self) -> dict[str, float] | None:
        """Return each curriculum's share of favoured streams in the last quarter, None where the study favours none."""
        found = favoured_late(self.curricula.values(), self.runner.sizes, self.study.favour, self.tail or Decimal(0))
        return None if found is None else dict(zip(self.curricula, found, strict=True))

    def distances(self) -> dict[str, float]:
        """Return how far each curriculum's last quarter lies from static's shares."""
        sizes = self.runner.sizes
        found = late_distance(self.curricula.values(), sizes, self.study.shares(sizes), self.tail or Decimal(0))
        return dict(zip(self.curricula, found, strict=True))

    def __enter__(self) -> Ladder:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._executor.kill()
        else:
            self._executor.drain()

    def _curricula(self, random: int, trials: Mapping[str, Mix]) -> tuple[list[str], dict[str, Mix]]:
        """Return the names of which conclusions are drawn, and all curricula by name, static first."""
        self.runner.check_controls()
        made = {name: phases for name in HAND_MADE if (phases := self.runner.control(name)) is not None}
        known = {name: self.study.mix(name, phases) for name, phases in made.items()}
        known |= {name: of_study(self.study, name, mix) for name, mix in trials.items()}
        drawn = {random_name(index): self._random(index) for index in range(random)}
        found = {STATIC: self.runner.static, **known, **drawn}
        if len(found) < _LEAST_CURRICULA:
            raise UserError(f"--curricula: wanted at least {_LEAST_CURRICULA} curricula in all, got {len(found)}; draw more")
        return list(known), {name: with_tail(mix, self.runner.shares, self.tail) for name, mix in found.items()}

    def _random(self, index: int) -> Mix:
        """Return the `index`-th random point of the space: the same however many are drawn."""
        space = self.runner.space
        random = np.random.default_rng(keyed_seed("ladder curriculum", self.study.seed, index))
        phases, order = space.propose(Given(space.draw(random)))
        return self.study.mix(random_name(index), phases, order=order)

    def _request(self, rung: Rung, curriculum: str, index: int) -> RunRequest:
        label = f"{rung.size.name}-{curriculum}{self._suffix}"
        seed = self.runner.seed(FOLDER, index)
        return self.runner.request(label, self.curricula[curriculum], seed, PROOF_DRAW, recipe=rung.recipe)

    def _trained(self) -> dict[tuple[str, str, int], Outcome]:
        """Return the outcome of every run by size, curriculum and number of the seed."""
        keys, requests = [], []
        for rung in self.rungs:
            seeds = range(self.seeds[rung.size.name])
            of_rung = [(rung.size.name, name, index) for index in seeds for name in self.curricula]
            asked = [self._request(rung, name, index) for _, name, index in of_rung]
            keys += of_rung
            requests += self._populations_at(rung).grouped(asked)
        first = [keys.index((rung.size.name, STATIC, 0)) for rung in self.rungs]
        order = [*first, *(number for number in range(len(keys)) if number not in first)]
        outcomes = self._executor.results([requests[number] for number in order])
        return {keys[number]: outcome for number, outcome in zip(order, outcomes, strict=True)}

    def _populations_at(self, rung: Rung) -> Populations:
        """A population shrinks as its members grow, so that a device which holds the smallest rung's holds every one."""
        weights = [rung.recipe.layers * rung.recipe.width**2 for rung in self.rungs]
        own = rung.recipe.layers * rung.recipe.width**2
        return replace(self.populations, size=max(1, self.populations.size * min(weights) // own))

    def _measured(self, outcomes: Mapping[tuple[str, str, int], Outcome]) -> tuple[list[LadderRow], dict[str, str]]:
        failed = {
            curriculum: f"{outcome.request.run_id()}: {outcome.failure}"
            for (_, curriculum, _), outcome in outcomes.items()
            if outcome.result is None
        }
        if STATIC in failed or len(self.curricula) - len(failed) < _LEAST_CURRICULA:
            listed = "\n  ".join(failed.values())
            raise RunError(f"runs that a ladder cannot do without failed:\n  {listed}")
        rows = [
            LadderRow(
                size=size, curriculum=curriculum, seed=seed, run=outcome.result.folder.name,
                seconds=outcome.result.seconds, score=self._score(outcome.result),
            )
            for (size, curriculum, seed), outcome in outcomes.items()
            if curriculum not in failed and outcome.result is not None
        ]  # fmt: skip
        order = {name: number for number, name in enumerate(self.curricula)}
        sizes = {rung.size.name: number for number, rung in enumerate(self.rungs)}
        return sorted(rows, key=lambda row: (sizes[row.size], order[row.curriculum], row.seed)), failed

    def _score(self, result: RunResult) -> Score:
        """Measure a run; of one with a common tail, that tail alone."""
        if self.tail is None:
            return score_run(self.study, result)
        score = score_run(replace(self.study, objective=replace(self.study.objective, common_tail=self.tail)), result)
        return replace(score, measures=score.tail)

    def _recorded(self) -> dict[str, Any] | None:
        """Return how a ladder that was begun trains its runs. Raises DataError."""
        path = self.place.path / _RECORD
        try:
            return dict(json.loads(path.read_text()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            raise DataError(f"{path} is damaged ({error}); remove it: runs beside it are kept and used") from None

    def _remember(self) -> None:
        """Write down how runs are trained, once: what they are is in their names."""
        if not (self.place.path / _RECORD).exists():
            write_json(self.place.path / _RECORD, self.populations.as_json())

    def _made_executor(self) -> Workers:
        return Workers(
            runs=self.place.path,
            count=self.workers,
            on_finished=self._observer.finished,
            on_running=self._observer.running,
            heed=self._interrupts.heed,
            notice=self._observer.notice,
        )


def row_as_json(row: LadderRow) -> dict[str, Any]:
    """Return a row as `ladder.csv` and `ladder.json` hold it."""
    losses = {f"loss_{name}": round(loss, 6) for name, loss in row.score.loss.items()}
    measured = {name: round(value, 6) for name, value in row.values().items()}
    about = {"size": row.size, "curriculum": row.curriculum, "seed": row.seed}
    return {**about, **measured, **losses, "seconds": round(row.seconds, 3), "run": row.run}


__all__ = ["FOLDER", "STATIC", "Ladder", "LadderRow", "Rung", "check_starts", "row_as_json", "rungs_of"]
