"""Which checkpoint makes the best start for a new task: the one chosen by behaviour, by loss, the last, or an average?

    python benchmarks/checkpoint_choice.py [--runs 24] [--steps 40] > benchmarks/checkpoint_choice.md

Runs of the default study's proxy on curricula drawn at random (eight stretches, the general streams' share of each drawn
between .02 and .95), ten checkpoints kept of each. Of these, four starts: the first by behaviour (`rank_checkpoints` over
the default probes, fresh items), the lowest mean held-out loss, the last, and the average of the last five. Each is
fine-tuned for a few steps on a task that the testbed does not have, and read on held-out items of it:

    letter sums   a + b = c over letters, of which pre-training has seen differences only
    bound words   words bound to letters within the prompt, where pre-training bound keys to labels

each `plain` (demos without a pattern) and, for the sums, `tempted` (demos whose answers count up or stay the same, which
the fine-tuning never shows: its answer is the shallow one). Score: mean P(correct) - P(wrong) over the three readings.
Runs and answers are kept under `runs/checkpoint-choice`, so a second call only fine-tunes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import ttest_rel

from curriculum.mix import Phase
from curriculum.models.averaging import average_checkpoints
from curriculum.models.fine_tuning import fine_tune
from curriculum.models.losses import losses_of
from curriculum.models.network import NetworkModel
from curriculum.models.opening import open_model
from curriculum.models.survey import ask_all, find_checkpoints, inquiries_of_probes
from curriculum.probe.fine_tuning import Example
from curriculum.probe.items import ItemSet
from curriculum.probe.ranking import rank_checkpoints
from curriculum.probe.scoring import score_items
from curriculum.probe.specification import PROOF_DRAW
from curriculum.probe.testbed import LETTERS, MARK, WORDS
from curriculum.proxy.run import RunRequest, perform
from curriculum.proxy.training import one_thread
from curriculum.search.study import Study
from curriculum.search.study_file import load_study
from curriculum.units import keyed_seed

FOLDER = Path("runs/checkpoint-choice")
CHOICES = ("behaviour", "loss", "last", "average")
TASKS = ("letter sums, plain", "letter sums, tempted", "bound words, plain")
STRETCHES, CHECKPOINTS, AVERAGED = 8, 10, 5
DEMOS, EXAMPLES, TEST_ITEMS = 4, 1024, 256


def schedule(number: int) -> tuple[Phase, ...]:
    """Return a curriculum of eight stretches with random shares of the general streams."""
    generator = np.random.default_rng(keyed_seed("checkpoint-choice", number))
    phases = []
    for stretch, share in enumerate(generator.uniform(0.02, 0.95, STRETCHES), start=1):
        general, rest = round(500 * share), round(1000 * (1 - share))
        weights = {"arith": general, "icl": general, "count": rest // 3, "repeat": rest // 6, "facts": rest // 2}
        until = Decimal(stretch) / STRETCHES
        phases.append(Phase(until=until, weights={name: Decimal(weight) for name, weight in weights.items()}))
    return tuple(phases)


def sums(count: int, pattern: str, *key: str | int) -> tuple[np.ndarray, np.ndarray]:
    """Return letter sums as tokens (count, demos + 1, 3), and the wrong answers (count,)."""
    generator = np.random.default_rng(keyed_seed("letter sums", *key))
    start = generator.integers(0, 10, (count, 1))
    if pattern == "plain":
        demos = start + np.cumsum(generator.integers(2, 9, (count, DEMOS)), axis=1)
        wrong = generator.integers(0, 10, count)
    else:
        step = generator.integers(0, 2, (count, 1))
        demos = start + step * np.arange(DEMOS)
        wrong = demos[:, -1] + step[:, 0]
    correct = wrong + generator.integers(1, 10, count)
    answers = np.concatenate([demos, correct[:, None]], axis=1)
    first = generator.integers(1, 5, answers.shape)
    items = np.stack([first, answers - first, answers], axis=2) % 10
    return LETTERS.first + items, LETTERS.first + wrong % 10


def bound_words(count: int, *key: str | int) -> tuple[np.ndarray, np.ndarray]:
    """Return bindings of words to letters as tokens (count, demos + 1, 3), the last of a word seen, and wrong answers."""
    generator = np.random.default_rng(keyed_seed("bound words", *key))
    words = np.argsort(generator.random((count, WORDS.size)), axis=1)[:, :DEMOS]
    labels = np.argsort(generator.random((count, LETTERS.size)), axis=1)[:, :DEMOS]
    asked = generator.integers(0, DEMOS, count)
    other = (asked + generator.integers(1, DEMOS, count)) % DEMOS
    rows = np.arange(count)
    words = np.concatenate([words, words[rows, asked][:, None]], axis=1)
    wrong = LETTERS.first + labels[rows, other]
    labels = np.concatenate([labels, labels[rows, asked][:, None]], axis=1)
    return np.stack([np.full_like(words, MARK.first), WORDS.first + words, LETTERS.first + labels], axis=2), wrong


def examples_of(items: np.ndarray) -> list[Example]:
    """Return whole items as examples whose last token is the answer."""
    flat = items.reshape(len(items), -1)
    return [Example(prompt=tuple(row[:-1]), answer=(row[-1],)) for row in flat.tolist()]


def items_of(items: np.ndarray, wrong: np.ndarray) -> ItemSet:
    """Return whole items as an item set."""
    flat = items.reshape(len(items), -1).tolist()
    return ItemSet(
        prompts=tuple(tuple(row[:-1]) for row in flat),
        correct=tuple((row[-1],) for row in flat),
        shallow=tuple((token,) for token in wrong.tolist()),
    )


def after_fine_tuning(model: NetworkModel, steps: int, seed: int) -> dict[str, float]:
    """Return the margin on each held-out reading after a fine-tuning on each task of its own."""
    found = {}
    settings = {"steps": steps, "learning_rate": 1e-3, "batch": 32, "seed": seed}
    tuned = fine_tune(model, examples_of(sums(EXAMPLES, "plain", "train", seed)[0]), **settings).model
    for pattern in ("plain", "tempted"):
        found[f"letter sums, {pattern}"] = _margin(tuned, items_of(*sums(TEST_ITEMS, pattern, "test", seed)))
    tuned = fine_tune(model, examples_of(bound_words(EXAMPLES, "train", seed)[0]), **settings).model
    found["bound words, plain"] = _margin(tuned, items_of(*bound_words(TEST_ITEMS, "test", seed)))
    return found


def _margin(model: NetworkModel, items: ItemSet) -> float:
    return float(score_items(items, model).margins.mean())


def one_run(study: Study, number: int, steps: int) -> list[dict[str, object]]:
    """Train, choose, fine-tune; return a row a choice."""
    request = RunRequest(
        label=f"curriculum-{number}", mix=study.mix(f"curriculum-{number}", schedule(number)), seed=number,
        samples=study.samples, recipe=study.recipe, probes=study.probes, item_seed=study.seed,
    )  # fmt: skip
    folder = perform(request, FOLDER, keep=CHECKPOINTS).folder
    checkpoints = find_checkpoints([str(folder)])
    probes = [probe.draw(PROOF_DRAW, seed=study.seed) for probe in study.probes]
    survey = ask_all(checkpoints, inquiries_of_probes(probes), FOLDER / "answers" / folder.name)
    ranked = rank_checkpoints(survey.ranked_input(losses_of(checkpoints)))
    places = {checkpoint.position: checkpoint.where for checkpoint in checkpoints}
    by_loss = next(entry for entry in ranked if entry.loss_rank == 1)
    open_chosen: dict[str, Callable[[], NetworkModel]] = {
        "behaviour": lambda: open_model(places[ranked[0].position]),
        "loss": lambda: open_model(places[by_loss.position]),
        "last": lambda: open_model(places[max(places)]),
        "average": lambda: average_checkpoints([places[position] for position in sorted(places)[-AVERAGED:]]),
    }
    rows = []
    for choice in CHOICES:
        position = {"behaviour": ranked[0].position, "loss": by_loss.position}.get(choice, max(places))
        margins = after_fine_tuning(open_chosen[choice](), steps, number)
        rows.append(
            {"run": number, "choice": choice, "position": position, **margins, "score": np.mean(list(margins.values()))}
        )
    print(f"run {number}:", ", ".join(f"{row['choice']} {row['score']:.3f}" for row in rows), file=sys.stderr)
    return rows


def print_tables(table: pd.DataFrame, steps: int) -> None:
    """Print means, wins and paired differences as Markdown."""
    scores = table.pivot(index="run", columns="choice", values="score")[list(CHOICES)]
    positions = table.pivot(index="run", columns="choice", values="position")
    same_as_last = {choice: int((positions[choice] == positions["last"]).sum()) for choice in ("behaviour", "loss")}
    print("# Which checkpoint makes the best start?\n")
    print(f"    python benchmarks/checkpoint_choice.py --runs {len(scores)} --steps {steps}\n")
    print(
        f"{len(scores)} runs on random curricula, {CHECKPOINTS} checkpoints each; fine-tuned {steps} steps of 32 at 1e-3. "
        f"Margin after it, mean over runs (standard deviation). Behaviour took the last checkpoint in "
        f"{same_as_last['behaviour']} runs, loss in {same_as_last['loss']}.\n"
    )
    print(f"| choice | {' | '.join(TASKS)} | score | best of the four |\n|---|{'---|' * (len(TASKS) + 2)}")
    best = scores.eq(scores.max(axis=1), axis=0)
    for choice in CHOICES:
        of_choice = table[table["choice"] == choice]
        cells = [f"{of_choice[name].mean():.3f} ({of_choice[name].std():.3f})" for name in (*TASKS, "score")]
        print(f"| {choice} | {' | '.join(cells)} | {int(best[choice].sum())} of {len(scores)} |")
    print("\nBehaviour against the others, paired over runs:\n")
    print("| against | wins | ties | losses | mean gain | 95 % interval | p |\n|---|---|---|---|---|---|---|")
    for choice in CHOICES[1:]:
        gain = scores["behaviour"] - scores[choice]
        test = ttest_rel(scores["behaviour"], scores[choice])
        low, high = test.confidence_interval()
        counts = f"{int((gain > 0).sum())} | {int((gain == 0).sum())} | {int((gain < 0).sum())}"
        print(f"| {choice} | {counts} | {gain.mean():+.3f} | [{low:+.3f}, {high:+.3f}] | {test.pvalue:.3f} |")


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=24)
    parser.add_argument("--steps", type=int, default=40)
    options = parser.parse_args()
    study = load_study()
    with one_thread():
        rows = [row for number in range(options.runs) for row in one_run(study, number, options.steps)]
    print_tables(pd.DataFrame(rows), options.steps)


if __name__ == "__main__":
    main()
