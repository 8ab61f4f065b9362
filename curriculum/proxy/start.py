"""Does a checkpoint speak the language of the streams that a run begins to play from it?

Idea: token ids mean nothing without their tokenizer. A checkpoint carries the tokenizer of the streams it was trained on, so
the two files are compared, with vocabulary and context, before anything is trained: another tokenizer of as many ids loads
without a word, and the run would begin from noise. Alternative: a hash in the run's record (found when it is too late). The
price: the files are compared byte by byte, so that a tokenizer that was merely written anew is refused too; a checkpoint or
streams without one (the embedded testbeds have none) are compared by numbers alone.
"""

from __future__ import annotations

import json
from pathlib import Path

from curriculum.errors import UserError
from curriculum.mix import Mix
from curriculum.proxy.checkpoint import SHAPE_FILE, TOKENIZER_FILE
from curriculum.proxy.encoding import tokenizer_of
from curriculum.proxy.feed import vocabulary_of
from curriculum.proxy.run import digest_of_file

_SHOWN = 12  # hexadecimal digits of a hash


def check_start(start: Path | None, mix: Mix, *, context: int | None) -> None:
    """Refuse a checkpoint (None: no checkpoint) of another tokenizer, vocabulary or context than a run on `mix` has.

    `context` is the run's, in tokens; None where it is not known yet. A checkpoint that cannot be read is left to whoever
    loads it. Raises UserError; DataError for streams that state no vocabulary.
    """
    if start is None:
        return
    _check_tokenizer(start / TOKENIZER_FILE, tokenizer_of(mix))
    found = _numbers_of(start)
    for what, wanted in (("vocabulary", vocabulary_of(mix)), ("context", context)):
        if what in found and wanted is not None and found[what] != wanted:
            raise UserError(
                f"start {start}: its {what} is of {found[what]} tokens, the run's of {wanted}; begin from a checkpoint that "
                "was trained on streams packed as these are (tokenizer and sequence length)"
            )


def _check_tokenizer(of_start: Path, of_streams: Path | None) -> None:
    if of_streams is None or not of_start.exists():
        return
    found, wanted = digest_of_file(of_start), digest_of_file(of_streams)
    if found != wanted:
        raise UserError(
            f"start {of_start.parent}: it was trained with another tokenizer (SHA-256 {found[:_SHOWN]}) than the streams were "
            f"packed with ({of_streams}, {wanted[:_SHOWN]}), so that its token ids mean other text; begin from a checkpoint of "
            f"this tokenizer, or pack the streams with that one: curriculum pack --tokenizer {of_start}"
        )


def _numbers_of(start: Path) -> dict[str, int]:
    try:
        return {name: int(json.loads((start / SHAPE_FILE).read_text())[name]) for name in ("vocabulary", "context")}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
