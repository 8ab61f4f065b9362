"""A named data source.

Idea: the words of Mosaic's `Stream`, so that a stream's line can be copied over; but how much of a stream is used is
said by the mix's phases alone, so `proportion`, `repeat` and `choose` are absent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

from curriculum.mix.fields import FieldError, location, one_of, optional_whole, text
from curriculum.mix.order import Order
from curriculum.mix.subset import Subset, checked_subset

StreamFormat = Literal["mds", "megatron", "npy"]
TokenDtype = Literal["uint8", "uint16", "uint32", "int32", "int64"]
_WHOLE = {"sequence_length": 1, "tokens_per_sample": 1, "max_epochs": 1, "download_retry": 0, "eos_token": 0}  # the least


@dataclass(frozen=True, kw_only=True, slots=True)
class Stream:
    """Where a stream's samples lie (Mosaic's `Stream` arguments) and how they may be used.

    At least one of `local` and `remote`; paths are made absolute here, URLs and `local="testbed:NAME"` (an embedded
    stream) stay. `sequence_length` and `tokens_per_sample` count tokens, `download_timeout` seconds; `max_epochs` caps
    the passes over the stream. Of an npy stream, `token_dtype` is how tokens lie in files that do not say so themselves
    (None: uint16), `eos_token` the token that ends a document. `subset` plays a fixed part of the stream in place of all
    of it (a number of samples, or a Subset); windows and epochs are then the subset's. Raises UserError.
    """

    local: str | None = None
    remote: str | None = None
    split: str | None = None
    format: StreamFormat = "mds"
    sequence_length: int | None = None
    token_dtype: TokenDtype | None = None
    eos_token: int | None = None
    tokens_per_sample: int | None = None
    max_epochs: int | None = None
    order: Order = field(default_factory=Order)
    subset: Subset | None = None
    download_retry: int | None = None
    download_timeout: float | None = None
    validate_hash: str | None = None
    keep_zip: bool | None = None

    def __post_init__(self) -> None:
        self._check_place()
        one_of(self.format, get_args(StreamFormat), "format")
        for name, least in _WHOLE.items():
            object.__setattr__(self, name, optional_whole(getattr(self, name), least, name))
        if self.format != "mds" and self.sequence_length is None:
            raise FieldError(f"a {self.format} stream needs sequence_length: how many tokens make a sample", "format")
        self._check_tokens()
        if not isinstance(self.order, Order):
            raise FieldError(f"wanted an Order, got {self.order!r}", "order")
        self._check_subset()
        self._check_download()

    def played(self, size: int) -> int:
        """Return how many samples an epoch has, of a stream of `size` samples: all of them, or its subset."""
        return size if self.subset is None else self.subset.samples

    def _check_tokens(self) -> None:
        if self.token_dtype is not None:
            one_of(self.token_dtype, get_args(TokenDtype), "token_dtype")
        for name in ("token_dtype", "eos_token"):
            if self.format != "npy" and getattr(self, name) is not None:
                raise FieldError(f"only an npy stream may say it, this one is {self.format}; remove it", name)

    def _check_subset(self) -> None:
        object.__setattr__(self, "subset", checked_subset(self.subset))
        if self.subset is not None and self.order.kind in ("scored", "listed"):
            reason = (
                f"a {self.order.kind} order is of windows of the whole stream, so it cannot be played from a subset of it; "
                "remove `subset`, or let the order be shuffle or sequential"
            )
            raise FieldError(reason, "subset")

    def _check_place(self) -> None:
        for name in ("local", "remote"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else location(value, name))
        if self.local is None and self.remote is None:
            raise FieldError("wanted `local`, `remote` or both: the stream has no place")

    def _check_download(self) -> None:
        for name in ("split", "validate_hash"):
            if getattr(self, name) is not None:
                text(getattr(self, name), name)
        if self.keep_zip is not None and not isinstance(self.keep_zip, bool):
            raise FieldError(f"wanted true or false, got {self.keep_zip!r}", "keep_zip")
        if self.download_timeout is not None:
            object.__setattr__(self, "download_timeout", _seconds(self.download_timeout))


def _seconds(value: object) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0:
        return float(value)
    raise FieldError(f"wanted a number of seconds above 0, got {value!r}", "download_timeout")
