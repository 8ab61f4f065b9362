"""Proxy runs: their data, readings, checkpoints and folders."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

from curriculum.errors import DataError, FileError, RunError, UserError
from curriculum.mix import Mix, Phase, Stream
from curriculum.probe import Probe
from curriculum.probe.items import ItemSet
from curriculum.probe.specification import PROOF_DRAW, ProbeSpecification, SuiteSpecification
from curriculum.proxy import training
from curriculum.proxy.answers import ProxyAnswers
from curriculum.proxy.checkpoint import load_proxy
from curriculum.proxy.encoding import encoder_of_file
from curriculum.proxy.feed import Batch, batches, heldout_batches, make_batch, vocabulary_of
from curriculum.proxy.model import ModelShape, Proxy
from curriculum.proxy.recipe import Recipe
from curriculum.proxy.run import RunRequest, load_run, perform
from curriculum.streaming import StreamingDataset, testbed
from curriculum.streaming.tokenizer import train_tokenizer

RECIPE = Recipe(layers=1, width=16, heads=1, batch=16, readings=4)
PROBES = (
    ProbeSpecification(name="succession", family="succession", floor=0.0, items=8, builtin="testbed:succession"),
    ProbeSpecification(name="flipped", family="flipped", floor=0.0, items=8, builtin="testbed:flipped"),
)


@pytest.fixture
def mix() -> Mix:
    streams = {name: Stream(local=f"testbed:{name}") for name in ("arith", "facts")}
    phases = (
        Phase(until=Decimal("0.5"), weights={"arith": 3, "facts": 1}),
        Phase(until=1, weights={"arith": 1, "facts": 3}, to={"arith": 3, "facts": 1}),
    )
    return Mix(name="m", streams=streams, phases=phases, samples=512, seed=4)


@pytest.fixture
def request_of(mix: Mix) -> RunRequest:
    return RunRequest(label="r", mix=mix, seed=1, samples=512, recipe=RECIPE, probes=PROBES)


def test_a_run_is_fed_what_plain_iteration_of_the_dataset_yields(mix: Mix) -> None:
    dataset = StreamingDataset(mix=mix, batch_size=16)
    fed = [batch.tokens.numpy() for batch in batches(dataset, 16, start=0, stop=512)]
    iterated = np.stack([sample["tokens"] for sample in dataset])
    assert len(fed) == 32 and (np.concatenate(fed) == iterated).all()
    streams, _, _ = dataset.plan[np.arange(512)]
    starts = dataset.sample_offset_per_stream
    ids = dataset.sample_ids(np.arange(512))
    assert (np.searchsorted(starts, ids, side="right") - 1 == streams).all()
    dataset.close()


def test_a_run_trains_on_the_batches_of_its_own_mix(
    request_of: RunRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[np.ndarray] = []
    original = training.next_token_loss

    def spy(model: Proxy, batch: Batch) -> torch.Tensor:
        if torch.is_grad_enabled():
            seen.append(batch.tokens.numpy())
        return original(model, batch)

    monkeypatch.setattr(training, "next_token_loss", spy)
    result = perform(request_of, tmp_path)
    dataset = StreamingDataset(mix=result.folder / "mix.yaml", batch_size=16)
    assert (np.concatenate(seen) == np.stack([sample["tokens"] for sample in dataset])).all()
    dataset.close()


def test_the_folder_holds_what_is_promised_and_is_found_again(request_of: RunRequest, tmp_path: Path) -> None:
    result = perform(request_of, tmp_path, keep=1)
    assert sorted(path.name for path in result.folder.iterdir() if not path.name.startswith(".")) == [
        *("bits_per_byte.parquet", "checkpoints", "loss.parquet", "mix.yaml", "run.json", "trajectory.parquet")
    ]
    table = pd.read_parquet(result.folder / "trajectory.parquet")
    assert list(table.columns[:4]) == ["position", "step", "probe", "family"] and list(table["position"]) == [
        128,
        128,
        256,
        256,
        384,
        384,
        512,
        512,
    ]
    assert (table["step"] * 16 == table["position"]).all() and set(table["mode"]) <= {"general", "shallow", "unformed"}
    assert set(result.final_loss()) == {"arith", "facts"} and (result.folder / "checkpoints/512/weights.safetensors").exists()
    record = json.loads((result.folder / "run.json").read_text())
    assert record["seed"] == 1 and record["versions"]["torch"] and record["proxy"]["width"] == 16
    again = perform(request_of, tmp_path)
    assert again.seconds == load_run(result.folder).seconds == record["seconds"]  # type: ignore[union-attr]
    (result.folder / "trajectory.parquet").unlink()
    assert len(perform(request_of, tmp_path).trajectory.table) == 8


def test_a_run_is_the_same_to_the_bit_and_another_seed_is_not(request_of: RunRequest, tmp_path: Path) -> None:
    first, second = (perform(request_of, tmp_path / name).trajectory.table for name in ("a", "b"))
    pd.testing.assert_frame_equal(first, second, check_exact=True)
    other = perform(replace(request_of, seed=2), tmp_path / "a")
    assert not np.array_equal(other.trajectory.table["margin"], first["margin"])
    assert replace(request_of, draw=PROOF_DRAW).run_id() != request_of.run_id()


def test_a_run_that_was_cut_off_goes_on_from_its_checkpoint_to_the_same_bits(
    request_of: RunRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = perform(request_of, tmp_path / "whole")
    monkeypatch.setattr(training, "_CHECKPOINT_SECONDS", -1.0)

    def stop(position: int) -> None:
        if position == 384:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        perform(request_of, tmp_path / "cut", observe=stop)
    folder = tmp_path / "cut" / request_of.run_id()
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["256"] and load_run(folder) is None
    seen: list[int] = []
    resumed = perform(request_of, tmp_path / "cut", observe=seen.append)
    assert seen == [384, 512] and not (folder / "checkpoints").exists()
    pd.testing.assert_frame_equal(resumed.trajectory.table, whole.trajectory.table, check_exact=True)
    pd.testing.assert_frame_equal(resumed.loss, whole.loss, check_exact=True)


def test_a_run_can_start_from_a_checkpoint(request_of: RunRequest, tmp_path: Path) -> None:
    first = perform(request_of, tmp_path, keep=1)
    start = first.folder / "checkpoints" / "512"
    further = perform(replace(request_of, recipe=replace(RECIPE, start=start)), tmp_path)
    assert np.mean(list(further.final_loss().values())) < np.mean(list(first.final_loss().values()))
    with pytest.raises(DataError, match=r"has shape.*but the proxy wants"):
        perform(replace(request_of, recipe=replace(RECIPE, width=32, start=start)), tmp_path)
    with pytest.raises(DataError, match="no checkpoint at"):
        perform(replace(request_of, recipe=replace(RECIPE, start=tmp_path / "none")), tmp_path)
    (start / "weights.safetensors").write_bytes(b"cut off")
    with pytest.raises(DataError, match="damaged"):
        perform(replace(request_of, recipe=replace(RECIPE, start=start, readings=2)), tmp_path)


def test_a_diverging_run_says_so(request_of: RunRequest, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="lower the learning_rate"):
        perform(replace(request_of, recipe=replace(RECIPE, learning_rate=1e18)), tmp_path)


def test_learning_rate_schedules() -> None:
    rates = {
        name: [Recipe(learning_rate=1.0, schedule=name).rate(step, 100) for step in range(100)]  # type: ignore[arg-type]
        for name in ("constant", "cosine", "wsd")
    }
    assert set(rates["constant"]) == {1.0}
    assert rates["cosine"][:5] == rates["wsd"][:5] == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert rates["cosine"][52] == pytest.approx(0.55, abs=0.01) and rates["cosine"][99] == pytest.approx(0.1, abs=0.001)
    assert rates["wsd"][80] == 1.0 and rates["wsd"][90] == 0.5 and rates["wsd"][99] == 0.05


def test_recipes_check_their_numbers() -> None:
    assert RECIPE.steps(512) == 32
    with pytest.raises(UserError, match=r"16 x 4 = 64, got 500; try 512"):
        RECIPE.steps(500)
    for change in ({"layers": 0}, {"learning_rate": float("nan")}, {"schedule": "linear"}):
        with pytest.raises(UserError):
            replace(RECIPE, **change)


def tiny_model() -> Proxy:
    shape = ModelShape(vocabulary=11, layers=1, width=8, heads=1, context=6)
    return Proxy(shape, torch.Generator().manual_seed(0))


def test_the_loss_counts_target_tokens_only() -> None:
    model = tiny_model()
    tokens = torch.randint(0, 11, (3, 6), generator=torch.Generator().manual_seed(1))
    targets = torch.zeros_like(tokens, dtype=torch.bool)
    targets[0, 2] = targets[1, 2] = targets[2, 5] = True
    logits = torch.log_softmax(model(tokens[:, :-1]), -1)
    wanted = -(logits[0, 1, tokens[0, 2]] + logits[1, 1, tokens[1, 2]] + logits[2, 4, tokens[2, 5]]) / 3
    assert training.next_token_loss(model, Batch(tokens=tokens, targets=targets)).item() == pytest.approx(
        wanted.item(), abs=1e-6
    )
    everything = Batch(tokens=tokens, targets=torch.ones_like(targets))
    mean = -logits.gather(2, tokens[:, 1:, None]).mean()
    assert training.next_token_loss(model, everything).item() == pytest.approx(mean.item(), abs=1e-6)


def test_answers_are_scored_alike_by_the_quick_and_the_general_way() -> None:
    answers = ProxyAnswers(tiny_model())
    prompts, candidates = ((1, 2, 3), (4, 5, 6)), (((7,), (8,)), ((9,), (10,)))
    quick = answers.answer_log_probabilities(prompts, candidates)
    slow = answers.answer_log_probabilities(((1, 2, 3), (4, 5, 6), (1, 2)), (((7,), (8,), (1,)), ((9,), (10,), (2,))))
    for k in range(2):
        for i in range(2):
            assert quick[k][i] == pytest.approx(slow[k][i], abs=1e-6)
    two = answers.answer_log_probabilities(((1, 2, 3),), (((7, 5),),))[0][0]
    assert two[0] == pytest.approx(quick[0][0][0], abs=1e-6) and len(two) == 2


def test_samples_without_a_mask_count_whole() -> None:
    batch = make_batch([{"tokens": np.asarray([1, 2, 3], dtype=np.uint16)}])
    assert batch.tokens.dtype == torch.int64 and batch.targets.all()


def test_kept_checkpoints_are_evenly_spaced_and_can_be_opened(request_of: RunRequest, tmp_path: Path) -> None:
    first = perform(request_of, tmp_path, keep=1)
    again = perform(request_of, tmp_path, keep=3)  # there are 4 readings
    checkpoints = sorted(int(path.name) for path in (again.folder / "checkpoints").iterdir())
    assert checkpoints == [256, 384, 512] and again.folder == first.folder
    assert again.trajectory.table.equals(first.trajectory.table)
    weights = load_proxy(again.folder / "checkpoints" / "384").state_dict()
    final = load_proxy(again.folder / "checkpoints" / "512").state_dict()
    assert weights.keys() == final.keys() and not torch.equal(weights["unembedding.weight"], final["unembedding.weight"])
    with pytest.raises(UserError, match="at most as many checkpoints as readings, got 5 of 4"):
        perform(request_of, tmp_path / "other", keep=5)


def test_a_run_cut_off_goes_on_from_before_a_checkpoint_that_is_missing(request_of: RunRequest, tmp_path: Path) -> None:
    whole = perform(request_of, tmp_path / "a", keep=4)
    folder = perform(request_of, tmp_path / "b", keep=2).folder
    (folder / "run.json").unlink()  # as if it had been cut off after its last checkpoint
    again = perform(request_of, tmp_path / "b", keep=4)
    names = sorted(path.name for path in (again.folder / "checkpoints").iterdir())
    assert names == ["128", "256", "384", "512"] and again.trajectory.table.equals(whole.trajectory.table)


def test_streams_without_held_out_samples_run(request_of: RunRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "heldout_batches", lambda mix: {})
    assert perform(request_of, tmp_path).final_loss() == {}


def test_bits_per_byte_are_taken_with_the_losses_and_kept(request_of: RunRequest, tmp_path: Path) -> None:
    suite = tmp_path / "suite.jsonl"
    suite.write_text('{"prompt": [3, 4], "continuation": [5, 6], "bytes": 4}\n')
    asking = replace(request_of, suites=(SuiteSpecification(name="s", file=suite),))
    assert asking.run_id() != request_of.run_id()
    result = perform(asking, tmp_path / "runs", keep=1)
    assert list(result.bits["position"]) == [512] and result.final_bits().keys() == {"s"}
    assert load_run(result.folder).final_bits() == result.final_bits()
    answers = ProxyAnswers(load_proxy(result.folder / "checkpoints" / "512"))
    ((found,),) = answers.answer_log_probabilities(((3, 4),), (((5, 6),),))
    assert result.final_bits()["s"] == pytest.approx(-found.sum() / np.log(2) / 4, abs=1e-6)
    assert result.trajectory.table.equals(perform(request_of, tmp_path / "runs").trajectory.table)
    suite.write_text('{"prompt": [3, 4], "continuation": [5, 7], "bytes": 4}\n')
    assert asking.run_id() != result.folder.name


def test_text_of_probes_is_encoded_as_packing_encodes_it(tmp_path: Path) -> None:
    file = train_tokenizer(["one two three four " * 20], 257, tmp_path / "tokenizer.json")
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.enable_truncation(2)
    tokenizer.post_processor = TemplateProcessing(single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)])
    tokenizer.save(str(file))
    ids = encoder_of_file(file)("one two")
    assert len(ids) == 7 and 0 not in ids


def test_a_checkpoint_without_its_shape_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"proxy\.json, the model's shape, cannot be read"):
        load_proxy(tmp_path)


def test_heldout_samples_are_not_training_samples(mix: Mix) -> None:
    heldout = heldout_batches(mix, limit=64)
    dataset = StreamingDataset(mix=mix, batch_size=1)
    assert set(heldout) == {"arith", "facts"} and heldout["arith"].tokens.shape == (64, 24)
    training_rows = {sample["tokens"].tobytes() for sample in dataset.__getitems__(np.arange(512))}
    fresh = [row.numpy().astype(np.uint8).tobytes() not in training_rows for row in heldout["arith"].tokens]
    assert sum(fresh) >= 60
    dataset.close()
    assert vocabulary_of(mix) > 24


def test_probe_items_come_in_draws_that_share_nothing(tmp_path: Path) -> None:
    rows = [{"split": "test", "prompt": [index], "correct_answer": [1], "incorrect_answer": [2]} for index in range(20)]
    path = tmp_path / "items.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    specification = ProbeSpecification(name="p", family="f", floor=0.0, items=10, file=path, control=path)
    first, second = (specification.draw(number, seed=5).items.prompts for number in (0, 1))
    assert len(set(first)) == 10 and not set(first) & set(second)
    assert specification.draw(0, seed=5).items.prompts == first != specification.draw(0, seed=6).items.prompts
    with pytest.raises(FileError, match="wanted at least 22 items"):
        replace(specification, items=11).draw(0, seed=5)
    builtin = [PROBES[0].draw(number, seed=5) for number in (0, 1)]
    assert isinstance(builtin[0], Probe) and not set(builtin[0].items.prompts) & set(builtin[1].items.prompts)
    assert isinstance(builtin[0].control, ItemSet)
    with pytest.raises(UserError, match="needs control"):
        ProbeSpecification(name="p", family="f", floor=0.0, file=path)


def test_the_testbeds_probes_are_not_asked_of_other_streams(request_of: RunRequest, tmp_path: Path) -> None:
    streams = {**request_of.mix.streams, "arith": Stream(local=str(testbed.testbed_folder("arith")))}
    with pytest.raises(UserError, match=r"probe 'succession' is built in for the testbed, but stream 'arith' is your own"):
        perform(replace(request_of, mix=replace(request_of.mix, streams=streams)), tmp_path)


def test_changed_data_or_files_make_another_run(request_of: RunRequest, tmp_path: Path) -> None:
    items = tmp_path / "items.jsonl"
    items.write_text("one")
    probe = ProbeSpecification(name="p", family="f", floor=0.0, file=items, control=items)
    first = replace(request_of, probes=(probe,)).run_id()
    items.write_text("other")
    assert replace(request_of, probes=(probe,)).run_id() != first
    copy = tmp_path / "copy"
    shutil.copytree(testbed.testbed_folder("arith"), copy)
    streams = {**request_of.mix.streams, "arith": Stream(local=str(copy))}
    moved = replace(request_of, mix=replace(request_of.mix, streams=streams))
    assert moved.run_id() == request_of.run_id()
    index = json.loads((copy / "index.json").read_text())
    index["shards"][0]["samples"] -= 1
    (copy / "index.json").write_text(json.dumps(index))
    assert replace(moved, seed=moved.seed).run_id() != request_of.run_id()


@pytest.mark.parametrize("record", ["", "[]", '{"samples": 512}', '{"samples": "x", "seconds": 1}'])
def test_a_damaged_record_is_a_run_that_is_not_there(record: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(record)
    assert load_run(tmp_path) is None
