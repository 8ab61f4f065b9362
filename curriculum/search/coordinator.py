"""A search from its study file to its verdict, resumable at any instant.

Idea: the coordinator holds no state that is not on disk. Trials are in SQLite, runs in their folders under a hash of
what decides them, and every later stage (repeats, proof, tail) follows from these; so going on after a kill is starting
again, and finding most of the work done. One lock keeps a second coordinator out.

    reference   static on several seeds: what the constraints are measured against
    proposals   `budget` trials, each a run on a seed of its own
    candidates  the best trials repeated; the best of these are the finalists
    proof       finalists, static, hand-made, then shuffled and reversed winner, on fresh seeds and fresh probe items
    tail        the winner again, the last part of the run the same as static's
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

from curriculum.errors import DataError, RunError
from curriculum.mix import Mix, Phase
from curriculum.probe.specification import PROOF_DRAW, SEARCH_DRAW
from curriculum.proxy.feed import stream_folder
from curriculum.proxy.run import RunRequest, RunResult
from curriculum.search import controls
from curriculum.search.conclusion import Trial, describe, winning_mix
from curriculum.search.executor import Outcome
from curriculum.search.folder import StudyFolder, write_json
from curriculum.search.objective import Reference, Score, reference_of, score_run, search_value, violations
from curriculum.search.observer import Observer, Silent
from curriculum.search.proposals import Proposal, Proposals
from curriculum.search.space import SearchSpace
from curriculum.search.study import HAND_MADE, Study
from curriculum.search.verdict import Arm, Verdict, judge, leader
from curriculum.search.workers import Workers
from curriculum.streaming.index import read_index, read_manifest
from curriculum.units import keyed_seed


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
        self,
        study: Study,
        *,
        runs: Path,
        out: Path,
        workers: int,
        observer: Observer | None = None,
        storage: str | None = None,
    ) -> None:
        self.study, self.out, self.storage = study, out, storage
        self.observer = observer or Silent()
        self._interrupted = False
        self._place = StudyFolder(runs / study.name)
        self.folder = self._place.path
        self.sizes, self.tokens_per_sample = stream_sizes(study)
        self.shares = study.shares(self.sizes)
        self.space = SearchSpace(study, self.shares)
        self.workers = Workers(runs=self.folder, count=workers, on_finished=self.observer.finished, heed=self._heed)
        self.static = study.mix("static", controls.static(self.shares))

    def run(self, budget: int) -> SearchResult:
        """Search, prove, write. Raises UserError, ChangedError, ResourceError, RunError; KeyboardInterrupt loses nothing."""
        started = monotonic()
        with self._place.owned(), self._draining():
            created = self._place.remember(self.study, self._data())
            reference = self._reference()
            trials = self._propose(budget, reference)
            finalists = self._candidates(trials, reference)
            arms, names = self._prove(finalists)
            result = self._conclude(arms, names, trials, created, monotonic() - started)
            write_json(self.folder / "result.json", result.document)
            return result

    @contextmanager
    def _draining(self) -> Iterator[None]:
        """On the first Ctrl-C let the runs that have begun finish, still owning the study; a second one stops at once."""
        before = signal.getsignal(signal.SIGINT)
        if before is not signal.SIG_IGN:  # a job in the background of a script was told to ignore it, and does
            signal.signal(signal.SIGINT, self._interrupt)
        try:
            yield
        except KeyboardInterrupt:
            self.observer.interrupted()
            self.workers.drain()
            raise
        finally:
            signal.signal(signal.SIGINT, before)

    def _interrupt(self, *_: object) -> None:
        """Note the first Ctrl-C: raised here it could hit a finaliser, which swallows it and prints a traceback."""
        if self._interrupted:
            raise KeyboardInterrupt
        self._interrupted = True

    def _heed(self) -> None:
        """Raise KeyboardInterrupt where it can be handled, if Ctrl-C was pressed; called while runs are waited for."""
        if self._interrupted:
            raise KeyboardInterrupt

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
            suites=self.study.suites,
            draw=draw,
            item_seed=self.study.seed,
            command=None if command is None else command.words,
            command_timeout=3600.0 if command is None else command.timeout,
            command_retries=0 if command is None else command.retries,
        )

    def _data(self) -> dict[str, str]:
        return {name: read_index(name, stream_folder(name, stream)).digest for name, stream in self.study.streams.items()}

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
        asked: list[tuple[Proposal, RunRequest | None]] = []
        trials: list[Trial] = []
        for number in range(budget + self.study.search.ahead - 1):
            if number < budget:
                proposal = proposals.recall(number) if number in told else proposals.propose(number)
                request = None if told.get(number) is False else self._trial_request(proposal)
                asked.append((proposal, request))
                if request is not None:
                    self.workers.submit(request)
            due = number - self.study.search.ahead + 1
            if due >= 0:
                trials.append(self._tell(proposals, *asked[due], reference, already=due in told))
        return trials

    def _trial_request(self, proposal: Proposal) -> RunRequest | None:
        """Return the run of a proposal, or None when the data cannot play it (epoch caps, under free exposure)."""
        mix = self.study.mix(proposal.name, proposal.phases, order=proposal.order)
        try:
            self._check_exposure({"static": self.static, proposal.name: mix})
            mix.plan(self.sizes)
        except DataError as error:
            self.observer.notice(f"trial {proposal.number} cannot be played: {error}")
            return None
        return self.request(f"trial-{proposal.number:03d}", mix, self._seed("trial", proposal.number))

    def _tell(
        self,
        proposals: Proposals,
        proposal: Proposal,
        request: RunRequest | None,
        reference: Reference,
        *,
        already: bool,
    ) -> Trial:
        outcome = None if request is None else self.workers.result(request)
        if outcome is None or outcome.result is None:
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

    def _candidates(self, trials: Sequence[Trial], reference: Reference) -> list[Trial]:
        """Repeat the best trials on further seeds; return the finalists: feasible on average first, best mean first."""
        settings = self.study.search
        alive = [trial for trial in trials if trial.score is not None]
        if not alive:
            raise RunError("every trial failed; see the messages above, mend the cause and run the same command again")
        best = sorted(_distinct(alive), key=lambda trial: (trial.excess > 0, -trial.value))[: settings.candidates]
        self.observer.stage("candidates", len(best) * settings.repeats)
        seeds = [self._seed("repeat", index) for index in range(settings.repeats)]
        requests = [self._repeats(trial, seeds) for trial in best]
        self.workers.results([request for of in requests for request in of])
        ranks = []
        for trial, of in zip(best, requests, strict=True):
            outcomes = self.workers.results(of)
            scores = [trial.score, *(score_run(self.study, found.result) for found in outcomes if found.result)]
            if len(scores) <= len(outcomes):
                continue  # a repeat failed: a curriculum that breaks runs is no finalist
            value, excess = self._means([score for score in scores if score is not None], reference)
            ranks.append((excess > 0, -value, trial.proposal.number, trial))
        if not ranks:
            raise RunError("each of the best trials failed on another seed; lower the learning_rate")
        return [trial for *_, trial in sorted(ranks, key=lambda rank: rank[:3])][: settings.finalists]

    def _repeats(self, trial: Trial, seeds: Sequence[int]) -> list[RunRequest]:
        label = f"repeat-{trial.proposal.number:03d}"
        return [replace(trial.request, label=label, seed=seed) for seed in seeds if trial.request is not None]

    def _means(self, scores: Sequence[Score], reference: Reference) -> tuple[float, float]:
        """Return the mean value, and by how much the mean of any constraint is overstepped."""
        excesses = [violations(self.study, score, reference, slack=0.0) for score in scores]
        means = [float(np.mean([excess[name] for excess in excesses])) for name in excesses[0]]
        return float(np.mean([search_value(self.study, score) for score in scores])), max([0.0, *means])

    def _prove(self, finalists: Sequence[Trial]) -> tuple[dict[str, Arm], list[str]]:
        """Repeat finalists and controls on fresh seeds with fresh items; then the leader's own controls and the tail."""
        found = {trial.proposal.name: trial.request.mix for trial in finalists if trial.request is not None}
        mixes = {"static": self.static} | found
        for name in HAND_MADE:
            phases = self._control(name)
            if phases is not None:
                mixes[name] = self.study.mix(name, phases)
        self._check_exposure(mixes)
        arms = self._arms(mixes, "proof", required=("static",))
        names = [name for name in found if name in arms]
        if not names:
            raise RunError("every finalist failed in the proof; lower the learning_rate, or raise candidates and repeats")
        first = leader(self.study, [arms[name] for name in names], arms["static"]).name
        arms |= self._own_controls(first, mixes[first])
        if self.study.objective.common_tail:
            arms |= self._with_tail(arms[first], arms["static"], mixes[first])
        return arms, names

    def _own_controls(self, name: str, winner: Mix) -> dict[str, Arm]:
        """Return the winner's pieces shuffled, and the winner reversed; nothing for a constant mix."""
        if len(winner.phases) == 1 and winner.phases[0].to is None:
            return {}
        order = next(iter(winner.streams.values())).order
        own = {
            "shuffled": self.study.mix("shuffled", controls.shuffled_in_time(winner.phases, self.study.seed), order=order),
            "reversed": self.study.mix("reversed", controls.reversed_in_time(winner.phases), order=order),
        }
        self._check_exposure({name: winner, **own})
        return self._arms(own, "controls")

    def _arms(self, mixes: Mapping[str, Mix], stage: str, required: Sequence[str] = ()) -> dict[str, Arm]:
        scores = self._scores(mixes, stage, required)
        return {name: Arm(name=name, scores=tuple(found)) for name, found in scores.items()}

    def _check_exposure(self, mixes: Mapping[str, Mix]) -> None:
        """Everyone's counts are equal; under free exposure those of the winner and of its own controls."""
        if self.study.exposure == "fixed" or "shuffled" in mixes:
            controls.check_equal_exposure(mixes.values(), self.sizes)

    def _with_tail(self, arm: Arm, static: Arm, winner: Mix) -> dict[str, Arm]:
        """Train the winner with the common tail; the static mix with it is the static mix, whose runs are there."""
        phases = controls.with_common_tail(winner.phases, self.shares, self.study.objective.common_tail)
        longer = {arm.name: replace(winner, phases=phases)}
        self._check_exposure({"static": self.static, **longer})
        scores = self._scores(longer, "tail", tuple(longer))
        return {"static": replace(static, tail=static.scores), arm.name: replace(arm, tail=tuple(scores[arm.name]))}

    def _scores(self, mixes: Mapping[str, Mix], stage: str, required: Sequence[str]) -> dict[str, list[Score]]:
        """Return each mix's scores on the proof's seeds; one that is not required and breaks a run is left out."""
        seeds = [self._seed("proof", index) for index in range(self.study.search.finalist_seeds)]
        requests = {
            name: [self.request(f"{stage}-{_label(name)}", mix, seed, PROOF_DRAW) for seed in seeds]
            for name, mix in mixes.items()
        }
        self.observer.stage(stage, sum(len(of) for of in requests.values()))
        self.workers.results([requests[name][index] for index in range(len(seeds)) for name in mixes])
        found = {}
        for name, of in requests.items():
            outcomes = self.workers.results(of)
            if name not in required and any(outcome.result is None for outcome in outcomes):
                self.observer.notice(f"{name} is left out of the comparison, since a run of it failed")
                continue
            found[name] = [score_run(self.study, _required(outcome)) for outcome in outcomes]
        return found

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


def _required(outcome: Outcome) -> RunResult:
    if outcome.result is None:
        raise RunError(f"run {outcome.request.run_id()} failed: {outcome.failure}")
    return outcome.result


def _distinct(trials: Sequence[Trial]) -> list[Trial]:
    """Of equal curricula (an enqueued baseline may be proposed again) keep the best."""
    found: dict[str, Trial] = {}
    for trial in sorted(trials, key=lambda trial: trial.value):
        if trial.request is not None:
            found[trial.request.mix.fingerprint()] = trial
    return list(found.values())


def _label(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter == "-" else "-" for letter in name).strip("-")


__all__ = ["Coordinator", "SearchResult", "stream_sizes"]
