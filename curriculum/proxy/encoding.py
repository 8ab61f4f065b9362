"""Text of probe items -> token ids, by the tokenizer that the streams were packed with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from curriculum.mix import Mix
from curriculum.proxy.feed import stream_folder


def tokenizer_of(mix: Mix) -> Path | None:
    """Return the `tokenizer.json` of the first stream that carries one, or None if none does."""
    files = (stream_folder(name, stream) / "tokenizer.json" for name, stream in mix.streams.items())
    return next((file for file in files if file.exists()), None)


def encoder_for(mix: Mix) -> Callable[[str], list[int]] | None:
    """Return an encoder of the mix's tokenizer, or None if its streams carry none."""
    file = tokenizer_of(mix)
    if file is None:
        return None
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(file))
    return lambda text: list(tokenizer.encode(text, add_special_tokens=False).ids)
