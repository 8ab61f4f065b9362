"""What an old study knows, for a new one whose streams differ: `curriculum search --reuse OLD`.

Idea: a trial's knowledge is a curriculum and its value. The curriculum is read from the run that played it, as proportions
in slices of the run, and carried over to the new streams: one that stayed keeps its proportions, what a removed one had
goes to the others in proportion, an added one gets its share of the new exposure, and one that was split is divided by the
shares of its parts. The nearest curriculum of the new space stands for it. Its value is drawn towards the old trials' median
by what was lost on the way (`kept`): so uncertainty is said in the proposers' own language, in which every trial has the
same noise. Alternatives: a kernel over both studies (one proposer would understand it), or enqueueing the old best (spends
budget, and says nothing of the rest). The price: the level of all values may shift with the streams, which the new study's
own trials must correct.

Values mean the same only under the same objective, probes and length, so another one is refused; another proxy is said.
What was taken is fixed when the new study is begun (`reuse.json` in its folder): going on needs the old study no more.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from curriculum.errors import ChangedError, DataError, UserError
from curriculum.mix import Phase
from curriculum.mix.fields import nearest
from curriculum.search.controls import knot_matrix
from curriculum.search.exposure import Matrix
from curriculum.search.folder import write_json
from curriculum.search.proposer import Evidence
from curriculum.search.space import SLICES, SearchSpace, knot_ends
from curriculum.search.study import LESS_IS_BETTER, Study, changed_study
from curriculum.search.trials import open_storage, read_trials

RECORD = "reuse.json"
_OBJECTIVE = ("metric", "subject_to", "burn_in", "pareto")  # what a trial's value depends on
_SAME = ("probes", "suites", "samples")
_SAID = ("recipe", "command", "target", "seed")
_PLAYED = ("order", "max_epochs")  # of a stream
_NAMED = {"suites": "bits_per_byte", "samples": "length.samples", "recipe": "proxy", "command": "proxy.command"}
_SHOWN = 12
Split = Mapping[str, Sequence[str]]


@dataclass(frozen=True, kw_only=True, slots=True)
class PriorTrial:
    """An old trial in the new space: `value` is already drawn in by `kept`, the part of its curriculum that was kept."""

    trial: int
    parameters: Mapping[str, float | str]
    value: float
    excess: Mapping[str, float]
    kept: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Prior:
    """What was taken from the study in folder `old`, and `words` on what was not, or differs."""

    old: str
    split: Mapping[str, tuple[str, ...]]
    words: tuple[str, ...]
    trials: tuple[PriorTrial, ...]

    def digest(self) -> str:
        """Return a digest of what was taken, wherever it came from."""
        return sha256(json.dumps([asdict(trial) for trial in self.trials], sort_keys=True).encode()).hexdigest()

    def evidence(self) -> list[Evidence]:
        """Return the trials for a proposer, under the numbers -n to -1, before any trial of the new study."""
        first = -len(self.trials)
        return [
            Evidence(number=number, parameters=trial.parameters, value=trial.value, excess=trial.excess)
            for number, trial in enumerate(self.trials, start=first)
        ]


def settled_prior(folder: Path, old: Path | None, split: Split, read: Callable[[Path], Prior]) -> Prior | None:
    """Return what the study in `folder` builds on: as it was begun, or else what `read` takes from `old` now, written down.

    None if the study builds on nothing. Raises ChangedError if it was begun otherwise, DataError for a damaged record.
    """
    path = folder / RECORD
    wanted = {name: tuple(parts) for name, parts in split.items()}
    if path.exists():
        prior = _load(path)
        if old is not None and (str(old.resolve()), wanted) != (prior.old, dict(prior.split)):
            raise ChangedError(
                f"this study was begun with --reuse {prior.old}{_split_words(prior.split)}, which cannot change; leave "
                "--reuse and --split as they were, or out, or give the study another name"
            )
        return prior
    if old is None:
        if wanted:
            raise UserError("--split says what became of an old study's streams; name that study with --reuse")
        return None
    if (folder / "study.json").exists():
        raise ChangedError(
            f"the study in {folder} was begun without --reuse, so its first trials knew nothing of {old}; leave --reuse out, "
            "or give the study another name"
        )
    prior = read(old)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, asdict(prior))
    return prior


def prior_evidence(
    old_folder: Path,
    study: Study,
    space: SearchSpace,
    *,
    split: Split | None = None,
    data: Mapping[str, str] | None = None,
    storage: str | None = None,
) -> Prior:
    """Return what the study in `old_folder` knows of curricula of `space`; changes nothing there.

    Its trials are in a database in the folder, or else in `storage`. `data` are digests of the new study's streams, to say
    which changed. Raises UserError if the two cannot be compared, DataError if there is no old study, or nothing in it.
    """
    storage = None if (old_folder / "study.db").exists() else storage
    found = read_trials(old_folder, storage)
    record = json.loads((old_folder / "study.json").read_text())
    old = record["study"]
    _check_comparable(old, study)
    moves = _Moves.of(list(old["streams"]), space, {name: tuple(parts) for name, parts in (split or {}).items()})
    told = _told(old_folder, found.name, storage)
    trials: list[PriorTrial] = []
    left_out = {"of which no run tells the curriculum": 0, "whose order or windows the new study does not search": 0}
    no_run, no_choice = left_out
    for trial in found.trials:
        value = trial.value if trial.foretold is None else trial.foretold  # a stopped trial counts here as it counted there
        if value is None or trial.number not in told:
            continue
        parameters, excess = told[trial.number]
        choices = _choices(parameters, old["space"], study)
        if not trial.phases or set(trial.phases[0].weights) != set(moves.old):
            left_out[no_run] += 1
        elif choices is None:
            left_out[no_choice] += 1
        else:
            nearest_parameters, kept = moves.carried(trial.phases)
            carried = {**nearest_parameters, **choices}
            trials.append(
                PriorTrial(trial=trial.number, parameters=carried, value=value, excess=moves.excess(excess, study), kept=kept)
            )
    if not trials:
        is_known = storage is not None or (old_folder / "study.db").exists()
        elsewhere = "" if is_known else " (are its trials in a database elsewhere? name it with --storage)"
        raise DataError(
            f"the study in {old_folder} has no finished trial that can be taken over{elsewhere}; search without --reuse"
        )
    words = [*moves.words(), *_said(old, study, moves.stayed), *_changed_data(record.get("data", {}), data or {}, moves)]
    words += [f"{count} of its trials, {reason}, are left out" for reason, count in left_out.items() if count]
    return Prior(
        old=str(old_folder.resolve()),
        split=moves.split,
        words=(f"{len(trials)} trials of {old_folder} are taken as evidence; they do not count as trials", *words),
        trials=_drawn_in(trials),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Moves:
    """From proportions of the streams `old` to those of the space's."""

    old: list[str]
    space: SearchSpace
    split: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, old: list[str], space: SearchSpace, split: Mapping[str, tuple[str, ...]]) -> _Moves:
        """Check the splits. Raises UserError."""
        for name, parts in split.items():
            if name not in old:
                raise UserError(f"--split: the old study has no stream {name!r}{nearest(name, old)}; it has {', '.join(old)}")
            for part in parts:
                if part not in space.streams or part in old:
                    known = ", ".join(stream for stream in space.streams if stream not in old) or "none"
                    raise UserError(f"--split: {part!r} is no stream that the new study added; it added {known}")
        parts_of_all = [part for parts in split.values() for part in parts]
        if len(set(parts_of_all)) < len(parts_of_all):
            raise UserError("--split: a stream is named as a part of two old ones; a new stream comes from one")
        moves = cls(old=old, space=space, split=split)
        if not moves.stayed and not split:
            raise UserError(
                f"the old study's streams ({', '.join(old)}) and the new one's ({', '.join(space.streams)}) have none in "
                "common, so nothing is known; search without --reuse, or say with --split what became of them"
            )
        return moves

    @property
    def stayed(self) -> list[str]:
        """Streams of both studies."""
        return [name for name in self.space.streams if name in self.old and name not in self.split]

    @property
    def removed(self) -> list[str]:
        """Old streams of which nothing is left."""
        return [name for name in self.old if name not in self.stayed and name not in self.split]

    @property
    def added(self) -> list[str]:
        """New streams that were no part of an old one."""
        parts = {part for parts in self.split.values() for part in parts}
        return [name for name in self.space.streams if name not in self.stayed and name not in parts]

    def words(self) -> list[str]:
        """Say what became of the streams."""
        lines = [f"{name} was split into {', '.join(parts)}, by their shares" for name, parts in self.split.items()]
        if self.removed:
            lines.append(f"{', '.join(self.removed)} went: the other streams have what it had, in proportion")
        if self.added:
            lines.append(f"{', '.join(self.added)} came: old trials are taken to have had its share of the new exposure")
        return lines

    def carried(self, phases: tuple[Phase, ...]) -> tuple[dict[str, float | str], float]:
        """Return the parameters nearest to old `phases`, and which part of their proportions was kept on the way."""
        names = list(phases[0].weights)
        matrix = knot_matrix(phases, knot_ends(SLICES), ramps=False)
        matrix = matrix / matrix.sum(axis=1, keepdims=True)
        found = np.zeros((len(matrix), len(self.space.streams)))
        shares = np.asarray([float(share) for share in self.space.shares])
        for name in self.stayed:
            found[:, self._at(name)] = matrix[:, names.index(name)]
        for name, parts in self.split.items():
            own = shares[[self._at(part) for part in parts]]
            within = own / own.sum() if own.sum() > 0 else np.full(len(own), 1 / len(own))
            found[:, [self._at(part) for part in parts]] = np.outer(matrix[:, names.index(name)], within)
        left = found.sum(axis=1)
        came = float(shares[[self._at(name) for name in self.added]].sum())
        found = self._filled(found, shares, came)
        parameters = self.space.parameters(found)
        played = np.asarray(self.space.features(parameters)).reshape(found.shape)
        differs = float(np.abs(played - found).sum(axis=1).mean()) / 2
        return parameters, float(left.mean()) * (1 - came) * (1 - differs)

    def _filled(self, found: Matrix, shares: Matrix, came: float) -> Matrix:
        """Scale rows to leave `came` to added streams; a row of which nothing is left becomes the exposure."""
        added = [self._at(name) for name in self.added]
        base = np.where(np.isin(np.arange(len(shares)), added), 0.0, shares)
        sums = found.sum(axis=1, keepdims=True)
        rows = np.where(sums > 0, found / np.where(sums > 0, sums, 1.0), base / max(base.sum(), 1e-300)) * (1 - came)
        rows[:, added] = shares[added]
        return np.asarray(rows)

    def excess(self, old: Mapping[str, float], study: Study) -> dict[str, float]:
        """Return the constraints' excesses under the new streams' names, of those that the old study knew."""
        found = {name: amount for name, amount in old.items() if not name.startswith("loss_")}
        if "loss" in study.objective.subject_to:
            came_from = {name: name for name in self.stayed} | {
                part: name for name, parts in self.split.items() for part in parts
            }
            names = {f"loss_{stream}": f"loss_{origin}" for stream, origin in came_from.items()}
            found |= {new: old[name] for new, name in names.items() if name in old}
        return found

    def _at(self, name: str) -> int:
        return self.space.streams.index(name)


def _drawn_in(trials: Sequence[PriorTrial]) -> tuple[PriorTrial, ...]:
    """Draw values towards their median by what was lost of each curriculum."""
    middle = float(np.median([trial.value for trial in trials]))
    return tuple(
        PriorTrial(
            trial=trial.trial,
            parameters=trial.parameters,
            value=middle + trial.kept * (trial.value - middle),
            excess=trial.excess,
            kept=trial.kept,
        )
        for trial in trials
    )


def _check_comparable(old: Mapping[str, Any], study: Study) -> None:
    new = study.canonical()
    if study.objective.pareto is not None:
        raise UserError("--reuse takes over values of one objective; a Pareto study has two: search without --reuse")
    before = {"objective": {key: old["objective"].get(key) for key in _OBJECTIVE}, **_named(old, _SAME)}
    now = {"objective": {key: new["objective"].get(key) for key in _OBJECTIVE}, **_named(new, _SAME)}
    differences = changed_study(before, now)
    if differences:
        listed = "\n  ".join(differences[:_SHOWN])
        raise UserError(
            f"values of the old study cannot be compared with the new one's:\n  {listed}\n"
            "make them the same, or search without --reuse"
        )
    if study.objective.metric in LESS_IS_BETTER:
        _check_level(old, new)
    if (old["exposure"], study.exposure) == ("free", "fixed"):
        raise UserError(
            "the old study's exposure was free, so its values are of other ratios than a fixed exposure allows; "
            "set `exposure: free`, or search without --reuse"
        )


def _check_level(old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Refuse losses and bits of other streams or of another proxy: a margin means the same there, a loss does not."""
    keys = ("recipe", "command")
    before, now = ({"streams": sorted(of["streams"]), **_named(of, keys)} for of in (old, new))
    if differences := changed_study(before, now):
        listed = "\n  ".join(differences[:_SHOWN])
        raise UserError(
            f"the old study's {new['objective']['metric']} is of other streams or of another proxy, so that its values are on "
            f"another level:\n  {listed}\nmake them the same, or search without --reuse"
        )


def _said(old: Mapping[str, Any], study: Study, stayed: Sequence[str]) -> list[str]:
    """Say what differs and may; of the streams that `stayed`, how they are ordered and how often they may be repeated."""
    new = study.canonical()
    before, now = ({name: _set(of["streams"][name]) for name in stayed} for of in (old, new))
    streams = [
        {"streams": {name: {key: stream[key] for key in _PLAYED if key in stream} for name, stream in of.items()}}
        for of in (before, now)
    ]
    differences = changed_study(_named(old, _SAID) | streams[0], _named(new, _SAID) | streams[1])
    return [f"the old study had another setting, {line}" for line in differences[:_SHOWN]]


def _named(study: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """Return parts of a canonical study under the names that its file has for them; what is not set is left out."""
    return {_NAMED.get(key, key): _set(study[key]) for key in keys if study.get(key) is not None}


def _set(value: Any) -> Any:
    """Leave out what is not set: a setting that an older version did not know is not a difference."""
    if isinstance(value, Mapping):
        return {key: _set(entry) for key, entry in value.items() if entry is not None}
    return [_set(entry) for entry in value] if isinstance(value, list) else value


def _changed_data(old: Mapping[str, str], new: Mapping[str, str], moves: _Moves) -> list[str]:
    changed = [name for name in moves.stayed if name in old and name in new and old[name] != new[name]]
    return [f"the data of {', '.join(changed)} is not what the old study had"] if changed else []


def _told(folder: Path, name: str, storage: str | None) -> dict[int, tuple[dict[str, Any], dict[str, float]]]:
    """Return parameters and excesses of every trial."""
    opened = open_storage(folder, storage)
    if opened is None:
        return {}
    try:
        studies = {study.study_name: study._study_id for study in opened.get_all_studies()}
        if not studies:
            return {}
        trials = opened.get_all_trials(studies.get(name, next(iter(studies.values()))), deepcopy=False)
        return {trial.number: (dict(trial.params), dict(trial.constraints)) for trial in trials if trial.state.is_finished()}
    finally:
        opened.engine.dispose()


def _choices(parameters: Mapping[str, Any], old: Mapping[str, Any], study: Study) -> dict[str, str] | None:
    """Return a trial's order and window as parameters of the new space, or None if that does not have them."""
    sizes = [str(size) for size in old.get("granularity") or ()]
    played = {
        "order": str(parameters.get("order", (old.get("orders") or ["shuffle"])[0])),
        "window": str(parameters.get("window", sizes[0] if sizes else "")),
    }
    offered: dict[str, list[str]] = {
        "order": [str(kind) for kind in study.space.orders],
        "window": [str(size) for size in study.space.granularity] or [""],
    }
    if played["order"] == "sequential":
        played["window"] = played["window"] if played["window"] in offered["window"] else offered["window"][0]
    if any(played[key] not in offered[key] for key in played):
        return None
    return {key: played[key] for key in played if len(offered[key]) > 1}


def _load(path: Path) -> Prior:
    try:
        document = json.loads(path.read_text())
        return Prior(
            old=str(document["old"]),
            split={name: tuple(parts) for name, parts in document["split"].items()},
            words=tuple(document["words"]),
            trials=tuple(PriorTrial(**trial) for trial in document["trials"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} is damaged ({error}); it says what this study builds on, so restore it, or give the study another name"
        ) from None


def _split_words(split: Split) -> str:
    return "".join(f" --split {name}={','.join(parts)}" for name, parts in split.items())
