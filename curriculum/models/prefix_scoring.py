"""Log-probabilities of given answers, with everything that begins alike read once.

Idea: a prefix common to many prompts is read once, every prompt once after it, every answer once after its prompt, in
batches by length. A prompt with a single continuation is read together with it. Where a sequence is too long for keys and
values to be reused (`Reader.reusable`), prompt and answer are read whole, still once for what is equal. Alternatives: all
candidate answers behind their prompt in one row under a mask that hides them from one another (fewer passes, but few
networks take such masks). The price: keys and values of a batch of prompts are held until their answers have been read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from curriculum.errors import RunError, UserError
from curriculum.models.key_values import KeyValues
from curriculum.models.reader import Place, Reader
from curriculum.models.sequences import Group, Limits, Tokens, batches, shared_prefixes
from curriculum.probe.model import Numbers

_LOGITS = 2**27  # logits held at once: half a gigabyte in float32
_SHOWN = 12  # tokens of a prompt that an error quotes
_ROWS_TO_CONTINUE = 4  # times the tokens of a batch: of rows whose past is held or expanded beside them


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Read:
    """Log-probabilities to look up in a row: those of `tokens`, each at the place before it, from `position` on."""

    into: Numbers
    tokens: Tokens
    position: int


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Row:
    """Tokens to read after row `parent` of what was read before, and what is looked up there; `prompt` is its number."""

    tokens: Tokens
    reads: tuple[_Read, ...]
    prompt: int
    parent: int = 0

    @property
    def places(self) -> list[int]:
        """The positions whose logits are wanted."""
        return sorted({read.position + step for read in self.reads for step in range(len(read.tokens))})


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Asked:
    """A prompt, where it was asked first, and an array for every different answer to it, to be filled."""

    number: int
    prompt: Tokens
    answers: dict[Tokens, Numbers]

    def continuations(self) -> list[Tokens]:
        """Return what must be read after the prompt: all but the last token of every answer, each once."""
        return sorted({answer[:-1] for answer in self.answers if len(answer) > 1})

    def longest(self) -> int:
        """Return the length of the longest sequence that is read; an answer's last token never is."""
        return len(self.prompt) + max(len(answer) for answer in self.answers) - 1


def answer_log_probabilities(
    reader: Reader,
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[Sequence[int]]],
    *,
    batch_tokens: int,
    spell: Callable[[Tokens], str],
) -> list[list[Numbers]]:
    """Return what `AnswerModel.answer_log_probabilities` promises.

    `batch_tokens` are read in one pass at most, padding included. `spell` gives the text of tokens, for errors.
    """
    asked = _merged(prompts, answers, reader)
    limits = Limits(rows=batch_tokens, tokens=batch_tokens, reads=max(1, _LOGITS // reader.vocabulary))
    _Scorer(reader, list(asked.values()), limits, spell).run()
    return [
        [asked[tuple(prompt)].answers[tuple(answer)].copy() for prompt, answer in zip(prompts, candidate, strict=True)]
        for candidate in answers
    ]


def _merged(
    prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[Sequence[int]]], reader: Reader
) -> dict[Tokens, _Asked]:
    """Return every different prompt once, with every different answer to it. Raises UserError for what cannot be read."""
    asked: dict[Tokens, _Asked] = {}
    for candidate in answers:
        for number, (prompt, answer) in enumerate(zip(prompts, candidate, strict=True)):
            check_fit(number, prompt, answer, context=reader.context, vocabulary=reader.vocabulary)
            one = asked.setdefault(tuple(prompt), _Asked(number=number, prompt=tuple(prompt), answers={}))
            one.answers.setdefault(tuple(answer), np.empty(len(answer)))
    return asked


def check_fit(number: int, prompt: Sequence[int], answer: Sequence[int], *, context: int, vocabulary: int) -> None:
    """Raise UserError when a prompt or answer is empty, too long for `context`, or holds ids beyond `vocabulary`."""
    if not prompt or not answer:
        raise UserError(
            f"prompt {number}: wanted a prompt and an answer of at least one token each, got {len(prompt)} and {len(answer)}"
        )
    length = len(prompt) + len(answer) - 1  # the last token is predicted, never read
    if length > context:
        raise UserError(
            f"prompt {number}: {len(prompt)} tokens and an answer of {len(answer)} do not fit the model's context of "
            f"{context}; show fewer demos, or choose a model that reads more"
        )
    highest = max(*prompt, *answer)
    if highest >= vocabulary:
        raise UserError(
            f"prompt {number}: token {highest} is not in the model's vocabulary of {vocabulary}; use its own tokenizer"
        )


class _Scorer:
    def __init__(self, reader: Reader, asked: Sequence[_Asked], limits: Limits, spell: Callable[[Tokens], str]) -> None:
        self._reader, self._asked, self._limits, self._spell = reader, asked, limits, spell

    def run(self) -> None:
        """Fill the arrays of all that was asked."""
        reusable = [number for number, one in enumerate(self._asked) if one.longest() <= self._reader.reusable]
        whole = sorted({*range(len(self._asked))} - {*reusable})
        for group in shared_prefixes([self._asked[number].prompt for number in reusable]):
            self._run_group(replace(group, members=tuple(reusable[member] for member in group.members)))
        rest = [row for number in whole for row in _whole_rows(number, self._asked[number])]
        for rows, places in self._batches(rest, past=0):
            self._fill(rows, self._reader.extend([row.tokens for row in rows], places))

    def _run_group(self, group: Group) -> None:
        """Read a group's prefix, then its prompts, then their answers."""
        before = None
        if group.shared:
            prefix = self._asked[group.members[0]].prompt[: group.shared]
            _, before = self._reader.begin([prefix], [Place(row=0, position=0)])
        firsts = [_first_row(number, self._asked[number], group.shared) for number in group.members]
        for rows, places in self._batches(firsts, past=group.shared):
            later = [row for parent, first in enumerate(rows) for row in _later_rows(parent, first, self._asked[first.prompt])]
            tokens = [row.tokens for row in rows]
            if later:
                logits, found = self._reader.begin(tokens, places, before=before)
                self._fill(rows, logits)
                self._continue(later, found)
            else:
                self._fill(rows, self._reader.extend(tokens, places, past=before, rows=[0] * len(rows)))

    def _continue(self, rows: Sequence[_Row], found: KeyValues) -> None:
        longest = max(found.length(row) for row in range(len(found.lengths)))
        for batch, places in self._batches(rows, past=longest):
            tokens, parents = [row.tokens for row in batch], [row.parent for row in batch]
            self._fill(batch, self._reader.extend(tokens, places, past=found, rows=parents))

    def _batches(self, rows: Sequence[_Row], *, past: int) -> Iterator[tuple[list[_Row], list[Place]]]:
        """Yield rows in batches, and the places wanted; `past` is how many tokens each row continues."""
        most = self._limits.rows * _ROWS_TO_CONTINUE // past if past else self._limits.rows
        lengths, reads = [len(row.tokens) for row in rows], [len(row.places) for row in rows]
        for batch in batches(lengths, reads, replace(self._limits, rows=max(1, most))):
            chosen = [rows[index] for index in batch]
            yield chosen, [Place(row=number, position=position) for number, row in enumerate(chosen) for position in row.places]

    def _fill(self, rows: Sequence[_Row], logits: Tensor) -> None:
        """Look every read up in `logits`, (places of all rows in turn, vocabulary)."""
        places: list[int] = []
        tokens: list[int] = []
        owners: list[int] = []
        into: list[Numbers] = []
        offset = 0
        for row in rows:
            column = {position: offset + index for index, position in enumerate(row.places)}
            offset += len(column)
            for read in row.reads:
                into.append(read.into)
                places += [column[read.position + step] for step in range(len(read.tokens))]
                tokens += read.tokens
                owners += [row.prompt] * len(read.tokens)
        found = _log_probabilities(logits, places, tokens)
        broken = np.flatnonzero(np.isnan(found))
        if len(broken):
            raise self._not_a_number(owners[broken[0]])
        start = 0
        for array in into:
            array[:] = found[start : start + len(array)]
            start += len(array)

    def _not_a_number(self, asked: int) -> RunError:
        one = self._asked[asked]
        return RunError(
            f"prompt {one.number}, which ends in {self._spell(one.prompt[-_SHOWN:])!r}: the model's logits are not numbers; "
            "is it trained, and loaded in a number format that holds its activations (bfloat16 or float32)?"
        )


def _whole_rows(number: int, asked: _Asked) -> list[_Row]:
    """Return one row a continuation, prompt and all; answers of one token are looked up in the first."""
    rows = []
    last = len(asked.prompt) - 1
    for index, continuation in enumerate(asked.continuations() or [()]):
        reads = [
            _Read(into=into, tokens=answer, position=last)
            for answer, into in asked.answers.items()
            if answer[:-1] == continuation or (len(answer) == 1 and index == 0)
        ]
        rows.append(_Row(tokens=asked.prompt + continuation, reads=tuple(reads), prompt=number))
    return rows


def _first_row(number: int, asked: _Asked, shared: int) -> _Row:
    """Return what a prompt adds to its group's prefix, with its continuation if it has only one."""
    continuations = asked.continuations()
    if len(continuations) <= 1:
        (row,) = _whole_rows(number, asked)
        reads = tuple(replace(read, position=read.position - shared) for read in row.reads)
        return replace(row, tokens=row.tokens[shared:], reads=reads)
    last = len(asked.prompt) - 1 - shared
    first_tokens = tuple(_Read(into=into[:1], tokens=answer[:1], position=last) for answer, into in asked.answers.items())
    return _Row(tokens=asked.prompt[shared:], reads=first_tokens, prompt=number)


def _later_rows(parent: int, first: _Row, asked: _Asked) -> list[_Row]:
    """Return one row a continuation of a prompt that has several; `parent` is the prompt's row in its batch."""
    continuations = asked.continuations()
    if len(continuations) <= 1:
        return []
    return [
        _Row(
            tokens=continuation,
            reads=tuple(
                _Read(into=into[1:], tokens=answer[1:], position=0)
                for answer, into in asked.answers.items()
                if answer[:-1] == continuation
            ),
            prompt=first.prompt,
            parent=parent,
        )
        for continuation in continuations
    ]


def _log_probabilities(logits: Tensor, places: Sequence[int], tokens: Sequence[int]) -> Numbers:
    """Return the log-probability of each token at its place."""
    rows = torch.tensor(list(places), device=logits.device)
    columns = torch.tensor(list(tokens), device=logits.device)
    found = logits[rows, columns] - torch.logsumexp(logits, dim=-1)[rows]
    numbers: Numbers = found.cpu().numpy().astype(np.float64)
    return numbers
