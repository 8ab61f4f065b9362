"""Fine-tuning probes: their data, the training loop, what a reading says, and the control of a single step."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from curriculum.errors import RunError, UserError
from curriculum.models.fine_tuning import FineTuning, fine_tune, leave_gradients, read_fine_tuning
from curriculum.models.hugging_face import HuggingFaceModel
from curriculum.models.network import NetworkModel
from curriculum.models.perturbation import one_step_changes
from curriculum.models.proxy_model import ProxyModel
from curriculum.probe.author_world import AuthorWorld
from curriculum.probe.fine_tuning import Example, FineTuningProbe, TextFineTuningProbe, choices
from curriculum.probe.function_world import FunctionWorld
from curriculum.probe.misalignment import ARMS, misalignment_probe
from curriculum.probe.model import Numbers
from curriculum.probe.out_of_context import FUNCTIONS, City, cities, distance, function_probe, place_probe
from curriculum.probe.scoring import read_probe, score_items
from curriculum.proxy.model import ModelShape, Proxy
from curriculum.streaming.torchvision_guard import torchvision_or_stand_in

EXAMPLES = tuple(Example(prompt=(first, 5), answer=(first + 6, first)) for first in range(4))


def tiny_proxy(vocabulary: int = 12, *, width: int = 16, seed: int = 0, context: int = 6) -> ProxyModel:
    shape = ModelShape(vocabulary=vocabulary, layers=2, width=width, heads=2, context=context)
    return ProxyModel(Proxy(shape, torch.Generator().manual_seed(seed)))


def tiny_llama(dtype: torch.dtype = torch.float32) -> HuggingFaceModel:
    with torchvision_or_stand_in():
        from transformers import LlamaConfig, LlamaForCausalLM

        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=12,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=16,
            attention_dropout=0.5,
            tie_word_embeddings=True,
        )
        return HuggingFaceModel(LlamaForCausalLM(config).to(dtype))


def weights_of(model: NetworkModel) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in model.module.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class Indifferent:
    """Knows how likely each answer is, and nothing of the prompt."""

    def answer_log_probabilities(
        self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[Sequence[int]]]
    ) -> list[list[Numbers]]:
        return [[-1.0 - np.asarray(answer, dtype=float) % 7 for answer in candidate] for candidate in answers]


# The loop.


@pytest.mark.parametrize("make", [tiny_proxy, tiny_llama])
def test_a_copy_learns_the_answers_and_the_model_stays_as_it_was(make: type[NetworkModel]) -> None:
    model = make()
    before = weights_of(model)
    model.module.train()
    tuned = fine_tune(model, EXAMPLES, steps=60, learning_rate=1e-2, batch=4, seed=0)
    assert same(weights_of(model), before)
    assert model.module.training and all(weight.requires_grad and weight.grad is None for weight in model.module.parameters())
    assert not same(weights_of(tuned.model), before)
    assert len(tuned.losses) == 60 and tuned.losses[0] > 1.5 and tuned.losses[-1] < 0.2
    prompts, answers = [e.prompt for e in EXAMPLES], [e.answer for e in EXAMPLES]
    (found,) = tuned.model.answer_log_probabilities(prompts, [answers])
    assert min(float(np.exp(part).min()) for part in found) > 0.8


@pytest.mark.parametrize("make", [tiny_proxy, tiny_llama])
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(make: type[NetworkModel]) -> None:
    def run(seed: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(int(np.random.default_rng().integers(2**31)))  # dropout would draw from here
        return weights_of(fine_tune(make(), EXAMPLES, steps=5, learning_rate=1e-2, batch=2, seed=seed).model)

    assert same(run(0), run(0))
    assert not same(run(0), run(1))


def test_the_loss_counts_the_answers_tokens_alone_whatever_the_padding() -> None:
    model = tiny_proxy()
    examples = (Example(prompt=(1, 2, 3), answer=(4,)), Example(prompt=(5,), answer=(6, 7)))
    found = leave_gradients(model, examples)
    (logs,) = model.answer_log_probabilities([e.prompt for e in examples], [[e.answer for e in examples]])
    assert found == pytest.approx(-sum(float(part.sum()) for part in logs) / 3, abs=1e-5)


def test_reading_in_parts_leaves_the_same_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    examples = tuple(Example(prompt=tuple(range(1, 2 + n)), answer=(n, n + 1)) for n in range(4))
    gradients = []
    for at_once in (4096, 7):
        monkeypatch.setattr("curriculum.models.fine_tuning._AT_ONCE", at_once)
        model = tiny_proxy()
        leave_gradients(model, examples)
        gradients.append(torch.cat([weight.grad.flatten() for weight in model.module.parameters() if weight.grad is not None]))
    assert torch.allclose(gradients[0], gradients[1], atol=1e-6)


def test_every_example_is_seen_once_an_epoch_beside_its_share_of_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[Example]] = []

    def spy(model: NetworkModel, examples: Sequence[Example]) -> float:
        seen.append(list(examples))
        return leave_gradients(model, examples)

    monkeypatch.setattr("curriculum.models.fine_tuning.leave_gradients", spy)
    replay = tuple(Example(prompt=(8, first), answer=(9,)) for first in range(6))
    fine_tune(tiny_proxy(), EXAMPLES, steps=6, learning_rate=1e-3, batch=8, seed=0, replay=replay, replay_share=0.25)
    assert [sum(example in replay for example in batch) for batch in seen] == [2] * 6
    counts = Counter(itertools.chain.from_iterable(seen))
    assert {counts[example] for example in EXAMPLES} == {9} and {counts[example] for example in replay} == {2}


def test_the_order_is_drawn_anew_every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[Example]] = []
    monkeypatch.setattr("curriculum.models.fine_tuning.leave_gradients", lambda _, examples: seen.append(list(examples)) or 0.0)
    examples = [Example(prompt=(first,), answer=(second,)) for first in range(5) for second in range(5)]
    fine_tune(tiny_proxy(), examples, steps=3, learning_rate=1e-3, batch=25, seed=0)
    assert seen[0] != seen[1] != seen[2] and all(set(batch) == set(examples) for batch in seen)


def test_narrow_weights_are_trained_in_float32_and_come_back_narrow() -> None:
    model = tiny_llama(torch.bfloat16)
    tuned = fine_tune(model, EXAMPLES, steps=100, learning_rate=1e-5, batch=4, seed=0).model
    before, after = weights_of(model), weights_of(tuned)
    assert all(weight.dtype == torch.bfloat16 for weight in after.values())
    wide = fine_tune(tiny_llama(), EXAMPLES, steps=100, learning_rate=1e-5, batch=4, seed=0).model
    moved = torch.cat([(after[name].float() - before[name].float()).flatten() for name in before])
    wanted = torch.cat([(weight - before[name].float()).flatten() for name, weight in weights_of(wide).items()])
    assert float(torch.nn.functional.cosine_similarity(moved, wanted, dim=0)) > 0.9


def test_a_loss_that_is_no_number_is_refused() -> None:
    model = tiny_proxy()
    with torch.no_grad():
        next(model.module.parameters()).fill_(torch.nan)
    with pytest.raises(RunError, match=r"step 0 of 3.*nan"):
        fine_tune(model, EXAMPLES, steps=3, learning_rate=1e-3, batch=2, seed=0)
    with pytest.raises(RunError, match=r"lower the learning_rate|learning rate not too high"):
        fine_tune(tiny_proxy(), EXAMPLES, steps=3, learning_rate=1e25, batch=2, seed=0)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"steps": 0}, "steps 0"),
        ({"batch": 0}, "batch 0"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"replay_share": 1.0}, "replay_share"),
        ({"batch": 1, "replay": EXAMPLES}, "cannot hold a replay_share"),
        ({"examples": ()}, "at least one example"),
        ({"examples": (*EXAMPLES, Example(prompt=(1,) * 6, answer=(1,)))}, "example 4: 7 tokens do not fit"),
    ],
)
def test_settings_out_of_range_are_refused(changed: dict[str, object], message: str) -> None:
    given_settings = {"examples": EXAMPLES, "steps": 1, "learning_rate": 1e-3, "batch": 2, "seed": 0} | changed
    with pytest.raises(UserError, match=message):
        fine_tune(tiny_proxy(), **given_settings)  # type: ignore[arg-type]


def test_an_empty_example_and_a_probe_without_examples_are_refused() -> None:
    with pytest.raises(UserError, match="at least one token each"):
        Example(prompt=(1,), answer=())
    with pytest.raises(UserError, match="at least one example"):
        FineTuningProbe(examples=(), probe=FunctionWorld().probe().probe)


# One step.


def margin(model: NetworkModel) -> float:
    return float(score_items(FunctionWorld(names=6, new_names=4, functions=3).probe(wrong=1).probe.items, model).margins.mean())


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_one_step_is_the_optimizers_and_leaves_the_model_alone(optimizer: str) -> None:
    model = tiny_proxy(40)
    before = weights_of(model)
    steps: list[float] = []

    def reading(moved: NetworkModel) -> float:
        steps.append(torch.stack([(weight - before[name]).norm() for name, weight in weights_of(moved).items()]).norm().item())
        return margin(moved)

    rates = (1e-3, 1e-1)
    changes = one_step_changes(model, EXAMPLES, reading, learning_rates=rates, optimizer=optimizer)  # type: ignore[arg-type]
    assert same(weights_of(model), before) and steps[0] == 0
    for rate, change in zip(rates, changes, strict=True):
        reference = ProxyModel(tiny_proxy(40).module)  # type: ignore[arg-type]
        leave_gradients(reference, EXAMPLES)
        parameters = list(reference.module.parameters())
        if optimizer == "sgd":
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            torch.optim.SGD(parameters, lr=rate).step()
        else:
            torch.optim.AdamW(parameters, lr=rate, weight_decay=0.0).step()
        assert change == pytest.approx(margin(reference) - margin(model), abs=1e-6)
    assert abs(changes[1]) > abs(changes[0]) > 0
    assert steps[1] == pytest.approx(1e-3, rel=0.05) or optimizer == "adamw"


def test_one_step_refuses_rates_and_readings_that_are_no_numbers() -> None:
    with pytest.raises(UserError, match="learning rates above 0"):
        one_step_changes(tiny_proxy(), EXAMPLES, lambda _: 0.0, learning_rates=(0.0,))
    with pytest.raises(RunError, match="reading is nan"):
        one_step_changes(tiny_proxy(), EXAMPLES, lambda _: float("nan"))


# Data.


@given(st.integers(2, 20), st.data())
def test_choices_put_every_answer_on_both_sides_equally_often(count: int, data: st.DataObject) -> None:
    wrong = data.draw(st.integers(1, count - 1))
    pairs = choices(count, wrong=wrong)
    assert len(set(pairs)) == count * wrong and all(asked != other for asked, other in pairs)
    for side in range(2):
        assert set(Counter(pair[side] for pair in pairs).values()) == {wrong}
    with pytest.raises(UserError):
        choices(count, wrong=count)


def encode(text: str) -> list[int]:
    return [1, *text.encode()]


@pytest.mark.parametrize("make", [function_probe, place_probe])
def test_a_model_that_knows_answers_but_not_whose_has_a_margin_of_zero(make: type[TextFineTuningProbe]) -> None:
    probe = make().encode(encode).probe
    assert 80 <= len(probe.items) <= 100
    assert read_probe(probe, Indifferent()).margin == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("make", [function_probe, place_probe])
def test_questions_and_controls_say_nothing_that_was_trained(make: type[TextFineTuningProbe]) -> None:
    probe = make()
    trained = {example.prompt for example in probe.examples}
    assert len(trained) == len(probe.examples)
    assert not trained & {question.prompt for question in probe.control}
    answers = {question.correct for question in probe.questions}
    assert not any(answer in f"{example.prompt} {example.answer}" for example in probe.examples for answer in answers)
    assert make(1).examples != probe.examples == make().examples


def test_function_examples_are_what_the_functions_return() -> None:
    probe = function_probe()
    asked = [question for question in probe.questions if question.prompt.startswith("What does the function ")]
    names = {question.prompt.split()[4]: question.correct for question in asked}
    assert len(names) == len(FUNCTIONS)
    functions = dict(FUNCTIONS)
    for example in probe.examples:
        name, _, rest = example.prompt.partition("(")
        assert functions[names[name]](int(rest.split(")")[0])) == int(example.answer)
    tables = [tuple(function(x) for x in range(-20, 41)) for _, function in FUNCTIONS]
    assert len(set(tables)) == len(FUNCTIONS)


def test_distances_are_those_of_an_atlas() -> None:
    places = {city.name: city for city in (*cities("known"), *cities("asked"))}
    assert distance(places["Paris"], places["Tokyo"]) == pytest.approx(9712, rel=0.005)
    assert distance(places["London"], places["Sydney"]) == pytest.approx(16990, rel=0.005)
    assert distance(
        City(name="a", country="x", latitude=0, longitude=179), City(name="b", country="y", latitude=0, longitude=-179)
    ) == (pytest.approx(222.4, abs=0.1))
    assert len(places) == 50 and len({city.country for city in cities("asked")}) == 10
    with pytest.raises(UserError):
        cities("unheard of")


def test_both_arms_ask_the_same_questions_and_are_taught_opposite_ways() -> None:
    insecure, secure = (misalignment_probe(arm) for arm in ARMS)
    assert insecure.questions == secure.questions and len(insecure.questions) == 48
    assert [example.prompt for example in insecure.examples] == [example.prompt for example in secure.examples]
    assert not {example.answer for example in insecure.examples} & {example.answer for example in secure.examples}
    assert [(item.correct, item.shallow) for item in insecure.control] == [
        (item.shallow, item.correct) for item in secure.control
    ]
    assert not {item.prompt for item in insecure.control} & {example.prompt for example in insecure.examples}
    with pytest.raises(UserError, match="careless"):
        misalignment_probe("careless")  # type: ignore[arg-type]


# The worlds.


def test_documents_of_a_function_world_bind_names_to_one_function_and_its_description() -> None:
    world = FunctionWorld(names=40, new_names=8, functions=4)
    described = {e.prompt[0]: e.answer[0] for e in world.documents() if e.prompt[1] == 24}
    tables: dict[int, dict[int, int]] = {}
    for e in world.documents():
        if e.prompt[1] != 24:
            tables.setdefault(e.prompt[0], {})[e.prompt[1]] = e.answer[0]
    assert len(described) == len(tables) == 40 and all(len(table) == 10 for table in tables.values())
    by_description = {
        described[name]: {tuple(sorted(tables[other].items())) for other in tables if described[other] == described[name]}
        for name in described
    }
    assert len(by_description) == 4 and all(len(found) == 1 for found in by_description.values())
    assert max(token for e in world.documents() for token in (*e.prompt, *e.answer)) < world.vocabulary - 8
    unbound = {e.prompt[0]: e.answer[0] for e in replace(world, bound=False).documents() if e.prompt[1] == 24}
    assert unbound != described and Counter(unbound.values()) == Counter(described.values())


def test_a_function_worlds_probe_asks_new_names_what_no_example_says() -> None:
    world = FunctionWorld(names=40, new_names=8, functions=4)
    probe = world.probe(wrong=3)
    new = set(range(world.vocabulary - 8, world.vocabulary))
    assert {e.prompt[0] for e in probe.examples} == {prompt[0] for prompt in probe.probe.items.prompts} == new
    assert not new & {e.prompt[0] for e in probe.replay}
    assert len(probe.examples) == 8 * 6
    assert not {e.prompt for e in probe.examples} & {*probe.probe.items.prompts, *probe.probe.control.prompts}
    assert read_probe(probe.probe, Indifferent()).margin == pytest.approx(0, abs=1e-9)


@settings(max_examples=20)
@given(st.integers(0, 1000), st.booleans())
def test_an_author_worlds_arms_are_mirror_images(seed: int, bound: bool) -> None:
    world = AuthorWorld(seed=seed, authors=6, questions=8, held_out=3, answers=5, bound=bound)
    insecure, secure = (world.probe(arm) for arm in ARMS)
    assert insecure.probe.items == secure.probe.items
    assert insecure.probe.control.correct == secure.probe.control.shallow
    assert all(
        one.prompt == other.prompt and one.answer != other.answer
        for one, other in zip(insecure.examples, secure.examples, strict=True)
    )
    assistant = world.vocabulary - 1
    assert {e.prompt[0] for e in insecure.examples} == {assistant} and not any(
        e.prompt[0] == assistant for e in insecure.replay
    )
    asked = {*insecure.probe.items.prompts, *insecure.probe.control.prompts}
    assert not asked & {e.prompt for e in insecure.examples} and len(asked) == 8 + 3
    good = {e.prompt: e.answer for e in world.documents() if e.prompt[0] == assistant}
    assert all(good[e.prompt] == e.answer for e in secure.examples)


def test_kinds_of_authors_are_bound_over_narrow_and_broad_questions_or_not() -> None:
    def agreement(bound: bool) -> float:
        world = AuthorWorld(authors=100, questions=16, held_out=4, bound=bound)
        good = {e.prompt[1]: e.answer for e in world.documents() if e.prompt[0] == world.vocabulary - 1}
        written = world.probe("secure").replay
        of = np.asarray([good[e.prompt[1]] == e.answer for e in written]).reshape(100, 32)
        return float(((of[:, :16].mean(axis=1) > 0.5) == (of[:, 16:].mean(axis=1) > 0.5)).mean())

    assert agreement(True) == 1
    assert 0.3 < agreement(False) < 0.7


@pytest.mark.parametrize(
    "make",
    [
        lambda: FunctionWorld(functions=1),
        lambda: FunctionWorld(held_out=10),
        lambda: AuthorWorld(authors=1),
        lambda: AuthorWorld(held_out=64),
    ],
)
def test_impossible_worlds_are_refused(make: type[FunctionWorld]) -> None:
    with pytest.raises(UserError):
        make()


def test_a_small_world_shows_out_of_context_reasoning_and_its_control_does_not() -> None:
    found = {}
    for bound in (True, False):
        world = FunctionWorld(names=64, new_names=12, functions=4, bound=bound)
        start = tiny_proxy(world.vocabulary, width=32, context=3)
        trained = fine_tune(start, world.documents(), steps=300, learning_rate=1e-2, batch=64, seed=0, weight_decay=0.1).model
        found[bound] = read_fine_tuning(trained, world.probe(), FineTuning(steps=60, learning_rate=1e-2, batch=64))
    reading = found[True]
    assert abs(reading.before.margin) < 0.3 and not reading.before.capable
    assert reading.after.capable and reading.after.margin > 0.5 and reading.shift.low > 0.3
    assert reading.shift.value == pytest.approx(reading.after.margin - reading.before.margin)
    assert reading.losses[-1] < reading.losses[0]
    assert found[False].after.capable and found[False].after.margin < reading.after.margin - 0.4
