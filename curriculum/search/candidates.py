"""From trials to finalists: what may be the best is repeated on further seeds before anything is proven.

The statistics are in `finalists`, the surrogate in `surrogate`; here runs are asked for and put together with both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from curriculum.errors import DataError, RunError
from curriculum.proxy.run import RunRequest
from curriculum.search.acquisition import SurrogateProposer
from curriculum.search.conclusion import Trial
from curriculum.search.finalists import Option, choose, choose_candidates, estimate, noise_of
from curriculum.search.objective import Reference, Score, score_run, search_value, unmeasured, violations
from curriculum.search.pareto import front_candidates, objectives
from curriculum.search.proportions import Given
from curriculum.search.proposals import Proposal
from curriculum.search.proposer import Evidence, Parameters
from curriculum.search.runner import Runner
from curriculum.search.surrogate import Surrogate, one_thread

OPTIMUM = "optimum"


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidates:
    """Chooses the finalists of a search; `evidence` is what the surrogate learns from, trials of an older study included."""

    runner: Runner
    reference: Reference
    evidence: Sequence[Evidence]

    def finalists(self, trials: Sequence[Trial]) -> list[Trial]:
        """Repeat what is promising; return the finalists, best first. Raises RunError when nothing is left."""
        alive = [trial for trial in trials if trial.score is not None]
        if not alive:
            raise RunError(
                "every trial failed, and failed trials are not tried again; see the messages above, mend the cause, then give "
                "the study another name (or remove its folder), or raise --budget to go on with new trials"
            )
        tried = distinct(alive)
        chosen = self._of_front(tried) if self.runner.study.objective.pareto else self._of_value(tried)
        if not chosen:
            raise RunError("each of the best trials failed on another seed; lower the learning_rate")
        return chosen

    def _of_value(self, tried: Sequence[Trial]) -> list[Trial]:
        """Return the finalists by surrogate and repeats together."""
        settings = self.runner.study.search
        with one_thread():
            surrogate = Surrogate.fit(self.runner.space, self.evidence)
        best = self._optimum(len(self.evidence))
        options = self._options([*tried, *([] if best is None else [best[0]])], None if best is None else best[1], surrogate)
        optimum = None if best is None else options[-1]
        known = options if best is None else options[:-1]
        picked = choose_candidates(known, optimum, settings.candidates, surrogate.noise)
        by_name = {trial.proposal.name: trial for trial in [*tried, *([] if best is None else [best[0]])]}
        repeats = self._repeated([by_name[option.name] for option in picked])
        again = self._with_repeats([option for option in picked if option.name in repeats], repeats)
        noise = noise_of([option.repeats for option in again], otherwise=surrogate.noise)
        return [by_name[option.name] for option in choose(again, settings.finalists, noise)]

    def _of_front(self, tried: Sequence[Trial]) -> list[Trial]:
        """Return finalists spread over the front of a study of two objectives, as surrogate and repeats together see it."""
        settings = self.runner.study.search
        surrogates = [self._surrogate_of(objective, tried) for objective in (0, 1)]
        options = [self._options(tried, None, surrogate) for surrogate in surrogates]
        able = [index for index, option in enumerate(options[0]) if option.is_feasible] or list(range(len(tried)))
        points = np.asarray([[of[index].mean for of in options] for index in able])
        picked = [able[index] for index in front_candidates(points, settings.candidates)]
        repeats = self._repeated([tried[index] for index in picked])
        left = [index for index in picked if tried[index].proposal.name in repeats]
        if not left:
            return []
        means = [
            [
                estimate(self._with_objective(of[index], objective, repeats), surrogate.noise).mean
                for objective, (of, surrogate) in enumerate(zip(options, surrogates, strict=True))
            ]
            for index in left
        ]
        return [tried[left[index]] for index in front_candidates(np.asarray(means), settings.finalists)]

    def _surrogate_of(self, objective: int, tried: Sequence[Trial]) -> Surrogate:
        """Return what the trials let expect of one of two objectives."""
        scores = {trial.proposal.number: trial.score for trial in tried if trial.score is not None}
        values = {number: objectives(self.runner.study, score)[objective] for number, score in scores.items()}
        known = [replace(trial, value=values[trial.number]) for trial in self.evidence if trial.number in values]
        with one_thread():
            return Surrogate.fit(self.runner.space, known)

    def _with_objective(self, option: Option, objective: int, repeats: Mapping[str, Sequence[Score]]) -> Option:
        values = [objectives(self.runner.study, score)[objective] for score in repeats[option.name]]
        return replace(option, repeats=tuple(values))

    def _optimum(self, number: int) -> tuple[Trial, Parameters] | None:
        """Return the surrogate's optimum as a trial that was never tried, or None if the data cannot play it."""
        runner = self.runner
        parameters = SurrogateProposer(runner.space).suggest_best(self.evidence, seed=runner.study.seed)
        phases, order = runner.space.propose(Given(parameters))
        mix = runner.study.mix(OPTIMUM, phases, order=order)
        try:
            runner.check_exposure({"static": runner.static, OPTIMUM: mix})
            mix.plan(runner.sizes)
        except DataError:
            return None
        request = runner.request(OPTIMUM, mix, 0)
        proposal = Proposal(number=number, name=OPTIMUM, phases=phases, order=order)
        return Trial(proposal=proposal, request=request, score=None, value=-np.inf, excess=np.inf), parameters

    def _options(self, trials: Sequence[Trial], untried: Parameters | None, surrogate: Surrogate) -> list[Option]:
        parameters = {trial.number: trial.parameters for trial in self.evidence}
        asked = [parameters[trial.proposal.number] if trial.score is not None else untried or {} for trial in trials]
        with one_thread():
            points = surrogate.points(asked)
            means, deviations = surrogate.posterior(points)
            likely = surrogate.feasibility(points)
        return [
            Option(
                name=trial.proposal.name,
                number=None if trial.score is None else trial.proposal.number,
                parameters=of,
                features=self.runner.space.features(of),
                mean=float(mean),
                sd=float(deviation),
                feasibility=float(chance),
            )
            for trial, of, mean, deviation, chance in zip(trials, asked, means, deviations, likely, strict=True)
        ]

    def _repeated(self, picked: Sequence[Trial]) -> dict[str, list[Score]]:
        """Return the scores of further runs by name; without a curriculum that breaks runs, which is no finalist."""
        count = self.runner.study.search.repeats
        self.runner.observer.stage("candidates", len(picked) * count)
        seeds = [self.runner.seed("repeat", index) for index in range(count)]
        requests = {trial.proposal.name: _repeats(trial, seeds) for trial in picked}
        outcomes = iter(self.runner.outcomes([request for of in requests.values() for request in of]))
        found = {}
        for name, of in requests.items():
            results = [next(outcomes).result for _ in of]
            scores = [score_run(self.runner.study, result) for result in results if result is not None]
            if len(scores) == len(of) and not any(unmeasured(score, self.reference) for score in scores):
                found[name] = scores
        return found

    def _with_repeats(self, options: Sequence[Option], repeats: Mapping[str, Sequence[Score]]) -> list[Option]:
        """Return options with their repeats' values, and how likely they keep the constraints now that these are known."""
        study = self.runner.study
        values = {name: tuple(search_value(study, score) for score in scores) for name, scores in repeats.items()}
        number = 1 + max(trial.number for trial in self.evidence)
        again = [
            Evidence(number=number, parameters=option.parameters, value=value, excess=violations(study, score, self.reference))
            for option in options
            for value, score in zip(values[option.name], repeats[option.name], strict=True)
        ]
        with one_thread():
            surrogate = Surrogate.fit(self.runner.space, [*self.evidence, *again])
            likely = surrogate.feasibility(surrogate.points([option.parameters for option in options]))
        return [
            replace(option, repeats=values[option.name], feasibility=float(chance))
            for option, chance in zip(options, likely, strict=True)
        ]


def distinct(trials: Sequence[Trial]) -> list[Trial]:
    """Of equal curricula (an enqueued baseline may be proposed again) keep the best."""
    found: dict[str, Trial] = {}
    for trial in sorted(trials, key=lambda trial: trial.value):
        if trial.request is not None:
            found[trial.request.mix.fingerprint()] = trial
    return list(found.values())


def _repeats(trial: Trial, seeds: Sequence[int]) -> list[RunRequest]:
    label = OPTIMUM if trial.score is None else f"repeat-{trial.proposal.number:03d}"
    if trial.request is None:
        return []
    return [replace(trial.request, label=label, seed=seed, population=None, stop=None) for seed in seeds]
