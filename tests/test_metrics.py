"""The torchmetrics classes say what `curriculum.probe` says, however their updates are spread over batches and ranks."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchmetrics import Metric

from curriculum.callbacks.metrics import BitsPerByte, HardAccuracy, Hops, SoftMargin, TimeGeneral
from curriculum.errors import UserError
from curriculum.probe import ItemSet, Probe, measure_run, read_probe
from curriculum.probe.bits_per_byte import Continuations, bits_per_byte
from curriculum.probe.modes import modes_of
from curriculum.probe.scoring import score_items


class Chances:
    """A model that gives token t the probability chances[t]."""

    def __init__(self, chances: Sequence[float]) -> None:
        self.chances = np.asarray(chances)

    def answer_log_probabilities(
        self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[Sequence[int]]]
    ) -> list[list[np.ndarray]]:
        return [[np.log(self.chances[list(answer)]) for answer in of] for of in answers]


ITEMS = ItemSet(
    prompts=tuple((index,) for index in range(1, 12)),
    correct=tuple((index, index + 1) for index in range(11)),
    shallow=tuple((11 - index,) for index in range(11)),
)
MODEL = Chances(np.random.default_rng(3).uniform(0.01, 0.99, 13))
SCORES = score_items(ITEMS, MODEL)
CORRECT, SHALLOW = torch.from_numpy(SCORES.correct), torch.from_numpy(SCORES.shallow)
LOGS = torch.randn(40, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).abs().neg()

Updates = Sequence[tuple[Tensor, ...]]
IN_PARTS: dict[str, tuple[Callable[[], Metric], Updates]] = {
    "soft": (SoftMargin, list(zip(CORRECT.split(4), SHALLOW.split(4), strict=True))),
    "hard": (HardAccuracy, list(zip(CORRECT.split(4), SHALLOW.split(4), strict=True))),
    "bits": (BitsPerByte, [(part, torch.tensor(len(part) * 3)) for part in LOGS.split(7)]),
    "time": (
        lambda: TimeGeneral(start=10),
        [(torch.tensor(10 * place), torch.tensor(margin)) for place, margin in enumerate([0.3, 0.2, -0.4, 0.3, 0.1], start=1)],
    ),
    "hops": (
        Hops,
        [(torch.tensor(10 * place), torch.tensor(margin)) for place, margin in enumerate([0.3, 0.2, -0.4, 0.3, 0.1], start=1)],
    ),
}


def over(metric: Metric, updates: Updates) -> Metric:
    for update in updates:
        metric.update(*update)
    return metric


def test_margin_and_accuracy_are_those_of_a_reading() -> None:
    reading = read_probe(Probe(name="p", family="f", items=ITEMS, control=ITEMS, floor=0.0), MODEL)
    soft, hard = (over(make(), updates).compute() for make, updates in (IN_PARTS["soft"], IN_PARTS["hard"]))
    assert float(soft) == pytest.approx(reading.margin, abs=1e-12)
    assert float(hard) == reading.accuracy != 0.5


def test_equal_probabilities_are_not_right() -> None:
    assert float(over(HardAccuracy(), [(torch.tensor([0.5, 0.6]), torch.tensor([0.5, 0.5]))]).compute()) == 0.5


def test_bits_per_byte_are_those_of_a_suite() -> None:
    suite = Continuations(name="s", prompts=((1,), (2,)), continuations=((1, 2), (3,)), sizes=(5, 2))
    metric = BitsPerByte()
    for tokens, size in zip(suite.continuations, suite.sizes, strict=True):
        metric.update(torch.from_numpy(np.log(MODEL.chances[list(tokens)])), size)
    assert float(metric.compute()) == pytest.approx(bits_per_byte(suite, MODEL).value, abs=1e-12)


@given(
    readings=st.lists(st.tuples(st.floats(-1, 1), st.booleans()), min_size=1, max_size=12),
    start=st.integers(0, 100),
    order=st.randoms(use_true_random=False),
)
def test_time_and_hops_are_those_of_a_run_in_any_order(readings: list[tuple[float, bool]], start: int, order: object) -> None:
    margins, capable = [margin for margin, _ in readings], [able for _, able in readings]
    positions = [10 * place for place in range(1, len(readings) + 1)]
    places = list(range(len(readings)))
    order.shuffle(places)  # type: ignore[attr-defined]
    time, hops = TimeGeneral(start=start), Hops(start=start)
    for place in places:
        for metric in (time, hops):
            metric.update(positions[place], margins[place], capable[place])
    if start >= positions[-1]:
        assert math.isnan(time.compute()) and math.isnan(hops.compute())
        return
    wanted = measure_run(positions, margins, modes_of(margins, capable), start=start, stop=positions[-1])
    assert (float(time.compute()), float(hops.compute())) == (wanted.time_general, wanted.hops)


def test_hysteresis_and_the_end_of_the_run_are_asked_for() -> None:
    readings = (torch.tensor([10, 20, 30]), torch.tensor([0.1, -0.1, 0.1]), torch.tensor([True, True, True]))
    assert float(over(Hops(), [readings]).compute()) == 0
    assert float(over(Hops(hysteresis=0.05), [readings]).compute()) == 2
    assert float(over(TimeGeneral(hysteresis=0.05, stop=20), [readings]).compute()) == 0.5


@pytest.mark.parametrize("name", IN_PARTS)
def test_ranks_are_merged(name: str) -> None:
    make, updates = IN_PARTS[name]
    ranks = [over(make(), updates[::2]), over(make(), updates[1::2])]
    gathered = make()
    # what torchmetrics does with the states of all ranks, without the network
    gathered._cache = None
    for state, reduce in gathered._reductions.items():
        of_ranks = [getattr(rank, state) for rank in ranks]
        if isinstance(of_ranks[0], list):
            setattr(gathered, state, [part for parts in of_ranks for part in parts])
        else:
            assert reduce is not None
            setattr(gathered, state, reduce(torch.stack(of_ranks)))
    gathered._update_count = 1
    assert torch.equal(gathered.compute(), over(make(), updates).compute()) or torch.allclose(
        gathered.compute(), over(make(), updates).compute(), atol=1e-12
    )
    merged = over(make(), updates[::2])
    merged.merge_state(ranks[1])
    assert torch.allclose(merged.compute(), over(make(), updates).compute(), atol=1e-12)


@pytest.mark.parametrize("name", IN_PARTS)
def test_forward_gives_the_batch_and_keeps_the_whole(name: str) -> None:
    make, updates = IN_PARTS[name]
    metric = make()
    of_batches = [metric(*update) for update in updates]
    assert torch.allclose(metric.compute(), over(make(), updates).compute(), atol=1e-12)
    assert torch.allclose(of_batches[1], over(make(), updates[1:2]).compute(), atol=1e-12, equal_nan=True)


@pytest.mark.parametrize("name", IN_PARTS)
def test_a_metric_can_be_reset_pickled_and_saved(name: str) -> None:
    make, updates = IN_PARTS[name]
    metric = over(make(), updates[:2])
    copy = pickle.loads(pickle.dumps(metric))
    assert torch.equal(over(copy, updates[2:]).compute(), over(make(), updates).compute())
    metric.reset()
    assert torch.equal(over(metric, updates).compute(), over(make(), updates).compute())
    saved, loaded = over(make(), updates), make()
    saved.persistent(True)
    loaded.persistent(True)
    loaded.load_state_dict(saved.state_dict())
    loaded._update_count = 1
    assert torch.equal(loaded.compute(), saved.compute())


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric")
@pytest.mark.parametrize("name", IN_PARTS)
def test_nothing_is_no_number(name: str) -> None:
    assert math.isnan(IN_PARTS[name][0]().compute())


def test_the_margin_can_be_trained_on() -> None:
    correct = torch.tensor([0.4, 0.6], requires_grad=True)
    value = SoftMargin()(correct, torch.tensor([0.5, 0.5]))
    value.backward()
    assert torch.equal(correct.grad, torch.tensor([0.5, 0.5]))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong", [torch.tensor([-0.1, 0.5]), torch.tensor([1.1, 0.5]), torch.tensor([0.5]), torch.tensor([math.nan, 0.5]), LOGS[:2]]
)
@pytest.mark.parametrize("metric", [SoftMargin, HardAccuracy])
def test_what_is_no_probability_is_refused(metric: type[Metric], wrong: Tensor) -> None:
    with pytest.raises(UserError, match="wanted"):
        metric().update(wrong, torch.tensor([0.5, 0.5]))


def test_other_nonsense_is_refused() -> None:
    with pytest.raises(UserError, match="at least 1 byte"):
        BitsPerByte().update(LOGS, 0)
    with pytest.raises(UserError, match="as many margins"):
        Hops().update([1, 2], [0.1])
