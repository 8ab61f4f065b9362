"""A search from its study file to its verdict, resumable at any instant.

Idea: the coordinator holds no state that is not on disk. Trials are in a database, runs in their folders under a hash of
what decides them, and every later stage (repeats, proof, tail) follows from these; so going on after a kill is starting
again, and finding most of the work done. One lock keeps a second coordinator out; processes that share a database work
on one study together instead, each with a coordinator of its own that comes to the same decisions.

    reference   static on several seeds: what the constraints are measured against
    trials      `budget` proposals, each a run on a seed of its own            (`trial_loop`)
    candidates  what may be the best repeated; the best of these are the finalists  (`candidates`)
    proof       finalists and controls on fresh seeds and fresh probe items    (`proof`)
    verdict     what may honestly be claimed                                   (`verdict`)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

from curriculum.errors import RunError, UserError
from curriculum.mix import Mix
from curriculum.search.candidates import Candidates
from curriculum.search.conclusion import Trial, check_replaceable, describe, spent, winning_mix
from curriculum.search.executor import Executor
from curriculum.search.folder import StudyFolder, write_json
from curriculum.search.interrupts import Interrupts
from curriculum.search.joined_workers import JoinedWorkers
from curriculum.search.objective import Reference, Score, reference_of
from curriculum.search.observer import Observer, Silent
from curriculum.search.populations import settle, unused_gpu
from curriculum.search.proof import Proof, Prover
from curriculum.search.proposals import Proposals
from curriculum.search.reuse import Prior, Split, prior_evidence, settled_prior
from curriculum.search.run_queue import RunQueue
from curriculum.search.runner import Runner, file_digests, stream_digests, stream_sizes
from curriculum.search.settled import as_begun
from curriculum.search.shared_runs import SharedRuns
from curriculum.search.shared_study import remember_together
from curriculum.search.space import SearchSpace
from curriculum.search.storage import is_shared
from curriculum.search.study import HAND_MADE, Study
from curriculum.search.target import subset_sizes, with_target
from curriculum.search.trial_loop import TrialLoop
from curriculum.search.verdict import Arm, Verdict, judge
from curriculum.search.workers import Workers


@dataclass(frozen=True, kw_only=True, slots=True)
class Means:
    """By what means a search is done: where it keeps things, who trains, what it builds on.

    `workers`: at most so many at once; None for a core each, here or in the cluster (for one, where a GPU trains). `address`:
    of a Ray cluster that trains, None for this machine. `storage`: a database URL, None for a file in the study's folder.
    `reuse`: the folder of an older study, `split`: which of its streams became which of this one's.
    """

    runs: Path
    out: Path
    workers: int | None
    storage: str | None = None
    address: str | None = None
    reuse: Path | None = None
    split: Split = field(default_factory=dict)


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
    """One search. Use as: `with Coordinator(...) as search: search.run(50)`."""

    def __init__(self, study: Study, means: Means, observer: Observer | None = None) -> None:
        self._means, self._observer = means, observer or Silent()
        self._interrupts = Interrupts()
        self._place = StudyFolder(means.runs / study.name)
        study, taken_over = as_begun(study, self._place.recorded())
        for words in taken_over:
            self._observer.notice(words)
        sizes, self.tokens_per_sample = stream_sizes(study)
        self.study = with_target(study, sizes, self.tokens_per_sample)
        self.populations = settle(study, self._place.recorded())
        if words := unused_gpu(study, self._place.recorded()):
            self._observer.notice(words)
        shares = study.shares(sizes)
        self._shared = self._joined(means.storage)
        self.executor = self._executor()
        self.runner = Runner(
            study=self.study,
            space=SearchSpace(self.study, shares, subset_sizes(self.study, sizes, self.tokens_per_sample)),
            shares=shares,
            sizes=sizes,
            executor=self.executor,
            observer=self._observer,
            populations=self.populations,
        )

    def run(self, budget: int) -> SearchResult:
        """Search, prove, write. Raises UserError, ChangedError, ResourceError, RunError; KeyboardInterrupt loses nothing."""
        started = monotonic()
        check_replaceable(self._winner_path, self.study.name)
        with self._at_work():
            created, trials, finalists, reference = self._searched(budget)
            proof = Prover(runner=self.runner, reference=reference).prove(finalists)
            result = self._conclude(proof, [*trials, *finalists], len(trials), created, monotonic() - started)
            write_json(self._place.path / "result.json", result.document)
            return result

    def standing(self, budget: int) -> dict[str, Any] | None:
        """Return the document of a search that ended with more trials than `budget`, of which nothing is left to find.

        None where there is none. Raises ChangedError, DataError as `run` does.
        """
        document = self._place.result()
        if document is None or self._place.recorded() is None or int(document.get("trials", 0)) <= budget:
            return None  # without a record of the study nobody knows of which one the document is
        with self._place.owned():
            self._remember(self._prior())
        return document

    def nominate(self, budget: int) -> list[Trial]:
        """Search without proving anything: return the finalists, best first. Raises what `run` raises, and goes on likewise."""
        with self._at_work():
            return self._searched(budget)[2]

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        """Own the study, with controls that can be made, and heed Ctrl-C."""
        self.runner.check_controls()
        if self.populations.words():
            self._observer.notice(f"Runs are trained {self.populations.words()}.")
        with self._place.owned(), self._interrupts.draining(self.executor, self._observer):
            yield

    def _searched(self, budget: int) -> tuple[str, list[Trial], list[Trial], Reference]:
        """Return when the study was begun, its trials and its finalists, and what static's runs ask of them."""
        prior = self._prior()
        created = self._remember(prior)
        proposals = Proposals(
            self.study, self.runner.space, self._place.path, self._means.storage,
            budget=budget, shared=self._shared, prior=() if prior is None else prior.evidence(),
        )  # fmt: skip
        with closing(proposals):
            reference = self._reference()
            trials = TrialLoop(runner=self.runner, proposals=proposals, reference=reference).run(budget)
            known = proposals.evidence(budget)
        finalists = Candidates(runner=self.runner, reference=reference, evidence=known).finalists(trials)
        return created, trials, finalists, reference

    @property
    def _winner_path(self) -> Path:
        return self._means.out / f"{self.study.name}.yaml"

    def _joined(self, storage: str | None) -> SharedRuns | None:
        """Return the runs that processes share through a database, None where the search is this process's alone."""
        if storage is None or not is_shared(storage):
            return None
        return SharedRuns(storage, self._place.path.name, heed=self._interrupts.heed, notice=self._observer.notice)

    def _executor(self) -> Executor:
        queue = self._queue()
        queue.on_finished, queue.on_running = self._observer.finished, self._observer.running
        queue.heed, queue.notice = self._interrupts.heed, self._observer.notice
        return queue

    def _queue(self) -> RunQueue:
        runs = self._place.path
        if self._means.address is not None:
            from curriculum.search.ray_workers import RayWorkers

            return RayWorkers(runs=runs, address=self._means.address, count=self._means.workers)
        if self._shared is not None:
            return JoinedWorkers(runs=runs, count=self.workers, shared=self._shared)
        return Workers(runs=runs, count=self.workers)

    @property
    def workers(self) -> int:
        """How many processes of this machine train, if they do."""
        return self._means.workers or self.populations.workers()

    def _prior(self) -> Prior | None:
        """Return what an older study knows, settled when this one is begun."""
        means = self._means
        prior = settled_prior(
            self._place.path,
            means.reuse,
            means.split,
            lambda old: prior_evidence(
                old,
                self.study,
                self.runner.space,
                split=means.split,
                data=stream_digests(self.study),
                storage=means.storage,
            ),
        )
        for words in () if prior is None else prior.words:
            self._observer.notice(words)
        return prior

    def _remember(self, prior: Prior | None) -> str:
        """Write down what is searched, or make sure that it is unchanged; return when the study was begun."""
        data, files = stream_digests(self.study), file_digests(self.study)
        created = self._place.remember(self.study, data, self.populations, files)
        if self._shared is None:
            return created
        known: dict[str, Any] = self.populations.as_json() | ({} if prior is None else {"what --reuse brought": prior.digest()})
        return remember_together(self._shared, self.study, {**data, **files, **known})

    def _reference(self) -> Reference:
        runner, count = self.runner, self.study.search.reference_seeds
        self._observer.stage("reference", count)
        seeds = [runner.seed("reference", index) for index in range(count)]
        scores = runner.scores([runner.request("static", runner.static, seed) for seed in seeds])
        self._check_losses(scores[0])
        if {frozenset(score.loss) for score in scores} != {frozenset(scores[0].loss)}:
            raise RunError("some of static's runs have held-out losses that others lack; mend the command that trains them")
        return reference_of(scores)

    def _check_losses(self, score: Score) -> None:
        """Refuse losses as an objective where runs have none; say that a constraint on them holds nobody back."""
        if score.loss:
            return
        objective = self.study.objective
        if "loss" in (objective.pareto, objective.metric):
            asked = "pareto: loss" if objective.pareto == "loss" else "metric: loss"
            raise UserError(
                f"objective: {asked} needs held-out losses, and the runs have none; let the command write loss.parquet, give "
                f"the streams a heldout folder, or drop {asked}; then remove {self._place.path}, "
                "whose first runs are kept and have none"
            )
        if "loss" in objective.subject_to:
            self._observer.notice("the runs have no held-out losses, so that no trial is held to static's")

    def _conclude(self, proof: Proof, trials: Sequence[Trial], tried: int, created: str, seconds: float) -> SearchResult:
        """Judge, and write the winner; `trials` are those that were tried, then the finalists (some tried, one perhaps not)."""
        study, arms = self.study, proof.arms
        verdict = judge(
            study,
            arms[proof.leader],
            arms["static"],
            proof.compared,
            finalists=[arms[name] for name in proof.finalists],
            controls=[arms[name] for name in HAND_MADE if name in arms],
        )
        document = describe(study, verdict, arms, proof.finalists, trials[:tried], proof.compared) | {
            "seconds": round(seconds, 1),
            **spent((self._place.path / name for name in self.executor.finished("")), self.tokens_per_sample),
            "study": str(self._place.path),
        }
        mix = path = None
        if verdict.kind in ("winner", "transient"):
            trial = next(trial for trial in trials if trial.proposal.name == proof.leader)
            seeds = [self.runner.seed("proof", index) for index in range(len(arms[proof.leader].scores))]
            mix = winning_mix(study, trial, verdict, arms, seeds=seeds, created=created)
            path = self._winner_path
            path.parent.mkdir(parents=True, exist_ok=True)
            mix.dump(path)
        elif self._winner_path.exists():
            self._observer.notice(f"{self._winner_path} is the winner of an earlier proof; this one claims none")
        document["mix"] = None if path is None else str(path)
        return SearchResult(
            verdict=verdict,
            mix=mix,
            mix_path=path,
            arms=tuple(arms.values()),
            finalists=proof.finalists,
            trials=tuple(trials[:tried]),
            failed=int(document["failed"]),
            document=document,
        )

    def __enter__(self) -> Coordinator:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.executor.kill()
        else:
            self.executor.drain()


__all__ = ["Coordinator", "Means", "SearchResult"]
