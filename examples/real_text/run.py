"""The whole example in one command: fetch real texts, pack them, make probe items, train a checkpoint, search.

    python examples/real_text/run.py [--data FOLDER] [--domains code,drama,...] [--budget 16] [--prepare-only]

Every step recognises what is done, so running it again costs seconds. What was made lies in the data folder:
`packages/`, `text/`, `tokenizer.json`, `streams/DOMAIN/`, `probes/`, `study.yaml`, `runs/` and `mixes/`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from domains import DEFAULT_DOMAINS
from download import DATA, download
from probes import FAMILIES, DomainCount, make_probes
from study import BUDGET, make_study

from curriculum.commands.search import search
from curriculum.errors import ChangedError, CurriculumError
from curriculum.streaming.documents import Reading, find_sources, hash_file, read_texts
from curriculum.streaming.packing import PackResult, PackSettings, pack_sources
from curriculum.streaming.tokenizer import train_tokenizer

VOCABULARY = 1024
SEQUENCE_LENGTH = 64
HELDOUT = 0.08
ITEMS = 1200
SEED = 0
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """What a search over these texts needs.

    streams:  {domain: packed stream}, held-out split below it
    probes:   {family: item file}; `X-control` is the neutral control of `X`
    packs, counts:  what was packed, and what the scan of the held-out text found
    """

    streams: Mapping[str, Path]
    probes: Mapping[str, Path]
    packs: Mapping[str, PackResult]
    counts: Mapping[str, DomainCount]


def prepare(data: Path = DATA, domains: Sequence[str] = DEFAULT_DOMAINS) -> Prepared:
    """Download, pack and make probe items, as far as it is not done; say on standard error how long each step took."""
    texts = _timed("download", lambda: download(data, domains))
    tokenizer = _timed("tokenizer", lambda: shared_tokenizer(texts, data / "tokenizer.json"))
    packs = _timed("pack", lambda: pack_domains(texts, tokenizer, data / "streams"))
    streams = {name: result.folder for name, result in packs.items()}
    counts = _timed("probes", lambda: make_probes(streams, data / "probes", items=ITEMS, seed=SEED))
    probes = {family: data / "probes" / f"{family}.jsonl" for family in FAMILIES}
    return Prepared(streams=streams, probes=probes, packs=packs, counts=counts)


def shared_tokenizer(texts: Mapping[str, Path], path: Path) -> Path:
    """Train one tokenizer on the training documents of all domains, unless `path` is just that already."""
    parts = [VOCABULARY, HELDOUT, SEED, *(hash_file(text) for text in texts.values())]
    made_from = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    record = path.with_suffix(".made_from")
    if not (path.exists() and record.exists() and record.read_text() == made_from):
        train_tokenizer(_training_texts(texts), VOCABULARY, path)
        record.write_text(made_from)
    return path


def _training_texts(texts: Mapping[str, Path]) -> Iterator[str]:
    settings = _settings("all")
    for source in find_sources([str(path) for path in texts.values()]):
        yield from (text for text, _ in read_texts(source, Reading()) if not settings.held_out(text))


def _settings(name: str) -> PackSettings:
    return PackSettings(name=name, sequence_length=SEQUENCE_LENGTH, heldout=HELDOUT, seed=SEED)


def pack_domains(texts: Mapping[str, Path], tokenizer: Path, out: Path) -> dict[str, PackResult]:
    """Pack each domain as `curriculum pack` would, replacing what was packed from other texts or settings."""
    results = {}
    for name, text in texts.items():
        try:
            results[name] = pack_sources([str(text)], out / name, _settings(name), tokenizer=tokenizer)
        except ChangedError:
            results[name] = pack_sources([str(text)], out / name, _settings(name), tokenizer=tokenizer, overwrite=True)
    return results


def report(prepared: Prepared) -> str:
    """Return a table: tokens by domain, and how strongly each pulls towards induction."""
    head = f"{'domain':14}{'documents':>10}{'tokens':>11}{'samples':>9}{'held out':>10}{'conflicts':>11}{'data ratio':>12}"
    lines = [head]
    for name, result in prepared.packs.items():
        train, scan = result.train.counts, prepared.counts[name]
        lines.append(
            f"{name:14}{train.documents:>10,}{train.tokens:>11,}{train.samples:>9,}{scan.heldout_tokens:>10,}"
            f"{scan.conflicts:>11,}{scan.ratio:>12.2f}"
        )
    items = ", ".join(f"{family} {sum(1 for _ in path.open())}" for family, path in prepared.probes.items())
    return "\n".join([*lines, f"probe items: {items}"])


def _timed(step: str, work: Callable[[], Result]) -> Result:
    start = time.perf_counter()
    result = work()
    print(f"{step}: {time.perf_counter() - start:.1f} s", file=sys.stderr)
    return result


def main() -> int:
    """Prepare everything, print the table, search."""
    parser = argparse.ArgumentParser(description="Real texts: download, pack, probe items, checkpoint, search.")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--domains", default=",".join(DEFAULT_DOMAINS))
    parser.add_argument("--budget", type=int, default=BUDGET)
    parser.add_argument("--prepare-only", action="store_true")
    arguments = parser.parse_args()
    data = arguments.data.absolute()
    try:
        prepared = prepare(data, arguments.domains.split(","))
        print(report(prepared))
        return 0 if arguments.prepare_only else search_over(prepared, data, arguments.budget)
    except CurriculumError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def search_over(prepared: Prepared, data: Path, budget: int) -> int:
    """Train the checkpoint, search the order of the domains, prove it; return the exit code."""
    ratios = {name: scan.ratio for name, scan in prepared.counts.items()}
    study = _timed("checkpoint", lambda: make_study(data, prepared.streams, ratios, prepared.probes))
    return _timed("search", lambda: search(study, budget=budget, runs=data / "runs", out=data / "mixes"))


if __name__ == "__main__":
    sys.exit(main())
