"""The scorer's probabilities against a straightforward reference: one item at a time, no batch, no padding, no cache.

    python benchmarks/agreement.py MODEL [--items 200] [--shots 4] [--threads 1] [--out benchmarks/agreement.md]

Half of the items share their demos and half have their own; half of the answers are one token long and half several.
Exits with 1 if a token's probability, or an answer's mean probability, differs by more than 1e-4.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from reference import one_by_one, task
from setting import publish, table

from curriculum.models.hugging_face import HuggingFaceModel
from curriculum.models.opening import open_model
from curriculum.probe.items import ItemSet

ALLOWED = 1e-4


def differences(model: HuggingFaceModel, items: ItemSet) -> tuple[int, float, float]:
    """Return how many tokens were compared, and the largest difference of a token's and of an answer's probability."""
    correct, shallow = model.answer_log_probabilities(items.prompts, (items.correct, items.shallow))
    ours = [np.exp(found) for found in (*correct, *shallow)]
    theirs = [np.exp(found.numpy()) for found in one_by_one(model.module, items)]
    of_tokens = max(float(np.abs(one - other).max()) for one, other in zip(ours, theirs, strict=True))
    of_answers = max(abs(float(one.mean() - other.mean())) for one, other in zip(ours, theirs, strict=True))
    return sum(map(len, ours)), of_tokens, of_answers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--shots", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/agreement.md"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = open_model(options.model, dtype="float32")
    assert isinstance(model, HuggingFaceModel)
    rows, worst = [], 0.0
    for name, shared in (("the same for all items", True), ("drawn for every item", False)):
        items = task(model, items=options.items // 2, shots=options.shots, shared=shared)
        tokens, of_tokens, of_answers = differences(model, items)
        worst = max(worst, of_tokens, of_answers)
        rows.append([name, str(len(items)), str(tokens), f"{of_tokens:.1e}", f"{of_answers:.1e}"])
    header = ["demos", "items", "answer tokens", "largest difference, a token's probability", "an answer's mean probability"]
    parts = [f"float32 on {next(model.module.parameters()).device.type}. Allowed: {ALLOWED:.0e}.", table(header, rows)]
    publish(options.out, "Agreement of the scorer with a plain reference", parts, others=("transformers",))
    sys.exit(worst > ALLOWED)


if __name__ == "__main__":
    main()
