"""A ladder as a document in Markdown, and as a picture: every curriculum at one size against another.

Idea: a correlation hides what it rests on, so the picture shows the curricula themselves: random ones as a cloud, those with
a name as marks of their own. A panel a measure and pair of sizes. Of many sizes only neighbours are drawn, and the smallest
against the largest: that is the step which somebody with a small proxy takes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from curriculum.report.figures_style import BLANK, CONTROL, FAINT, INK, LEADER, WIDE, Drawing, style
from curriculum.units import format_count, format_seconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Document = Mapping[str, Any]
_WORDS = {"time_general": "time general", "area": "area", "final_margin": "final margin", "loss": "mean loss"}
_FATES = {
    "holds": "holds: one sign at every size, each interval without zero",
    "fades": "fades: beyond the noise at a smaller size, and less at the largest (the intervals are disjoint)",
    "unconfirmed": "unconfirmed: beyond the noise at a smaller size, not at the largest, nor shown to be less there",
    "appears": "appears: beyond the noise at the largest size, not at every smaller one",
    "open": "open: not beyond the noise at any size",
    "reversed": "reversed: beyond the noise at two sizes, with opposite signs",
    "no interval": "no interval: one seed alone",
}
_COUNTS = ("counting", "ahead_of_counting", "distance", "ahead_of_distance")
_RANDOM = re.compile(r"random-\d+")


def measures_of(document: Document) -> list[str]:
    """Return the measures that a ladder has."""
    return [name for name in _WORDS if name in document["rows"][0]]


def shown_pairs(sizes: Sequence[str]) -> list[tuple[str, str]]:
    """Return the pairs of sizes that are drawn: neighbours, then the first and the last."""
    found = list(pairwise(sizes))
    return found if len(sizes) < 3 else [*found, (sizes[0], sizes[-1])]


def ladder_drawing(document: Document, *, width: float = WIDE) -> Drawing:
    """Return the curricula at one size against another, a panel a measure and pair."""
    from matplotlib.figure import Figure

    pairs, measures = shown_pairs([size["name"] for size in document["sizes"]]), measures_of(document)
    with style():
        side = width / len(measures)
        figure = Figure(figsize=(width, side * 1.05 * len(pairs) + 0.35), layout="constrained")
        panels = figure.subplots(len(pairs), len(measures), squeeze=False)
        for row, (small, large) in zip(panels, pairs, strict=True):
            for axes, measure in zip(row, measures, strict=True):
                _draw(axes, document, measure, small, large)
        handles, labels = panels[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return Drawing(
        name="ladder",
        title=f"Curricula of {document['study']} at one size of proxy against another",
        description="; ".join(_spoken(document, pair) for pair in document["pairs"]),
        figure=figure,
    )


def _draw(axes: Axes, document: Document, measure: str, small: str, large: str) -> None:
    means = _means(document, measure)
    for label, colour, marker, names in _kinds(document):
        points = [(means[small, name], means[large, name]) for name in names]
        across, up = zip(*points, strict=True)
        axes.scatter(across, up, s=26, color=colour, marker=marker, edgecolors=INK, linewidths=0.5, label=label, zorder=3)
    found = _measured(document, small, large)[measure]["spearman"]["value"]
    axes.set_title(f"{_WORDS[measure]}, {'-' if found is None else _signed(found)}")
    axes.locator_params(axis="x", nbins=3)  # small panels: more labels than that run into one another
    axes.set_xlabel(f"at {small}")
    axes.set_ylabel(f"at {large}")
    axes.grid(color=FAINT, alpha=0.25, linewidth=0.6)


def _kinds(document: Document) -> list[tuple[str, str, str, list[str]]]:
    """Return label, colour, marker and names of each kind of curriculum that there is."""
    names = document["curricula"]
    found = [
        ("random", BLANK, "o", [name for name in names if _RANDOM.fullmatch(name)]),
        ("found by the search", LEADER, "^", [name for name in names if name.startswith("trial-")]),
        ("static", INK, "s", [name for name in names if name == "static"]),
    ]
    rest = [name for name in names if not any(name in listed for *_, listed in found)]
    return [each for each in (*found, ("hand-made", CONTROL, "D", rest)) if each[3]]


def _means(document: Document, measure: str) -> dict[tuple[str, str], float]:
    """Return each curriculum's mean over seeds, by size and name."""
    found: dict[tuple[str, str], list[float]] = {}
    for row in document["rows"]:
        found.setdefault((row["size"], row["curriculum"]), []).append(row[measure])
    return {key: sum(values) / len(values) for key, values in found.items()}


def _measured(document: Document, small: str, large: str) -> Mapping[str, Any]:
    pair = next(pair for pair in document["pairs"] if (pair["small"], pair["large"]) == (small, large))
    found: Mapping[str, Any] = pair["measures"]
    return found


def _spoken(document: Document, pair: Mapping[str, Any]) -> str:
    correlations = (f"{_WORDS[name]} {_correlation(of['spearman'])}" for name, of in pair["measures"].items())
    return f"{pair['small']} against {pair['large']}: rank correlation of {', '.join(correlations)}"


def ladder_markdown(document: Document, picture: str | None = None) -> str:
    """Return the whole ladder in Markdown; `picture` is the place of its figure."""
    parts = [f"# Ladder of {document['study']}", ladder_head(document), _sizes_table(document)]
    parts += [f"![Curricula at one size against another]({picture})"] if picture else []
    return "\n\n".join([*parts, ladder_findings(document)]) + "\n"


def ladder_head(document: Document) -> str:
    """Return the words that say what was played."""
    head = (
        f"{len(document['curricula'])} curricula of the study `{document['study']}` at {len(document['sizes'])} sizes, "
        f"{_seeds(document)}, {document['samples']:,} samples a run, learning-rate schedule "
        f"{document['schedule']}, products in {document['precision']}, probe items no search has seen."
    )
    if document["tail"] is not None:
        head += f" The last {document['tail']:.0%} of every run is the same for all, and what is measured is that part alone."
    return head


def _seeds(document: Document) -> str:
    seeds = [size["seeds"] for size in document["sizes"]]
    if len(set(seeds)) > 1:
        return f"{', '.join(map(str, seeds))} seeds"
    return f"{seeds[0]} seed{'' if seeds[0] == 1 else 's'} each"


def ladder_findings(document: Document) -> str:
    """Return all that was found, in tables and words; of the sizes only their names are needed."""
    parts = ["## How far a size foretells another", _pairs_table(document), _notes(document)]
    parts += ["## What becomes of conclusions", _conclusions_table(document), _fates(document)]
    return "\n\n".join([*parts, *_failures(document)])


_NOTES = (
    "Rank correlation is Spearman's over curricula, with a 95 % bootstrap interval over curricula (n of them; none below "
    "eight, nor where all ranks agree). Other seeds: the mean correlation where each size has half of the seeds, another half "
    "than the other size or, in brackets, the same one; a full run shares no seed with its proxy. Top quartile: the same among "
    "those that the smaller size ranks highest. Ceiling: what noise between seeds would leave of a perfect agreement; a seed "
    "in which all curricula are alike counts as agreeing with none. Regret: what the smaller size's pick loses at the larger "
    "size against the larger size's own best, judged on each seed in turn by what the others chose, with a 95 % t interval "
    "over judging seeds, as if they were independent (who chooses for one chooses for the next, so that it is rather too "
    "narrow); below zero the pick was luckier; few seeds say it too small (two by half, ten by a fifth, as simulated), "
    "since they choose the best badly as well. Beside it what pick and best gain over static, judged likewise. A star: one "
    "seed chose and judged. Saturated: more than half of a size's runs have one and the same value, among which there is "
    "nothing to rank."
)


def _notes(document: Document) -> str:
    counting = document["counting"]
    part = "the run" if document["tail"] is None else "what comes before the common tail"
    favoured = "" if counting is None else f"with the share of favoured data ({', '.join(counting['favoured'])}), and "
    unequal = len({size["seeds"] for size in document["sizes"]}) > 1
    common = " Other seeds and regret are of the seeds that both sizes have." if unequal else ""
    return (
        f"{_NOTES}{common} Counting alone: the rank correlation of the larger size's values {favoured}with the distance of all "
        f"streams' shares from static's, in the last quarter of {part}, for which nothing is trained. A proxy is worth "
        "training where it is ahead of both: by its rank correlation less the count's, whichever sign that one has (interval "
        "by the same bootstrap)."
    )


def _sizes_table(document: Document) -> str:
    rows = [
        (
            size["name"],
            str(size["layers"]),
            str(size["width"]),
            str(size["heads"]),
            f"{size['learning_rate']:g}",
            format_count(size["parameters"]["layers"]),
            format_count(size["parameters"]["total"]),
            f"{size['flops']:.3g}",
            format_seconds(size["seconds"]),
        )
        for size in document["sizes"]
    ]
    head = ("size", "layers", "width", "heads", "learning rate", "parameters", "with embeddings", "FLOPs a run", "time a run")
    return _table(head, rows)


def _pairs_table(document: Document) -> str:
    rows = [
        (
            f"{pair['small']} to {pair['large']}",
            _WORDS[measure] + _saturated(document, measure, pair),
            f"{_correlation(of['spearman'])} (n {of['spearman']['n']})",
            _other_seeds(of["other_seeds"]),
            *("-" if of[name] is None else _correlation(of[name]) for name in _COUNTS),
            f"{_correlation(of['top_quartile'])} (n {of['top_quartile']['n']})",
            _share(of["noise_ceiling"]),
            of["pick"],
            of["best"],
            _regret(of),
            *(_over_static(of[f"{name}_over_static"]) for name in ("pick", "best")),
        )
        for pair in document["pairs"]
        for measure, of in pair["measures"].items()
    ]
    favoured = ("counting alone: share of favoured data in the last quarter", "proxy ahead of counting by")
    distance = ("counting alone: distance from static in the last quarter", "proxy ahead of the distance by")
    rest = ("top quartile", "ceiling", "pick", "best", "regret", "pick over static", "best over static")
    return _table(("sizes", "measure", "rank correlation", "other seeds", *favoured, *distance, *rest), rows)


def _other_seeds(of: Mapping[str, Any] | None) -> str:
    if of is None or of["other"] is None or of["same"] is None:
        return "-"
    return f"{_signed(of['other'])} ({_signed(of['same'])}) of {of['seeds']} each"


def _over_static(interval: Mapping[str, Any]) -> str:
    if interval["low"] is None or interval["low"] == interval["high"]:  # between equals there is no noise to speak of
        return f"{interval['mean']:+.4f}"
    return f"{interval['mean']:+.4f} [{interval['low']:+.4f}, {interval['high']:+.4f}]"


def _saturated(document: Document, measure: str, pair: Mapping[str, Any]) -> str:
    """Return the words for the sizes of a pair at which most runs have one and the same value; none, nothing."""
    found = [(size, document["saturation"][size][measure]) for size in (pair["small"], pair["large"])]
    words = [f"at {size} saturated: {of['alike']} of {of['runs']} runs alike" for size, of in found if _is_saturated(of)]
    return f" ({'; '.join(words)})" if words else ""


def _is_saturated(of: Mapping[str, Any]) -> bool:
    return bool(2 * of["alike"] > of["runs"])


def _regret(of: Mapping[str, Any]) -> str:
    if of["judged_on_choosing_seed"]:
        return f"{of['regret']:.4f}*"
    if not of["picks_differ"]:
        return f"{of['regret']:.4f} (one pick)"
    if of["regret_low"] is None:
        return f"{of['regret']:.4f} (picks of equal value)"
    return f"{of['regret']:+.4f} [{of['regret_low']:+.4f}, {of['regret_high']:+.4f}]"


def _conclusions_table(document: Document) -> str:
    sizes = [size["name"] for size in document["sizes"]]
    rows = [
        (
            each["curriculum"],
            _WORDS[each["measure"]],
            *(_gain(each["gain_over_static"][size]) for size in sizes),
            each["fate"],
        )
        for each in document["conclusions"]
    ]
    return _table(("curriculum", "measure", *(f"gain over static at {size}" for size in sizes), "it"), rows)


def _fates(document: Document) -> str:
    told = [words for fate, words in _FATES.items() if any(each["fate"] == fate for each in document["conclusions"])]
    return (
        "More is better throughout (of the loss: how much lower). Intervals: 95 %, not corrected for how many there are; of "
        "pairs of one seed, or of fewer than five seeds with the noise of all curricula of the size together. "
        + "; ".join(told)
        + "."
    )


def _failures(document: Document) -> list[str]:
    if not document["failed"]:
        return []
    lines = [f"- {name}: {words}" for name, words in document["failed"].items()]
    return ["## Left out, since a run failed", "\n".join(lines)]


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    columns = list(head)
    lines = [columns, ["---"] * len(columns), *map(list, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _correlation(found: Mapping[str, Any]) -> str:
    if found["value"] is None:
        return "-"
    interval = "" if found["low"] is None else f" [{_signed(found['low'])}, {_signed(found['high'])}]"
    return _signed(found["value"]) + interval


def _gain(interval: Mapping[str, Any]) -> str:
    if interval["low"] is None:
        return f"{interval['mean']:+.3f}"
    return f"{interval['mean']:+.3f} [{interval['low']:+.3f}, {interval['high']:+.3f}]"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _signed(value: float) -> str:
    return f"{value:+.2f}"
