"""From controls to a verdict on a hop: each control can refute it, and only all together confirm it."""

from __future__ import annotations

import pytest

from curriculum.probe.credibility import (
    Diagnosis,
    Estimate,
    Finding,
    Hop,
    averaging_finding,
    constant_label_finding,
    hard_and_soft_finding,
    interval_finding,
    normal_label_finding,
    not_run,
    one_step_finding,
    paraphrase_finding,
)


def around(value: float, half: float = 0.05) -> Estimate:
    return Estimate(value=value, low=value - half, high=value + half)


def a_hop(before: Estimate | None = None, after: Estimate | None = None) -> Hop:
    return Hop(
        probe="p",
        family="f",
        before_position=100,
        after_position=200,
        before="shallow",
        after="general",
        margin_before=before or around(-0.4),
        margin_after=after or around(0.4),
    )


UP, DOWN = a_hop(), a_hop(around(0.4), around(-0.4))


@pytest.mark.parametrize("hop", [UP, DOWN])
def test_a_hop_that_passes_everything_is_confirmed(hop: Hop) -> None:
    same = hop.change
    findings = (
        interval_finding(hop),
        normal_label_finding(hop, around(0.6), around(0.62), around(0.02), floor=0.0),
        constant_label_finding(hop, around(0.0)),
        paraphrase_finding(hop, [around(same), around(0.9 * same)]),
        one_step_finding(hop, [0.001, -0.01]),
        averaging_finding(hop, around(0.5 * same), averaged=5),
        hard_and_soft_finding(hop, 0.5 - same / 4, 0.5 + same / 4),
    )
    assert [finding.outcome for finding in findings] == ["passed"] * 7
    assert Diagnosis(hop=hop, findings=findings).verdict == "confirmed"
    for index, finding in enumerate(findings):
        rest = findings[:index] + findings[index + 1 :]
        assert Diagnosis(hop=hop, findings=rest).verdict == "unconfirmed"
        missing = (*rest, not_run(finding.control, "no data"))
        assert Diagnosis(hop=hop, findings=missing).verdict == "unconfirmed"
        assert Diagnosis(hop=hop, findings=missing).reasons == (f"{finding.control}: no data",)
        broken = (*rest, Finding(control=finding.control, outcome="failed", reason="because"))
        assert Diagnosis(hop=hop, findings=broken).verdict == "refuted"
        assert Diagnosis(hop=hop, findings=broken).reasons == (f"{finding.control}: because",)


def test_intervals_must_lie_on_their_own_sides_of_zero() -> None:
    assert interval_finding(a_hop(around(-0.04), around(0.4))).outcome == "open"
    assert interval_finding(a_hop(around(0.06), around(0.4))).outcome == "open"
    assert interval_finding(a_hop(around(0.06), around(-0.06))).outcome == "passed"


def test_a_control_that_moves_with_the_probe_refutes_it() -> None:
    from_nothing = a_hop(around(-0.02), around(0.8))
    assert normal_label_finding(from_nothing, around(0.2), around(0.8), around(0.6), floor=0.0).outcome == "failed"
    assert normal_label_finding(UP, around(0.2), around(0.8), around(0.6), floor=0.0).outcome == "open"
    assert normal_label_finding(UP, around(0.2), around(0.7), around(0.38), floor=0.0).outcome == "open"
    incapable = normal_label_finding(UP, around(0.02), around(0.1), around(0.08), floor=0.0)
    assert incapable.outcome == "failed" and "not capable" in incapable.reason


def test_one_label_for_everything_refutes_a_hop() -> None:
    """A model that merely says the pattern's label less often gains on the probe what it loses where that label is right."""
    assert constant_label_finding(UP, around(-0.7)).outcome == "failed"
    assert constant_label_finding(DOWN, around(0.7)).outcome == "failed"
    assert constant_label_finding(UP, around(0.7)).outcome == "passed"
    assert constant_label_finding(UP, around(-0.1)).outcome == "passed"


def test_wordings_must_agree() -> None:
    agreeing, none, opposed = around(0.5), around(0.01), around(-0.5)
    assert paraphrase_finding(UP, [agreeing, agreeing]).outcome == "passed"
    assert paraphrase_finding(UP, [agreeing, none]).outcome == "open"
    assert paraphrase_finding(UP, [agreeing, none, none]).outcome == "failed"
    assert paraphrase_finding(UP, [agreeing, agreeing, opposed]).outcome == "failed"
    assert paraphrase_finding(DOWN, [opposed, opposed]).outcome == "passed"
    assert paraphrase_finding(UP, []).outcome == "not run"


def test_a_step_or_an_average_that_undoes_the_hop_speaks_against_it() -> None:
    assert one_step_finding(UP, [0.001, -0.2]).outcome == "failed"
    assert one_step_finding(UP, [0.079]).outcome == "passed"
    assert averaging_finding(UP, around(0.01), averaged=5).outcome == "open"
    assert averaging_finding(UP, around(-0.2), averaged=5).outcome == "failed"
    assert averaging_finding(DOWN, around(-0.2), averaged=5).outcome == "passed"


def test_accuracy_against_the_margin_refutes() -> None:
    assert hard_and_soft_finding(UP, 0.6, 0.4).outcome == "failed"
    assert hard_and_soft_finding(UP, 0.5, 0.5).outcome == "open"
    assert hard_and_soft_finding(DOWN, 0.6, 0.4).outcome == "passed"
