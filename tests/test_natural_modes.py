"""benchmarks/natural_modes.py: what it counts of readings that are known."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import pytest

from curriculum.probe import Reading, Trajectory

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import natural_modes as modes


def trajectory(margins: dict[str, list[float]], incapable: tuple[int, ...] = ()) -> Trajectory:
    """Readings every hundred samples; those of `incapable` are not capable."""
    count = len(next(iter(margins.values())))
    return Trajectory.of(
        (
            100 * (index + 1),
            index,
            Reading(
                probe=probe, family=probe.split("-")[0], accuracy=0.5, margin=values[index], low=0.0, high=0.0,
                control_margin=0.4, capable=index not in incapable,
            ),
        )
        for index in range(count)
        for probe, values in margins.items()
    )  # fmt: skip


def starts(_size: str) -> dict[str, Reading]:
    return {
        probe: Reading(
            probe=probe, family=probe[:4], accuracy=0.5, margin=margin, low=0, high=0, control_margin=0.4, capable=True
        )
        for probe, margin in (("copy-1", 0.1), ("tell-1", 0.2))
    }


@pytest.fixture
def ladder(tmp_path: Path) -> Path:
    """Two runs of one size, in which one probe is formed late, one never, and the capability is lost once."""
    runs = {
        "a": trajectory({"copy-1": [0.1, 0.2, 0.1, 0.1], "tell-1": [0.1, 0.1, -0.1, 0.0]}),
        "b": trajectory({"copy-1": [0.3, 0.2, 0.1, -0.1], "tell-1": [0.0, 0.1, -0.1, 0.1]}, incapable=(3,)),
    }
    for name, of_run in runs.items():
        (tmp_path / name).mkdir()
        of_run.save(tmp_path / name / "trajectory.parquet")
    rows = pd.DataFrame({"run": list(runs), "curriculum": ["static", "other"], "time_general": [0.25, 0.5]})
    rows.assign(size="study").to_csv(tmp_path / "ladder.csv", index=False)
    return tmp_path


def test_modes_are_counted_with_what_made_them(ladder: Path) -> None:
    (group,) = modes.groups_of(ladder, starts)
    assert group.ends == (100, 400)
    copy, tell = modes.probe_rows(group)
    assert copy == (
        "copy-1", "+0.100 (0.40)", "+0.200 (0.40)", "+0.000 (0.40)", "1", "0", "1", "1", "12%", "12.5%",
        "1 general to unformed, 1 unformed to general",
    )  # fmt: skip
    assert tell[6:] == ("0", "0", "88%", "12.5%", "none")


def test_a_start_says_what_modes_were_before_the_first_reading(ladder: Path) -> None:
    (group,) = modes.groups_of(ladder, starts)
    stretches = 3.2  # the first reading's stretch lies in the burn-in, but for a fifth of it
    as_it_is = [3 / stretches / 2, 2.2 / stretches / 2]
    assert modes.time_general(group, from_start=False) == pytest.approx(as_it_is)
    assert modes.time_general(group, from_start=True) == pytest.approx([0.5 + as_it_is[0], 2 * as_it_is[1]])
    assert modes.commonest([0.25, 0.5, 0.5], 4) == "0.417 on average, 2 different in 3 runs: 2/4 in 2, 1/4 in 1"


def test_families_are_correlated_over_runs_and_over_curricula() -> None:
    rise, fall, flat = [0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1], [0.0, 0.4, 0.1, 0.5]
    runs = {
        str(n): trajectory({"copy-1": [0.0, rise[n]], "tell-1": [0.0, fall[n]], "other-1": [0.0, flat[n]]}) for n in range(4)
    }
    cells = modes.correlations(modes.joined(runs), last=200)
    named = dict(zip(["copy-other", "copy-tell", "other-tell"], cells, strict=False))
    expected = pd.Series(rise).corr(pd.Series(flat))
    assert named == {"copy-other": f"{expected:+.2f}", "copy-tell": "-1.00", "other-tell": f"{-expected:+.2f}"}
    cells = modes.correlations(modes.joined(runs), last=200, curricula={"0": "x", "1": "x", "2": "y", "3": "y"})
    assert cells[:2] == ["+1.00", "-1.00"]


def test_the_report_has_a_part_for_each_size_and_names_families_as_they_stand_in_the_columns(ladder: Path) -> None:
    parts = modes.report(modes.groups_of(ladder, starts), {})
    assert any(part.startswith("## study, 2 runs") for part in parts) and "copy, tell: end" in parts[-1]


def test_shallow_runs_are_told_and_shares_follow_from_families() -> None:
    assert modes.general(pd.Series(["general", "unformed", "general"])) == "2"
    assert modes.general(pd.Series(["general", "shallow", "shallow"])) == "1 (2 shallow)"
    probes = {"a-1": "a", "a-2": "a", "b-1": "b", "b-2": "b", "b-3": "b"}
    readings = pd.DataFrame([{"probe": probe, "family": family} for probe, family in probes.items()] * 2)
    assert modes.shares_of(readings) == 12 and modes.shares_of(readings[readings["family"] == "b"]) == 3
