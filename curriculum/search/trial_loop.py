"""The search itself: proposals are asked for, trained and told, a fixed number ahead, in the order of their numbers.

With a pruner, a trial's run carries the bounds below which it ends early; they follow from the trials told when it was
proposed, so that neither workers nor kills change them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from curriculum.errors import DataError
from curriculum.proxy.run import RunRequest, RunResult
from curriculum.proxy.stopping import StopRule
from curriculum.search import controls
from curriculum.search.acquisition import SurrogateProposer, corners
from curriculum.search.conclusion import Trial
from curriculum.search.finalists import mean_excess
from curriculum.search.objective import Reference, score_run, search_value, unmeasured, unmeasured_words, violations
from curriculum.search.pareto import objectives
from curriculum.search.proposals import Proposal, Proposals
from curriculum.search.pruning import Elder, elders_of, foretold, limits, prefix_values, stop_rule
from curriculum.search.runner import Runner
from curriculum.search.scan_start import scan_start
from curriculum.search.space import SLICES, knot_ends
from curriculum.search.study import CORNERS
from curriculum.search.surrogate import Surrogate, one_thread

_BELIEF_EVERY = 5  # trials


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialLoop:
    """Tries curricula until the study has as many trials as it may."""

    runner: Runner
    proposals: Proposals
    reference: Reference

    def run(self, budget: int) -> list[Trial]:
        """Ask and tell `budget` trials, `ahead` of them at a time, told in order; the runs of some may be one computation.

        A last population that the budget cuts short is trained again, whole, when the budget grows.
        """
        ahead = self.runner.study.search.ahead
        size, proposer = self.runner.populations.trials, SurrogateProposer(self.runner.space)
        self.runner.observer.stage("search", budget)
        self.proposals.enqueue(self._baselines())
        told = self.proposals.told()
        asked: list[tuple[Proposal, RunRequest | None]] = []
        trials: list[Trial] = []
        for number in range(budget + ahead - 1):
            self._say_belief(len(trials), proposer)
            if number < budget:
                proposal = self.proposals.recall(number) if number in told else self.proposals.propose(number)
                asked.append((proposal, self._request(proposal, trials, quiet=number in told)))
                if not (number + 1) % size or number + 1 == budget:
                    self._submit(asked, number // size * size, told)
            due = number - ahead + 1
            if due >= 0:
                trials.append(self._tell(*asked[due], trials[: elders_of(due, ahead).stop], already=due in told))
        return trials

    def _submit(self, asked: list[tuple[Proposal, RunRequest | None]], first: int, told: Mapping[int, bool]) -> None:
        """Ask for the runs of the trials from `first` on as one population; one that is known to have failed is beside them."""
        played = {number: request for number, (_, request) in enumerate(asked) if number >= first and request is not None}
        grouped = self.runner.populations.grouped_trials(list(played.values()))
        for number, request in zip(played, grouped, strict=True):
            failed = told.get(number) is False
            asked[number] = (asked[number][0], None if failed else request)
            if not failed:
                self.runner.executor.submit(request)

    def _request(self, proposal: Proposal, elders: Sequence[Trial], *, quiet: bool) -> RunRequest | None:
        """Return the run of a proposal, or None when the data cannot play it."""
        runner = self.runner
        mix = runner.study.mix(proposal.name, proposal.phases, order=proposal.order)
        try:
            runner.check_exposure({"static": runner.static, proposal.name: mix})
            mix.plan(runner.sizes)
        except DataError as error:
            if not quiet:
                runner.observer.notice(f"trial {proposal.number} cannot be played: {error}")
            return None
        request = runner.request(f"trial-{proposal.number:03d}", mix, runner.seed("trial", proposal.number))
        return replace(request, stop=self._stop_rule(elders))

    def _stop_rule(self, elders: Sequence[Trial]) -> StopRule | None:
        """Return where a trial with these elders would be stopped; None without a pruner, or while elders are few."""
        study = self.runner.study
        if study.search.pruner == "none":
            return None
        stretch = study.samples // study.recipe.readings
        bounds = limits(self._as_elders(elders), range(stretch, study.samples, stretch), study.samples)
        return stop_rule(study, bounds) if bounds else None

    def _as_elders(self, trials: Sequence[Trial]) -> list[Elder]:
        study = self.runner.study
        found = []
        for trial in trials:
            result = None if trial.request is None else self.runner.executor.result(trial.request).result
            if result is not None:
                prefix = prefix_values(study, result.trajectory, study.samples)
                found.append(Elder(prefix=prefix, value=trial.value, was_stopped=trial.stopped is not None))
        return found

    def _tell(self, proposal: Proposal, request: RunRequest | None, elders: Sequence[Trial], *, already: bool) -> Trial:
        study, observer = self.runner.study, self.runner.observer
        outcome = None if request is None else self.runner.executor.result(request)
        if outcome is None or outcome.result is None:
            return self._told_failed(proposal, request, already=already)
        if outcome.result.stopped is not None:
            return self._tell_stopped(proposal, request, outcome.result, elders, already=already)
        score = score_run(study, outcome.result)
        if missing := unmeasured(score, self.reference):
            observer.notice(unmeasured_words(outcome.result.folder.name, missing))
            return self._told_failed(proposal, request, already=already)
        value, excess = search_value(study, score), violations(study, score, self.reference)
        points = objectives(study, score) if study.objective.pareto else None
        if not already:
            self.proposals.tell(proposal.number, value, excess, points=points, run=outcome.result.folder.name)
        observer.trial(proposal.number, proposal.name, value)
        return Trial(proposal=proposal, request=request, score=score, value=value, excess=max([0.0, *excess.values()]))

    def _told_failed(self, proposal: Proposal, request: RunRequest | None, *, already: bool) -> Trial:
        if not already:
            self.proposals.tell(proposal.number, None, {})
        self.runner.observer.trial(proposal.number, proposal.name, None)
        return Trial(proposal=proposal, request=request, score=None, value=-np.inf, excess=np.inf)

    def _tell_stopped(
        self, proposal: Proposal, request: RunRequest | None, result: RunResult, elders: Sequence[Trial], *, already: bool
    ) -> Trial:
        """Tell the value that the prefix foretells, and as excess, of which nothing is known, the mean of its elders."""
        study, position = self.runner.study, result.stopped or 0
        prefix = prefix_values(study, result.trajectory, study.samples)[position]
        value = foretold(prefix, position, self._as_elders(elders))
        whole = [trial.score for trial in elders if trial.score is not None]
        if not already:
            excess = mean_excess([violations(study, score, self.reference) for score in whole])
            points = None
            if study.objective.pareto and value is not None:
                points = (value, float(np.mean([objectives(study, score)[1] for score in whole])))
            self.proposals.tell(proposal.number, value, {} if value is None else excess, points=points, run=result.folder.name)
        self.runner.observer.trial(proposal.number, proposal.name, value)
        told = -np.inf if value is None else value
        return Trial(proposal=proposal, request=request, score=None, value=told, excess=np.inf, stopped=position)

    def _say_belief(self, told: int, proposer: SurrogateProposer) -> None:
        """Tell the observer now and then what the surrogate makes of it: that costs a tenth of a second.

        What it predicts is its mean at its own optimum: the candidate that it will stake on.
        """
        if told == 0 or told % _BELIEF_EVERY:
            return
        evidence = self.proposals.evidence(told)
        if all(trial.value is None for trial in evidence):
            return
        with one_thread():
            surrogate = Surrogate.fit(self.runner.space, evidence)
            points = surrogate.tried_points
            means, deviations = surrogate.posterior(points)
            optimum = proposer.suggest_best(evidence, seed=self.runner.study.seed)
            predicted, _ = surrogate.posterior(surrogate.points([optimum]))
        merits = np.where(surrogate.feasibility(points) >= 0.5, means, -np.inf)
        best = int(np.argmax(merits if np.isfinite(merits).any() else means))
        self.runner.observer.believed(float(means[best]), float(deviations[best]), float(predicted[0]))

    def _baselines(self) -> Mapping[str, dict[str, float | str]]:
        runner = self.runner
        started = scan_start(runner.study, runner.shares, SLICES)
        found = {name: runner.space.parameters(matrix) for name, matrix in started.items()}
        for name in runner.study.search.enqueue:
            if name == CORNERS:
                found |= {f"corner-{index}": dict(entry) for index, entry in enumerate(corners(runner.space))}
                continue
            phases = runner.control(name)
            if phases is not None:
                matrix = controls.knot_matrix(phases, knot_ends(SLICES), ramps=False)
                found[name] = runner.space.parameters(matrix)
        return found
