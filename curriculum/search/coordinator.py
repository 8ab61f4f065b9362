"""A search from its study file to its verdict, resumable at any instant.

Idea: the coordinator holds no state that is not on disk. Trials are in SQLite, runs in their folders under a hash of
what decides them, and every later stage (repeats, proof, tail) follows from these; so going on after a kill is starting
again, and finding most of the work done. One lock keeps a second coordinator out.

    reference   static on several seeds: what the constraints are measured against
    proposals   `budget` trials, each a run on a seed of its own
    candidates  the best trials repeated; the best of these are the finalists
    proof       finalists, static, hand-made, then shuffled and reversed winner, on fresh seeds and fresh probe items
    tail        winner and static again, the last part of the run the same for both
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any, Protocol

import numpy as np
from filelock import FileLock, Timeout

from curriculum import __version__
from curriculum.errors import ChangedError, ResourceError, RunError, UserError
from curriculum.mix import Mix, Phase
from curriculum.probe.specification import PROOF_DRAW, SEARCH_DRAW
from curriculum.proxy.feed import stream_folder
from curriculum.proxy.run import RunRequest, RunResult
from curriculum.search import controls
from curriculum.search.conclusion import Trial, describe, winning_mix
from curriculum.search.objective import Reference, Score, reference_of, score_run, search_value, violations
from curriculum.search.proposals import Proposal, Proposals
from curriculum.search.space import SearchSpace
from curriculum.search.study import HAND_MADE, Study, changed_study
from curriculum.search.verdict import Arm, Verdict, judge, leader
from curriculum.search.workers import Outcome, Workers
from curriculum.search.workload import Workload, count_runs
from curriculum.streaming.index import read_index, read_manifest
from curriculum.units import keyed_seed


class Observer(Protocol):
    """Who is told how the search goes on."""

    def stage(self, name: str, runs: int) -> None:
        """A stage of `runs` runs begins."""

    def finished(self, outcome: Outcome) -> None:
        """A run has ended (those found done are not told)."""

    def trial(self, number: int, name: str, value: float | None) -> None:
        """A trial has been told its value."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchResult:
    """A finished search. `document` is what `--json` prints and `result.json` holds."""

    verdict: Verdict
    mix: Mix | None
    mix_path: Path | None
    arms: tuple[Arm, ...]
    finalists: tuple[str, ...]
    trials: tuple[Trial, ...]
    failed: int
    document: Mapping[str, Any]


class Coordinator:
    """One search. Use as: `with Coordinator(...) as search: search.run()`."""

    def __init__(
        self, study: Study, *, runs: Path, out: Path, workers: int, observer: Observer, storage: str | None = None
    ) -> None:
        self.study, self.out, self.observer, self.storage = study, out, observer, storage
        self.folder = runs / study.name
        self.sizes, self.tokens_per_sample = stream_sizes(study)
        self.shares = study.shares(self.sizes)
        self.space = SearchSpace(study, self.shares)
        self.workers = Workers(runs=self.folder, count=workers, on_finished=observer.finished)
        self.static = study.mix("static", controls.static(self.shares))

    def workload(self, budget: int) -> Workload:
        """Return how many runs a search of `budget` trials makes."""
        return count_runs(self.study, budget)

    def run(self, budget: int) -> SearchResult:
        """Search, prove, write. Raises UserError, ChangedError, ResourceError, RunError; KeyboardInterrupt loses nothing."""
        started = monotonic()
        with _owned(self.folder):
            created = self._remember()
            reference = self._reference()
            trials = self._propose(budget, reference)
            finalists = self._candidates(trials)
            arms, names = self._prove(finalists)
            result = self._conclude(arms, names, trials, created, monotonic() - started)
            _write_json(self.folder / "result.json", result.document)
            return result

    def request(self, label: str, mix: Mix, seed: int, draw: int = SEARCH_DRAW) -> RunRequest:
        """Return the run of a mix in this study."""
        command = self.study.command
        return RunRequest(
            label=label,
            mix=mix,
            seed=seed,
            samples=self.study.samples,
            recipe=self.study.recipe,
            probes=self.study.probes,
            draw=draw,
            item_seed=self.study.seed,
            command=None if command is None else command.words,
            command_timeout=3600.0 if command is None else command.timeout,
            command_retries=0 if command is None else command.retries,
        )

    def _remember(self) -> str:
        """Write down the study, or make sure that the one written down is the same. Returns when it was begun."""
        path = self.folder / "study.json"
        data = {name: read_index(name, stream_folder(name, stream)).digest for name, stream in self.study.streams.items()}
        now = {"study": self.study.canonical(), "data": data}
        if not path.exists():
            created = datetime.now(UTC).isoformat(timespec="seconds")
            _write_json(path, {**now, "created": created, "versions": {"curriculum": __version__}})
            return created
        old = json.loads(path.read_text())
        changes = changed_study({"study": old["study"], "data": old["data"]}, now)
        if changes:
            listed = "\n  ".join(changes[:12])
            raise ChangedError(
                f"the study {self.study.name!r} was begun with other settings ({self.folder}):\n  {listed}\n"
                "undo the change, give the study another name, or remove that folder"
            )
        return str(old["created"])

    def _reference(self) -> Reference:
        count = self.study.search.reference_seeds
        self.observer.stage("reference", count)
        seeds = [self._seed("reference", index) for index in range(count)]
        outcomes = self.workers.results([self.request("static", self.static, seed) for seed in seeds])
        return reference_of([score_run(self.study, _required(outcome)) for outcome in outcomes])

    def _propose(self, budget: int, reference: Reference) -> list[Trial]:
        """Ask and tell `budget` trials, `ahead` of them at a time, told in order."""
        self.observer.stage("search", budget)
        proposals = Proposals(self.study, self.space, self.folder, self.storage)
        proposals.enqueue(self._baselines())
        told = proposals.told()
        asked: list[tuple[Proposal, RunRequest]] = []
        trials: list[Trial] = []
        for number in range(budget + self.study.search.ahead - 1):
            if number < budget:
                proposal = proposals.recall(number) if number in told else proposals.propose(number)
                request = self._trial_request(proposal)
                asked.append((proposal, request))
                if number not in told:
                    self.workers.submit(request)
            due = number - self.study.search.ahead + 1
            if due >= 0:
                trials.append(self._tell(proposals, *asked[due], reference, already=due in told))
        return trials

    def _trial_request(self, proposal: Proposal) -> RunRequest:
        mix = self.study.mix(proposal.name, proposal.phases, order=proposal.order)
        if self.study.exposure == "fixed":
            controls.check_equal_exposure((self.static, mix), self.sizes)
        return self.request(f"trial-{proposal.number:03d}", mix, self._seed("trial", proposal.number))

    def _tell(
        self, proposals: Proposals, proposal: Proposal, request: RunRequest, reference: Reference, *, already: bool
    ) -> Trial:
        outcome = self.workers.result(request)
        if outcome.result is None:
            if not already:
                proposals.tell(proposal.number, None, {})
                self.observer.trial(proposal.number, proposal.name, None)
            return Trial(proposal=proposal, request=request, score=None, value=-np.inf, excess=np.inf)
        score = score_run(self.study, outcome.result)
        value, excess = search_value(self.study, score), violations(self.study, score, reference)
        if not already:
            proposals.tell(proposal.number, value, excess)
            self.observer.trial(proposal.number, proposal.name, value)
        return Trial(proposal=proposal, request=request, score=score, value=value, excess=max([0.0, *excess.values()]))

    def _baselines(self) -> dict[str, dict[str, float | str]]:
        ramps = self.study.space.shape == "ramps"
        found = {}
        for name in self.study.search.enqueue:
            phases = self._control(name)
            if phases is not None:
                found[name] = self.space.parameters(controls.knot_matrix(phases, self.space.ends, ramps=ramps))
        return found

    def _control(self, name: str) -> tuple[Phase, ...] | None:
        if name == "static":
            return controls.static(self.shares)
        return controls.hand_made(name, self.shares, self.study.favour) if self.study.favour else None

    def _candidates(self, trials: Sequence[Trial]) -> list[Trial]:
        """Repeat the best trials on further seeds and return the finalists, best mean first, feasible ones before others."""
        settings = self.study.search
        alive = [trial for trial in trials if trial.score is not None]
        if not alive:
            raise RunError("every trial failed; see the messages above, mend the cause and run the same command again")
        best = sorted(_distinct(alive), key=lambda trial: (trial.excess > 0, -trial.value))[: settings.candidates]
        self.observer.stage("candidates", len(best) * settings.repeats)
        seeds = [self._seed("repeat", index) for index in range(settings.repeats)]
        repeats = {
            trial.proposal.number: [
                replace(trial.request, label=f"repeat-{trial.proposal.number:03d}", seed=seed) for seed in seeds
            ]
            for trial in best
        }
        self.workers.results([request for requests in repeats.values() for request in requests])
        means = {}
        for trial in best:
            outcomes = self.workers.results(repeats[trial.proposal.number])
            values = [search_value(self.study, score_run(self.study, found.result)) for found in outcomes if found.result]
            means[trial.proposal.number] = float(np.mean([trial.value, *values]))
        return sorted(best, key=lambda trial: -means[trial.proposal.number])[: settings.finalists]

    def _prove(self, finalists: Sequence[Trial]) -> tuple[dict[str, Arm], list[str]]:
        """Repeat finalists and controls on fresh seeds with fresh items; then the leader's own controls and the tail."""
        mixes = {trial.proposal.name: trial.request.mix for trial in finalists}
        names = list(mixes)
        mixes = {"static": self.static} | mixes
        for name in HAND_MADE:
            phases = self._control(name)
            if phases is not None:
                mixes[name] = self.study.mix(name, phases)
        arms = self._arms(mixes, "proof")
        first = leader(self.study, [arms[name] for name in names], arms["static"])
        winner = mixes[first.name]
        order = next(iter(winner.streams.values())).order
        own = {
            "shuffled": self.study.mix("shuffled", controls.shuffled_in_time(winner.phases, self.study.seed), order=order),
            "reversed": self.study.mix("reversed", controls.reversed_in_time(winner.phases), order=order),
        }
        if len(winner.phases) > 1 or winner.phases[0].to is not None:
            arms |= self._arms({first.name: winner, **own}, "controls")
        if self.study.objective.common_tail:
            arms |= self._with_tail({first.name: arms[first.name], "static": arms["static"]}, mixes)
        return arms, names

    def _arms(self, mixes: Mapping[str, Mix], stage: str) -> dict[str, Arm]:
        controls.check_equal_exposure(self._comparable(mixes), self.sizes)
        scores = self._scores(mixes, stage)
        return {name: Arm(name=name, scores=tuple(found)) for name, found in scores.items()}

    def _comparable(self, mixes: Mapping[str, Mix]) -> list[Mix]:
        """Under free exposure a found mix may differ from static; its own shuffled and reversed forms may not."""
        if self.study.exposure == "fixed":
            return list(mixes.values())
        own = [mix for name, mix in mixes.items() if name not in ("static", *HAND_MADE)]
        return own if "shuffled" in mixes else [self.static]

    def _with_tail(self, arms: Mapping[str, Arm], mixes: Mapping[str, Mix]) -> dict[str, Arm]:
        tail = self.study.objective.common_tail
        longer = {
            name: replace(mixes[name], phases=controls.with_common_tail(mixes[name].phases, self.shares, tail)) for name in arms
        }
        scores = self._scores(longer, "tail")
        return {name: replace(arm, tail=tuple(scores[name])) for name, arm in arms.items()}

    def _scores(self, mixes: Mapping[str, Mix], stage: str) -> dict[str, list[Score]]:
        seeds = [self._seed("proof", index) for index in range(self.study.search.finalist_seeds)]
        requests = {
            name: [self.request(f"{stage}-{_label(name)}", mix, seed, PROOF_DRAW) for seed in seeds]
            for name, mix in mixes.items()
        }
        self.observer.stage(stage, sum(len(of) for of in requests.values()))
        self.workers.results([requests[name][index] for index in range(len(seeds)) for name in mixes])
        return {
            name: [score_run(self.study, _required(outcome)) for outcome in self.workers.results(of)]
            for name, of in requests.items()
        }

    def _conclude(
        self, arms: dict[str, Arm], names: Sequence[str], trials: Sequence[Trial], created: str, seconds: float
    ) -> SearchResult:
        static = arms["static"]
        first = leader(self.study, [arms[name] for name in names], static)
        verdict = judge(self.study, first, static, comparisons=len(names))
        document = describe(self.study, verdict, arms, names, trials) | {
            "seconds": round(seconds, 1),
            "study": str(self.folder),
        }
        mix = path = None
        if verdict.kind in ("winner", "transient"):
            trial = next(trial for trial in trials if trial.proposal.name == first.name)
            seeds = [self._seed("proof", index) for index in range(self.study.search.finalist_seeds)]
            mix = winning_mix(self.study, trial, verdict, arms, seeds=seeds, created=created)
            path = self.out / f"{self.study.name}.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            mix.dump(path)
        document["mix"] = None if path is None else str(path)
        return SearchResult(
            verdict=verdict,
            mix=mix,
            mix_path=path,
            arms=tuple(arms.values()),
            finalists=tuple(names),
            trials=tuple(trials),
            failed=sum(trial.score is None for trial in trials),
            document=document,
        )

    def _seed(self, purpose: str, index: int) -> int:
        return keyed_seed("seed", self.study.seed, purpose, index) % 10**6

    def __enter__(self) -> Coordinator:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.workers.kill()
        else:
            self.workers.drain()


def stream_sizes(study: Study) -> tuple[dict[str, int], int | None]:
    """Return each stream's samples, and the tokens of a sample where all streams agree. Raises DataError."""
    sizes, tokens = {}, set()
    for name, stream in study.streams.items():
        folder = stream_folder(name, stream)
        sizes[name] = read_index(name, folder).samples
        tokens.add(stream.tokens_per_sample or read_manifest(folder).get("tokens_per_sample"))
    shared = tokens.pop() if len(tokens) == 1 else None
    return sizes, shared


@contextmanager
def _owned(folder: Path) -> Iterator[None]:
    """Hold the study's lock. Raises UserError when another process has it, ResourceError when it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"another search is at work on {folder}; wait for it, stop it, or use another --runs folder") from None
    except OSError as error:
        raise ResourceError(f"{folder} cannot be written: {error.strerror}; choose another --runs folder") from None
    try:
        yield
    finally:
        lock.release()


def _required(outcome: Outcome) -> RunResult:
    if outcome.result is None:
        raise RunError(f"run {outcome.request.run_id()} failed: {outcome.failure}")
    return outcome.result


def _distinct(trials: Sequence[Trial]) -> list[Trial]:
    """Of equal curricula (an enqueued baseline may be proposed again) keep the best."""
    found: dict[str, Trial] = {}
    for trial in sorted(trials, key=lambda trial: trial.value):
        found[json.dumps(trial.request.mix.canonical(), sort_keys=True)] = trial
    return list(found.values())


def _label(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter == "-" else "-" for letter in name).strip("-")


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(document, indent=1))
    temporary.replace(path)


__all__ = ["Coordinator", "Observer", "SearchResult", "Trial", "stream_sizes"]
