"""What a search finds on the natural testbed: every arm of its proof, the mix itself, and pairs with the best hand-made order.

    python examples/natural/prepare.py --size study,0.3M
    python benchmarks/natural_search.py --runs runs/natural-search    # searches what is not searched yet, then collects
    python benchmarks/natural_search.py                               # the table again, from what was collected

The searches are `curriculum search search/STUDY.yaml --budget 50 --workers 1`, and go on where they were. Beside the table lie
`natural_search.csv` (a row a run of the proof), `natural_search.json` (the search's own words and settings) and the mixes that
they named, `natural_search_STUDY.yaml`, as any command reads them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from setting import table

from curriculum.mix import Mix
from curriculum.proxy.run import load_run
from curriculum.search.objective import score_run
from curriculum.search.statistics import Interval, claim_interval
from curriculum.search.study_file import load_study

HERE = Path(__file__).parent
ROOT = HERE.parent
STUDIES = {
    "natural": "Order alone",
    "natural-larger": "Order alone, a proxy of 295k parameters in bfloat16",
    "natural-loss": "Order alone, for the lowest mean loss",
    "natural-loss-cosine": "Order alone, for the lowest mean loss, under cosine",
    "natural-free": "Exposure free: ratios too",
}
BUDGET = 50
KINDS = {"proof": "proof", "controls": "proof", "tail": "tail"}  # of a run's folder: what it stands for in the rows
MEASURES = ("area", "area_in_tail", "final_margin", "time_general")
KEPT = (
    "verdict",
    "words",
    "leader",
    "confidence",
    "metric",
    "best_hand_made",
    "gain_over_best_hand_made",
    "trials",
    "failed",
    "stopped",
)
HEAD = f"""# What a search finds on the natural testbed

    python examples/natural/prepare.py --size study,0.3M
    python benchmarks/natural_search.py --runs runs/natural-search

{BUDGET} trials each, then ten fresh seeds and fresh probe items, 4,096 samples, the starts of `prepare.py`. The objective is
the mean margin (`area`) or the mean loss; no stream's loss may exceed static's limit. Gains are paired by seed, with the wider
of t and sign-flip intervals, at the confidence that the proof uses; of loss they are nats saved. A close comparison has more
pairs; measures are means over the seeds that all arms have. The best hand-made order is the best of the same seeds, so that
what is found has no easy rival. Rows of all runs: `natural_search.csv`."""


def search(study: str, runs: Path) -> dict[str, Any]:
    """Search, or go on, and return what `--json` prints."""
    words = [
        "search",
        f"search/{study}.yaml",
        "--budget",
        str(BUDGET),
        "--workers",
        "1",
        "--runs",
        str(runs),
        "--out",
        str(runs),
    ]
    ended = subprocess.run(
        [sys.executable, "-m", "curriculum", *words, "--json"], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    document: dict[str, Any] = json.loads(ended.stdout)
    return document


def metric_of(study: str) -> str:
    """Return what a study searches for."""
    return load_study(ROOT / "search" / f"{study}.yaml").objective.metric


def rows_of(study_name: str, folder: Path) -> Iterator[dict[str, object]]:
    """Yield a row for each run of a study's proof: its arm, seed, measures and losses at the end."""
    study = load_study(ROOT / "search" / f"{study_name}.yaml")
    for path in sorted(folder.iterdir()):
        kind, _, rest = path.name.partition("-")
        run = load_run(path) if kind in KINDS and path.is_dir() else None
        if run is None:
            continue
        arm, seed = Mix.load(path / "mix.yaml").name, rest.rsplit("-", 2)[1]
        score = score_run(study, run)
        yield {
            "study": study_name,
            "kind": KINDS[kind],
            "arm": arm,
            "seed": int(seed.removeprefix("s")),
            "area": score.measures.area,
            "area_in_tail": score.tail.area,
            "final_margin": score.measures.final_margin,
            "time_general": score.measures.time_general,
            **{f"loss_{name}": loss for name, loss in score.loss.items()},
        }


def checked(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows, unless two proofs lie in one folder: their arms have the same names."""
    twice = rows[rows.duplicated(["study", "kind", "arm", "seed"])]
    if len(twice):
        study, arm = twice.iloc[0][["study", "arm"]]
        raise SystemExit(
            f"{study}: two different runs of {arm!r} with one seed; give a search of another budget its own --runs"
        )
    return rows


def found_mix(study_name: str, folder: Path, leader: str) -> Mix:
    """Return the mix that a proof led with, of the study's own streams and seed, whatever folders it was played from."""
    study = load_study(ROOT / "search" / f"{study_name}.yaml")
    proven = (Mix.load(path) for path in sorted(folder.glob("proof-*/mix.yaml")))
    played = next(mix for mix in proven if mix.name == leader)
    data = ROOT / "examples/natural/data/streams"
    streams = {name: replace(stream, local=str(data / name)) for name, stream in played.streams.items()}
    return replace(played, name=f"{study_name}-found", streams=streams, seed=study.seed)


def paired(rows: pd.DataFrame, arm: str, against: str, measure: str, confidence: float) -> Interval | None:
    """Return an arm's gain over another on the seeds of both; None over itself."""
    if arm == against:
        return None
    values = rows[rows["arm"].isin([arm, against])].pivot(index="seed", columns="arm", values=measure).dropna()
    return claim_interval((values[arm] - values[against]).to_numpy(), confidence)


def section(title: str, rows: pd.DataFrame, said: Mapping[str, Any], mix: Mix) -> Iterator[str]:
    """Yield the parts of one search's section; `rows` are its own."""
    losses = [column for column in rows.columns if column.startswith("loss_")]
    rows = rows.assign(loss=rows[losses].mean(axis=1))
    rows["value"] = -rows["loss"] if said["metric"] == "loss" else rows[said["metric"]]
    proof, tail = (rows[rows["kind"] == kind] for kind in ("proof", "tail"))
    shared = proof[proof.groupby("seed")["arm"].transform("nunique") == proof["arm"].nunique()]
    leader, best, confidence = said["leader"], said["best_hand_made"], said["confidence"]
    yield f"## {title}"
    yield f"`search/{rows['study'].iloc[0]}.yaml`; intervals of {confidence:.1%}, of the tail of 95 %."
    means = shared.groupby("arm")[[*MEASURES, "loss", "value"]].mean().sort_values("value", ascending=False)
    header = [
        "curriculum",
        "pairs",
        "area",
        "gain over static",
        f"gain over {best or 'no hand-made order'}",
        "final margin",
        "time general",
        "mean loss",
    ]
    yield table(header, [_row(str(arm), of, proof, leader, best, confidence) for arm, of in means.iterrows()])
    if len(tail):
        yield _tail_words(proof, tail, leader)
    yield table(["final loss", *(name.removeprefix("loss_") for name in losses), "mean"], _losses(shared, tail, leader, losses))
    yield table(["found, until", *mix.streams], _shares(mix))
    yield str(said["words"])


def _row(arm: str, of: pd.Series[float], proof: pd.DataFrame, leader: str, best: str | None, confidence: float) -> list[str]:
    gains = [None if other is None else paired(proof, arm, other, "value", confidence) for other in ("static", best)]
    return [
        f"{arm} (found)" if arm == leader else arm,
        f"{len(proof[proof['arm'] == arm])}",
        f"{of['area']:.4f}",
        *("" if gain is None else interval_words(gain) for gain in gains),
        f"{of['final_margin']:.3f}",
        f"{of['time_general']:.2f}",
        f"{of['loss']:.3f}",
    ]


def interval_words(interval: Interval) -> str:
    """Return "+0.0012 [-0.0003, +0.0027]"."""
    return f"{interval.mean:+.4f} [{interval.low:+.4f}, {interval.high:+.4f}]"


def _tail_words(proof: pd.DataFrame, tail: pd.DataFrame, leader: str) -> str:
    both = pd.concat([proof[proof["arm"] == "static"], tail[tail["arm"] == leader]]).assign(saved=lambda of: -of["loss"])
    said = {name: paired(both, leader, "static", name, 0.95) for name in ("area_in_tail", "final_margin", "saved")}
    words = {name: "" if gain is None else interval_words(gain) for name, gain in said.items()}
    return (
        f"With a last fifth that is the same for all, {leader} over static: area within it {words['area_in_tail']}, final "
        f"margin {words['final_margin']}, nats of mean loss saved {words['saved']}."
    )


def _losses(proof: pd.DataFrame, tail: pd.DataFrame, leader: str, losses: Sequence[str]) -> Iterator[list[str]]:
    groups = {"static": proof[proof["arm"] == "static"], "found": proof[proof["arm"] == leader]}
    if len(tail):
        groups["found, with the tail"] = tail[tail["arm"] == leader]
    for name, of in groups.items():
        values = of[[*losses, "loss"]].mean()
        yield [name, *(f"{value:.3f}" for value in values)]


def _shares(mix: Mix) -> Iterator[list[str]]:
    for phase in mix.phases:
        weights = np.asarray([float(phase.weights[name]) for name in mix.streams])
        yield [f"{float(phase.until):g}", *(f"{share:.0%}" for share in weights / weights.sum())]


def collect(runs: Path) -> None:
    """Search what is not searched, and write rows, words and mixes beside this file."""
    rows, said, mixes = [], {}, {}
    for study in STUDIES:
        document = search(study, runs)
        said[study] = {name: {**document, "metric": metric_of(study)}[name] for name in KEPT}
        rows += rows_of(study, runs / study)
        mixes[study] = found_mix(study, runs / study, document["leader"])
    checked(pd.DataFrame(rows)).round(6).to_csv(HERE / "natural_search.csv", index=False)
    for study, mix in mixes.items():
        mix.dump(HERE / f"natural_search_{study}.yaml")
    (HERE / "natural_search.json").write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")


def report(folder: Path = HERE) -> str:
    """Return the table, made of what was collected in `folder`."""
    rows, said = pd.read_csv(folder / "natural_search.csv"), json.loads((folder / "natural_search.json").read_text())
    parts = [HEAD]
    for study, of_study in rows.groupby("study", sort=False):
        mix = Mix.load(folder / f"natural_search_{study}.yaml")
        parts += section(STUDIES[str(study)], of_study.reset_index(drop=True), said[str(study)], mix)
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Collect if asked to, and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=Path, help="where the searches lie, or will")
    arguments = parser.parse_args()
    if arguments.runs is not None:
        collect(arguments.runs.absolute())
    text = report()
    (HERE / "natural_search.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
