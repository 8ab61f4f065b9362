"""What a run costs before it is made: FLOPs by counting, seconds by a short timed run, or by a device's stated speed.

Idea: the work of a run is known to the multiplication. A multiplication of matrices (m, k) and (k, n) counts 2 m k n; with w
the width, V the vocabulary, L the layers, t the tokens a sample feeds in and a those whose next token is a target,

    forward   = (L - 1) (16 w^2 t + 4 w t^2) + 4 w^2 t + 12 w^2 a + 4 w a t + 2 w V a     of a sample
    training  = 3 x forward x samples                                 (backward: twice the forward)
    readings  = forward over every probe item, held-out sample and suite row, as often as they are read

which is 6 x parameters x tokens plus attention where every token is a target, and less where few are, since the last layer
computes only those. A mixture of experts counts those that compute a token. What is not a product of matrices (norms,
softmax, the optimizer) is left out: small models spend much of their time there, so FLOPs alone foretell little at 0.1M
parameters. Hence two ways to seconds: a few steps and readings timed here, size by size; or, for a device that is elsewhere,
FLOPs / (its peak x a stated utilisation), which is as good as the utilisation that is stated. A GPU launches a step's kernels
one after another (some 75 a layer, at 5 to 10 microseconds), so that no step is reckoned shorter than 1 ms + 0.5 ms a layer:
an assumption too, and what makes small proxies, trained one at a time, so dear there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from time import process_time
from typing import TYPE_CHECKING

from curriculum.errors import UserError
from curriculum.proxy.recipe import Recipe

if TYPE_CHECKING:
    from curriculum.probe import Probe
    from curriculum.proxy.feed import Batch
    from curriculum.proxy.run import RunRequest

UTILISATION = 0.3
PEAK_FLOPS = {  # dense bfloat16, as their makers state them
    "A100": 312e12,
    "H100": 989e12,
    "H200": 989e12,
    "B200": 2250e12,
    "RTX4090": 165e12,
    "TPUv4": 275e12,
    "TPUv5e": 197e12,
    "TPUv5p": 459e12,
}
_LAUNCH_STEP, _LAUNCH_LAYER = 1e-3, 0.5e-3  # seconds
_BACKWARD = 2
_TIMED_SECONDS = 2.0  # steps are timed for so long, at least this many:
_LEAST_STEPS = 3
_PATIENCE = 20.0  # seconds that a step, or a reading, may take to be timed; else its FLOPs stand for it
_HELDOUT_SAMPLES = 256  # a stream, at most


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """A device elsewhere: what it can do at most, in FLOPs a second, and which share of that a run gets."""

    name: str
    flops: float
    utilisation: float = UTILISATION

    def __post_init__(self) -> None:
        if not 0 < self.flops < inf:
            raise UserError(f"--device: wanted a number of FLOPs a second above 0, got {self.flops}")
        if not 0 < self.utilisation <= 1:
            raise UserError(f"--utilisation: wanted a share above 0, at most 1, got {self.utilisation}")

    def seconds(self, recipe: Recipe, shape: RunShape) -> float:
        """Return the seconds of a run: its FLOPs at this speed, but no step shorter than its launching takes."""
        work, speed = work_of(recipe, shape), self.flops * self.utilisation
        launching = shape.steps * (_LAUNCH_STEP + _LAUNCH_LAYER * recipe.layers)
        return max(work.training / speed, launching) + work.reading / speed


@dataclass(frozen=True, kw_only=True, slots=True)
class Sequences:
    """So many forward passes over rows alike: `tokens` fed in, of which `asked` have their next token predicted."""

    rows: int
    tokens: int
    asked: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RunShape:
    """What a run feeds its proxy: `batch` is one step's, `reading` what one reading of the probes asks, `heldout` one
    measurement of losses and bits per byte, made `losses` times."""

    vocabulary: int
    context: int
    batch: Sequences
    steps: int
    reading: tuple[Sequences, ...]
    readings: int
    heldout: tuple[Sequences, ...]
    losses: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RunWork:
    """The work of a run: `tokens` trained on, FLOPs of training and of all that is read beside it."""

    tokens: int
    training: float
    reading: float

    @property
    def flops(self) -> float:
        """All FLOPs of the run."""
        return self.training + self.reading


def parse_device(text: str, utilisation: float = UTILISATION) -> Device | None:
    """Return the device that "H100" or "NAME=FLOPS" names, None for "cpu", this machine. Raises UserError."""
    if text.lower() == "cpu":
        return None
    name, given, number = text.partition("=")
    known = {key.lower(): (key, flops) for key, flops in PEAK_FLOPS.items()}
    if not given and name.lower() in known:
        key, flops = known[name.lower()]
        return Device(name=key, flops=flops, utilisation=utilisation)
    try:
        return Device(name=name, flops=float(number), utilisation=utilisation)
    except ValueError:
        listed = ", ".join(PEAK_FLOPS)
        raise UserError(f"--device: wanted cpu, {listed}, or NAME=FLOPS a second such as mine=2e14, got {text!r}") from None


def forward_flops(recipe: Recipe, vocabulary: int, of: Sequences) -> float:
    """Return the FLOPs of the forward passes."""
    width, tokens, asked = recipe.width, of.tokens, of.asked
    mlp = 8 * width**2
    if recipe.experts:
        mlp = recipe.active_experts * 4 * width**2 + 2 * recipe.experts * width
    whole = tokens * (8 * width**2 + mlp) + 4 * tokens**2 * width
    last = tokens * 4 * width**2 + asked * (4 * width**2 + mlp) + 4 * asked * tokens * width
    return float(of.rows * ((recipe.layers - 1) * whole + last + 2 * asked * width * vocabulary))


def work_of(recipe: Recipe, shape: RunShape) -> RunWork:
    """Return the work of a run of a recipe."""

    def read(sequences: Sequence[Sequences]) -> float:
        return sum(forward_flops(recipe, shape.vocabulary, of) for of in sequences)

    return RunWork(
        tokens=shape.steps * shape.batch.rows * shape.batch.tokens,
        training=(1 + _BACKWARD) * shape.steps * forward_flops(recipe, shape.vocabulary, shape.batch),
        reading=shape.readings * read(shape.reading) + shape.losses * read(shape.heldout),
    )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RunParts:
    """One batch, the probes and one held-out batch a stream of a run, with their `shape`; made once for all sizes."""

    request: RunRequest
    batch: Batch
    probes: tuple[Probe, ...]
    heldout: tuple[Batch, ...]
    shape: RunShape


def run_parts(request: RunRequest) -> RunParts:
    """Read what a run would feed its proxy. Raises UserError, DataError where the run itself would."""
    from curriculum.proxy.feed import batches, heldout_batches, vocabulary_of
    from curriculum.proxy.run import questions
    from curriculum.proxy.training import context_of, losses_due
    from curriculum.streaming import StreamingDataset

    recipe, mix = request.recipe, request.played_mix()
    probes, suites = questions(request)
    dataset = StreamingDataset(mix=mix, batch_size=recipe.batch)
    try:
        batch = next(iter(batches(dataset, recipe.batch, start=0, stop=recipe.batch)))
        context = context_of(recipe, dataset)
    finally:
        dataset.close()
    steps, heldout = recipe.steps(request.samples), tuple(heldout_batches(mix, _HELDOUT_SAMPLES).values())
    between = request.samples // recipe.readings
    due = sum(losses_due(between * number, recipe, steps) for number in range(1, recipe.readings + 1))
    rows = [(*pair,) for suite in suites for pair in zip(suite.prompts, suite.continuations, strict=True)]
    shape = RunShape(
        vocabulary=vocabulary_of(mix),
        context=context,
        batch=_of_batch(batch),
        steps=steps,
        reading=tuple(sequences for probe in probes for sequences in _of_probe(probe)),
        readings=recipe.readings,
        heldout=(*map(_of_batch, heldout), *_of_rows(rows)),
        losses=due,
    )
    return RunParts(request=request, batch=batch, probes=tuple(probes), heldout=heldout, shape=shape)


def _of_batch(batch: Batch) -> Sequences:
    rows, time = batch.tokens.shape
    return Sequences(rows=rows, tokens=time - 1, asked=int(batch.targets[:, 1:].any(dim=0).sum()))


def _of_probe(probe: Probe) -> tuple[Sequences, ...]:
    """Items and control: one pass a different prompt where both answers are one token long, else one an answer."""
    rows = []
    for items in (probe.items, probe.control):
        for answers in (items.correct, items.shallow):
            rows += list(zip(items.prompts, answers, strict=True))
    return _of_rows(rows)


def _of_rows(rows: Sequence[tuple[tuple[int, ...], tuple[int, ...]]]) -> tuple[Sequences, ...]:
    """What is read of pairs (prompt, answer), equal rows once."""
    lengths = [(len(prompt) + len(given), len(given) + 1) for prompt, given in {(p, answer[:-1]) for p, answer in rows}]
    return tuple(Sequences(rows=lengths.count(each), tokens=each[0], asked=each[1]) for each in sorted(set(lengths)))


def timed_seconds(parts: RunParts, recipes: Sequence[Recipe]) -> list[float]:
    """Return the seconds of a core of this machine that a run of each recipe takes, from a few steps and one reading of each.

    Seconds are the processor's, so that others at work here do not count; waiting for them, and for disks, comes on top. What
    would take longer than {patience} seconds to time is reckoned from its FLOPs, at the speed of the step timed last. The
    smallest recipe is always timed.
    """
    order = sorted(range(len(recipes)), key=lambda number: work_of(recipes[number], parts.shape).flops)
    clock, found = _Clock(), dict[int, float]()
    for number in order:
        found[number] = _timed(parts, recipes[number], clock)
    return [found[number] for number in range(len(recipes))]


timed_seconds.__doc__ = (timed_seconds.__doc__ or "").format(patience=round(_PATIENCE))


@dataclass(kw_only=True, slots=True)
class _Clock:
    """Times what is not too much, and knows the speed of what it timed last, in FLOPs a second."""

    speed: float | None = None

    def expects(self, flops: float) -> float:
        """Return the seconds that so many FLOPs are expected to take; 0 where nothing is known yet."""
        return 0.0 if self.speed is None else flops / self.speed

    def step(self, flops: float, do: Callable[[], object]) -> float:
        """Return the seconds of one step, and learn from it."""
        do()  # the first pays for memory and caches
        started, steps = process_time(), 0
        while steps < _LEAST_STEPS or process_time() - started < _TIMED_SECONDS:
            do()
            steps += 1
        seconds = (process_time() - started) / steps
        self.speed = flops / seconds
        return seconds


def _timed(parts: RunParts, recipe: Recipe, clock: _Clock) -> float:
    """Return the seconds of a run of a recipe."""
    shape = parts.shape
    step = (1 + _BACKWARD) * forward_flops(recipe, shape.vocabulary, shape.batch)
    work = work_of(recipe, shape)
    if clock.expects(step) > _PATIENCE:
        return clock.expects(work.flops)
    from curriculum.proxy.training import one_thread

    with one_thread():
        return _timed_parts(parts, recipe, clock, step)


def _timed_parts(parts: RunParts, recipe: Recipe, clock: _Clock, step: float) -> float:
    from dataclasses import replace

    import torch

    from curriculum.probe import read_probe
    from curriculum.proxy.answers import ProxyAnswers
    from curriculum.proxy.training import first_model, next_token_loss, training_loss

    shape = parts.shape
    fresh = replace(recipe, start=None)  # its weights change no speed, and may not be there yet
    model = first_model(fresh, seed=0, vocabulary=shape.vocabulary, context=shape.context)
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, fused=True)

    def train() -> None:
        loss = training_loss(model, parts.batch, balance=recipe.balance, precision=recipe.precision)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    def ask() -> None:
        for probe in parts.probes:
            read_probe(probe, ProxyAnswers(model))

    def measure() -> None:
        with torch.no_grad():
            for batch in parts.heldout:
                next_token_loss(model, batch)

    def once(sequences: Sequence[Sequences], do: Callable[[], object]) -> float:
        flops = sum(forward_flops(recipe, shape.vocabulary, of) for of in sequences)
        if clock.expects(flops) > _PATIENCE:
            return clock.expects(flops)
        started = process_time()
        do()
        return process_time() - started

    seconds = clock.step(step, train)
    losses = once(shape.heldout, measure) * shape.losses
    return seconds * shape.steps + once(shape.reading, ask) * shape.readings + losses


__all__ = [
    "PEAK_FLOPS",
    "UTILISATION",
    "Device",
    "RunParts",
    "RunShape",
    "RunWork",
    "Sequences",
    "forward_flops",
    "parse_device",
    "run_parts",
    "timed_seconds",
    "work_of",
]
