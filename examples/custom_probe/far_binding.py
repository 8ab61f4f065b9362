"""A probe of one's own: is a key looked up where it was bound (general), or is the last label repeated (shallow)?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from curriculum.probe.items import ItemSet
from curriculum.probe.testbed import FREE_KEYS, LABELS, MARK


def far_binding(*, control: bool, count: int, seed: int, encode: Callable[[str], list[int]] | None = None) -> ItemSet:
    """Return `count` items: four bindings, then the first key again; the control's wrong label stands nowhere in the prompt."""
    draws = np.random.default_rng(seed)
    prompts, correct, shallow = [], [], []
    for _ in range(count):
        keys = (FREE_KEYS.first + draws.permutation(FREE_KEYS.size)[:4]).tolist()
        labels = (LABELS.first + draws.permutation(LABELS.size)[:5]).tolist()
        bound = [token for binding in zip(keys, labels[:4], strict=True) for token in (MARK.first, *binding)]
        prompts.append((*bound, MARK.first, keys[0]))
        correct.append((labels[0],))
        shallow.append((labels[4] if control else labels[3],))
    return ItemSet(prompts=tuple(prompts), correct=tuple(correct), shallow=tuple(shallow))
