"""A contiguous part of the run.

Idea: weights are kept as the decimals people wrote, so that the plan can be exact; 0.1 stays one tenth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from curriculum.mix.fields import FieldError, exact_decimal, text, whole


@dataclass(frozen=True, kw_only=True, slots=True)
class Phase:
    """Weights up to `until`; with `to`, proportions go linearly from those of `weights` to those of `to`.

    Exactly one of `until` (fraction of the run, 0 < until <= 1) and `until_tokens` (absolute) is set. Weights may be
    given as int, float, str or Decimal and are kept as Decimal. Raises UserError.
    """

    weights: Mapping[str, Decimal]
    to: Mapping[str, Decimal] | None = None
    until: Decimal | None = None
    until_tokens: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", _weights(self.weights, "weights"))
        if self.to is not None:
            object.__setattr__(self, "to", _weights(self.to, "to"))
        if (self.until is None) == (self.until_tokens is None):
            raise FieldError("wanted one end, a fraction of the run or a number of tokens", "until")
        if self.until_tokens is not None:
            object.__setattr__(self, "until_tokens", whole(self.until_tokens, 1, "until"))
            return
        until = exact_decimal(self.until, "until")
        if not 0 < until <= 1:
            raise FieldError(f"wanted a fraction of the run above 0 and at most 1, got {self.until}", "until")
        object.__setattr__(self, "until", until)


def _weights(weights: object, field: str) -> dict[str, Decimal]:
    if not isinstance(weights, Mapping) or not weights:
        raise FieldError(f"wanted a weight per stream, such as {{web: 7, math: 1}}, got {weights!r}", field)
    exact = {text(name, field): exact_decimal(weight, field, name) for name, weight in weights.items()}
    if not any(exact.values()):
        raise FieldError("all weights are zero; give at least one stream a weight above 0", field)
    return exact
