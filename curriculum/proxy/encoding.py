"""Text of probe items -> token ids, by the tokenizer that the streams were packed with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from curriculum.errors import UserError
from curriculum.mix import Mix
from curriculum.probe.specification import ProbeSpecification
from curriculum.proxy.folders import stream_folder


def tokenizer_of(mix: Mix) -> Path | None:
    """Return the `tokenizer.json` of the first stream that carries one, or None if none does."""
    files = (stream_folder(name, stream) / "tokenizer.json" for name, stream in mix.streams.items())
    return next((file for file in files if file.exists()), None)


def encoder_for(mix: Mix) -> Callable[[str], list[int]] | None:
    """Return an encoder of the mix's tokenizer, or None if its streams carry none."""
    file = tokenizer_of(mix)
    return None if file is None else encoder_of_file(file)


def encoder_of_file(file: Path) -> Callable[[str], list[int]]:
    """Return an encoder of a `tokenizer.json`, as packing uses it: no special tokens, nothing cut. Raises DataError."""
    from curriculum.streaming.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(file)
    return lambda text: tokenizer.encode([text])[0].tolist()


def check_vocabulary(probes: Sequence[ProbeSpecification], mix: Mix) -> None:
    """Refuse the testbed's probes, which speak its vocabulary, where streams are others. Raises UserError."""
    probe = next((probe.name for probe in probes if probe.speaks_testbed), None)
    foreign = [name for name, stream in mix.streams.items() if not str(stream.local).startswith("testbed:")]
    if probe is not None and foreign:
        raise UserError(
            f"probe {probe!r} is built in for the testbed, but stream {foreign[0]!r} is your own; name a study whose probes "
            "were made for your streams (for `curriculum run`: --study FILE)"
        )
