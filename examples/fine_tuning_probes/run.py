"""Out-of-context reasoning and emergent misalignment, measured: on proxies pre-trained for it, or on a language model.

    python examples/fine_tuning_probes/run.py [--seeds 3]              two worlds in token ids, 124k parameters
    python examples/fine_tuning_probes/run.py --model FOLDER           the text probes, on any causal language model

Prints one line of a Markdown table for every fine-tuning: margin and hard accuracy before and after, the control (were the
examples learnt?), the shift with its 95 % interval over items.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

import torch

from curriculum.errors import CurriculumError, UserError
from curriculum.models.fine_tuning import FineTuning, fine_tune, read_fine_tuning
from curriculum.models.network import NetworkModel
from curriculum.models.opening import open_model
from curriculum.models.proxy_model import ProxyModel
from curriculum.probe.author_world import AuthorWorld
from curriculum.probe.fine_tuning import Example, FineTuningProbe, FineTuningReading
from curriculum.probe.function_world import SEQUENCE_LENGTH, FunctionWorld
from curriculum.probe.misalignment import ARMS, misalignment_probe
from curriculum.probe.out_of_context import function_probe, place_probe
from curriculum.proxy.model import ModelShape, Proxy
from curriculum.proxy.training import one_thread

PRE_TRAINING = FineTuning(steps=2500, learning_rate=3e-3, batch=128, weight_decay=0.1)
TUNED_NAMES = FineTuning(steps=200, learning_rate=3e-3, batch=64)
TUNED_ASSISTANT = FineTuning(steps=200, learning_rate=1e-3, batch=64)
TUNED_TEXT = FineTuning(steps=100, learning_rate=1e-4, batch=8)
HEAD = (
    "| pre-training | seed | probe | replay | margin before | after | shift | hard before | after | control before | after |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|"
)


def pre_trained(documents: tuple[Example, ...], vocabulary: int, seed: int) -> ProxyModel:
    """Return a proxy trained on all documents of a world, by the very loop that fine-tunes it afterwards."""
    shape = ModelShape(vocabulary=vocabulary, layers=2, width=64, heads=2, context=SEQUENCE_LENGTH)
    start = ProxyModel(Proxy(shape, torch.Generator().manual_seed(seed)))
    settings = replace(PRE_TRAINING, seed=seed)
    done = fine_tune(
        start,
        documents,
        steps=settings.steps,
        learning_rate=settings.learning_rate,
        batch=settings.batch,
        seed=seed,
        weight_decay=settings.weight_decay,
    )
    print(f"pre-trained: loss {done.losses[0]:.2f} -> {done.losses[-1]:.3f}", file=sys.stderr)
    return done.model


def worlds(seed: int) -> Iterator[tuple[str, NetworkModel, FineTuningProbe, FineTuning]]:
    """Yield what is measured for one seed: the kind of pre-training, its model, a probe, and how it is fine-tuned."""
    for bound in (True, False):
        kind = "bound" if bound else "unbound"
        names = FunctionWorld(seed=seed, bound=bound)
        model = pre_trained(names.documents(), names.vocabulary, seed)
        yield from with_and_without_replay(kind, model, names.probe(), replace(TUNED_NAMES, seed=seed))
        authors = AuthorWorld(seed=seed, bound=bound)
        model = pre_trained(authors.documents(), authors.vocabulary, seed)
        for arm in ARMS:
            yield from with_and_without_replay(kind, model, authors.probe(arm), replace(TUNED_ASSISTANT, seed=seed))


def with_and_without_replay(
    kind: str, model: NetworkModel, probe: FineTuningProbe, settings: FineTuning
) -> Iterator[tuple[str, NetworkModel, FineTuningProbe, FineTuning]]:
    """Yield the same twice: with pre-training documents in half of every batch, and without."""
    yield kind, model, probe, settings
    yield kind, model, replace(probe, replay=()), settings


def texts(model: NetworkModel, settings: FineTuning) -> Iterator[tuple[str, NetworkModel, FineTuningProbe, FineTuning]]:
    """Yield the text probes for a language model."""
    probes = [*(misalignment_probe(arm) for arm in ARMS), function_probe(), place_probe()]
    for probe in probes:
        yield "given", model, probe.encode(model.encode), settings


def row(kind: str, seed: int, replayed: bool, reading: FineTuningReading) -> str:
    """Return one line of the table."""
    before, after, shift = reading.before, reading.after, reading.shift
    cells = (
        kind,
        str(seed),
        after.probe,
        "half" if replayed else "none",
        f"{before.margin:+.2f}",
        f"{after.margin:+.2f}",
        f"{shift.value:+.3f} [{shift.low:+.3f}, {shift.high:+.3f}]",
        f"{before.accuracy:.2f}",
        f"{after.accuracy:.2f}",
        f"{before.control_margin:+.2f}",
        f"{after.control_margin:+.2f}",
    )
    return f"| {' | '.join(cells)} |"


def given_model(where: str, device: str) -> NetworkModel:
    """Open a model whose network is at hand. Raises UserError for one that cannot be trained."""
    model = open_model(where, device=device)
    if not isinstance(model, NetworkModel):
        raise UserError(f"{where} has no weights to train; wanted a proxy's checkpoint or a Hugging Face model")
    return model


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Fine-tuning probes, measured.")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--model", help="a causal language model (a folder, or hub:OWNER/NAME) for the text probes")
    parser.add_argument("--steps", type=int, default=TUNED_TEXT.steps, help="of fine-tuning on texts")
    parser.add_argument("--batch", type=int, default=TUNED_TEXT.batch, help="examples a step, of texts")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    print(HEAD, flush=True)
    try:
        if arguments.model:
            settings = replace(TUNED_TEXT, steps=arguments.steps, batch=arguments.batch)
            measure(0, texts(given_model(arguments.model, arguments.device), settings))
            return 0
        with one_thread():
            for seed in range(arguments.seeds):
                measure(seed, worlds(seed))
    except CurriculumError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def measure(seed: int, tasks: Iterator[tuple[str, NetworkModel, FineTuningProbe, FineTuning]]) -> None:
    """Fine-tune and read each, and print its line."""
    for kind, model, probe, settings in tasks:
        start = time.perf_counter()
        reading = read_fine_tuning(model, probe, settings)
        print(row(kind, seed, bool(probe.replay), reading), flush=True)
        seconds = time.perf_counter() - start
        print(f"{seconds:.1f} s; loss {reading.losses[0]:.2f} -> {reading.losses[-1]:.3f}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
