"""What was computed last, up to a total weight: the oldest goes first, the newest always stays."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Cache(Generic[Key, Value]):
    """A mapping that forgets its oldest entries once their weights add up to more than `limit`."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: OrderedDict[Key, tuple[Value, int]] = OrderedDict()
        self._total = 0

    def get(self, key: Key) -> Value | None:
        """Return the value of `key`, or None."""
        found = self._entries.get(key)
        return None if found is None else found[0]

    def put(self, key: Key, value: Value, weight: int = 1) -> None:
        """Remember a value whose key is not known yet."""
        self._entries[key] = (value, weight)
        self._total += weight
        while self._total > self._limit and len(self._entries) > 1:
            _, (_, forgotten) = self._entries.popitem(last=False)
            self._total -= forgotten

    def newest_first(self) -> Iterator[Value]:
        """Yield every value."""
        return (value for value, _ in reversed(self._entries.values()))
