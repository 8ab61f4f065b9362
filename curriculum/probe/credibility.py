"""Is a hop real? Evidence from controls, and the verdict it amounts to.

Idea: a hop claimed from one prompt and one seed is not yet a hop: of three candidates in a replication on OLMo2-1B one
survived. So each control is a null hypothesis under which a change of margin needs no change of mode, and a hop is
`confirmed` when every control that decides was passed, `refuted` when one of them explains the change, `unconfirmed`
when none does but some could not be run or leave it open. The controls (Wen et al., 2026):

    interval          the two margins' intervals lie on their own sides of zero               else: noise
    normal_labels     the same task without the temptation stays capable and hardly moves     else: capability, not mode
    constant_label    questions whose answer IS the pattern's do not move the other way        else: one label for everything
    paraphrases       the change keeps its sign, interval included, under other formats       else: one prompt's accident
    one_step          a single optimizer step changes far less                                else: a razor's edge
    averaging         averages of neighbouring checkpoints show it too                        else: one checkpoint's noise
    hard_and_soft     accuracy and margin move the same way                                   else: an artefact of scoring

Alternatives: a p-value for all together (hides which control spoke). The price: the thresholds are conventions, stated
here and printed beside the numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from curriculum.probe.modes import Mode

Outcome = Literal["passed", "failed", "open", "not run"]
Verdict = Literal["confirmed", "unconfirmed", "refuted"]

NORMAL_SHARE = 0.5  # of the hop's size: a control that moves as much is the cause rather than a witness
STEP_SHARE = 0.1  # of the hop's size; published: one step changes margins by about .002 where hops change them by 1
LEAST_STEP = 0.02
_DECIDING = ("interval", "constant_label", "normal_labels", "paraphrases", "averaging", "hard_and_soft", "one_step")


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Hop:
    """A change of mode of one probe between two neighbouring readings."""

    probe: str
    family: str
    before_position: int
    after_position: int
    before: Mode
    after: Mode
    margin_before: Estimate
    margin_after: Estimate

    @property
    def change(self) -> float:
        """Return by how much the margin changed."""
        return self.margin_after.value - self.margin_before.value


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What one control said, and the numbers it said it with."""

    control: str
    outcome: Outcome
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Diagnosis:
    """A hop, its findings, and what they amount to."""

    hop: Hop
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Verdict:
        """Refuted by one failed control; confirmed when all that decide passed; else unconfirmed."""
        outcomes = {finding.control: finding.outcome for finding in self.findings}
        if "failed" in outcomes.values():
            return "refuted"
        if all(outcomes.get(control) == "passed" for control in _DECIDING):
            return "confirmed"
        return "unconfirmed"

    @property
    def reasons(self) -> tuple[str, ...]:
        """Return what decided: the failed controls, else those left open or not run, else all."""
        for outcomes in (("failed",), ("open", "not run")):
            found = tuple(f"{finding.control}: {finding.reason}" for finding in self.findings if finding.outcome in outcomes)
            if found:
                return found
        return tuple(f"{finding.control}: {finding.reason}" for finding in self.findings)


def not_run(control: str, reason: str) -> Finding:
    """Return the finding of a control that could not be run."""
    return Finding(control=control, outcome="not run", reason=reason)


def interval_finding(hop: Hop) -> Finding:
    """The two margins must lie on their own sides of zero, intervals included."""
    lower, upper = sorted((hop.margin_before, hop.margin_after), key=lambda estimate: estimate.value)
    apart = lower.high < 0 < upper.low
    reason = f"margin {_words(hop.margin_before)} before, {_words(hop.margin_after)} after"
    return Finding(control="interval", outcome="passed" if apart else "open", reason=reason)


def normal_label_finding(hop: Hop, before: Estimate, after: Estimate, difference: Estimate, *, floor: float) -> Finding:
    """The neutral control must be capable on both sides and move by less than half of the hop.

    Where it moves by more, a changed capability explains the hop, unless the margin on the shallow side is shown to lie
    below zero: not being able to do the task leaves it at zero, so that part of the hop is then left unexplained.
    """
    reason = f"control margin {_words(before)} before, {_words(after)} after, change {_words(difference)}"
    if min(before.low, after.low) <= floor:
        return Finding(control="normal_labels", outcome="failed", reason=f"not capable on both sides; {reason}")
    limit = NORMAL_SHARE * abs(hop.change)
    if abs(difference.value) >= limit:
        below_zero = min(hop.margin_before.high, hop.margin_after.high) < 0
        reason = f"the control moves as well (limit {limit:.2f}); {reason}"
        return Finding(control="normal_labels", outcome="open" if below_zero else "failed", reason=reason)
    calm = max(abs(difference.low), abs(difference.high)) < limit
    return Finding(control="normal_labels", outcome="passed" if calm else "open", reason=reason)


def constant_label_finding(hop: Hop, difference: Estimate) -> Finding:
    """Questions that the pattern's label answers must not lose what the others gained (or gain what they lost).

    `difference`: how their margin (in favour of the right answer, which is the pattern's) changed over the hop.
    """
    mirrored = -difference.value / hop.change
    reason = (
        f"where the pattern's answer is right the margin changed by {_words(difference)}, over the hop by {hop.change:+.2f}"
    )
    opposite = difference.high < 0 if hop.change > 0 else difference.low > 0
    if opposite and mirrored > NORMAL_SHARE:
        return Finding(control="constant_label", outcome="failed", reason=f"one label became likelier everywhere; {reason}")
    return Finding(control="constant_label", outcome="passed" if mirrored < NORMAL_SHARE else "open", reason=reason)


def paraphrase_finding(hop: Hop, differences: Sequence[Estimate], *, form: str = "other wordings") -> Finding:
    """Every other form of the probe must show the change with its sign, interval included."""
    if not differences:
        return not_run("paraphrases", f"this probe has no {form}")
    sign = 1 if hop.change > 0 else -1
    agreeing = sum(sign * (estimate.low if sign > 0 else estimate.high) > 0 for estimate in differences)
    opposed = sum(sign * (estimate.high if sign > 0 else estimate.low) < 0 for estimate in differences)
    listed = ", ".join(_words(estimate) for estimate in differences)
    reason = f"{agreeing} of {len(differences)} {form} show it (changes {listed})"
    if agreeing == len(differences):
        return Finding(control="paraphrases", outcome="passed", reason=reason)
    if opposed or agreeing * 2 < len(differences):
        return Finding(control="paraphrases", outcome="failed", reason=reason)
    return Finding(control="paraphrases", outcome="open", reason=reason)


def one_step_finding(hop: Hop, changes: Sequence[float]) -> Finding:
    """One optimizer step, at any rate tried, must change the margin by less than a tenth of the hop (or .02)."""
    largest = max((abs(change) for change in changes), default=float("nan"))
    limit = max(LEAST_STEP, STEP_SHARE * abs(hop.change))
    reason = f"one optimizer step changes the margin by at most {largest:.3f} (limit {limit:.3f})"
    return Finding(control="one_step", outcome="passed" if largest <= limit else "failed", reason=reason)


def averaging_finding(hop: Hop, difference: Estimate, *, averaged: int) -> Finding:
    """The averages of the checkpoints before and of those after must differ with the hop's sign."""
    sign = 1 if hop.change > 0 else -1
    reason = f"averages of {averaged} checkpoints on either side differ by {_words(difference)}"
    if sign * (difference.low if sign > 0 else difference.high) > 0:
        return Finding(control="averaging", outcome="passed", reason=reason)
    opposed = sign * (difference.high if sign > 0 else difference.low) < 0
    return Finding(control="averaging", outcome="failed" if opposed else "open", reason=reason)


def hard_and_soft_finding(hop: Hop, accuracy_before: float, accuracy_after: float) -> Finding:
    """Accuracy must move the way the margin does."""
    moved = accuracy_after - accuracy_before
    reason = f"accuracy {accuracy_before:.2f} before, {accuracy_after:.2f} after; margin changed by {hop.change:+.2f}"
    if moved * hop.change > 0:
        return Finding(control="hard_and_soft", outcome="passed", reason=reason)
    return Finding(control="hard_and_soft", outcome="failed" if moved * hop.change < 0 else "open", reason=reason)


def _words(estimate: Estimate) -> str:
    return f"{estimate.value:+.2f} [{estimate.low:+.2f}, {estimate.high:+.2f}]"
