"""What each target's own loader gives of an exported mix, phase by phase, beside the plan.

    python benchmarks/exports.py                                                 # targets whose packages are installed here
    python benchmarks/exports.py --python levanter=levanter/bin/python ...      # others in environments of their own

Idea: trainers' dependencies clash, so every target is measured in a process of its own, by the Python that is named for
it; this package must be importable there too. The streams, mixes and loaders are those of the tests (tests/export_help.py).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "benchmarks")]

from setting import publish, table  # noqa: E402 - beside this file

TARGETS = {  # target: what it needs installed, the streams' format
    "llm-foundry": ("streaming", "mds"),
    "levanter": ("levanter", "mds"),
    "olmo-core": ("olmo_core", "npy"),
    "nanotron": ("nanotron", "npy"),
    "megatron": ("megatron", "megatron"),
    "torchtitan": ("torchtitan", "mds"),
    "litdata": ("litdata", "mds"),
    "datasets": ("datasets", "mds"),
    "grain": ("grain", "mds"),
    "mds": ("streaming", "mds"),
}
KINDS = ("static", "step", "ramp")
SAMPLES = {"litdata": 960}  # the combined data set ends with its first stream
NOT_RUN = {"nanotron": "the registry's release, 0.4, is older than `data_stages` of weighted folders"}
INTRODUCTION = """\
Three streams of 900, 700 and 300 samples; a static mix (5 : 2 : 1), a step mix (7 : 2 : 1, from the middle on 2 : 5 : 3)
and a ramp mix (the same beginning, from the middle on a ramp to 1 : 5 : 4); 1,600 samples (litdata 960, since it ends with
its first stream), batches of 16, Levanter's blocks of 64. `planned`, `expected` (by the export) and `came out` (of the
target's own loader) are samples of the three streams. `order`: whether every position plays the sample that the plan has
there, or a sample of the stream that it has there, or goes its own way.

Two targets were not read by their own. `llm-foundry`: its callback, which changes stages, could not be installed beside this
torch; what came out is of mosaicml-streaming, whose data sets it builds, played here stage by stage as the export says. So
the counts are Streaming's, and that the callback obeys the schedule is not shown. `nanotron`: nothing read it."""


def measure(target: str) -> list[dict[str, Any]]:
    """Export every mix to a target, give it to the target's own loader, and return a row a phase."""
    import export_help as world

    package, place = TARGETS[target]
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = world.write_data(Path(name))
        for kind in KINDS:
            mix = world.write_mix(folder, kind, place=place, samples=SAMPLES.get(target, 1600))
            rows += _rows(world, target, kind, mix, folder, NOT_RUN.get(target) or world.missing(package))
    return rows


def _rows(world: Any, target: str, kind: str, mix: Path, folder: Path, missing: str | None) -> list[dict[str, Any]]:
    from curriculum.commands.export import Settings, export

    module = target in ("litdata", "torchtitan")
    out = folder / (f"{target}_{kind}.py" if module else f"{target}-{kind}")
    sizes = {"batch_size": world.BATCH, "block_size": world.BLOCK, "sequence_length": world.LENGTH}
    settings = Settings(out=out, paths=_places(world, target, folder), **sizes)
    said = _said(lambda: export(mix, target, settings, as_json=True))
    base = {"target": target, "mix": kind, "verdict": said["verdict"], "why": said["why"]}
    planned = world.counted(world.planned_streams(mix), mix)
    if said["verdict"] == "impossible" or missing is not None:
        return [{**base, "phase": number, "planned": each, "missing": missing} for number, each in enumerate(planned, start=1)]
    played = _play(world, target)(out, mix)
    found, order = _compared(world, played, mix)
    expected = [each["expected"] for each in said["deviations"]]
    streams = len(world.SIZES)
    return [
        {**base, "phase": number, "planned": ours, "found": theirs, "order": order,
         "expected": expected[(number - 1) * streams : number * streams]}
        for number, (ours, theirs) in enumerate(zip(planned, found, strict=True), start=1)
    ]  # fmt: skip


def _places(world: Any, target: str, folder: Path) -> tuple[str, ...]:
    if target == "levanter":
        return ("*=/caches/{stream}",)
    if target == "litdata" and world.missing("litdata") is None and not (folder / "litdata").exists():
        world.write_litdata(folder / "litdata")
    if target == "torchtitan":
        world.write_texts(folder / "torchtitan")
    places = {"litdata": "{stream}", "torchtitan": "{stream}.jsonl"}
    return (f"*={folder}/{target}/{places[target]}",) if target in places else ()


def _said(call: Callable[[], int]) -> dict[str, Any]:
    """Return the document that an export prints."""
    from contextlib import redirect_stdout
    from io import StringIO

    with redirect_stdout(StringIO()) as text:
        call()
    document: dict[str, Any] = json.loads(text.getvalue())
    return document


def _play(world: Any, target: str) -> Callable[[Path, Path], Any]:
    play: Callable[[Path, Path], Any] = getattr(world, f"play_{target.replace('-', '_')}")
    return play


def _compared(world: Any, played: Any, mix: Path) -> tuple[list[list[int]], str]:
    """Return the counts by phase, and whether the order is the plan's."""
    import numpy as np

    if isinstance(played, list):
        same = played == world.keys_of_plan(mix)
        return world.counted(np.asarray([stream for stream, _ in played]), mix), "every sample" if same else "another"
    plans = world.planned_streams(mix)
    same = len(played) == len(plans) and bool((played == plans).all())
    return world.counted(played, mix), "every stream" if same else "its own"


def _measured(target: str, pythons: Mapping[str, str]) -> list[dict[str, Any]]:
    """Measure a target in a process of its own."""
    command = [pythons.get(target, sys.executable), str(Path(__file__).resolve()), "--only", target]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"})
    if done.returncode:
        raise SystemExit(f"{target}: {done.stderr.strip()[-2000:]}")
    rows: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return rows


def _line(row: Mapping[str, Any]) -> tuple[str, ...]:
    begin = (f"`{row['target']}`", row["mix"], str(row["phase"]), row["verdict"], _numbers(row["planned"]))
    if "found" not in row:
        return (*begin, "-", "-", row["missing"] or "nothing is written")
    return (*begin, _numbers(row["expected"]), _numbers(row["found"]), row["order"])


def _numbers(values: list[float]) -> str:
    return " / ".join(f"{value:g}" for value in values)


def main() -> None:
    """Measure one target and print its rows, or all and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=TARGETS)
    parser.add_argument("--python", action="append", default=[], metavar="TARGET=PATH")
    parser.add_argument("--note", action="append", default=[], help="a line below the table")
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(measure(arguments.only)))
        return
    pythons = dict(each.split("=", 1) for each in arguments.python)
    rows = [row for target in TARGETS for row in _measured(target, pythons)]
    header = ("target", "mix", "phase", "verdict", "planned", "expected", "came out", "order")
    reasons = {f"- `{row['target']}`, {row['mix']}: {row['why'][0]}" for row in rows if row["verdict"] == "impossible"}
    parts = [INTRODUCTION, table(header, map(_line, rows)), "Impossible:", "\n".join(sorted(reasons)), *arguments.note]
    publish(ROOT / "benchmarks/exports.md", "What other loaders give of an exported mix", parts)


if __name__ == "__main__":
    main()
