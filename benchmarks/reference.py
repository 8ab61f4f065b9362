"""What the scorer is measured against: items of text, and `model(**batch)` as one would write it first."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from curriculum.models.hugging_face import HuggingFaceModel
from curriculum.probe.encoding import encode_item
from curriculum.probe.items import ItemSet

SUBJECTS = [
    "the film",
    "this book",
    "our hotel",
    "the concert",
    "that lecture",
    "my new phone",
    "the old bridge",
    "the soup",
    "her garden",
    "the match",
]
VERBS = ["was", "seemed", "turned out to be", "is", "had always been", "became in the end"]
GOOD = [
    "wonderful",
    "a delight",
    "better than anyone hoped",
    "well worth the price",
    "calm and beautiful",
    "the best of the year",
]
BAD = ["dreadful", "a waste of time", "worse than anyone feared", "far too expensive", "loud and ugly", "the worst of the year"]
LABELS = (("good", "bad"), ("very positive", "quite negative"))  # answers of one token, and of several


def task(model: HuggingFaceModel, *, items: int, shots: int, shared: bool, seed: int = 0) -> ItemSet:
    """Return few-shot items in token ids; with `shared` all show the same demos, else each shows its own."""
    generator = random.Random(seed)
    demos = [demo(generator) for _ in range(shots)]
    rows = []
    for index in range(items):
        shown = demos if shared else [demo(generator) for _ in range(shots)]
        sentence, good = sentence_of(generator)
        labels = LABELS[index % 2]
        prompt = "\n".join([*shown, f"Review: {sentence}\nLabel:"])
        rows.append(encode_item(model.encode, prompt, labels[not good], labels[good]))
    prompts, correct, shallow = zip(*(tuple(map(tuple, row)) for row in rows), strict=True)
    return ItemSet(prompts=prompts, correct=correct, shallow=shallow)


def demo(generator: random.Random) -> str:
    sentence, good = sentence_of(generator)
    return f"Review: {sentence}\nLabel: {LABELS[0][not good]}"


def sentence_of(generator: random.Random) -> tuple[str, bool]:
    """Return a sentence, and whether it praises."""
    good = generator.random() < 0.5
    return " ".join([generator.choice(SUBJECTS), generator.choice(VERBS), generator.choice(GOOD if good else BAD)]), good


def sequences(items: ItemSet) -> list[tuple[tuple[int, ...], int]]:
    """Return prompt and answer as one sequence, and the answer's length, for every candidate answer of every item."""
    pairs = [*zip(items.prompts, items.correct, strict=True), *zip(items.prompts, items.shallow, strict=True)]
    return [(prompt + answer, len(answer)) for prompt, answer in pairs]


@torch.no_grad()
def plain_loop(network: Any, items: ItemSet, rows: int) -> list[Tensor]:
    """Return the log-probabilities of every candidate answer's tokens: padded batches of `rows`, nothing shared."""
    device = next(network.parameters()).device
    pairs, found = sequences(items), []
    for first in range(0, len(pairs), rows):
        part = pairs[first : first + rows]
        longest = max(len(tokens) for tokens, _ in part)
        padding = [[0] * (longest - len(tokens)) for tokens, _ in part]
        ids = [[*tokens, *pad] for (tokens, _), pad in zip(part, padding, strict=True)]
        mask = [[*[1] * len(tokens), *pad] for (tokens, _), pad in zip(part, padding, strict=True)]
        batch = {"input_ids": torch.tensor(ids, device=device), "attention_mask": torch.tensor(mask, device=device)}
        found += answers_in(network(**batch).logits, part)
    return found


@torch.no_grad()
def one_by_one(network: Any, items: ItemSet) -> list[Tensor]:
    """Return the same without batches, padding, masks or caches: the reference for numbers."""
    device = next(network.parameters()).device
    return [
        answers_in(network(input_ids=torch.tensor([tokens], device=device), use_cache=False).logits, [(tokens, answer)])[0]
        for tokens, answer in sequences(items)
    ]


def answers_in(logits: Tensor, part: Sequence[tuple[tuple[int, ...], int]]) -> list[Tensor]:
    """Return each row's log-probabilities of its last tokens, from logits (rows, time, vocabulary)."""
    found = []
    for row, (tokens, answer) in zip(torch.log_softmax(logits.float(), dim=-1), part, strict=True):
        start = len(tokens) - answer
        wanted = torch.tensor(tokens[start:], device=logits.device)
        found.append(row[start - 1 : len(tokens) - 1].gather(1, wanted[:, None])[:, 0].double().cpu())
    return found
