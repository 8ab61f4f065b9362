"""How many runs of a study are trained as one computation, and on which device: settled when the study is begun.

Idea: a run's numbers depend on it in the last digits, so it is written into study.json and never asked of the machine again:
a study goes on as it was begun, on any number of workers. Runs that are all known at once (reference, repeats, proof) fill
populations of `size`. Trials are proposed `ahead` at a time: on a GPU, which one process fills, those are one population;
on a CPU they stay single runs, since as many cores do more than one batch.

`auto` means 64 on a GPU. On a CPU it means 1: populations of eight make the default study 1.17 times as fast on two workers,
no faster on four and slower on more, which idle (`benchmarks/population_study.md`), and how many workers there will be is
not for a study to know. Who knows says `population: 8`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curriculum.errors import ResourceError
from curriculum.proxy.population_groups import in_populations
from curriculum.proxy.run import RunRequest
from curriculum.search.study import Study

_AUTO_ON_GPU = 64
_CPU, _GPU = "cpu", "cuda"
_GPU_DEVICES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # torch is only asked where there is one of these


@dataclass(frozen=True, kw_only=True, slots=True)
class Populations:
    """At most `size` runs are trained as one on `device`, of proposals at most `trials`; 1 on the CPU is a run by itself."""

    size: int = 1
    device: str = _CPU
    trials: int = 1

    def grouped(self, requests: Sequence[RunRequest]) -> list[RunRequest]:
        """Return runs that are all known at once as members of their populations."""
        return in_populations(requests, self.size, self.device)

    def grouped_trials(self, requests: Sequence[RunRequest]) -> list[RunRequest]:
        """Return the runs of up to `trials` trials as members of their population."""
        return in_populations(requests, self.trials, self.device)

    def as_json(self) -> dict[str, Any]:
        """Return what study.json holds; nothing for single runs, so that older studies can be resumed."""
        if self == Populations():
            return {}
        return {"populations": {"size": self.size, "device": self.device, "trials": self.trials}}

    def workers(self) -> int:
        """Return how many processes train where nobody says: one a core, one for a GPU."""
        return 1 if self.device == _GPU else os.cpu_count() or 1

    def words(self) -> str:
        """Return how runs are trained, for an announcement; empty for single runs."""
        if self == Populations():
            return ""
        place = "the GPU" if self.device == _GPU else "the CPU"
        return f"in populations of up to {self.size} (trials: {self.trials}) on {place}"


def settle(study: Study, recorded: Mapping[str, Any] | None) -> Populations:
    """Return how a study is trained: as its study.json says (`recorded`), else as study file and machine have it.

    Raises ResourceError when it was begun on a GPU and there is none here.
    """
    if recorded is None:
        return _chosen(study)
    populations = Populations(**recorded.get("populations", {}))
    if populations.device == _GPU and not _has_gpu():
        raise ResourceError(
            f"the study {study.name!r} was begun on a GPU, and there is none here; go on where there is one, or give the study "
            "another name: on a CPU the last digits would be others"
        )
    return populations


def _chosen(study: Study) -> Populations:
    if study.population == 1 or not can_be_batched(study):
        return Populations()
    device = _GPU if _has_gpu() else _CPU
    size = study.population
    if size == "auto":
        size = _AUTO_ON_GPU if device == _GPU else 1
    return Populations(size=size, device=device, trials=min(size, study.search.ahead) if device == _GPU else 1)


def unused_gpu(study: Study, recorded: Mapping[str, Any] | None) -> str:
    """Return what to say where a study that is begun now leaves a GPU unused that it could train on; else nothing."""
    if recorded is not None or study.population != 1 or not can_be_batched(study):
        return ""
    if not any(Path(device).exists() for device in _GPU_DEVICES) or not _has_gpu():
        return ""
    return (
        "There is a GPU here, and runs are trained on the cores; `proxy: {population: auto}` in the study file, before it is "
        f"begun, trains {_AUTO_ON_GPU} of them as one on the GPU."
    )


def can_be_batched(study: Study) -> bool:
    """Say whether a study's runs can be trained as populations: our dense proxy, each run to its end."""
    return study.command is None and not study.recipe.experts and study.search.pruner == "none"


def _has_gpu() -> bool:
    import torch  # seconds, which a study of single runs need not wait for

    return torch.cuda.is_available()
