"""Parameters <-> curricula.

Idea: a curriculum is rows of proportions (`proportions`) played at their time (`timing`). Under fixed exposure rows are
scaled to it (`exposure`), under free exposure they are kept under the epoch caps (`caps`); so whatever is proposed can be
played, and every curriculum has two faces: the parameters that a sampler sees, and the proportions over time that a
surrogate, a baseline or another study understands. Alternatives: parameters with constraints between them, which hardly
any sampler respects, or rejecting what breaks them. The price is that some parameters mean the same curriculum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache

import numpy as np

from curriculum.errors import UserError
from curriculum.mix import Order, Phase
from curriculum.search.caps import Caps, epoch_caps
from curriculum.search.exposure import Matrix, exact_rows, scale_all_to_exposure
from curriculum.search.proportions import Drawn, Given, Parameters, Proportions, Suggest, Vector
from curriculum.search.study import Study
from curriculum.search.timing import SWITCHES, Timing, even_timing, knot_ends, nearest_switch, switch_timing

SLICES = 20  # of the run, in `features`
_SWITCH = "switch"
_ROUNDED = 10**6


class SearchSpace:
    """The space of one study.

    `shares` are the exposure (under free exposure, what streams in groups start from). `sizes`, in samples, are needed
    for epoch caps under free exposure. Raises DataError if the caps leave a run short of samples.
    """

    def __init__(self, study: Study, shares: Mapping[str, Fraction], sizes: Mapping[str, int] | None = None) -> None:
        self.space, self.fixed = study.space, study.exposure == "fixed"
        self.streams = list(study.streams)
        self.shares = [shares[name] for name in self.streams]
        self._two_phase = self.space.shape == "two-phase"
        self._timing = even_timing(self.space.rows, ramps=self.space.shape == "ramps")
        self._proportions = Proportions(
            self.streams,
            [float(share) for share in self.shares],
            rows=self.space.rows,
            rank=self.space.rank,
            based=not self.fixed,
            groups=self.space.groups,
        )
        self._caps = None if self.fixed else _caps(study, sizes)

    @property
    def ends(self) -> list[Decimal]:
        """Where slices end whose mean proportions `parameters` takes: the steps, or SLICES equal ones."""
        return list(self._timing.ends) if self.space.shape == "steps" else knot_ends(SLICES)

    def propose(self, trial: Suggest) -> tuple[tuple[Phase, ...], Order | None]:
        """Return the phases (and order) that a trial's parameters mean."""
        timing, matrix = self._played(trial)
        order = self._order(trial)
        return timing.phases(self.streams, self._rows(matrix, timing)), order

    def ask(self, trial: Suggest) -> None:
        """Ask a trial for all its parameters, as `propose` does, without working out what they mean."""
        self._suggested(trial)
        self._order(trial)

    def draw(self, random: np.random.Generator) -> dict[str, float | str]:
        """Return parameters drawn as an unguided search would draw them."""
        drawn = Drawn(random)
        self.ask(drawn)
        return drawn.parameters

    def count_parameters(self) -> int:
        """Return how many numbers and choices a curriculum has."""
        return len(self.draw(np.random.default_rng(0)))

    def phases(self, parameters: Parameters) -> tuple[Phase, ...]:
        """Return the phases that parameters mean."""
        timing, matrix = self._played(Given(parameters))
        return timing.phases(self.streams, self._rows(matrix, timing))

    def features(self, parameters: Parameters) -> Vector:
        """Return the proportions played in SLICES equal slices of the run, shape (SLICES * streams,), slice by slice."""
        return np.asarray(self.features_of([parameters])[0])

    def features_of(self, parameters: Sequence[Parameters]) -> Matrix:
        """Return the features of many curricula, worked out together, shape (curricula, SLICES * streams).

        They are those of each by itself, to the bit.
        """
        if not parameters:
            return np.empty((0, SLICES * len(self.streams)))
        asked = [self._suggested(Given(entry)) for entry in parameters]
        timings = [timing for timing, _ in asked]
        matrices = self._scaled(timings, self._proportions.matrices(np.asarray([numbers for _, numbers in asked])))
        weights = np.stack([_in_slices(timing) for timing in timings]) if self._two_phase else _in_slices(self._timing)
        return np.asarray(weights @ matrices).reshape(len(parameters), -1)

    def parameters(self, matrix: Matrix) -> dict[str, float | str]:
        """Return parameters of the curriculum nearest to proportions `matrix`, shape (any number of equal slices, streams)."""
        found: dict[str, float | str] = {}
        timing = self._timing
        if self._two_phase:
            switch = float(nearest_switch(matrix))
            found[_SWITCH], timing = switch, switch_timing(switch)
        return found | self._proportions.parameters(timing.fit(matrix)) | self._first_choices()

    def _suggested(self, trial: Suggest) -> tuple[Timing, list[float]]:
        """Return the timing that a trial means, and the numbers that mean its proportions."""
        timing = self._timing
        if self._two_phase:
            timing = switch_timing(trial.suggest_float(_SWITCH, *map(float, SWITCHES)))
        return timing, self._proportions.numbers(trial)

    def _played(self, trial: Suggest) -> tuple[Timing, Matrix]:
        """Return the rows that a trial means, as they are played but for rounding."""
        timing, numbers = self._suggested(trial)
        return timing, self._scaled([timing], self._proportions.matrices(np.asarray([numbers])))[0]

    def _scaled(self, timings: Sequence[Timing], matrices: Matrix) -> Matrix:
        """Return matrices (curricula, rows, streams) of the exposure that is fixed, or under the caps, or as they are."""
        if self.fixed:
            durations = [timing.durations for timing in timings] if self._two_phase else self._timing.durations
            return scale_all_to_exposure(matrices, durations, self.shares)
        caps = self._caps
        if caps is None:
            return matrices
        return np.stack([caps.kept(matrix, timing.durations) for timing, matrix in zip(timings, matrices, strict=True)])

    def _rows(self, matrix: Matrix, timing: Timing) -> list[list[int]]:
        """Return integer weights: of exact exposure where it is fixed, or capped."""
        if self.fixed:
            return exact_rows(matrix, timing.durations, self.shares)
        if self._caps is not None:
            return exact_rows(matrix, timing.durations, self._caps.exposure(matrix, timing.durations))
        return [[max(1, round(value * _ROUNDED)) for value in row] for row in matrix.tolist()]

    def _first_choices(self) -> dict[str, str]:
        found = {"order": self.space.orders[0]} if len(self.space.orders) > 1 else {}
        return found | ({"window": str(self.space.granularity[0])} if len(self.space.granularity) > 1 else {})

    def _order(self, trial: Suggest) -> Order | None:
        orders, windows = self.space.orders, self.space.granularity
        kind = trial.suggest_categorical("order", list(orders)) if len(orders) > 1 else orders[0]
        if len(windows) > 1:
            window: int | None = int(trial.suggest_categorical("window", [str(size) for size in windows]))
        else:
            window = windows[0] if windows else None
        return self.space.order(kind, window)


@lru_cache(maxsize=1024)  # a timing of two phases has 801 switches
def _in_slices(timing: Timing) -> Matrix:
    return timing.weights(SLICES)


def _caps(study: Study, sizes: Mapping[str, int] | None) -> Caps | None:
    """Return the epoch caps of a study, or None if none can matter. Raises DataError, UserError."""
    capped = [name for name, stream in study.streams.items() if stream.max_epochs is not None]
    if not capped:
        return None
    if sizes is None:
        raise UserError(f"max_epochs of {', '.join(capped)}: under free exposure the streams' sizes are needed, got none")
    caps = epoch_caps(study.streams, sizes, study.samples)
    return caps if caps.any else None


__all__ = ["SLICES", "SearchSpace", "knot_ends"]
