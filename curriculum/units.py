"""Counts as people write them ("2B", "2_000_000") and seeds derived from names.

Idea: randomness is keyed by what it is for - (seed, "window", "web", 3) - never by how often a generator was called
before, so that any part of a plan can be recomputed alone. The key is hashed with BLAKE2b, which is stable over
Python and numpy versions; numpy's own generators promise no such stability (NEP 19). The price is a microsecond a key.
"""

from __future__ import annotations

import hashlib
import re
from decimal import Decimal

from curriculum.errors import UserError

_SUFFIXES = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "t": 10**12}
_COUNT = re.compile(r"^\s*([0-9][0-9_]*(?:\.[0-9]+)?)\s*([kKmMbBtT]?)\s*$")


def parse_count(text: str | int) -> int:
    """Return the whole number that `text` writes: 12, "2_000_000", "2B", "1.5M". Raises UserError."""
    match = _COUNT.match(str(text))
    if match is None:
        raise UserError(f"wanted a count such as 2000000, 2_000_000 or 2M, got {text!r}")
    value = Decimal(match[1].replace("_", "")) * _SUFFIXES[match[2].lower()]
    if value != int(value):
        raise UserError(f"wanted a whole number, got {text!r} = {value}")
    return int(value)


def format_count(count: float) -> str:
    """Return `count` in at most five characters or so: 950, 12.3k, 2M, 40B."""
    for suffix, scale in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e4)):
        if abs(count) >= scale:
            return f"{count / (1e3 if suffix == 'k' else scale):.4g}{suffix}"
    return f"{count:.5g}"


def format_seconds(seconds: float) -> str:
    """Return a duration as people say it: 42 s, 12 min, 3 h 5 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"


def keyed_seed(*key: str | int) -> int:
    """Return a seed in [0, 2**63) that depends on every part of `key` and on nothing else."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in key)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1
