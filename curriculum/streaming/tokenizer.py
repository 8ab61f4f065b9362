"""Tokenizers: train a byte-level BPE, or load one, and encode text into token ids without loss.

Idea: one tokenizer file serves all streams of a mix, and its hash stands in every manifest. Bytes are the alphabet, so
any text can be encoded and decoded back exactly; nothing is normalised. The alternative, SentencePiece with a unigram
model, packs a little tighter but loses white space unless configured with care. The price of small byte-level
vocabularies is more tokens a byte.

A text that happens to contain "<|endoftext|>" is encoded as ordinary characters, so the end-of-text id stands for the
end of a document and for nothing else.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from curriculum.errors import DataError, UserError

END_OF_TEXT = "<|endoftext|>"
# The end-of-document token of the families people load: GPT-2 and NeoX, Llama 3, OLMo, Llama 2, T5, Gemma, Qwen, BERT.
KNOWN_ENDS = (END_OF_TEXT, "<|end_of_text|>", "</s>", "<eos>", "<|im_end|>", "[SEP]")
SMALLEST_VOCABULARY = 257  # 256 bytes and the end of text
Tokens = NDArray[np.unsignedinteger[Any]]  # uint16 or uint32


@dataclass(frozen=True, kw_only=True, slots=True)
class TextTokenizer:
    """A loaded tokenizer: `vocabulary` ids from 0, the id of the end of text (if it has one), its file's SHA-256."""

    tokenizer: Tokenizer
    vocabulary: int
    end_of_text: int | None
    sha256: str

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger[Any]]:
        """The smallest of uint16 and uint32 that holds every id."""
        return np.dtype(np.uint16) if self.vocabulary <= 1 << 16 else np.dtype(np.uint32)

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """Return the ids of each text, without special tokens, in `dtype`."""
        encodings = self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.asarray(encoding.ids, dtype=self.dtype) for encoding in encodings]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`, special tokens spelled out."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=False))


def train_tokenizer(texts: Iterable[str], vocabulary: int, path: Path) -> Path:
    """Train a byte-level BPE of at most `vocabulary` ids on `texts` and write it to `path` (tokenizer.json).

    The same texts in the same order give the same file. Id 0 is the end of text. Few texts may give fewer ids.
    Raises UserError for a vocabulary below 257, DataError if there is no text.
    """
    if vocabulary < SMALLEST_VOCABULARY:
        raise UserError(f"wanted a vocabulary of at least {SMALLEST_VOCABULARY} (256 bytes, end of text), got {vocabulary}")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_counted(texts), trainer)
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    tokenizer.save(str(partial))
    partial.replace(path)
    return path


def load_tokenizer(path: Path, end_token: str | None = None) -> TextTokenizer:
    """Load a `tokenizer.json`, or the one in folder `path`; `end_token` names its end of text if it is none we know.

    Truncation, padding and special tokens that the file may ask for are switched off: they would change the data.
    Raises DataError if the file is missing or no tokenizer, or has no token `end_token`.
    """
    file = path / "tokenizer.json" if path.is_dir() else path
    if not file.is_file():
        raise DataError(f"no tokenizer at {file}: give a tokenizer.json, or 'train' to train one on the data")
    raw = file.read_bytes()
    try:
        tokenizer = Tokenizer.from_buffer(raw)
    except Exception as error:  # the library raises bare Exception and ValueError
        raise DataError(f"{file}: not a tokenizer.json of the tokenizers library ({error})") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    return TextTokenizer(
        tokenizer=tokenizer,
        vocabulary=1 + max(tokenizer.get_vocab(with_added_tokens=True).values(), default=0),
        end_of_text=_end_of_text(tokenizer, end_token, file),
        sha256=hashlib.sha256(raw).hexdigest(),
    )


def _end_of_text(tokenizer: Tokenizer, end_token: str | None, file: Path) -> int | None:
    if end_token is None:
        ids = (tokenizer.token_to_id(token) for token in KNOWN_ENDS)
        return next((id_ for id_ in ids if id_ is not None), None)
    id_ = tokenizer.token_to_id(end_token)
    if id_ is None:
        raise DataError(f"{file} has no token {end_token!r} to end a text with")
    return int(id_)


def _counted(texts: Iterable[str]) -> Iterable[str]:
    """Pass texts through; raise DataError at the end if there were none (training would give a bare alphabet)."""
    found = False
    for text in texts:
        found = found or bool(text)
        yield text
    if not found:
        raise DataError("no text to train a tokenizer on: the sources hold no documents outside the held-out split")
