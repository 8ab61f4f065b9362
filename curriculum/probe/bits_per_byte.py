r"""Bits per byte over prompt/continuation pairs: a loss that compares models of different tokenizers.

    {"prompt": "Q: What is 2 + 2?\nA:", "continuation": " 4"}    text, joined as it stands; bytes are those of its UTF-8
    {"prompt": [5, 17], "continuation": [9], "bytes": 1}          token ids, for models without a tokenizer

Idea: -log2 P(continuation | prompt) summed over a suite, divided by the continuations' bytes. Any set of questions with
their right answers becomes a smooth measure that small models already move on, where accuracy sits at chance (Magnusson
et al., "DataDecide", 2025; Bhagia et al., 2024). Alternatives: perplexity a token (depends on the tokenizer). The price:
it measures the right answer's probability alone, not whether a wrong one is more probable.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log
from pathlib import Path

import numpy as np

from curriculum.errors import FileError, RunError, UserError
from curriculum.probe.encoding import encode_continuation
from curriculum.probe.jsonl import Row, read_rows
from curriculum.probe.model import AnswerModel

_Tokens = tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Continuations:
    """Pairs as token ids, and how many bytes each continuation stands for."""

    name: str
    prompts: tuple[_Tokens, ...]
    continuations: tuple[_Tokens, ...]
    sizes: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class BitsPerByte:
    """The mean over a suite's bytes, with a 95 % bootstrap interval over its items."""

    suite: str
    value: float
    low: float
    high: float


def load_continuations(
    path: Path | str, *, name: str | None = None, encode: Callable[[str], list[int]] | None = None
) -> Continuations:
    """Read a JSONL suite. Text needs `encode`, a model's tokenizer.

    Raises FileError with the line for malformed rows, an empty prompt or continuation, and text without a tokenizer.
    """
    source = Path(path)
    rows = [_pair(row, encode) for row in read_rows(source)]
    if not rows:
        raise FileError("wanted at least one prompt/continuation row, got none", path=source)
    prompts, continuations, sizes = zip(*rows, strict=True)
    return Continuations(name=name or source.stem, prompts=prompts, continuations=continuations, sizes=sizes)


def check_continuations(suite: Continuations, *, vocabulary: int, context: int) -> None:
    """Raise UserError, naming the row, for token ids or a length that a model of this vocabulary and context cannot read."""
    for number, (prompt, continuation) in enumerate(zip(suite.prompts, suite.continuations, strict=True), start=1):
        tokens = (*prompt, *continuation)
        if max(tokens) >= vocabulary:
            raise UserError(
                f"suite {suite.name!r}, row {number}: token id {max(tokens)} is none of the model's {vocabulary}; was the "
                "suite made with another tokenizer?"
            )
        if len(tokens) > context:
            raise UserError(
                f"suite {suite.name!r}, row {number}: {len(tokens)} tokens, but the model reads {context}; shorten or drop it"
            )


def bits_per_byte(suite: Continuations, model: AnswerModel, *, seed: int = 0) -> BitsPerByte:
    """Ask `model` for every continuation. Raises RunError when it gives something that is no probability."""
    (found,) = model.answer_log_probabilities(suite.prompts, (suite.continuations,))
    bits = np.asarray([-float(np.sum(tokens)) / log(2) for tokens in found])
    if not np.isfinite(bits).all():
        worst = int(np.flatnonzero(~np.isfinite(bits))[0])
        raise RunError(f"suite {suite.name!r}, row {worst + 1}: the model gave no probability (NaN or infinite)")
    sizes = np.asarray(suite.sizes, dtype=np.float64)
    chosen = np.random.default_rng([seed, len(bits)]).integers(0, len(bits), size=(400, len(bits)))
    resampled = bits[chosen].sum(axis=1) / sizes[chosen].sum(axis=1)
    low, high = np.quantile(resampled, [0.025, 0.975])
    return BitsPerByte(suite=suite.name, value=float(bits.sum() / sizes.sum()), low=float(low), high=float(high))


def _pair(row: Row, encode: Callable[[str], list[int]] | None) -> tuple[_Tokens, _Tokens, int]:
    missing = [key for key in ("prompt", "continuation") if key not in row.fields]
    if missing:
        raise row.fail(f"missing key {missing[0]!r}")
    prompt, continuation = row.fields["prompt"], row.fields["continuation"]
    with row.blame():
        if isinstance(prompt, str) and isinstance(continuation, str):
            return _of_text(prompt, continuation, encode)
        return _of_tokens(prompt, continuation, row.fields.get("bytes"))


def _of_text(prompt: str, continuation: str, encode: Callable[[str], list[int]] | None) -> tuple[_Tokens, _Tokens, int]:
    if encode is None:
        raise UserError("the row is text, which needs a tokenizer; the model has none, so write token ids")
    if not prompt or not continuation.strip():
        raise UserError("wanted a prompt and a continuation with some text in them, got an empty one")
    before, after = encode_continuation(encode, prompt, continuation)
    return tuple(before), tuple(after), len(continuation.encode())


def _of_tokens(prompt: object, continuation: object, size: object) -> tuple[_Tokens, _Tokens, int]:
    parts = [_ids(prompt), _ids(continuation)]
    if not all(parts):
        raise UserError("wanted prompt and continuation as texts, or as non-empty lists of token ids")
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise UserError(f'a row of token ids needs "bytes", how many bytes its continuation stands for (from 1), got {size!r}')
    return parts[0], parts[1], size


def _ids(value: object) -> _Tokens:
    if isinstance(value, list) and all(type(token) is int and token >= 0 for token in value):
        return tuple(value)
    return ()
