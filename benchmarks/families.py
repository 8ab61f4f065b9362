"""One model's readings on all six families, as a table.

curriculum probe MODEL --seeds 1 --questions 100 --samples 10 --tokens 60 --json > readings.json
python benchmarks/families.py readings.json > benchmarks/families.md
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("readings", type=Path)
    document = json.loads(parser.parse_args().readings.read_text())
    table = pd.DataFrame(document["trajectory"])
    table["level"] = table["probe"].map(document["levels"])
    print(f"# {document['models'][0]['name']} on the written suite\n")
    print("    curriculum probe MODEL --seeds 1 --questions 100 --samples 10 --tokens 60 --device cpu --json > readings.json")
    print("    python benchmarks/families.py readings.json > benchmarks/families.md\n")
    print("Hard: share of questions whose correct answer scores higher (personas: match rate). Soft: P(correct) - P(shallow),")
    print("95 % interval over questions. Control: the margin without the temptation. At most 100 questions a task, one seed.\n")
    print("| probe | level | hard | soft | interval | control | mode |\n|---|---|---|---|---|---|---|")
    for row in table.itertuples():
        control = "none" if row.control_margin is None or np.isnan(row.control_margin) else f"{row.control_margin:+.2f}"
        interval = f"[{row.low:+.3f}, {row.high:+.3f}]"
        print(f"| {row.probe} | {row.level} | {row.accuracy:.2f} | {row.margin:+.3f} | {interval} | {control} | {row.mode} |")
    print("\nMeans over the tasks of a level:\n")
    print("| family | easy: hard, soft | medium | hard |\n|---|---|---|---|")
    for family, readings in table.groupby("family", sort=False):
        cells = []
        for level in ("easy", "medium", "hard"):
            chosen = readings[readings["level"] == level]
            cells.append(f"{chosen['accuracy'].mean():.2f}, {chosen['margin'].mean():+.3f}" if len(chosen) else "")
        print(f"| {family} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
