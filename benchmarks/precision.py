"""When do products in bfloat16 make training steps faster, and what does attention in float32 matter?

    python benchmarks/precision.py [--rounds 5] [--device cuda]

Idea: one training step (forward pass, backward pass, AdamW) of proxies of several sizes, on text-like samples (64 tokens out of
1,024, every one a target, batches of 32) and on the default study's (24 tokens, a few targets). All take turns in one
process, and ratios are taken within a round; processor seconds of one thread on a CPU, seconds on a GPU. "Attention too" is
what torch's autocast does by itself.
"""

from __future__ import annotations

import argparse
import os

os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is imported, as in a search's workers

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import monotonic, process_time

import torch
from setting import publish, spread, table
from torch.nn import functional

from curriculum.proxy import model as models
from curriculum.proxy.feed import Batch
from curriculum.proxy.model import ModelShape, Proxy
from curriculum.proxy.recipe import Recipe
from curriculum.proxy.sizes import parse_sizes, resized
from curriculum.proxy.training import one_thread, training_loss

RECIPE = Recipe(layers=2, width=64, heads=2, batch=32)
SIZES = "study,0.3M,1M,10M"
TEXT, TESTBED = "text", "testbed"
_VOCABULARY, _TOKENS = {TEXT: 1024, TESTBED: 64}, {TEXT: 64, TESTBED: 24}
_ASKED = {TEXT: range(1, 64), TESTBED: range(21, 24)}
_SECONDS = 2.0  # that a contender is timed for in a round, at least one step
CONTENDERS = ("float32", "bfloat16, attention too", "bfloat16")


def batch_of(kind: str, device: torch.device) -> Batch:
    """Return a batch of random tokens of a kind of sample."""
    tokens = torch.randint(_VOCABULARY[kind], (RECIPE.batch, _TOKENS[kind]), generator=torch.Generator().manual_seed(0))
    targets = torch.zeros_like(tokens, dtype=torch.bool)
    targets[:, list(_ASKED[kind])] = True
    return Batch(tokens=tokens.to(device), targets=targets.to(device))


@contextmanager
def attention_as_autocast_has_it() -> Iterator[None]:
    """Leave the precision of attention to autocast."""
    ours = models.attend
    models.attend = lambda query, key, value, mask: functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    try:
        yield
    finally:
        models.attend = ours


def stepper(recipe: Recipe, kind: str, contender: str, device: torch.device) -> Callable[[], None]:
    """Return one training step of a fresh proxy."""
    shape = ModelShape(
        vocabulary=_VOCABULARY[kind], layers=recipe.layers, width=recipe.width, heads=recipe.heads, context=_TOKENS[kind]
    )
    proxy = Proxy(shape, torch.Generator().manual_seed(0)).to(device)
    optimizer = torch.optim.AdamW(proxy.parameters(), lr=recipe.learning_rate, fused=True)
    batch = batch_of(kind, device)

    def step() -> None:
        loss = training_loss(proxy, batch, balance=0.0, precision="float32" if contender == "float32" else "bfloat16")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    def as_autocast_has_it() -> None:
        with attention_as_autocast_has_it():
            step()

    return as_autocast_has_it if contender.endswith("too") else step


def seconds_a_step(step: Callable[[], None], device: torch.device) -> float:
    """Return what one step takes."""
    clock = process_time if device.type == "cpu" else monotonic
    steps, started = 0, clock()
    while steps == 0 or clock() - started < _SECONDS:
        step()
        steps += 1
        if device.type == "cuda":
            torch.cuda.synchronize()
    return (clock() - started) / steps


def rows(recipe: Recipe, kind: str, size: str, rounds: int, device: torch.device) -> Iterator[list[str]]:
    """Yield a row a contender; the first is what the others are compared with."""
    steps = {contender: stepper(recipe, kind, contender, device) for contender in CONTENDERS}
    taken: dict[str, list[float]] = {contender: [] for contender in CONTENDERS}
    for step in steps.values():
        step()
    for _ in range(rounds):
        for contender, step in steps.items():
            taken[contender].append(seconds_a_step(step, device))
    for contender, seconds in taken.items():
        ratios = [plain / each for plain, each in zip(taken["float32"], seconds, strict=True)]
        shape = f"{recipe.layers} x {recipe.width}"
        yield [kind, size, shape, contender, f"{1000 * median(seconds):,.1f}", spread(ratios, ".2f")]


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    found: list[list[str]] = []
    with one_thread():
        for kind, sizes in ((TESTBED, "study"), (TEXT, SIZES)):
            for size in parse_sizes(sizes):
                found += rows(resized(RECIPE, size), kind, size.name, arguments.rounds, device)
    unit = "processor milliseconds of one thread" if device.type == "cpu" else "milliseconds"
    name = processor() if device.type == "cpu" else torch.cuda.get_device_name()
    text = (
        f"One training step, {arguments.rounds} rounds in turns on {name}. Ratio: float32's time over this one's, in the same "
        "round; median (least-most). Text: 64 tokens out of 1,024, each a target; testbed: 24 tokens, three of them targets; "
        "batches of 32."
    )
    header = ["samples", "size", "layers x width", "products", f"{unit} a step", "ratio"]
    suffix = "" if device.type == "cpu" else f"_{device.type}"
    publish(Path(__file__).with_name(f"precision{suffix}.md"), "Are products in bfloat16 faster?", [text, table(header, found)])


def processor() -> str:
    """Say which processor this is, as far as Linux tells, and whether it multiplies bfloat16."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return "a CPU"
    said = dict(line.split(":", 1) for line in lines if ":" in line)
    told = {key.strip(): value.strip() for key, value in said.items()}
    able = sorted({"avx512_bf16", "amx_bf16"} & set(told.get("flags", "").split()))
    return f"{told.get('model name', 'a CPU')} ({', '.join(able) or 'without bfloat16'})"


if __name__ == "__main__":
    main()
