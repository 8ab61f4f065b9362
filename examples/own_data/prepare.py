"""From texts, or packed streams, to a study: probe items out of held-out text, a static mix, a study file.

    python examples/own_data/prepare.py texts/*.jsonl [--out .] [--samples 4096] [--items 150]
    python examples/own_data/prepare.py data/code data/docstrings data/manual

    OUT/data/NAME       each file as a stream, 15 % of its documents held out, all with one tokenizer (that of OUT/data/all)
    OUT/probes/         induction items and their neutral controls (see examples/real_text/probes.py)
    OUT/mixes/static.yaml   the streams by size, from beginning to end: what a search must beat
    OUT/study.yaml      the search of their order, ready for `curriculum search`

Folders are taken as `curriculum pack` left them: one tokenizer for all, samples of 64 tokens. What it writes is plain YAML and
JSONL, to be read and changed. Of short texts little is held out, which gives too few items: pack them with more `--heldout`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path

from curriculum.errors import CurriculumError, UserError
from curriculum.mix import Mix, Phase, Stream
from curriculum.streaming.packing import PackSettings, pack_sources

sys.path.insert(0, str(Path(__file__).parents[1] / "real_text"))

from probes import DomainCount, make_probes

BATCH, READINGS = 32, 8
VOCABULARY, HELDOUT = 1024, 0.15
STUDY = """\
# Made by examples/own_data/prepare.py; every key is explained in docs/reference/study.md.
version: 1
name: mine
seed: 1
streams:
{streams}
length: {{samples: {samples}}}
exposure: fixed            # every curriculum plays the same samples; only their order is searched
proxy: {{layers: 2, width: 64, heads: 2, batch: {batch}, learning_rate: 0.003, schedule: cosine, readings: {readings},
        induction_initialisation: true}}
probes:
  - {{name: natural, family: natural, floor: 0, items: {items},
     file: probes/natural.jsonl, control: probes/natural-control.jsonl}}
# controls: {{favour: [{favour}]}}  # three hand-made curricula more (it pulls most towards its context); 30 runs more, too
space: {{knots: 4, shape: steps, rank: 1}}
objective: {{metric: area, subject_to: [loss], burn_in: 0.2, common_tail: 0.2}}
search: {{finalists: 1, finalist_seeds: 10, candidates: 2, repeats: 1, reference_seeds: 2}}
"""


def prepare(folders: Mapping[str, Path], out: Path, *, samples: int, items: int) -> Path:
    """Write probes, mix and study; return the study's path. Raises DataError for too little held-out text, UserError."""
    if samples % (BATCH * READINGS):
        raise UserError(f"--samples: wanted a multiple of {BATCH * READINGS} (batch x readings), got {samples}")
    # The search sees `items` of them and the proof as many fresh ones; a share of the streams may round down.
    scans = make_probes(folders, out / "probes", items=2 * items + len(folders))
    streams = {name: Stream(local=str(folder)) for name, folder in folders.items()}
    sizes = {name: Decimal(len_of(folder)) for name, folder in folders.items()}
    Mix(name="static", streams=streams, phases=(Phase(until=Decimal(1), weights=sizes),), samples=samples).dump(
        out / "mixes" / "static.yaml"
    )
    study = out / "study.yaml"
    study.write_text(study_text(folders, out, scans, samples=samples, items=items))
    return study


def as_streams(places: Sequence[Path], data: Path) -> dict[str, Path]:
    """Return the folder of each stream by its name; files are packed below `data`, unless they are there. Raises UserError."""
    if all(place.is_dir() for place in places):
        return {place.absolute().name: place.absolute() for place in places}
    if any(place.is_dir() for place in places):
        raise UserError("wanted folders of packed streams or files of text, got some of both; pack all, or none")
    tokenizer = pack_sources([str(place) for place in places], data / "all", settings("all"), tokenizer="train")
    shared = tokenizer.folder / "tokenizer.json"
    packed = {place.name.partition(".")[0]: place for place in places}
    for name, place in packed.items():
        print(f"packing {place}", file=sys.stderr)
        pack_sources([str(place)], data / name, settings(name), tokenizer=shared)
    return {name: data / name for name in packed}


def settings(name: str) -> PackSettings:
    """Return how a source is packed."""
    return PackSettings(name=name, vocabulary=VOCABULARY, heldout=HELDOUT)


def len_of(folder: Path) -> int:
    """Return how many samples a packed stream has for training."""
    from curriculum.streaming.manifest import read_manifest

    return read_manifest(folder).counts.samples


def study_text(folders: Mapping[str, Path], out: Path, scans: Mapping[str, DomainCount], *, samples: int, items: int) -> str:
    """Return the study as YAML; the stream with the strongest pull towards its context is named in it."""
    return STUDY.format(
        streams="\n".join(f"  {name}: {{local: {os.path.relpath(folder, out)}}}" for name, folder in folders.items()),
        samples=samples,
        batch=BATCH,
        readings=READINGS,
        items=items,
        favour=max(scans, key=lambda name: scans[name].ratio),
    )


def main() -> int:
    """Prepare, and say what may be done next; return the exit code."""
    parser = argparse.ArgumentParser(description="Probe items, a static mix and a study file for texts or packed streams.")
    parser.add_argument("places", type=Path, nargs="+", metavar="FILE|STREAM", help="text, or a folder of `curriculum pack`")
    parser.add_argument("--out", type=Path, default=Path())
    parser.add_argument("--samples", type=int, default=4096, help="of one proxy run")
    parser.add_argument("--items", type=int, default=150, help="of the probe at each reading")
    given = parser.parse_args()
    try:
        folders = as_streams(given.places, given.out.absolute() / "data")
        study = prepare(folders, given.out.absolute(), samples=given.samples, items=given.items)
    except CurriculumError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    shown = os.path.relpath(study)
    print(f"wrote {shown}, mixes/static.yaml and probes/")
    print(f"next:\n  curriculum check {shown}\n  curriculum search {shown} --budget 8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
