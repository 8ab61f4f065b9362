"""What every stage of a search needs: the study's mixes as runs, their seeds, their scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from curriculum.errors import DataError, RunError
from curriculum.mix import Mix, Phase
from curriculum.probe.specification import SEARCH_DRAW
from curriculum.proxy.folders import stream_folder
from curriculum.proxy.recipe import Recipe
from curriculum.proxy.run import RunRequest, RunResult, digest_of_file
from curriculum.search import controls
from curriculum.search.executor import Executor, Outcome
from curriculum.search.objective import Score, score_run
from curriculum.search.observer import Observer
from curriculum.search.populations import Populations
from curriculum.search.space import SearchSpace
from curriculum.search.study import Study
from curriculum.streaming.index import read_index, read_manifest
from curriculum.units import keyed_seed


@dataclass(frozen=True, kw_only=True, slots=True)
class Runner:
    """A study with what it is searched on. `sizes` are the streams' samples, whole; `static` is the mix of constant shares."""

    study: Study
    space: SearchSpace
    shares: Mapping[str, Fraction]
    sizes: Mapping[str, int]
    executor: Executor
    observer: Observer
    populations: Populations = field(default_factory=Populations)
    static: Mix = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "static", self.study.mix("static", controls.static(self.shares)))

    def seed(self, purpose: str, index: int) -> int:
        """Return the seed of the `index`-th run of a purpose."""
        return keyed_seed("seed", self.study.seed, purpose, index) % 10**6

    def request(self, label: str, mix: Mix, seed: int, draw: int = SEARCH_DRAW, *, recipe: Recipe | None = None) -> RunRequest:
        """Return the run of a mix in this study; `recipe` in place of the study's own."""
        return request_of(self.study, label, mix, seed, draw, recipe=recipe)

    def outcomes(self, requests: Sequence[RunRequest]) -> list[Outcome]:
        """Return the outcomes of runs that are all known at once, in the order given, trained as the study trains."""
        return self.executor.results(self.populations.grouped(requests))

    def scores(self, requests: Sequence[RunRequest]) -> list[Score]:
        """Return the scores of runs, all of which must succeed. Raises RunError."""
        return [score_run(self.study, required(outcome)) for outcome in self.outcomes(requests)]

    def control(self, name: str) -> tuple[Phase, ...] | None:
        """Return a baseline's phases by name, None for a hand-made one where nothing is favoured."""
        return controls.of_study(self.study, self.shares, name)

    def check_controls(self) -> None:
        """Make sure, before anything is trained, that static and all controls can be played. Raises UserError, DataError."""
        controls.check_playable(self.study, self.shares, self.sizes)

    def check_exposure(self, mixes: Mapping[str, Mix]) -> None:
        """Make sure that everyone's counts are equal; under free exposure those of a winner and of its own controls."""
        if self.study.exposure == "fixed" or "shuffled" in mixes:
            controls.check_equal_exposure(mixes.values(), self.sizes)


def request_of(
    study: Study, label: str, mix: Mix, seed: int, draw: int = SEARCH_DRAW, *, recipe: Recipe | None = None
) -> RunRequest:
    """Return the run of a mix in a study."""
    command = study.command
    return RunRequest(
        label=label,
        mix=mix,
        seed=seed,
        samples=study.samples,
        recipe=recipe or study.recipe,
        probes=study.probes,
        suites=study.suites,
        draw=draw,
        item_seed=study.seed,
        command=None if command is None else command.words,
        command_timeout=3600.0 if command is None else command.timeout,
        command_retries=0 if command is None else command.retries,
    )


def required(outcome: Outcome) -> RunResult:
    """Return the result of a run without which the search cannot go on. Raises RunError."""
    if outcome.result is None:
        raise RunError(f"run {outcome.request.run_id()} failed: {outcome.failure}")
    return outcome.result


def stream_sizes(study: Study) -> tuple[dict[str, int], int | None]:
    """Return each stream's samples, and the tokens of a sample where all streams agree. Raises DataError."""
    sizes, tokens = {}, set()
    for name, stream in study.streams.items():
        folder = stream_folder(name, stream)
        try:
            sizes[name] = read_index(name, folder).samples
        except DataError as error:
            raise study.way_out(error) from error
        tokens.add(stream.tokens_per_sample or read_manifest(folder).get("tokens_per_sample"))
    shared = tokens.pop() if len(tokens) == 1 else None
    return sizes, shared


def stream_digests(study: Study) -> dict[str, str]:
    """Return a digest of every stream's index."""
    return {name: read_index(name, stream_folder(name, stream)).digest for name, stream in study.streams.items()}


def file_digests(study: Study) -> dict[str, str]:
    """Return a digest of every file, beside the streams, that decides a run: the start's weights, probes' items, suites."""
    files = {f"{probe.name}, items": probe.file for probe in study.probes}
    files |= {f"{probe.name}, control": probe.control for probe in study.probes}
    files |= {f"{suite.name}, suite": suite.file for suite in study.suites}
    if study.recipe.start is not None:
        files |= {f"start, {path.name}": path for path in sorted(study.recipe.start.glob("weights.*"))}
    return {name: digest_of_file(path) for name, path in files.items() if path is not None}
