"""A plain function as a model: whatever can be asked in Python, an inference server's client included.

Two shapes, told apart by how many arguments the function takes.

Two arguments, text (`CallableModel`): log-probabilities of answers.

    def score(prompts: list[str], answers: list[list[str]]) -> list[list[list[float]]]:
        # answers[i]: the candidate answers to prompts[i], to be scored as they stand directly behind it.
        # Return [i][j]: natural log-probabilities of the tokens of answers[i][j], however the model cuts it.
        return [[client.logprobs(prompt, answer) for answer in candidates] for prompt, candidates in zip(prompts, answers)]

One argument, token ids (`CallableLogits`): logits of the next token.

    def logits(tokens: numpy.ndarray) -> numpy.ndarray:                    # (time,) int64 -> (time, vocabulary)
        return my_network(tokens)

Both are opened as "python:my_package.my_module:score" or "python:path/to/file.py:score". What is named there may also be an
object that is a `TextModel` already.

Idea: a text model has no token ids, and the probes speak in token ids; so its ids are the bytes of the text, which any cut
between prompt and answer survives. The price: its `context` counts bytes.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from curriculum.errors import RunError, UserError
from curriculum.models.generation import RereadWalk, Sampling, generate
from curriculum.models.prefix_scoring import check_fit
from curriculum.models.sequences import Tokens
from curriculum.probe.model import Numbers, TextModel
from curriculum.streaming.tokenizer import TextTokenizer

Score = Callable[[list[str], list[list[str]]], Sequence[Sequence[Sequence[float]]]]
Logits = Callable[[npt.NDArray[np.int64]], Any]
_NO_LIMIT = 2**20


class CallableModel:
    """A function on text (see the module) as a `TextModel` that does not generate; `context` is in bytes."""

    def __init__(self, score: Score, *, context: int = _NO_LIMIT) -> None:
        self._score, self._context = score, context

    @property
    def context(self) -> int:
        """The longest sequence in bytes."""
        return self._context

    def encode(self, text: str) -> list[int]:
        """Return the bytes of `text`."""
        return list(text.encode())

    def answer_log_probabilities(
        self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[Sequence[int]]]
    ) -> list[list[Numbers]]:
        """Return what the function gives for each answer, one number for each token that the function sees in it.

        Raises UserError when the function returns something of another shape, RunError for values that are not numbers.
        """
        for each in answers:
            for number, (prompt, answer) in enumerate(zip(prompts, each, strict=True)):
                check_fit(number, prompt, answer, context=self._context, vocabulary=256)
        texts = [_text(prompt) for prompt in prompts]
        candidates = [[_text(each[number]) for each in answers] for number in range(len(prompts))]
        found = self._score(texts, candidates)
        _check_length("lists, one a prompt", found, len(prompts))
        for number, of_prompt in enumerate(found):
            _check_length(f"answers for prompt {number}", of_prompt, len(answers))
        return [[_numbers(found[number][k], texts[number]) for number in range(len(prompts))] for k in range(len(answers))]

    def generate(
        self, prompts: Sequence[str], *, samples: int, tokens: int, temperature: float, stop: Sequence[str], seed: int
    ) -> list[list[str]]:
        """Raise UserError: such a function scores text and writes none."""
        raise UserError(
            "a function that scores answers cannot generate, which the persona family needs; leave that family out, or name an "
            "object with all methods of curriculum.probe.model.TextModel"
        )


class CallableLogits:
    """A function on token ids (see the module) as a `TextModel`; text needs a `tokenizer`. `context` is in tokens."""

    def __init__(self, logits: Logits, *, tokenizer: TextTokenizer | None = None, context: int = _NO_LIMIT) -> None:
        self._function, self._tokenizer, self._context = logits, tokenizer, context

    @property
    def context(self) -> int:
        """The longest sequence in tokens."""
        return self._context

    @property
    def ends(self) -> frozenset[int]:
        """The token that ends a text, if the tokenizer has one."""
        end = self._codec().end_of_text
        return frozenset() if end is None else frozenset([end])

    def encode(self, text: str) -> list[int]:
        """Return token ids. Raises UserError without tokenizer."""
        return [int(token) for token in self._codec().encode([text])[0]]

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of token ids. Raises UserError without tokenizer."""
        return self._codec().decode(tokens)

    def answer_log_probabilities(
        self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[Sequence[int]]]
    ) -> list[list[Numbers]]:
        """Return the log-probability of every token of every answer (see `AnswerModel`); equal sequences are read once."""
        known: dict[tuple[int, ...], Numbers] = {}
        return [
            [
                self._of_answer(number, prompt, answer, known)
                for number, (prompt, answer) in enumerate(zip(prompts, each, strict=True))
            ]
            for each in answers
        ]

    def generate(
        self, prompts: Sequence[str], *, samples: int, tokens: int, temperature: float, stop: Sequence[str], seed: int
    ) -> list[list[str]]:
        """Return `samples` continuations of every prompt (see `TextModel`). Raises UserError without tokenizer."""
        sampling = Sampling(samples=samples, tokens=tokens, temperature=temperature, stop=tuple(stop), seed=seed)
        return generate(
            prompts,
            sampling,
            codec=self,
            context=self._context,
            rows_at_once=lambda _: samples,
            start=lambda rows: RereadWalk(rows, self._last_logits),
        )

    def _of_answer(
        self, number: int, prompt: Sequence[int], answer: Sequence[int], known: dict[tuple[int, ...], Numbers]
    ) -> Numbers:
        check_fit(number, prompt, answer, context=self._context, vocabulary=sys.maxsize)
        read = (*prompt, *answer[:-1])
        if read not in known:
            known[read] = self._read(read)
        logits = known[read][len(prompt) - 1 :]
        if max(answer) >= logits.shape[1]:
            raise UserError(f"prompt {number}: token {max(answer)} is not in the function's vocabulary of {logits.shape[1]}")
        if np.isnan(logits).any():
            raise RunError(f"prompt {number}, which ends in tokens {list(prompt[-8:])}: the function's logits are not numbers")
        logarithms = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
        found: Numbers = logarithms[np.arange(len(answer)), list(answer)]
        return found

    def _read(self, tokens: Tokens) -> Numbers:
        """Return the function's logits (time, vocabulary), float64. Raises UserError when they have another shape."""
        logits = _array(self._function(np.asarray(tokens, dtype=np.int64)))
        if logits.ndim != 2 or len(logits) != len(tokens):
            raise UserError(f"wanted logits (time, vocabulary) = ({len(tokens)}, ...) from the function, got {logits.shape}")
        return logits

    def _last_logits(self, rows: Sequence[Tokens]) -> Tensor:
        known = {row: self._read(row)[-1] for row in set(rows)}
        return torch.from_numpy(np.stack([known[row] for row in rows])).float()

    def _codec(self) -> TextTokenizer:
        if self._tokenizer is None:
            raise UserError("a function on token ids has no tokenizer for text; ask in token ids, or name a function on text")
        return self._tokenizer


def open_callable(reference: str) -> TextModel:
    """Open "package.module:name" or "path/to/file.py:name"; see the module for what may be named. Raises UserError."""
    place, colon, name = reference.rpartition(":")
    if not colon or not place or not name:
        raise UserError(f"wanted python:PACKAGE.MODULE:FUNCTION or python:FILE.py:FUNCTION, got 'python:{reference}'")
    module = _module(place)
    found = getattr(module, name, None)
    if found is None:
        raise UserError(f"python:{reference}: {place} has no {name!r}")
    if hasattr(found, "answer_log_probabilities") and not inspect.isclass(found):
        return cast(TextModel, found)
    if not callable(found):
        raise UserError(f"python:{reference}: wanted a function or a model, got {type(found).__name__}")
    count = _arguments(found)
    if count == 2:
        return CallableModel(found)
    if count == 1:
        return CallableLogits(found)
    raise UserError(
        f"python:{reference}: wanted a function of (prompts, answers), or of (tokens), got one of {count} arguments; "
        "the docstring of curriculum.models.callable_model shows both"
    )


def _module(place: str) -> ModuleType:
    try:
        if not place.endswith(".py"):
            return importlib.import_module(place)
        path = Path(place)
        if not path.is_file():
            raise UserError(f"python:{place}: there is no such file")
        specification = importlib.util.spec_from_file_location(path.stem, path)
        assert specification is not None and specification.loader is not None
        module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
        return module
    except ImportError as error:
        raise UserError(f"python:{place} cannot be imported: {error}; is it on Python's path? Or name a file") from error


def _arguments(function: Callable[..., Any]) -> int:
    """Return how many arguments must be given by place."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(function).parameters.values()
    return sum(parameter.kind in kinds and parameter.default is inspect.Parameter.empty for parameter in parameters)


def _text(tokens: Sequence[int]) -> str:
    return bytes(tokens).decode(errors="replace")


def _check_length(what: str, found: object, wanted: int) -> None:
    if not hasattr(found, "__len__") or len(found) != wanted:
        came = len(found) if hasattr(found, "__len__") else type(found).__name__
        raise UserError(f"wanted {wanted} {what} from the function, got {came}")


def _numbers(found: object, prompt: str) -> Numbers:
    """Return an answer's log-probabilities, (tokens,). Raises UserError, RunError."""
    numbers = _array(found)
    if numbers.ndim != 1 or not len(numbers):
        raise UserError(f"wanted a list of log-probabilities, one a token, for each answer, got shape {numbers.shape}")
    if np.isnan(numbers).any() or (numbers > 1e-6).any():
        raise RunError(f"the prompt that ends in {prompt[-60:]!r}: {numbers.tolist()} are no log-probabilities (at most 0)")
    return numbers


def _array(found: Any) -> Numbers:
    """Return numbers, nested lists, arrays or tensors as float64."""
    if isinstance(found, Tensor):
        found = found.detach().cpu().double().numpy()
    return np.asarray(found, dtype=np.float64)
