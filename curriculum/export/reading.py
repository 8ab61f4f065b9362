"""Other trainers' mixes as a mix to start from: LLM-Foundry, OLMo-core, Megatron, RegMix.

Idea: such files hold names, weights and places, seldom lengths; what a mix needs besides is asked for by the option that
gives it. Files are read with the line-keeping YAML of mix files, so that what cannot be read is said at its line, and
keys that are not the mix's business (models, optimizers) are passed over. Stages of LLM-Foundry's callback become phases.
What is the mix's business and cannot be said in one is a note, so that nothing is dropped in silence. The price: values
that other programs compute (${variables}, globs over folders) are not computed here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import ROUND_CEILING, Decimal
from pathlib import Path
from typing import Any

from curriculum.errors import FileError, UserError
from curriculum.export.places import given_place
from curriculum.mix import Document, Mix, Node, Phase, Stream
from curriculum.mix.fields import nearest

_DURATION = re.compile(r"([0-9][0-9_]*)(tok|ep|sp|ba)")
_FOUNDRY_KEYS = ("remote", "local", "split")


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """What a file may leave open: the run's samples, tokens a sample, places of streams by name ("*": all others)."""

    samples: int | None = None
    sequence_length: int | None = None
    places: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Imported:
    """A mix that was read, and in sentences what its file says of it that a mix cannot say."""

    mix: Mix
    notes: tuple[str, ...] = ()


def read_mix_of(source: str, path: Path, given: Given) -> Imported:
    """Return the mix that `path` holds in the format `source`. Raises FileError with file and line, UserError."""
    if source not in FORMATS:
        raise UserError(f"--from {source!r}: no such format{nearest(source, FORMATS)}; formats: {', '.join(FORMATS)}")
    return FORMATS[source](path, given)


def _read_llm_foundry(path: Path, given: Given) -> Imported:
    root = Document.load(path).root
    loader = _below(root, "train_loader", "dataset", "streams")
    streams = {name: _foundry_stream(name, node, given) for name, node in loader.items().items()}
    length = given.sequence_length or _optional_count(root, "max_seq_len")
    stages = _foundry_stages(root, loader)
    names = tuple(streams)
    weights = [_foundry_weights(node, names) for _, node in stages]
    ends = _ends([_duration(node) for node, _ in stages if node is not None], root)
    with loader.blame():
        phases = tuple(Phase(weights=each, until=end) for each, end in zip(weights, ends, strict=True))
    samples = given.samples or _foundry_samples(root, length)
    return _mix(root, path, streams, phases, samples)


def _foundry_stages(root: Node, first: Node) -> list[tuple[Node | None, Node]]:
    """Return (duration, streams) of every stage; a file without the callback has one, as long as the run."""
    callback = root.find(("callbacks", "curriculum_learning"))
    if callback.trail != ("callbacks", "curriculum_learning"):
        return [(None, first)]
    stages: list[tuple[Node | None, Node]] = [(_below(callback, "duration"), first)]
    for entry in _below(callback, "schedule").list():
        stages.append((_below(entry, "duration"), _below(entry, "dataset", "streams")))
    return stages


def _foundry_stream(name: str, node: Node, given: Given) -> Stream:
    section = node.items()
    place = given_place(given.places, name)
    if place is not None:
        return Stream(local=place)
    fields = {key: section[key] for key in _FOUNDRY_KEYS if key in section and not section[key].is_null}
    split = fields.pop("split", None)
    places = {key: _place(entry) for key, entry in fields.items()}
    with node.blame():
        return Stream(remote=places.get("remote"), local=places.get("local"), split=None if split is None else split.text())


def _place(node: Node) -> str:
    if "${" in node.text():
        raise node.fail(f"{node.text()!r} is computed elsewhere; write the place out, or give it with --path NAME=PLACE")
    return node.location()


def _foundry_weights(node: Node, names: tuple[str, ...]) -> dict[str, Decimal]:
    """Return a stage's weights: `proportion`, or `choose`, the number of samples."""
    found: dict[str, Decimal] = {}
    for name, entry in node.items().items():
        if name not in names:
            raise entry.fail(f"the first stage has no such stream{nearest(name, names)}; its streams: {', '.join(names)}")
        section = entry.items()
        keys = [key for key in ("proportion", "choose") if key in section]
        if "repeat" in section or len(keys) != 1:
            raise entry.fail(
                "wanted `proportion` or `choose`, which say how much of the stream is played; repeat depends on its size"
            )
        found[name] = section[keys[0]].decimal()
    return {name: found.get(name, Decimal(0)) for name in names}


def _duration(node: Node) -> tuple[int, str]:
    match = _DURATION.fullmatch(node.text())
    if match is None:
        raise node.fail(f"wanted a duration such as 1000000tok or 2ep, got {node.text()!r}")
    return int(match[1].replace("_", "")), match[2]


def _ends(durations: list[tuple[int, str]], root: Node) -> list[Decimal]:
    """Return where stages end, as fractions of the run with 12 places; [1] without durations."""
    if not durations:
        return [Decimal(1)]
    if len({unit for _, unit in durations}) > 1:
        raise root.find(("callbacks", "curriculum_learning", "schedule")).fail("wanted all durations in one unit")
    total, sofar, found = sum(length for length, _ in durations), 0, []
    for length, _ in durations:
        sofar += length
        found.append(Decimal(1) if sofar == total else round(Decimal(sofar) / Decimal(total), 12))
    return found


def _foundry_samples(root: Node, length: int | None) -> int:
    node = root.find(("max_duration",))
    if node.trail:
        amount, unit = _duration(node)
        if unit == "tok" and length is not None:
            return amount // length
    raise root.fail(
        "how many samples has the run? The file says it in tokens with max_duration: NNNtok and max_seq_len; "
        "add --samples NUMBER (or --sequence-length, if max_duration is in tokens)"
    )


def _read_olmo_core(path: Path, given: Given) -> Imported:
    root = Document.load(path).root
    node, holder = _olmo_sources(root)
    length = given.sequence_length or _optional_count(root, "sequence_length")
    if length is None:
        raise root.fail("OLMo-core's files do not say how long a sample is; add --sequence-length NUMBER")
    streams: dict[str, Stream] = {}
    weights: dict[str, Decimal] = {}
    notes: list[str] = []
    for entry in node.list():
        section = entry.items()
        name = _below(entry, "source_name").text()
        if name in streams:
            raise section["source_name"].fail(f"a second source {name!r}; names must differ")
        weights[name] = _below(entry, "target_ratio").decimal()
        limit = _olmo_limit(section)
        epochs = int(limit.to_integral_value(ROUND_CEILING))
        streams[name] = replace(_olmo_stream(name, entry, length, given), max_epochs=epochs)
        notes += [_rounded_limit(name, limit, epochs)] if limit != epochs else []
    tokens = _optional_count(holder, "requested_tokens")
    samples = given.samples or (tokens // length if tokens else None)
    if samples is None:
        raise root.fail("how many samples has the run? The file says it with requested_tokens; add --samples NUMBER")
    _check_ratios(node, weights)
    return _mix(root, path, streams, (Phase(weights=weights, until=Decimal(1)),), samples, notes)


def _olmo_sources(root: Node) -> tuple[Node, Node]:
    """Return the list of sources, and the mapping that says how many tokens are requested."""
    if not root.is_mapping:
        return root, root
    for trail in ((), ("source_mixture_config",), ("dataset", "source_mixture_config"), ("dataset",)):
        for keys in (("source_list", "sources"), ("sources",)):
            node = root.find((*trail, *keys))
            if node.trail == (*trail, *keys):
                return node, root.find(trail)
    raise root.fail("no list of sources found; wanted `sources:`, or `source_list: {sources: ...}`")


def _olmo_limit(section: Mapping[str, Node]) -> Decimal:
    """Return how many times its own tokens OLMo-core lets a source give: once, if the file does not say otherwise."""
    repetition, fraction = (section.get(key) for key in ("max_repetition_ratio", "max_source_fraction"))
    times, part = (Decimal(1) if node is None else node.decimal() for node in (repetition, fraction))
    if repetition is not None and times < 1:
        raise repetition.fail(f"wanted at least 1, got {times}; a part of the source is said by max_source_fraction")
    if fraction is not None and not 0 < part <= 1:
        raise fraction.fail(f"wanted a share above 0 and at most 1, got {part}")
    return times * part


def _rounded_limit(name: str, limit: Decimal, epochs: int) -> str:
    part = ", or play a part of it with subset: SAMPLES" if limit < 1 else ""
    return (
        f"stream {name!r}: OLMo-core plays at most {limit:f} times its tokens, and max_epochs is a whole number, here {epochs}"
        f"; lower the stream's weight if the run comes to more{part}"
    )


def _olmo_stream(name: str, entry: Node, length: int, given: Given) -> Stream:
    place = given_place(given.places, name)
    if place is not None:
        return Stream(local=place, format="npy", sequence_length=length)
    paths = _below(entry, "paths").list()
    if len(paths) != 1:
        raise entry.fail(
            f"source {name!r} has {len(paths)} paths and a stream has one place; put them in one folder: --path {name}=FOLDER"
        )
    text = paths[0].text()
    folder = re.fullmatch(r"(.*)/\*(\.npy)?", text)
    if folder is None and "*" in text:
        raise paths[0].fail(f"{text!r} is a pattern over several folders; give one folder: --path {name}=FOLDER")
    with entry.blame():
        return Stream(local=folder[1] if folder else _place(paths[0]), format="npy", sequence_length=length)


def _check_ratios(node: Node, weights: Mapping[str, Decimal]) -> None:
    total = sum(weights.values(), Decimal(0))
    if abs(total - 1) > Decimal("0.001"):
        raise node.fail(f"target_ratio of all sources must add up to 1, got {total}")


def _read_megatron(path: Path, given: Given) -> Imported:
    """Read `WEIGHT PREFIX` pairs, over any number of lines, as --data-args-path and --data-path take them."""
    words = _words(path)
    if given.sequence_length is None or given.samples is None:
        missing = "--sequence-length" if given.sequence_length is None else "--samples"
        raise FileError(f"Megatron's list of data says neither length; add {missing} NUMBER", path=path)
    if len(words) % 2:
        raise FileError(
            f"wanted pairs of a weight and a prefix, got {len(words)} words; without weights Megatron mixes by size, "
            "which needs the data: write the weights",
            path=path,
            line=words[-1][1],
        )
    streams: dict[str, Stream] = {}
    weights: dict[str, Decimal] = {}
    for (weight, line), (prefix, _) in zip(words[::2], words[1::2], strict=True):
        name = _megatron_name(prefix, streams)
        weights[name] = _megatron_weight(weight, path, line)
        place = given_place(given.places, name) or prefix
        streams[name] = Stream(local=place, format="megatron", sequence_length=given.sequence_length)
    phase = Phase(weights=weights, until=Decimal(1))
    provenance = {"imported from": path.name}
    return Imported(mix=Mix(name=path.stem, streams=streams, phases=(phase,), samples=given.samples, provenance=provenance))


def _words(path: Path) -> list[tuple[str, int]]:
    """Return the file's words with their lines; a leading --data-path is passed over."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise FileError("no such file", path=path) from None
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"cannot be read as text: {error}", path=path) from None
    words = [(word, number) for number, line in enumerate(lines, start=1) for word in line.split() if word != "\\"]
    words = words[1:] if words and words[0][0] == "--data-path" else words
    if not words:
        raise FileError("wanted pairs of a weight and a prefix, the file is empty", path=path, line=1)
    return words


def _megatron_weight(text: str, path: Path, line: int) -> Decimal:
    if not re.fullmatch(r"[0-9]+(\.[0-9]*)?([eE]-?[0-9]{1,2})?|\.[0-9]+", text):
        raise FileError(f"wanted a weight before each prefix, got {text!r}", path=path, line=line)
    return Decimal(text)


def _megatron_name(prefix: str, taken: Mapping[str, Any]) -> str:
    """Return a stream's name: the prefix's last part without Megatron's ending, with its folder if that name is taken."""
    parts = Path(prefix.removesuffix(".bin")).parts
    name = parts[-1].removesuffix("_text_document").removesuffix("_document") or parts[-1]
    if name in taken and len(parts) > 1:
        name = f"{parts[-2]}-{name}"
    number, base = 2, name
    while name in taken:
        name, number = f"{base}-{number}", number + 1
    return name


def _read_regmix(path: Path, given: Given) -> Imported:
    root = Document.load(path).root
    section = _below(root, "train")
    weights = {name.removeprefix("train_"): node.decimal() for name, node in section.items().items()}
    if given.samples is None:
        raise root.fail("RegMix's files do not say how long the run is; add --samples NUMBER")
    streams = {}
    for name in weights:
        place = given_place(given.places, name)
        if place is None:
            raise section.fail(f"RegMix's files do not say where domain {name!r} lies; add --path '*=/data/{{stream}}'")
        streams[name] = Stream(local=place)
    with section.blame():
        phase = Phase(weights=weights, until=Decimal(1))
    return _mix(root, path, streams, (phase,), given.samples)


def _mix(
    root: Node,
    path: Path,
    streams: Mapping[str, Stream],
    phases: tuple[Phase, ...],
    samples: int,
    notes: Sequence[str] = (),
) -> Imported:
    provenance = {"imported from": path.name}
    with root.blame():
        mix = Mix(name=path.stem, streams=streams, phases=phases, samples=samples, provenance=provenance)
    return Imported(mix=mix, notes=tuple(notes))


def _below(node: Node, *keys: str) -> Node:
    """Return the node at `keys` below this one. Raises FileError at the deepest line there is."""
    found = node.find(keys)
    if found.trail != (*node.trail, *keys):
        missing = ".".join(keys[len(found.trail) - len(node.trail) :])
        raise found.fail(f"missing: {missing}")
    return found


def _optional_count(node: Node, key: str) -> int | None:
    found = node.find((key,))
    if found.trail != (*node.trail, key) or found.is_null:
        return None
    if "${" in found.text():
        return None
    return found.count(1)


FORMATS: Mapping[str, Callable[[Path, Given], Imported]] = {
    "llm-foundry": _read_llm_foundry,
    "olmo-core": _read_olmo_core,
    "megatron": _read_megatron,
    "regmix": _read_regmix,
}
