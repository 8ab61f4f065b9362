"""Monitors in a plain loop: what is read, how a live model answers, and that training does not notice."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from callbacks_help import (
    VOCABULARY,
    Noisy,
    Settable,
    one_thread_each,  # noqa: F401  # a fixture for every test here
    same,
    seed_all,
    settable_probe,
    steps_and_positions,
    task,
    token_probe,
    train_noisily,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from curriculum.callbacks import LiveModel, Monitor
from curriculum.errors import UserError
from curriculum.models.proxy_model import ProxyModel
from curriculum.probe import Trajectory, read_probe
from curriculum.probe.suite import Demo, Persona, PersonaQuestion, Suite
from curriculum.probe.testbed import VOCABULARY as TESTBED_VOCABULARY
from curriculum.probe.testbed import probe_items
from curriculum.proxy.answers import ProxyAnswers
from curriculum.proxy.model import ModelShape, Proxy

# Reading


def test_a_plain_loop_leaves_a_trajectory(tmp_path: Path) -> None:
    seed_all()
    model = Noisy()
    model.forward = lambda tokens: model.out(model.embed(tokens).cumsum(dim=1))  # type: ignore[method-assign]
    probes = [token_probe("a"), token_probe("b")]
    monitor = Monitor(model, probes=probes, every=5, folder=tmp_path)
    wanted = []
    for step in range(1, 13):
        with torch.no_grad():
            model.out.bias.normal_()
        readings = monitor.step(step, 8 * step)
        assert bool(readings) == (step in (5, 10))
        wanted.extend(readings)
        if step == 10:
            assert readings == tuple(read_probe(probe, LiveModel(model)) for probe in probes)
    assert steps_and_positions(tmp_path) == [(5, 40), (5, 40), (10, 80), (10, 80)]
    table = Trajectory.load(tmp_path / "trajectory.parquet").table
    assert list(table["probe"]) == ["a", "b"] * 2
    assert list(table["margin"]) == [reading.margin for reading in wanted]
    assert pd.testing.assert_frame_equal(table, monitor.trajectory.table) is None
    again = Trajectory.of([(8 * step, step, reading) for step, reading in zip([5, 5, 10, 10], wanted, strict=True)])
    assert list(again.table["mode"]) == list(table["mode"])
    assert monitor.read(12, 96) and monitor.read(12, 96) == ()  # once a step
    assert steps_and_positions(tmp_path)[-1] == (12, 96)


def test_a_loop_that_tells_every_third_step_is_read_when_a_multiple_was_passed(tmp_path: Path) -> None:
    monitor = Monitor(Settable(), probes=[settable_probe()], every=5, folder=tmp_path)
    for step in range(3, 22, 3):
        monitor.step(step, step)
    assert [step for step, _ in steps_and_positions(tmp_path)] == [6, 12, 15, 21]


@pytest.mark.parametrize("autocast", [False, True], ids=["float32", "autocast"])
def test_training_with_a_monitor_is_the_same_to_the_bit(tmp_path: Path, autocast: bool) -> None:
    def make(model: nn.Module) -> Monitor:
        return Monitor(model, probes=[token_probe()], every=2, folder=tmp_path, on_error="raise")

    without = train_noisily(steps=6, autocast=autocast)
    with_one = train_noisily(steps=6, autocast=autocast, make_monitor=make)
    assert same(without, with_one)
    assert len(steps_and_positions(tmp_path)) == 3


def test_the_model_is_asked_in_eval_mode_without_gradients(tmp_path: Path) -> None:
    seen = []

    class Watched(Noisy):
        def forward(self, tokens: Tensor) -> Tensor:
            seen.append((self.training, self.drop.training, torch.is_grad_enabled()))
            return super().forward(tokens)

    model = Watched()
    Monitor(model, probes=[token_probe()], folder=tmp_path).read(1, 1)
    assert seen and set(seen) == {(False, False, False)}
    assert model.training and model.drop.training and not model.frozen.training


def test_no_model_of_whatever_kind_makes_gradients_in_a_reading(tmp_path: Path) -> None:
    class Own(Settable):
        module = Noisy()

        def answer_log_probabilities(self, prompts: Any, answers: Any) -> list[list[Any]]:
            assert not torch.is_grad_enabled() and not self.module.training
            return super().answer_log_probabilities(prompts, answers)

    assert Monitor(Own(), probes=[settable_probe()], folder=tmp_path, on_error="raise").read(1, 1)
    assert Own.module.training


def test_a_reading_under_autocast_sees_the_weights_as_they_are(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(VOCABULARY, 4), nn.Linear(4, VOCABULARY))
    monitor = Monitor(model, probes=[token_probe()], folder=tmp_path)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model(torch.tensor([[1, 2]]))  # autocast keeps the weights of this pass
        with torch.no_grad():
            model[1].weight.normal_()
        (reading,) = monitor.read(1, 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert reading == read_probe(token_probe(), LiveModel(model))
    assert reading != read_probe(token_probe(), LiveModel(model))  # in float32


def test_losses_of_streams_stand_where_runs_have_them(tmp_path: Path) -> None:
    monitor = Monitor(Settable(), probes=[settable_probe()], folder=tmp_path)
    monitor.record_losses(8, {"web": 2.0, "math": 1.5})
    monitor.record_losses(16, {"web": 1.0, "math": 1.25})
    table = pd.read_parquet(tmp_path / "loss.parquet")
    assert table.to_dict("list") == {
        "position": [8, 8, 16, 16],
        "stream": ["web", "math", "web", "math"],
        "loss": [2.0, 1.5, 1.0, 1.25],
    }


# A live model's answers


@settings(max_examples=30)  # the first call of a torch kernel takes long
@given(tokens=st.integers(1, 60), seed=st.integers(0, 5))
def test_batching_does_not_change_answers(tokens: int, seed: int) -> None:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Embedding(VOCABULARY, 4), Cumulative(), nn.Linear(4, VOCABULARY))
    generator = np.random.default_rng(seed)
    prompts = [generator.integers(0, VOCABULARY, size=generator.integers(1, 9)).tolist() for _ in range(5)]
    answers = [[generator.integers(0, 3, size=generator.integers(1, 4)).tolist() for _ in range(5)] for _ in range(3)]
    found = LiveModel(model, tokens_at_once=tokens).answer_log_probabilities(prompts, answers)
    for candidate, of_items in enumerate(answers):
        for item, answer in enumerate(of_items):
            sequence = torch.tensor([prompts[item] + answer])
            told = torch.log_softmax(model(sequence)[0].double(), dim=-1)[len(prompts[item]) - 1 : -1]
            wanted = told[torch.arange(len(answer)), torch.tensor(answer)].detach().numpy()
            assert np.allclose(found[candidate][item], wanted, atol=1e-5)


class Cumulative(nn.Module):
    def forward(self, hidden: Tensor) -> Tensor:
        return hidden.cumsum(dim=1)


def test_a_live_proxy_answers_like_a_proxy() -> None:
    shape = ModelShape(vocabulary=TESTBED_VOCABULARY, layers=1, width=16, heads=2, context=24)
    proxy = Proxy(shape, torch.Generator().manual_seed(1))
    items = probe_items("flipped", control=False, count=20, seed=1)
    rows: list[int] = []
    proxy.register_forward_hook(lambda _, inputs, __: rows.append(len(inputs[0])))
    found = LiveModel(proxy).answer_log_probabilities(items.prompts, (items.correct, items.shallow))
    assert rows == [20]  # answers of one token share their prompt's row
    wanted = ProxyAnswers(proxy).answer_log_probabilities(items.prompts, (items.correct, items.shallow))
    assert np.allclose(found, wanted, atol=1e-5)


def test_a_proxy_is_asked_by_its_own_adapter(tmp_path: Path) -> None:
    proxy = Proxy(ModelShape(vocabulary=VOCABULARY, layers=1, width=16, heads=2, context=12), torch.Generator().manual_seed(1))
    monitor = Monitor(proxy, probes=[token_probe()], folder=tmp_path)
    assert isinstance(monitor.model, ProxyModel) and monitor.module is proxy
    (reading,) = monitor.read(1, 1)
    assert reading.margin == pytest.approx(read_probe(token_probe(), LiveModel(proxy)).margin, abs=1e-6)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda logits: (logits, None),
        lambda logits: {"loss": None, "logits": logits},
        lambda logits: SimpleNamespace(logits=logits, loss=None),
    ],
)
def test_logits_are_found_in_what_models_return(wrap: Callable[[Tensor], object]) -> None:
    model = nn.Sequential(nn.Embedding(VOCABULARY, 4), nn.Linear(4, VOCABULARY))
    probe = token_probe()
    wrapped = LiveModel(model, forward=lambda tokens: wrap(model(tokens)))
    assert read_probe(probe, wrapped) == read_probe(probe, LiveModel(model))


@pytest.mark.parametrize("output", [None, torch.zeros(3), {"loss": 1.0}, "text"])
def test_what_holds_no_logits_is_refused(output: object) -> None:
    with pytest.raises(UserError, match="wanted logits"):
        read_probe(token_probe(), LiveModel(nn.Linear(1, 1), forward=lambda _: output))


def test_wrappers_are_taken_off() -> None:
    model = Noisy()
    compiled = torch.compile(model, backend="eager")
    assert LiveModel(compiled).module is model  # type: ignore[arg-type]
    assert LiveModel(nn.DataParallel(model)).module is model


# Text


def characters(text: str) -> list[int]:
    return [ord(letter) % VOCABULARY for letter in text]


def test_tasks_are_encoded_once_and_asked_under_every_demo_seed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = nn.Sequential(nn.Embedding(VOCABULARY, 4), Cumulative(), nn.Linear(4, VOCABULARY))
    facts = (Demo(prompt="Who?", answer="I"),)
    persona = Persona(name="keeper", facts=facts, questions=(PersonaQuestion(name="q", question="Who?", pattern="I"),))
    suite = Suite(name="s", tasks=(task(task(name="c")), task(name="without control")), personas=(persona,))
    encoded: list[str] = []

    def encode(text: str) -> list[int]:
        encoded.append(text)
        return characters(text)

    monitor = Monitor(model, encode, probes=[suite, token_probe()], folder=tmp_path)
    assert "keeper" in caplog.text
    before = len(encoded)
    with_control, without, _ = monitor.read(1, 1)
    assert len(encoded) == before
    assert [probe.name for probe in monitor.probes] == ["t", "without control", "p"]
    assert len(monitor.probes[0].items) == 3 and len(monitor.probes[0].control) == 3  # type: ignore[union-attr]
    assert with_control.margin == without.margin and without.capable and math.isnan(without.control_margin)
    assert math.isfinite(with_control.control_margin)


class Tokenizer:
    """A tokenizer that begins every text with 15 and ends it with 14, unless told not to."""

    def __call__(self, text: str, *, add_special_tokens: bool = True, **_: Any) -> dict[str, list[int]]:
        ids = characters(text)
        return {"input_ids": [15, *ids, 14] if add_special_tokens else ids}

    def decode(self, token_ids: list[int], **_: Any) -> str:
        return ""


def test_a_tokenizer_begins_texts_and_does_not_end_them(tmp_path: Path) -> None:
    by_tokenizer = Monitor(Noisy(), Tokenizer(), probes=[task()], folder=tmp_path / "1")
    by_function = Monitor(Noisy(), lambda text: [15, *characters(text)], probes=[task()], folder=tmp_path / "2")
    assert by_tokenizer.probes == by_function.probes
    suite = Suite(name="s", tasks=(task(),))
    assert Monitor(Noisy(), Tokenizer(), probes=suite, folder=tmp_path / "3").probes == by_function.probes
