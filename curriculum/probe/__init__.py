"""What is asked of a model, and what its answers mean. Guided tour:

items        prompts with a correct and a shallow answer
testbed      the embedded testbed: vocabulary, streams, three probe families with their neutral controls
model        what a probe needs of a language model
scoring      a probe asked of a model -> a reading
modes        margins over a run -> modes by hysteresis, and the measures of a run
trajectory   the readings of one run, as a table
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
