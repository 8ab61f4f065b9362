"""Probes inside other trainers' loops. Guided tour:

Monitor        `monitor`: asks the probes every so often while a model trains; two lines in any loop
Alert          `alerts`: a mode changed and the training loss did not show it; LossRule says what showing is
LiveModel      `live`: a network in training behind the probes' protocol

    probes         what is asked, made token ids before the first step
    undisturbed    asking so that training goes on to the same bit
    history        what was read, in a folder; how a resumed training goes on with it
    loggers        TensorBoard, Weights & Biases, MLflow

Each of these needs its package, and is imported only by whoever uses it:

    hugging_face   HuggingFaceCallback, for transformers' Trainer
    lightning      LightningCallback
    composer       ComposerCallback
    metrics        HardAccuracy, SoftMargin, BitsPerByte, TimeGeneral, Hops as torchmetrics.Metric
"""

from curriculum.callbacks.alerts import Alert, LossRule
from curriculum.callbacks.live import LiveModel
from curriculum.callbacks.loggers import MlflowLogger, ScalarLogger, TensorBoardLogger, WandbLogger
from curriculum.callbacks.monitor import Monitor

__all__ = [
    "Alert",
    "LiveModel",
    "LossRule",
    "MlflowLogger",
    "Monitor",
    "ScalarLogger",
    "TensorBoardLogger",
    "WandbLogger",
]
