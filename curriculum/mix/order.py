"""How a stream's windows follow one another.

Idea: the kind follows from what is given, as in the file: `Order(by="difficulty")` is a scored order without saying so.
The alternative, four classes, would make every reader of a mix switch on types for what is one small table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from curriculum.mix.fields import FieldError, location, one_of, optional_whole, text

Direction = Literal["ascending", "descending"]
OrderKind = Literal["shuffle", "sequential", "scored", "listed"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """One of four kinds: `shuffle` (default), `sequential`, `scored` (by a named score or a score file), `listed`.

    `window` counts samples of the stream (None: size/256, between 64 and 65,536). `by` names a score, which lies as
    NAME.parquet in the stream's folder, or an installed function that gives it ("plugin:NAME", see `plugins`). `scores` and
    `listed` are Parquet files, made absolute here. Raises UserError for contradictions.
    """

    kind: OrderKind = "shuffle"
    window: int | None = None
    by: str | None = None
    scores: str | None = None
    direction: Direction = "ascending"
    listed: str | None = None

    def __post_init__(self) -> None:
        one_of(self.kind, get_args(OrderKind), "kind")
        one_of(self.direction, get_args(Direction), "direction")
        object.__setattr__(self, "window", optional_whole(self.window, 1, "window"))
        if self.by is not None:
            text(self.by, "by")
        for name in ("scores", "listed"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else location(value, name))
        object.__setattr__(self, "kind", self._derived_kind())
        self._check_combination()

    def _derived_kind(self) -> OrderKind:
        given = [name for name in ("by", "scores", "listed") if getattr(self, name) is not None]
        if len(given) > 1:
            raise FieldError(f"wanted one of by, scores and listed, got {' and '.join(given)}; keep one", given[1])
        if not given:
            if self.kind in ("scored", "listed"):
                wanted = "`by: NAME` or `scores: FILE`" if self.kind == "scored" else "`listed: FILE`"
                raise FieldError(f"a {self.kind} order needs {wanted}", "kind")
            return self.kind
        kind: OrderKind = "listed" if given == ["listed"] else "scored"
        if self.kind not in ("shuffle", kind):
            raise FieldError(f"`{given[0]}` makes the order {kind}, but kind says {self.kind}; drop one", "kind")
        return kind

    def _check_combination(self) -> None:
        if self.kind == "listed" and self.window is not None:
            raise FieldError("listed windows carry their own bounds; drop `window`", "window")
        if self.kind != "scored" and self.direction != "ascending":
            raise FieldError(f"only an order by a score has a direction, this one is {self.kind}", "direction")
