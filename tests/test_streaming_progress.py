"""Which epoch is played: agreed among a rank's processes, whatever ends or begins them."""

import multiprocessing
import pickle
import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import streaming_help
import torch
from progress_process import join
from streaming_help import SIZES, Make, keys_of, loader, planned, ramp

from curriculum.errors import UserError
from curriculum.streaming.progress import Moment, Progress

folder, make_dataset = streaming_help.folder, streaming_help.make_dataset


def epochs_of(make_dataset: Make, folder: Path, count: int, **options: Any) -> Iterator[tuple[list[int], list[int]]]:
    """Yield (keys played, keys planned) of `count` epochs through one loader."""
    mix = ramp(folder, samples=120)
    batches = loader(make_dataset(mix=mix, batch_size=8), 2, **options)
    for epoch in range(count):
        yield keys_of(batches), planned(mix.plan(SIZES).later_pass(epoch))


@pytest.mark.parametrize(("persistent", "context"), [(False, "fork"), (True, "fork"), (True, "spawn")])
def test_workers_agree_on_every_epoch(make_dataset: Make, folder: Path, persistent: bool, context: str) -> None:
    options = {"persistent_workers": persistent, "multiprocessing_context": context}
    for played, wanted in epochs_of(make_dataset, folder, 2 if context == "spawn" else 4, **options):
        assert played == wanted


def test_the_same_torch_seed_before_every_epoch_does_no_harm(make_dataset: Make, folder: Path) -> None:
    mix = ramp(folder, samples=120)
    batches = loader(make_dataset(mix=mix, batch_size=8), 2)
    for epoch in range(3):
        torch.manual_seed(0)
        assert keys_of(batches) == planned(mix.plan(SIZES).later_pass(epoch))


def test_an_iteration_that_is_broken_off_consumes_its_epoch_as_in_mosaic(make_dataset: Make, folder: Path) -> None:
    mix = ramp(folder, samples=400)
    batches = loader(make_dataset(mix=mix, batch_size=8), 2)
    for epoch in range(4):
        keys = keys_of(islice(batches, random.Random(epoch).randint(1, 20)))
        assert keys == planned(mix.plan(SIZES).later_pass(epoch), 0, len(keys))


def test_the_number_of_workers_may_change_between_epochs(make_dataset: Make, folder: Path) -> None:
    mix = ramp(folder, samples=120)
    dataset = make_dataset(mix=mix, batch_size=8)
    for epoch, workers in enumerate((1, 3, 0, 2)):
        assert keys_of(loader(dataset, workers)) == planned(mix.plan(SIZES).later_pass(epoch))
        assert dataset.next_epoch == epoch + 1


def test_a_state_taken_while_workers_run_is_of_their_epoch(make_dataset: Make, folder: Path) -> None:
    mix = ramp(folder, samples=120)
    batches = loader(make_dataset(mix=mix, batch_size=8), 2)
    keys_of(batches)
    keys_of(islice(batches, 4))
    state = batches.state_dict()
    assert (state["epoch"], state["position"]) == (1, 32)
    after = loader(make_dataset(mix=mix, batch_size=8), 1)
    after.load_state_dict(state)
    assert keys_of(after) == planned(mix.plan(SIZES).later_pass(1), 32)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_share_the_moment(method: str) -> None:
    context = multiprocessing.get_context(method)
    progress, found = Progress(), context.SimpleQueue()
    for token, epoch in ((11, 0), (12, 1)):
        workers = [context.Process(target=join, args=(progress, worker, token, found)) for worker in range(3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert sorted(found.get() for _ in workers) == [(worker, epoch) for worker in range(3)]
    assert progress.moment == Moment(epoch=1, start=0, begun=1, token=12)


def test_a_worker_that_comes_twice_with_one_token_begins_the_next_pass() -> None:
    progress = Progress()
    assert [progress.begin(worker, 7).epoch for worker in (0, 1, 1, 0, 0)] == [0, 0, 1, 1, 2]
    assert [progress.begin(0, 0).epoch for _ in range(2)] == [3, 4]


def test_a_loaded_moment_is_where_the_next_pass_begins() -> None:
    progress = Progress()
    progress.load(3, 50)
    progress.load(2, 40)  # nothing was played yet, so another state may be loaded
    assert [progress.begin(worker, 9) for worker in range(2)] == [Moment(2, 40, 1, 9)] * 2
    with pytest.raises(UserError, match="before the first iteration"):
        progress.load(2, 40)
    assert progress.begin(0, 10) == Moment(3, 0, 1, 10)


def test_a_copy_by_plain_pickle_counts_on_its_own() -> None:
    progress = Progress()
    progress.load(1, 5)
    copy = pickle.loads(pickle.dumps(progress))
    copy.begin(0, 0)
    assert (copy.moment.begun, progress.moment.begun) == (1, 0)
    assert copy.moment.start == progress.moment.start == 5
