"""What is asked of a model, and what its answers mean. Guided tour:

Items: prompts with a correct and a shallow answer
    items            in token ids
    suite            as text: tasks, personas; suite_files, jsonl, published: read from files, ours or published
    prompts          which demos are shown before which question
    encoding         text -> token ids, the boundary before an answer fixed
    selection        a part of a suite, fewer demos, fewer questions
    neutral          controls made of a task's own rows; paraphrase: the same task in other words
    written/         the suite written for this project; authoring/: the programs that write its files
    testbed          the embedded testbed: vocabulary, streams, three families with their neutral controls
    specification    the probes of a study file

Answers: from a model to a reading
    model            what a probe needs of a language model
    scoring          a probe in token ids asked of a model -> a reading
    answers          what was answered, item by item; persona: answers by sampling
    bits_per_byte    prompts and continuations -> bits per byte

Meaning: from readings to claims
    modes            margins over a run -> modes by hysteresis, and the measures of a run; calibration: h from noise
    trajectory       the readings of one run, as a table
    credibility      is a hop real? Seven controls and a verdict
    ranking          checkpoints by behaviour

Further looks at a model
    pathways         expert pathways of mixture-of-experts models
    predictors       numbers said to predict generalization, beside a random baseline
    fine_tuning      probes read after a short training: out_of_context, misalignment; function_world, author_world for proxies
"""

from curriculum.probe.items import ItemSet, load_items
from curriculum.probe.model import AnswerModel, TextModel
from curriculum.probe.modes import RunMeasures, measure_run
from curriculum.probe.scoring import Probe, Reading, read_probe
from curriculum.probe.trajectory import Trajectory

__all__ = [
    "AnswerModel",
    "ItemSet",
    "Probe",
    "Reading",
    "RunMeasures",
    "TextModel",
    "Trajectory",
    "load_items",
    "measure_run",
    "read_probe",
]
