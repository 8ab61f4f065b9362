"""What the published suite leaves to its runner: how each family's demos are drawn, joined and counted.

Idea: the data files carry items only, so a folder without a `suite.yaml` is understood through this table (Wen et al.,
2026, and the suite's released configuration). A task the table does not know takes its family's strategy, joiner and
seeds, and must say its number of demos in a `suite.yaml`: a guess would change what the probe measures, and nothing
would show it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from curriculum.probe.suite import Strategy

PERSONA_ORDER = ("wolf", "oppenheimer", "rasputin", "hubbard", "rand", "madoff")


@dataclass(frozen=True, kw_only=True, slots=True)
class FamilySettings:
    """How a family's demos are shown; `shots`: demos of each published task, 0 where they stand in the prompts."""

    strategy: Strategy
    joiner: str
    seeds: int = 4
    shots: Mapping[str, int] = field(default_factory=dict)


FAMILY_SETTINGS: Mapping[str, FamilySettings] = {
    "flipped_answer": FamilySettings(
        strategy="balanced",
        joiner="\n\n",
        shots={
            "sst2": 64,
            "imdb": 24,
            "rotten_tomatoes": 64,
            "poem_sentiment": 64,
            "yahoo_health_computers": 64,
            "yahoo_business_science": 64,
            "emotion": 100,
            "emotion_anger_joy": 100,
        },
    ),
    "repetitive_answer": FamilySettings(
        strategy="random",
        joiner="\n",
        shots={
            "code_tracing": 8,
            "letter_counting": 4,
            "logic": 64,
            "algebra/original": 0,
            "algebra/v2fmt": 0,
            "algebra/numbered": 0,
            "algebra/instruction": 0,
        },
    ),
    "successive_answer": FamilySettings(
        strategy="ordered", joiner="\n", shots={"number_words": 10, "letters": 10, "arithmetic": 32, "even": 32}
    ),
    "truthy_answer": FamilySettings(strategy="random", joiner="\n", shots={"surprising_truth": 8, "common_misconception": 100}),
    "intuitive_answer": FamilySettings(strategy="none", joiner="\n", seeds=1, shots={"crt": 0}),
}
