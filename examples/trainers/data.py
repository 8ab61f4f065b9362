"""What the examples share: command line, loader, model, and a log of what was consumed. In a job of yours these are yours.

The part to copy is `make_loader`: the batch size of one rank, given to the dataset and to the loader alike.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import distributed
from transformers import LlamaConfig, LlamaForCausalLM

from curriculum import StreamingDataset
from curriculum.errors import CurriculumError, UserError
from curriculum.streaming import StreamingDataLoader

MIX = Path(__file__).with_name("mix.yaml")
GLOBAL_BATCH = 8  # samples a step over all ranks; the order of samples would not depend on it, the training does
LEARNING_RATE = 1e-3
Batch = dict[str, torch.Tensor]


def make_loader(mix: Path, ranks: int, workers: int = 0) -> StreamingDataLoader:
    """Return this rank's loader of the mix; its batches are dicts of int64 tensors (samples, tokens).

    The dataset reads its rank from RANK and WORLD_SIZE, which torchrun and `accelerate launch` set: no sampler, and
    no trainer, may shard it again.
    """
    batch_size, rest = divmod(GLOBAL_BATCH, ranks)
    if rest:
        raise UserError(f"the global batch of {GLOBAL_BATCH} samples cannot be shared by {ranks} processes; take 1, 2, 4 or 8")
    dataset = StreamingDataset(mix=mix, batch_size=batch_size)
    return StreamingDataLoader(dataset, batch_size=batch_size, num_workers=workers, collate_fn=collate)


def collate(samples: list[dict[str, Any]]) -> Batch:
    """Return the samples' tokens as what a causal language model is called with."""
    tokens = torch.from_numpy(np.stack([sample["tokens"] for sample in samples]).astype(np.int64))
    return {"input_ids": tokens, "labels": tokens}


def make_model() -> LlamaForCausalLM:
    """Return a causal language model of 18k parameters, the same at every call. It has no dropout, so no random state."""
    torch.manual_seed(0)
    sizes = {"vocab_size": 128, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(**sizes))  # type: ignore[no-untyped-call]


def log_step(out: Path, rank: int, step: int, batch: Batch, loss: torch.Tensor) -> None:
    """Append to OUT/consumed.jsonl what one rank trained on: a hash of every sample's tokens.

    A step that was lost with a stopped run is done, and logged, again: of several lines of a step the last one counts.
    """
    rows = batch["input_ids"].cpu().numpy().astype(np.uint8)
    samples = [hashlib.sha256(row.tobytes()).hexdigest()[:12] for row in rows]
    line = {"step": step, "rank": rank, "loss": float(loss.detach()), "samples": samples}
    with (out / "consumed.jsonl").open("a") as log:
        log.write(json.dumps(line) + "\n")


def close_process_group() -> None:
    """End torch's process group, if there is one, and the threads that it has.

    Call it when nobody uses the group any more. A wrapped model holds the group too, and in trainers, which refer to
    themselves, the model lives until it is collected. A thread of gloo that outlives the program's end may then free a
    tensor while the interpreter is ending, which aborts the process; a group freed by a wrapped model, last of all,
    may wait for a thread that waits for the GIL (torch 2.13).
    """
    gc.collect()
    if distributed.is_initialized():
        distributed.destroy_process_group()


def run(train: Callable[[argparse.Namespace], None], description: str) -> None:
    """Parse the command line and train; a mistake of the user ends in a message and exit code 2, without a traceback."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoints; one that has some is resumed")
    parser.add_argument("--mix", type=Path, default=MIX)
    parser.add_argument("--steps", type=int, default=40, help="length of the run; an epoch of the mix here has 25 steps")
    parser.add_argument("--save-every", type=int, default=10, metavar="STEPS")
    parser.add_argument("--stop-after", type=int, metavar="STEP", help="leave after this step without saving, as if killed")
    parser.add_argument("--workers", type=int, default=0, help="worker processes of the loader")
    arguments, code = parser.parse_args(), 0
    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
        train(arguments)
    except CurriculumError as error:
        print(f"error: {error}", file=sys.stderr)
        code = error.exit_code
    close_process_group()
    sys.exit(code)
