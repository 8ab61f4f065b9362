"""The search over real texts: a capable checkpoint, a study file, `curriculum search`.

Idea: a proxy of this size does not copy from its context within a short run on natural text, and before it can copy
there is no mode to choose. So one checkpoint is trained first, on all domains and on samples that show a chunk twice,
and every run of the search starts from it; it is made once and kept. Then only the order of the domains is searched.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from made import fingerprint, made_once

from curriculum.mix import Mix, Phase, Stream
from curriculum.probe.specification import ProbeSpecification
from curriculum.proxy.recipe import Recipe
from curriculum.proxy.run import RunRequest, perform
from curriculum.streaming import StreamingDataset
from curriculum.streaming.manifest import MANIFEST
from curriculum.streaming.mds import write_stream
from curriculum.units import keyed_seed

WARM_UP_SAMPLES = 40_960  # 2.6M tokens: copying is formed after a third of them, see docs/log.md
RUN_SAMPLES = 4_096
CHUNK = 32
REPEATS = 16_384
BUDGET = 16
RECIPE = Recipe(batch=32, learning_rate=0.002, readings=8, induction_initialisation=True)
STUDY = """\
# Made by examples/real_text/run.py.
version: 1
name: real-text
seed: 11
streams:
{streams}
length: {{samples: {samples}}}
exposure: fixed
exposure_shares: {{{shares}}}
proxy: {{batch: 32, learning_rate: 0.002, readings: 8, induction_initialisation: true, start: {start}}}
probes:
  - {{name: natural, family: natural, floor: 0, items: 200, file: probes/natural.jsonl, control: probes/natural-control.jsonl}}
  - {{name: planted, family: planted, floor: 0, items: 200, file: probes/planted.jsonl, control: probes/planted-control.jsonl}}
controls: {{favour: [{favour}]}}
space: {{knots: 4, shape: steps, rank: 1}}
objective: {{metric: area, subject_to: [loss], burn_in: 0.2, common_tail: 0.2}}
search: {{finalists: 1, finalist_seeds: 10, candidates: 3, repeats: 1, reference_seeds: 3}}
"""


def make_study(data: Path, streams: Mapping[str, Path], ratios: Mapping[str, float], probes: Mapping[str, Path]) -> Path:
    """Train the checkpoint if it is not there, write `data/study.yaml`, return its path.

    Streams are favoured by the hand-made controls if the scan found them pulling towards the context more than the mean.
    """
    checkpoint = warm_up(data, streams, probes)
    mean = float(np.mean(list(ratios.values())))
    favour = [name for name in streams if ratios[name] > mean]
    text = STUDY.format(
        streams="\n".join(f"  {name}: {{local: {path.relative_to(data)}}}" for name, path in streams.items()),
        samples=RUN_SAMPLES,
        shares=", ".join(f"{name}: 1" for name in streams),
        start=checkpoint.relative_to(data),
        favour=", ".join(favour),
    )
    path = data / "study.yaml"
    path.write_text(text)
    return path


def warm_up(data: Path, streams: Mapping[str, Path], probes: Mapping[str, Path]) -> Path:
    """Train the checkpoint from which every run starts; return its folder."""
    repeats = repeated_chunks(data / "repeats", list(streams.values()))
    sources = {name: Stream(local=str(path)) for name, path in streams.items()} | {"repeats": Stream(local=str(repeats))}
    weights = dict.fromkeys(streams, 1) | {"repeats": len(streams)}
    mix = Mix(name="warm-up", streams=sources, phases=(Phase(until=1, weights=weights),), samples=WARM_UP_SAMPLES, seed=1)
    request = RunRequest(
        label="warm-up",
        mix=mix,
        seed=1,
        samples=WARM_UP_SAMPLES,
        recipe=replace(RECIPE, schedule="wsd"),
        probes=tuple(_probe(family, probes) for family in ("natural", "planted")),
    )
    result = perform(request, data / "runs" / "warm-up", keep=1)
    return result.folder / "checkpoints" / str(WARM_UP_SAMPLES)


def _probe(family: str, probes: Mapping[str, Path]) -> ProbeSpecification:
    return ProbeSpecification(
        name=family, family=family, floor=0.0, items=200, file=probes[family], control=probes[f"{family}-control"]
    )


def repeated_chunks(folder: Path, streams: Sequence[Path]) -> Path:
    """Write a stream whose samples are chunks of the domains' training text, each shown twice, unless `folder` is just that."""
    manifests = [(stream.name, (stream / MANIFEST).read_text()) for stream in streams]
    made_from = fingerprint((__file__,), CHUNK, REPEATS, manifests)
    return made_once(folder, made_from, lambda made: _write_repeats(made, streams))


def _write_repeats(folder: Path, streams: Sequence[Path]) -> None:
    parts = []
    for stream in streams:
        dataset = StreamingDataset(local=str(stream), batch_size=1)
        random = np.random.default_rng(keyed_seed("repeats", stream.name))
        chosen = random.integers(0, dataset.num_samples, REPEATS // len(streams))
        parts.append(np.stack([sample["tokens"][:CHUNK] for sample in dataset.__getitems__(chosen)]))
        dataset.close()
    chunks = np.concatenate(parts)
    write_stream(folder, {"tokens": np.concatenate([chunks, chunks], axis=1)})
    manifest = json.loads((streams[0] / MANIFEST).read_text())
    kept = {key: manifest[key] for key in ("vocabulary", "tokenizer_sha256", "tokens_per_sample")}
    (folder / MANIFEST).write_text(json.dumps({"name": "repeats", **kept}))
