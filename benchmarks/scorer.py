"""Tokens per second of the scorer beside a plain `model(**batch)` loop, with demos that all items share and with others.

    python benchmarks/scorer.py MODEL [--items 12] [--shots 16] [--rows 8] [--repeats 3] [--threads 1] [--out scorer.md]

MODEL is a folder, a .gguf file or hub:OWNER/NAME. Tokens are those of prompt and answer that the plain loop reads without
padding, the same for both, so that the ratio of speeds is the ratio of times. Both use the same network in the same
process, take turns, and read batches of equal size: the scorer as many padded tokens a pass as `rows` of the longest rows.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from reference import plain_loop, sequences, task
from setting import publish, spread, table

from curriculum.models.hugging_face import HuggingFaceModel
from curriculum.models.opening import open_model
from curriculum.probe.items import ItemSet
from curriculum.probe.model import Numbers


def seconds(work: Callable[[], object], device: torch.device) -> float:
    start = perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return perf_counter() - start


def scored(model: HuggingFaceModel, items: ItemSet) -> list[Numbers]:
    correct, shallow = model.answer_log_probabilities(items.prompts, (items.correct, items.shallow))
    return [*correct, *shallow]


def measured(model: HuggingFaceModel, items: ItemSet, rows: int, repeats: int) -> list[str]:
    """Return the table's cells: tokens, both speeds, their ratio, the largest difference of a probability."""
    longest = max(len(tokens) for tokens, _ in sequences(items))
    ours = HuggingFaceModel(model.module, batch_tokens=rows * longest)
    device = next(model.module.parameters()).device
    pairs = zip(scored(ours, items), plain_loop(model.module, items, rows), strict=True)  # also warms both up
    difference = max(float(np.abs(np.exp(one) - np.exp(other.numpy())).max()) for one, other in pairs)
    tokens = sum(len(found) for found, _ in sequences(items))
    of_plain, of_ours = [], []
    for _ in range(repeats):
        of_plain.append(tokens / seconds(lambda: plain_loop(model.module, items, rows), device))
        of_ours.append(tokens / seconds(lambda: scored(ours, items), device))
    ratios = [mine / theirs for mine, theirs in zip(of_ours, of_plain, strict=True)]
    return [f"{tokens:,}", spread(of_plain), spread(of_ours), spread(ratios, ".1f"), f"{difference:.1e}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--items", type=int, default=12)
    parser.add_argument("--shots", type=int, default=16)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/scorer.md"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = open_model(options.model)
    assert isinstance(model, HuggingFaceModel)
    rows = []
    for name, shared in (("the same for all items", True), ("drawn for every item", False)):
        items = task(model, items=options.items, shots=options.shots, shared=shared)
        rows.append([name, *measured(model, items, options.rows, options.repeats)])
    weight = next(model.module.parameters())
    about = (
        f"{options.items} items of {options.shots} demos, two candidate answers each, batches of {options.rows} rows, "
        f"{weight.dtype} on {weight.device.type}, {options.threads} thread. Median (least-most) of {options.repeats} turns."
    )
    header = [
        "demos",
        "tokens",
        "plain loop, tokens/s",
        "scorer, tokens/s",
        "times as fast",
        "largest difference, a probability",
    ]
    publish(options.out, "Speed of the scorer", [about, table(header, rows)], others=("transformers",))


if __name__ == "__main__":
    main()
