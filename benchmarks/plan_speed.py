"""Plan positions per second at 1e12 samples and 8 streams: in order, after a jump, at random places; memory.

    python benchmarks/plan_speed.py [--samples 1e12] [--lanes 1 64] [--seconds 3] [--out benchmarks/plan_speed.md]

In order is what a loader does: consecutive positions, looked up many at once. After a jump is a resume: positions from a
place where the plan never was. At random is the worst case, nearly every position in a block of its own. Memory is what
the process grew by, once after the first array and once after all.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np
import numpy.typing as npt
from setting import MeasurementError, in_child, publish, table

from curriculum.mix import Mix, Phase, Stream
from curriculum.plan import Plan

STREAMS = tuple(f"stream-{number}" for number in range(8))
SHARES = (400, 250, 150, 100, 50, 30, 15, 5)  # thousandths of the data
SIZES = (32, 1024, 4096, 16_384)
Positions = npt.NDArray[np.int64]


def compiled(samples: int, lanes: int) -> Plan:
    """Return a plan that holds a static mix for a third of the run and then ramps to its reverse."""
    weights = dict(zip(STREAMS, map(Decimal, SHARES), strict=True))
    turned = dict(zip(STREAMS, map(Decimal, reversed(SHARES)), strict=True))
    phases = (Phase(until=Decimal("0.3"), weights=weights), Phase(until=Decimal(1), weights=weights, to=turned))
    streams = {name: Stream(local=f"/data/{name}") for name in STREAMS}
    mix = Mix(name="benchmark", samples=samples, streams=streams, phases=phases)
    sizes = {name: samples * share // 1000 for name, share in zip(STREAMS, SHARES, strict=True)}
    return mix.plan(sizes=sizes, lanes=lanes)


def in_order(samples: int, size: int, number: int) -> Positions:
    return samples // 2 + number * size + np.arange(size)


def after_jump(samples: int, size: int, number: int) -> Positions:
    start = np.random.default_rng(number).integers(samples - size)
    return start + np.arange(size)


def at_random(samples: int, size: int, number: int) -> Positions:
    return np.random.default_rng(number).integers(samples, size=size)


ACCESSES: dict[str, Callable[[int, int, int], Positions]] = {
    "in order": in_order,
    "after a jump": after_jump,
    "at random": at_random,
}


def measure(samples: int, lanes: int, size: int, access: str, seconds: float) -> dict[str, float]:
    """Return positions a second, seconds to compile the plan and look up the first array, and growth in bytes."""
    begun, before = perf_counter(), resident()
    plan = compiled(samples, lanes)
    plan[ACCESSES[access](samples, size, 0)]
    first, early = perf_counter() - begun, resident()
    looked_up, busy, number = 0, 0.0, 1
    while busy < seconds:
        positions = ACCESSES[access](samples, size, number)
        started = perf_counter()
        plan[positions]
        busy += perf_counter() - started
        looked_up, number = looked_up + size, number + 1
    return {"rate": looked_up / busy, "first": first, "early": early - before, "late": resident() - before}


def compiles(samples: int, lanes: int) -> bool:
    """Say whether there is such a plan, by raising if there is none."""
    return len(compiled(samples, lanes)) == samples


def resident() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


def row(samples: int, lanes: int, size: int, access: str, seconds: float) -> list[str]:
    begin = [str(lanes), access, f"{size:,}"]
    found = in_child(partial(measure, samples, lanes, size, access, seconds))
    grown = [f"{found[moment] / 1e6:.1f}" for moment in ("early", "late")]
    return [*begin, f"{found['rate']:,.0f}", f"{1e6 / found['rate']:.2f}", f"{1e3 * found['first']:.1f}", *grown]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--samples", type=float, default=1e12)
    parser.add_argument("--lanes", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--seconds", type=float, default=3, help="how long each row is timed")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"), help="where to write the result")
    arguments = parser.parse_args()
    rows = []
    for lanes in arguments.lanes:
        try:
            in_child(partial(compiles, int(arguments.samples), lanes))
        except MeasurementError as error:
            rows.append([str(lanes), f"refused: {error}", *[""] * 6])
            continue
        for access, sizes in zip(ACCESSES, (SIZES, (1024,), (1024,)), strict=True):
            rows += [row(int(arguments.samples), lanes, size, access, arguments.seconds) for size in sizes]
    header = ["lanes", "access", "positions at once", "positions/s", "us each"]
    header += ["compiled and first array, ms", "memory then, MB", "memory at the end, MB"]
    about = (
        f"A plan over {arguments.samples:.0e} samples of {len(STREAMS)} streams, a hold and a ramp, default windows; "
        "one thread, each row a process of its own."
    )
    publish(arguments.out, "Plan positions per second", [about, table(header, rows)])


if __name__ == "__main__":
    main()
