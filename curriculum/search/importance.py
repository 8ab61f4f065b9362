"""Which parameters told good trials from the others.

Idea: PED-ANOVA (Watanabe et al., "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in Arbitrary Subspaces",
IJCAI 2023), Optuna's own: how far the distribution of a parameter among the best tenth of trials is from that among all.
Alternatives: fANOVA over random forests (needs scikit-learn, and is itself random), or the surrogate's length scales, which
are the streams' alone. The price: a search proposes where it expects much, so that importances describe the trials it made
and not the whole space; with some fifty trials the best tenth are five, and the order of near ones means nothing.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import optuna
from optuna.trial import TrialState

from curriculum.search.trials import open_storage

LEAST_TRIALS = 10  # with fewer, the best tenth is one trial
_NAMES = (
    (re.compile(r"^time_(\d+)_(\d+)$"), "time: part {row}{term}"),
    (re.compile(r"^stream_(\d+)_(.+)$"), "stream: {name}{term}"),
)
_FREE = re.compile(r"^u_(\d+)_(.+)$")
_BASE = re.compile(r"^base_(.+)$")


def parameter_importance(folder: Path, storage: str | None = None) -> dict[str, float]:
    """Return each parameter's importance, adding up to 1, the largest first; {} where the trials are too few to say.

    `folder` and `storage` as for `read_trials`; nothing is changed. Raises DataError for a damaged database.
    """
    opened = open_storage(folder, storage)
    if opened is None:
        return {}
    try:
        names = [study.study_name for study in opened.get_all_studies()]
        name = folder.name if folder.name in names else next(iter(names), None)
        if name is None:
            return {}
        study = optuna.load_study(study_name=name, storage=opened)
        return _importance(study)
    finally:
        opened.engine.dispose()


def _importance(study: optuna.Study) -> dict[str, float]:
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances  # a second, for fANOVA's forests

    told = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(told) < LEAST_TRIALS or len({tuple(trial.values) for trial in told}) < 2:
        return {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        found = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
    return {parameter_words(name): float(value) for name, value in found.items()}


def parameter_words(name: str) -> str:
    """Return what a parameter means: time_0_3 is how strongly the fourth part of the run differs, stream_0_math for whom."""
    if match := _FREE.match(name):
        return f"{match[2]} in part {int(match[1]) + 1}"
    if match := _BASE.match(name):
        return f"{match[1]} throughout"
    for pattern, words in _NAMES:
        if match := pattern.match(name):
            term = f" (term {int(match[1]) + 1})" if int(match[1]) else ""
            row = int(match[2]) + 1 if match[2].isdigit() else 0
            return words.format(row=row, name=match[2], term=term)
    return name


__all__ = ["LEAST_TRIALS", "parameter_importance", "parameter_words"]
