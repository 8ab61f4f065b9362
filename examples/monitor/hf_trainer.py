"""A monitor in Hugging Face's Trainer: one callback.

python examples/monitor/hf_trainer.py --out runs/monitored-hf
"""

from __future__ import annotations

import torch
from shared import BATCH, command_line, probes, samples, show

from curriculum.callbacks import Monitor, TensorBoardLogger
from curriculum.callbacks.hugging_face import HuggingFaceCallback
from curriculum.probe.testbed import SEQUENCE_LENGTH, VOCABULARY
from curriculum.streaming.torchvision_guard import torchvision_or_stand_in

with torchvision_or_stand_in():  # only needed where torchvision does not fit torch
    from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments


def main() -> None:
    """Train a small Llama on the testbed and watch its modes."""
    arguments = command_line(str(__doc__))
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=VOCABULARY, max_position_embeddings=SEQUENCE_LENGTH, **sizes)  # type: ignore[no-untyped-call]
    )
    loggers = [TensorBoardLogger(arguments.out / "tensorboard")]
    monitor = Monitor(model, probes=probes(), every=arguments.every, folder=arguments.out, loggers=loggers)
    settings = TrainingArguments(
        output_dir=str(arguments.out / "checkpoints"),
        max_steps=arguments.steps,
        per_device_train_batch_size=BATCH,
        learning_rate=3e-3,
        logging_steps=max(1, arguments.every // 10),  # the alert hears of the loss when it is logged
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
        report_to="none",
    )
    trainer = Trainer(
        model=model, args=settings, train_dataset=list(samples(arguments.steps)), callbacks=[HuggingFaceCallback(monitor)]
    )
    trainer.train()
    show(arguments.out)


if __name__ == "__main__":
    main()
