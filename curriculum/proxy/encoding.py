"""Text of probe items -> token ids, by the tokenizer that the streams were packed with."""

from __future__ import annotations

from collections.abc import Callable

from curriculum.mix import Mix
from curriculum.proxy.feed import stream_folder


def encoder_for(mix: Mix) -> Callable[[str], list[int]] | None:
    """Return an encoder from the first stream that carries its `tokenizer.json`, or None if none does."""
    for name, stream in mix.streams.items():
        path = stream_folder(name, stream) / "tokenizer.json"
        if path.exists():
            from tokenizers import Tokenizer

            tokenizer = Tokenizer.from_file(str(path))
            return lambda text: list(tokenizer.encode(text).ids)
    return None
