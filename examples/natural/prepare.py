"""Everything that `search/natural.yaml` needs: real texts, one tokenizer, packed streams, probe items, and a capable start.

    python examples/natural/prepare.py [--size study,1M,...] [--precision bfloat16] [--data FOLDER]

Every step recognises what is done, so running it again costs seconds. What was made lies in the data folder, which git
ignores: `packages/`, `text/`, `tokenizer.json`, `streams/DOMAIN/`, `probes/FAMILY-LEVEL[-control].jsonl`, `practice/` and
`starts/SIZE` (with `starts/SIZE-earlier`, the same at half its training). `study` is the size of the study's own proxy;
others follow from it as `curriculum ladder` makes them, whose `--starts 'examples/natural/data/starts/{size}'` reads them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from filecmp import cmp
from pathlib import Path
from typing import get_args

for library in ("OMP", "OPENBLAS", "MKL"):  # before numpy: a proxy this small is slower on more threads
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "real_text")]

from download import download  # noqa: E402
from practice import make_practice  # noqa: E402
from starts import START_SAMPLES, make_start  # noqa: E402
from text_items import make_items  # noqa: E402

from curriculum.errors import CurriculumError, UserError  # noqa: E402
from curriculum.probe.specification import ProbeSpecification  # noqa: E402
from curriculum.proxy.recipe import Precision, Recipe  # noqa: E402
from curriculum.proxy.run import RunResult  # noqa: E402
from curriculum.proxy.sizes import Size, parse_sizes, resized  # noqa: E402

DATA = Path(__file__).parent / "data"
DOMAINS = ("code", "drama", "encyclopedia", "french", "reviews", "scripture")
ITEMS = 600  # in each file; a domain's share is a sixth
FAMILIES = {"induction": 2, "passage": 2, "rebinding": 3, "binding": 3}
RECIPE = Recipe(layers=2, width=64, heads=2, batch=32, learning_rate=0.003, readings=8, induction_initialisation=True)


def prepare_data(data: Path) -> dict[str, Path]:
    """Download, pack with one tokenizer, make probe items, as far as it is not done; return {domain: packed stream}."""
    from run import pack_domains, shared_tokenizer  # of examples/real_text

    texts = download(data, DOMAINS)
    _say(f"texts of {len(texts)} domains")
    packs = pack_domains(texts, shared_tokenizer(texts, data / "tokenizer.json"), data / "streams")
    streams = {name: pack.folder for name, pack in packs.items()}
    _say("packed: " + ", ".join(f"{name} {pack.train.counts.samples:,}" for name, pack in packs.items()) + " samples")
    files = make_items(streams, data / "probes", items=ITEMS)
    _say(f"{len(files)} item files of {ITEMS} items")
    return streams


def specifications(data: Path, items: int) -> tuple[ProbeSpecification, ...]:
    """Return every family and level as a probe."""
    return tuple(
        ProbeSpecification(
            name=f"{family}-{level}",
            family=family,
            floor=0.02,
            items=items,
            file=data / "probes" / f"{family}-{level}.jsonl",
            control=data / "probes" / f"{family}-{level}-control.jsonl",
        )
        for family, levels in FAMILIES.items()
        for level in range(1, levels + 1)
    )


def prepare_start(
    data: Path,
    streams: Mapping[str, Path],
    size: Size,
    *,
    samples: int = START_SAMPLES,
    items: int = 64,
    precision: Precision = "float32",
) -> Path:
    """Make the start of one size, unless it is there; return its folder."""
    recipe = replace(resized(RECIPE, size), precision=precision)
    _say(f"start of size {size.name}: {recipe.layers} layers, width {recipe.width}, learning rate {recipe.learning_rate}")
    began = time.monotonic()
    probes, source = specifications(data, items), make_practice(data / "practice", streams)
    result = make_start(streams, source, data / "runs" / "starts", recipe, probes, samples=samples)
    folder = data / "starts" / size.name
    for checkpoint, name in ((samples, folder), (samples // 2, folder.with_name(f"{size.name}-earlier"))):
        _place(result.folder / "checkpoints" / str(checkpoint), name)
    (folder / "start.json").write_text(json.dumps(_described(recipe, result), indent=1))
    _say(f"{folder}: {time.monotonic() - began:.0f} s")
    return folder


def check_precision(folder: Path, precision: Precision) -> None:
    """Refuse to make a start anew in another precision: a size has one, and runs may have begun from it. Raises UserError."""
    try:
        found = json.loads((folder / "start.json").read_text()).get("precision", "float32")
    except (OSError, ValueError):
        return  # none, or one that was not finished: it is made, or described, anew
    if found != precision:
        raise UserError(
            f"{folder} was made in {found}, and {precision} is asked for; give --precision {found} to keep it, or remove the "
            "folder to make it anew"
        )


def _place(checkpoint: Path, folder: Path) -> None:
    """Copy a checkpoint to where studies look for it, unless it lies there: a run may be reading it."""
    if folder.is_dir() and all(
        (folder / file.name).exists() and cmp(file, folder / file.name, False) for file in checkpoint.iterdir()
    ):
        return
    partial = folder.with_name(f".{folder.name}.partial")
    for old in (partial, folder):
        shutil.rmtree(old, ignore_errors=True)
    shutil.copytree(checkpoint, partial)
    partial.replace(folder)


def _described(recipe: Recipe, result: RunResult) -> dict[str, object]:
    last = result.trajectory.table[result.trajectory.table["position"] == result.samples]
    readings = {
        probe: [round(float(margin), 3), round(float(control), 3), bool(capable)]
        for probe, margin, control, capable in zip(
            last["probe"], last["margin"], last["control_margin"], last["capable"], strict=True
        )
    }
    shape = {name: getattr(recipe, name) for name in ("layers", "width", "heads", "learning_rate", "precision")}
    loss = {name: round(value, 3) for name, value in result.final_loss().items()}
    return {**shape, "samples": result.samples, "margin, control's, capable": readings, "loss": loss, "run": result.folder.name}


def gate(folder: Path) -> str:
    """Return a table of a start's readings: margin, its control's, and whether it is capable."""
    described = json.loads((folder / "start.json").read_text())
    lines = [f"{'probe':14}{'margin':>8}{'control':>9}  capable"]
    for name, (margin, control, capable) in described["margin, control's, capable"].items():
        lines.append(f"{name:14}{margin:>+8.3f}{control:>+9.3f}  {'yes' if capable else 'no'}")
    return "\n".join(lines)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> int:
    """Prepare everything and print the capability gate of every start."""
    parser = argparse.ArgumentParser(description="Real texts, streams, probe items and capable starts for search/natural.yaml.")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--size", default="study", help="sizes of proxies, as `curriculum ladder --sizes` names them")
    parser.add_argument("--precision", default="float32", choices=get_args(Precision), help="of products while a start is made")
    parser.add_argument("--data-only", action="store_true", help="no start: texts, streams and probe items")
    arguments = parser.parse_args()
    data = arguments.data.absolute()
    try:
        sizes = parse_sizes(arguments.size)
        for size in () if arguments.data_only else sizes:
            check_precision(data / "starts" / size.name, arguments.precision)
        streams = prepare_data(data)
        for size in () if arguments.data_only else sizes:
            print(f"size {size.name}\n{gate(prepare_start(data, streams, size, precision=arguments.precision))}")
    except CurriculumError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
