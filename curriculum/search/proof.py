"""The proof: finalists beside controls of equal exposure, on fresh seeds and fresh probe items.

proof      finalists, static and the hand-made curricula; more pairs for finalists and static where it is close
tail       the leader again, the last part of the run the same as static's
schedule   leader and static again, on as many pairs, under the full run's learning-rate schedule, if the study names it
controls   the leader's pieces shuffled, and the leader reversed

A leader whose lead does not last, or does not hold under that schedule, is not the end: the next finalist that is shown to
beat static is asked the same, and the first to pass leads. The price: up to as many runs again for each finalist more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from curriculum.errors import RunError
from curriculum.mix import Mix
from curriculum.probe.specification import PROOF_DRAW
from curriculum.proxy.recipe import Recipe
from curriculum.search import controls
from curriculum.search.conclusion import Trial
from curriculum.search.objective import Reference, Score, score_run, unmeasured
from curriculum.search.runner import Runner, required
from curriculum.search.study import HAND_MADE, Study
from curriculum.search.verdict import Arm, Kind, can_last, is_shown, judge, leader, should_add_pairs

_CLAIMS: tuple[Kind, ...] = ("winner", "transient")  # the better first; of others the first asked is spoken of


@dataclass(frozen=True, kw_only=True, slots=True)
class Proof:
    """What was compared: `arms` by name, `finalists` among them, the `leader` of these.

    `compared` is how many finalists the study has had: those whose later runs failed are counted, and those of earlier
    proofs, after fewer trials, which were asked the same question on the same seeds.
    """

    arms: Mapping[str, Arm]
    finalists: tuple[str, ...]
    leader: str
    compared: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Prover:
    """Trains what a claim needs. `reference`: what static's runs were measured by, if every run must be measured so."""

    runner: Runner
    reference: Reference | None = None

    def prove(self, finalists: Sequence[Trial]) -> Proof:
        """Repeat finalists and controls on fresh seeds, then ask what a claim needs beyond that. Raises RunError."""
        study, runner = self.runner.study, self.runner
        found = {trial.proposal.name: trial.request.mix for trial in finalists if trial.request is not None}
        mixes = {"static": runner.static} | found | self._hand_made()
        runner.check_exposure(mixes)
        arms = self._arms(mixes, "proof", range(study.search.finalist_seeds), required_arms=("static",))
        names = [name for name in found if name in arms]
        if not names:
            raise RunError("every finalist failed in the proof; lower the learning_rate, or raise candidates and repeats")
        compared = max(len(names), self._proven())
        arms |= self._closer(arms, names, mixes, compared)
        arms, first = self._asked_further(arms, names, mixes, compared)
        arms |= self._own_controls(mixes[first])
        return Proof(arms=arms, finalists=tuple(name for name in names if name in arms), leader=first, compared=compared)

    def _asked_further(
        self, arms: Mapping[str, Arm], names: Sequence[str], mixes: Mapping[str, Mix], compared: int
    ) -> tuple[dict[str, Arm], str]:
        """Return the arms with what was asked of finalists beyond the proof, and the one to speak of.

        That is the first, by rank, that wins; else the first whose lead is but transient; else the first of all. One whose
        run failed there is left out. Raises RunError.
        """
        study, found, left, asked = self.runner.study, dict(arms), list(names), dict[str, Kind]()
        while left:
            name = leader(study, [found[each] for each in left], found["static"]).name
            left.remove(name)
            if asked and not is_shown(study, found[name], found["static"], compared):
                continue
            if asked:
                self.runner.observer.notice(f"{', '.join(asked)}: no winner so far, so that {name} is asked to last too")
            later = self._later(found[name], found["static"], mixes[name])
            if later is None:
                del found[name]
                continue
            found |= later
            asked[name] = judge(study, found[name], found["static"], compared).kind
            if asked[name] == "winner" or (asked[name] == "transient" and not can_last(study, found["static"])):
                break
        if not asked:
            raise RunError("every finalist failed with the common tail or the full run's schedule; lower the learning_rate")
        return found, min(asked, key=lambda name: _CLAIMS.index(asked[name]) if asked[name] in _CLAIMS else len(_CLAIMS))

    def _later(self, arm: Arm, static: Arm, winner: Mix) -> dict[str, Arm] | None:
        """Return a finalist and static with what is asked of a claim beyond the proof; None if a run of it failed."""
        if not self.runner.study.objective.common_tail:
            return self._under_schedule(arm, static, winner)
        found = self._with_tail(arm, static, winner)
        return None if found is None else self._under_schedule(found[arm.name], found["static"], winner)

    def _hand_made(self) -> dict[str, Mix]:
        phases = {name: self.runner.control(name) for name in HAND_MADE}
        return {name: self.runner.study.mix(name, of) for name, of in phases.items() if of is not None}

    def _proven(self) -> int:
        """Return how many finalists were proven, now and before: their runs are there, and each was a chance to be wrong."""
        first = self.runner.seed("proof", 0)
        runs = {run for run in self.runner.executor.finished("proof-") if f"-s{first}-" in run}
        controls_begin = tuple(f"proof-{name}-s{first}-" for name in ("static", *HAND_MADE))
        return sum(not run.startswith(controls_begin) for run in runs)

    def _closer(self, arms: Mapping[str, Arm], names: Sequence[str], mixes: Mapping[str, Mix], compared: int) -> dict[str, Arm]:
        """Return static and finalists with more pairs, as long as these may decide a close comparison."""
        found = {name: arms[name] for name in ("static", *names)}
        while more := should_add_pairs(self.runner.study, [found[name] for name in names], found["static"], compared):
            done = min(len(arm.scores) for arm in found.values())
            added = self._arms({name: mixes[name] for name in found}, "more-pairs", range(done, done + more))
            if len(added) < len(found):
                return found  # a run failed: what there is must do
            found = {name: replace(arm, scores=(*arm.scores, *added[name].scores)) for name, arm in found.items()}
        return found

    def _own_controls(self, winner: Mix) -> dict[str, Arm]:
        """Return the winner's pieces shuffled, and the winner reversed; nothing for a constant mix."""
        if len(winner.phases) == 1 and winner.phases[0].to is None:
            return {}
        study = self.runner.study
        phases = {
            "shuffled": controls.shuffled_in_time(winner.phases, study.seed),
            "reversed": controls.reversed_in_time(winner.phases),
        }
        own = {name: replace(winner, name=name, phases=of) for name, of in phases.items()}
        self.runner.check_exposure({winner.name: winner, **own})
        return self._arms(own, "controls", range(study.search.finalist_seeds))

    def _with_tail(self, arm: Arm, static: Arm, finalist: Mix) -> dict[str, Arm] | None:
        """Train a finalist with the common tail; the static mix with it is the static mix, whose runs are there."""
        tail = self.runner.study.objective.common_tail
        longer = {arm.name: replace(finalist, phases=controls.with_common_tail(finalist.phases, self.runner.shares, tail))}
        self.runner.check_exposure({"static": self.runner.static, **longer})
        scores = self._scores(longer, "tail", range(len(arm.scores)), ())
        if arm.name not in scores:
            return None
        return {"static": replace(static, tail=static.scores), arm.name: replace(arm, tail=tuple(scores[arm.name]))}

    def _under_schedule(self, arm: Arm, static: Arm, winner: Mix) -> dict[str, Arm] | None:
        """Train both again under the full run's learning-rate schedule; nothing where it is the proxies' own."""
        study = self.runner.study
        schedule = study.objective.target_schedule
        if schedule is None or not has_other_schedule(study):
            return {arm.name: arm, "static": static}
        recipe = replace(study.recipe, schedule=schedule)
        both = {"static": self.runner.static, arm.name: winner}
        scores = self._scores(both, "schedule", range(len(arm.scores)), (), recipe)
        if len(scores) < len(both):
            return None
        return {of.name: replace(of, scheduled=tuple(scores[of.name])) for of in (static, arm)}

    def _arms(self, mixes: Mapping[str, Mix], stage: str, indices: range, required_arms: Sequence[str] = ()) -> dict[str, Arm]:
        scores = self._scores(mixes, stage, indices, required_arms)
        return {name: Arm(name=name, scores=tuple(of), phases=len(mixes[name].phases)) for name, of in scores.items()}

    def _scores(
        self,
        mixes: Mapping[str, Mix],
        stage: str,
        indices: range,
        required_arms: Sequence[str],
        recipe: Recipe | None = None,
    ) -> dict[str, list[Score]]:
        """Return each mix's scores on the proof's seeds `indices`; one not required that breaks a run is left out."""
        runner = self.runner
        seeds = [runner.seed("proof", index) for index in indices]
        kind = "proof" if stage == "more-pairs" else stage
        requests = {
            name: [runner.request(f"{kind}-{_label(name)}", mix, seed, PROOF_DRAW, recipe=recipe) for seed in seeds]
            for name, mix in mixes.items()
        }
        runner.observer.stage(stage, sum(len(of) for of in requests.values()))
        places = [(name, index) for index in range(len(seeds)) for name in mixes]
        ended = dict(zip(places, runner.outcomes([requests[name][index] for name, index in places]), strict=True))
        found = {}
        for name in mixes:
            outcomes = [ended[name, index] for index in range(len(seeds))]
            if name not in required_arms and any(outcome.result is None for outcome in outcomes):
                runner.observer.notice(f"{name} is left out of the comparison, since a run of it failed")
                continue
            scores = [score_run(runner.study, required(outcome)) for outcome in outcomes]
            if missing := self._unmeasured(scores):
                words = f"a run of it has no loss (or bits per byte) of {missing}, as static's had in the search"
                if name in required_arms:
                    raise RunError(f"{name} cannot be compared: {words}; mend the command that trains it")
                runner.observer.notice(f"{name} is left out of the comparison: {words}")
                continue
            found[name] = scores
        return found

    def _unmeasured(self, scores: Sequence[Score]) -> str:
        if self.reference is None:
            return ""
        return ", ".join(sorted({name for score in scores for name in unmeasured(score, self.reference)}))


def has_other_schedule(study: Study) -> bool:
    """Say whether the full run's learning-rate schedule is another than the proxies'."""
    return study.command is None and study.objective.target_schedule not in (None, study.recipe.schedule)


def _label(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter == "-" else "-" for letter in name).strip("-")
