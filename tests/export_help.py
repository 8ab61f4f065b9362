"""Streams, mixes and exports for the tests of `curriculum export`, and other loaders that play what was exported.

A sample of stream number k says so: its first token is k + 1, its second its own number. Each `play_*` gives an export to
its target's own loader and returns the numbers of the streams (samples,) in the order in which they come out.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml
from token_help import write_megatron

from curriculum.commands.export import Settings, export
from curriculum.mix import Mix
from curriculum.plan import Plan
from curriculum.streaming.mds import write_stream

Integers = npt.NDArray[np.int64]
SIZES = {"web": 900, "code": 700, "math": 300}
LENGTH = 8  # tokens of a sample
BATCH, BLOCK = 16, 64
PLACES = {
    "mds": "{{local: {folder}/mds/{name}}}",
    "npy": "{{format: npy, local: {folder}/npy/{name}.npy, sequence_length: 8, token_dtype: uint16}}",
    "megatron": "{{format: megatron, local: {folder}/megatron/{name}_text_document, sequence_length: 8}}",
}
PHASES = {
    "static": "  - {until: 1, weights: {web: 5, code: 2, math: 1}}",
    "step": "  - {until: 0.5, weights: {web: 7, code: 2, math: 1}}\n  - {until: 1, weights: {web: 2, code: 5, math: 3}}",
    "ramp": "  - {until: 0.5, weights: {web: 7, code: 2, math: 1}}\n"
    "  - {until: 1, weights: {web: 7, code: 2, math: 1}, to: {web: 1, code: 5, math: 4}}",
}


def tokens_of(number: int, size: int) -> npt.NDArray[np.uint16]:
    """Return a stream's samples (size, LENGTH)."""
    tokens = np.full((size, LENGTH), 9, dtype=np.uint16)
    tokens[:, 0], tokens[:, 1] = number + 1, np.arange(size)
    return tokens


def write_data(folder: Path) -> Path:
    """Write every stream in every format below `folder`."""
    for number, (name, size) in enumerate(SIZES.items()):
        tokens = tokens_of(number, size)
        write_stream(folder / "mds" / name, {"tokens": tokens}, shard_bytes=4096)
        (folder / "npy").mkdir(exist_ok=True)
        tokens.tofile(folder / "npy" / f"{name}.npy")
        (folder / "megatron").mkdir(exist_ok=True)
        documents = [[LENGTH]] * size  # one sample a document, so that Megatron's shuffle keeps samples whole
        write_megatron(folder / "megatron" / f"{name}_text_document", tokens.ravel(), documents)
    return folder


def write_mix(folder: Path, kind: str, *, place: str = "mds", samples: int = 1600, name: str = "mix") -> Path:
    """Write a mix file of a `kind` of PHASES over streams in a format of PLACES."""
    streams = "\n".join(f"  {each}: " + PLACES[place].format(folder=folder, name=each) for each in SIZES)
    path = folder / f"{name}-{kind}-{place}.yaml"
    path.write_text(
        f"version: 1\nname: {kind}\nsamples: {samples}\nseed: 3\nstreams:\n{streams}\nphases:\n{PHASES[kind]}\n",
        encoding="utf-8",
    )
    return path


def place(folder: Path, target: str) -> Path:
    """Return a place in `folder` that a target accepts: a name that can be imported, where it writes a module."""
    return folder / (f"out_{target}.py" if target in ("litdata", "torchtitan") else f"out-{target}")


def exported(mix: Path, target: str, out: Path, capsys: Any = None, **options: Any) -> dict[str, Any]:
    """Export a mix and return the document that --json prints; without capsys, nothing."""
    needed = {"batch_size": BATCH, "block_size": BLOCK, "sequence_length": LENGTH, **options}
    code = export(mix, target, Settings(out=out, **needed), as_json=True)
    document: dict[str, Any] = {} if capsys is None else json.loads(capsys.readouterr().out)
    assert capsys is None or (code == 0) == bool(document["files"])
    return document


def plan_of(mix: Path) -> Plan:
    """Return the compiled plan."""
    return Mix.load(mix).plan(SIZES)


def planned_streams(mix: Path) -> Integers:
    """Return the stream of every position of the plan."""
    plan = plan_of(mix)
    return plan[np.arange(plan.samples)][0]


def counted(streams: Integers, mix: Path) -> list[list[int]]:
    """Return how often each stream was played, phase by phase."""
    ends = plan_of(mix).phase_ends
    bounds = zip((0, *ends[:-1]), ends, strict=True)
    return [np.bincount(streams[start:stop], minlength=len(SIZES)).tolist() for start, stop in bounds]


@contextmanager
def module_at(path: Path) -> Iterator[ModuleType]:
    """Import an exported module from its file, as a training script beside it would."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        del sys.modules[path.stem]


def missing(*modules: str) -> str | None:
    """Return which of `modules` is not installed here, or None."""
    for module in modules:
        if importlib.util.find_spec(module.split(".")[0]) is None:
            return f"{module} is not installed"
    return None


def play_llm_foundry(out: Path, mix: Path) -> Integers:
    """Play every stage with mosaicml-streaming, as LLM-Foundry builds it."""
    from streaming_help import mosaics_own, release

    from curriculum.streaming.mosaic import Stream

    config = yaml.safe_load(out.read_text(encoding="utf-8"))
    length = config["max_seq_len"]
    datasets, durations = [config["train_loader"]["dataset"]], [config["max_duration"]]
    if "callbacks" in config:
        callback = config["callbacks"]["curriculum_learning"]
        durations = [callback["duration"], *(stage["duration"] for stage in callback["schedule"])]
        # the callback updates the first data set's keys, shallowly
        datasets += [{**datasets[0], **stage["dataset"]} for stage in callback["schedule"]]
    found = []
    for dataset, duration in zip(datasets, durations, strict=True):
        streams = [Stream(**fields) for fields in dataset["streams"].values()]
        made = mosaics_own(streams=streams, shuffle=dataset["shuffle"], shuffle_seed=dataset["shuffle_seed"], batch_size=BATCH)
        samples = int(duration.removesuffix("tok")) // length
        found += [int(sample["tokens"][0]) - 1 for sample in islice(made, samples)]
        release(made)
    return np.asarray(found)


def play_levanter(out: Path, mix: Path) -> Integers:
    """Play the weights with Levanter's MixtureDataset over data sets that yield their own number."""
    import asyncio

    from levanter.data import ListAsyncDataset
    from levanter.data.mixture import MixtureDataset, rescale_mixture_schedule_for_batch_schedule
    from levanter.schedule import BatchSchedule

    config = yaml.safe_load(out.read_text(encoding="utf-8"))
    data, trainer = config["data"], config["trainer"]
    batch, weights = trainer["train_batch_size"], data["train_weights"]
    stages = [(0, weights)] if isinstance(weights, dict) else [(step, each) for step, each in weights]
    stages = rescale_mixture_schedule_for_batch_schedule(stages, BatchSchedule(batch))
    sources = {name: ListAsyncDataset([number] * SIZES[name]) for number, name in enumerate(data["components"])}
    made = MixtureDataset(sources, stages, data["mixture_block_size"], key=0, stop_strategy=data["stop_strategy"])
    return np.asarray(asyncio.run(made.get_batch(range(batch * trainer["num_train_steps"]))))


def play_megatron(out: Path, mix: Path, *, placed: bool = True) -> Integers:
    """Let Megatron build its blend, put the plan's order in its place (`placed`), and play it."""
    cache = out / "cache"
    _megatron_blend(out, cache, len(planned_streams(mix)))
    if placed:
        subprocess.run([sys.executable, str(out / "place_indices.py"), str(cache)], check=True, capture_output=True)
    blend = _megatron_blend(out, cache, len(planned_streams(mix)))
    return np.asarray([int(blend[position]["tokens"][0]) - 1 for position in range(len(planned_streams(mix)))])


def _megatron_blend(out: Path, cache: Path, samples: int) -> Any:
    import torch
    from megatron.core.datasets.blended_megatron_dataset_builder import BlendedMegatronDatasetBuilder
    from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig
    from megatron.core.datasets.utils import get_blend_from_list

    class Tokenizer:
        vocab_size, eod, unique_identifiers = 65535, 0, {"class": "Tokenizer"}

    config = GPTDatasetConfig(
        random_seed=1,
        sequence_length=LENGTH,
        blend=get_blend_from_list((out / "data-args.txt").read_text().split()),
        split="100,0,0",
        path_to_cache=str(cache),
        tokenizer=Tokenizer(),
        reset_position_ids=False,
        reset_attention_mask=False,
        eod_mask_loss=False,
        create_attention_mask=False,
        add_extra_token_to_sequence=False,
    )
    torch.distributed.init_process_group("gloo", init_method=f"file://{out}/store", rank=0, world_size=1)
    try:
        return BlendedMegatronDatasetBuilder(GPTDataset, [samples, 0, 0], lambda: True, config).build()[0]
    finally:
        torch.distributed.destroy_process_group()
        (out / "store").unlink(missing_ok=True)


def play_olmo_core(out: Path, mix: Path) -> list[tuple[int, int]]:
    """Play the index files, epoch by epoch, with OLMo-core's loader; returns (stream, sample) of every position."""
    from olmo_core.data import TokenizerConfig
    from olmo_core.data.collator import DataCollator
    from olmo_core.data.data_loader import NumpyFSLDataLoader

    with module_at(out / "olmo_core_mix.py") as module:
        tokenizer = TokenizerConfig(vocab_size=65535, eos_token_id=0, pad_token_id=0)
        dataset = module.dataset_config(tokenizer).build()
        config = module.loader_config()
        dataset.prepare()
        loader = NumpyFSLDataLoader(
            dataset, collator=DataCollator(pad_token_id=0), global_batch_size=config.global_batch_size,
            seed=config.seed, work_dir=config.work_dir, shuffle=True, num_workers=0,
        )  # fmt: skip
        steps = module.MAX_TOKENS // module.GLOBAL_BATCH_SIZE
    found: list[tuple[int, int]] = []
    epoch = 0
    while len(found) < steps * BATCH:
        epoch += 1
        loader.reshuffle(epoch=epoch)
        for batch in loader:
            found += keys_of(iter(batch["input_ids"].numpy()))
        loader.reset()
    return found


def play_torchtitan(out: Path, mix: Path) -> Integers:
    """Play the loader over text of one token a word; a stream's text is its own number."""
    with module_at(out) as module:
        config = module.dataloader()
        loader = config.build(dp_world_size=1, dp_rank=0, tokenizer=_Words(), seq_len=LENGTH, local_batch_size=1)
        rows = islice(iter(loader), module.SAMPLES)
        return np.asarray([int(inputs["input"][0, 0]) - 1 for inputs, _ in rows])


class _Words:
    """A tokenizer: a word that is a number is that token."""

    eos_id = 0

    def encode(self, text: str, add_bos: bool = False, add_eos: bool = False) -> list[int]:
        return [int(word) for word in text.split()]


def write_texts(folder: Path) -> None:
    """Write the streams as JSON lines for torchtitan: a document is a row of its stream's token."""
    folder.mkdir(exist_ok=True)
    for number, (name, size) in enumerate(SIZES.items()):
        text = json.dumps({"text": " ".join([str(number + 1)] * (LENGTH + 1))})
        (folder / f"{name}.jsonl").write_text(f"{text}\n" * size)


def write_litdata(folder: Path) -> None:
    """Write the streams as litdata does, in this process."""
    from litdata.streaming import Cache

    for number, (name, size) in enumerate(SIZES.items()):
        cache = Cache(str(folder / name), chunk_size=200)
        for index, row in enumerate(tokens_of(number, size)):
            cache._add_item(index, {"tokens": row})
        cache.done()
        cache.merge(1)


def play_litdata(out: Path, mix: Path) -> Integers:
    """Play the combined data set until the run ends."""
    with module_at(out) as module:
        return np.asarray([int(sample["tokens"][0]) - 1 for sample in islice(iter(module.mixed()), module.SAMPLES)])


def keys_of_plan(mix: Path) -> list[tuple[int, int]]:
    """Return (stream, sample) of every position."""
    plan = plan_of(mix)
    streams, _, samples = plan[np.arange(plan.samples)]
    return list(zip(streams.tolist(), samples.tolist(), strict=True))


def keys_of(rows: Iterator[npt.NDArray[Any]]) -> list[tuple[int, int]]:
    """Return (stream, sample) of rows of tokens."""
    return [(int(row[0]) - 1, int(row[1])) for row in rows]


def play_datasets(out: Path, mix: Path) -> list[tuple[int, int]]:
    """Play the selection over the streams as `datasets` data sets."""
    from datasets import Dataset

    parents = {name: Dataset.from_dict({"tokens": tokens_of(k, size)}) for k, (name, size) in enumerate(SIZES.items())}
    with module_at(out / "datasets_mix.py") as module:
        return keys_of(iter(module.play(parents)["tokens"]))


def play_grain(out: Path, mix: Path) -> list[tuple[int, int]]:
    """Play the selection map over the streams as Grain's data sets."""
    import grain

    parents = {name: grain.MapDataset.source(tokens_of(k, size)) for k, (name, size) in enumerate(SIZES.items())}
    with module_at(out / "grain_mix.py") as module:
        run = module.dataset(parents)
        return keys_of(run[position] for position in range(len(run)))


def play_mds(out: Path, mix: Path) -> list[tuple[int, int]]:
    """Play the data set in order with Mosaic's own class."""
    from streaming_help import mosaics_own, release

    made = mosaics_own(local=str(out), shuffle=False, batch_size=BATCH)
    try:
        return keys_of(sample["tokens"] for sample in made)
    finally:
        release(made)
