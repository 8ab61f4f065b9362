"""The callbacks of trainers: each gives the readings that a plain loop would, and training does not notice.

Trainer and Lightning run for real, on models with dropout. Composer cannot be installed beside this torch; a stand-in of its
documented callback interface takes its place.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from callbacks_help import (
    VOCABULARY,
    Settable,
    next_token_loss,
    one_thread_each,  # noqa: F401  # a fixture for every test here
    same,
    settable_probe,
    stand_in,
    steps_and_positions,
    token_probe,
)
from torch import Tensor, nn

from curriculum.callbacks import Alert, LiveModel, Monitor
from curriculum.models.hugging_face import HuggingFaceModel
from curriculum.probe import Trajectory, read_probe
from curriculum.streaming.torchvision_guard import torchvision_or_stand_in

with torchvision_or_stand_in():
    import lightning
    import pytorch_lightning
    import transformers

    from curriculum.callbacks.hugging_face import HuggingFaceCallback
    from curriculum.callbacks.lightning import LightningCallback

TOKENS = torch.randint(0, VOCABULARY, (128, 8), generator=torch.Generator().manual_seed(2))
Weights = dict[str, Tensor]


def final_margin(folder: Path) -> float:
    return float(Trajectory.load(folder / "trajectory.parquet").table["margin"].iloc[-1])


# Hugging Face


def gpt2() -> transformers.GPT2LMHeadModel:
    torch.manual_seed(4)
    sizes = {"vocab_size": VOCABULARY, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 16}
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes, bos_token_id=0, eos_token_id=0))


def hf_train(
    out: Path,
    callback: Callable[[nn.Module], transformers.TrainerCallback] | None,
    *,
    resume: int | None = None,
    loss: Callable[[Any, Any], Tensor] | None = None,
    more: Sequence[transformers.TrainerCallback] = (),
    **settings: Any,
) -> transformers.PreTrainedModel:
    arguments = transformers.TrainingArguments(
        output_dir=str(out),
        **{
            "max_steps": 12,
            "per_device_train_batch_size": 4,
            "gradient_accumulation_steps": 2,
            "logging_steps": 1,
            "save_strategy": "no",
            "learning_rate": 1e-2,
            "use_cpu": True,
            "disable_tqdm": True,
            "report_to": "none",
            **settings,
        },
    )
    model = gpt2()
    rows = [{"input_ids": row, "labels": row} for row in TOKENS]
    callbacks = [*([] if callback is None else [callback(model)]), *more]
    trainer = transformers.Trainer(
        model=model,
        args=arguments,
        train_dataset=rows,  # type: ignore[arg-type]
        eval_dataset=rows[:8],  # type: ignore[arg-type]
        callbacks=callbacks,
        compute_loss_func=loss,
    )
    trainer.train(resume_from_checkpoint=None if resume is None else str(out / f"checkpoint-{resume}"))
    return model


def hf_monitor(folder: Path, **options: Any) -> Callable[[nn.Module], HuggingFaceCallback]:
    return lambda model: HuggingFaceCallback(
        Monitor(model, probes=[token_probe()], every=5, folder=folder, on_error="raise", **options)
    )


@pytest.mark.parametrize("logging_steps", [5, 7], ids=["with readings", "apart"])
def test_trainer_is_read_and_does_not_notice(tmp_path: Path, logging_steps: int) -> None:
    without = hf_train(tmp_path / "without", None, logging_steps=logging_steps)
    with_one = hf_train(tmp_path / "with", hf_monitor(tmp_path), logging_steps=logging_steps)
    assert same(without.state_dict(), with_one.state_dict())
    assert steps_and_positions(tmp_path) == [(5, 40), (10, 80), (12, 96)]  # 4 samples twice a step
    with_one.eval()
    assert final_margin(tmp_path) == pytest.approx(read_probe(token_probe(), LiveModel(with_one)).margin, abs=1e-5)
    assert isinstance(Monitor(with_one, probes=[token_probe()], folder=tmp_path / "other").model, HuggingFaceModel)


def test_trainers_losses_belong_to_the_stretch_that_a_reading_ends(tmp_path: Path) -> None:
    hf_train(tmp_path / "out", hf_monitor(tmp_path))
    monitor = Monitor(Settable(), probes=[token_probe()], folder=tmp_path)
    windows = monitor.history._tables["training_loss"]
    assert [(row["step"], row["count"]) for row in windows] == [(5, 5), (10, 5), (12, 2)]


def test_trainer_resumes_with_its_readings(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    saving = {"save_strategy": "steps", "save_steps": 7}
    hf_train(whole / "out", hf_monitor(whole), **saving)
    hf_train(cut / "out", hf_monitor(cut), **saving)
    before = Trajectory.load(cut / "trajectory.parquet").table
    hf_train(cut / "out", hf_monitor(cut), resume=7, **saving)
    assert steps_and_positions(cut) == [(5, 40), (10, 80), (12, 96)]
    after = Trajectory.load(cut / "trajectory.parquet").table
    assert before.equals(Trajectory.load(whole / "trajectory.parquet").table)
    assert after["margin"].to_list() == pytest.approx(before["margin"].to_list(), abs=1e-5)
    assert (cut / "previous" / "trajectory.parquet").exists()


@pytest.mark.parametrize(("jump", "alerts"), [(0.0, 1), (3.0, 0)])
def test_trainer_raises_an_alert_by_the_loss_it_logs(tmp_path: Path, jump: float, alerts: int) -> None:
    raised: list[Alert] = []
    model, step = Settable(0.5), SimpleNamespace(now=0)

    class Flip(HuggingFaceCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            step.now = state.global_step + 1
            model.margin = -0.5 if step.now > 5 else 0.5

    def loss(outputs: Any, labels: Tensor, **_: Any) -> Tensor:
        return outputs["logits"].sum() * 0 + 2.0 + jump * (step.now > 5)  # type: ignore[no-any-return]

    def flip(_: nn.Module) -> Flip:
        return Flip(Monitor(model, probes=[settable_probe()], every=5, folder=tmp_path, on_alert=raised.append))

    hf_train(tmp_path / "out", flip, loss=loss)
    assert [(alert.step, alert.before, alert.after) for alert in raised] == [(10, "general", "shallow")] * alerts


def test_trainers_epochs_and_other_positions(tmp_path: Path) -> None:
    def callback(model: nn.Module) -> HuggingFaceCallback:
        made = hf_monitor(tmp_path)(model)
        made.position = lambda: 1000
        return made

    hf_train(tmp_path / "out", callback, max_steps=-1, num_train_epochs=1, logging_strategy="epoch")
    assert steps_and_positions(tmp_path) == [(5, 1000), (10, 1000), (15, 1000), (16, 1000)]
    assert not (tmp_path / "previous").exists()  # the epoch's log comes after its last step, and nothing is read again


@pytest.mark.parametrize(("patience", "steps"), [(None, [5, 10, 12]), (1, [5])])
def test_the_best_model_is_not_read_as_the_last_one(tmp_path: Path, patience: int | None, steps: list[int]) -> None:
    best_is_worst = {"metric_for_best_model": "loss", "greater_is_better": True}  # the first one that is evaluated
    often = {"eval_strategy": "steps", "eval_steps": 4, "save_strategy": "steps", "save_steps": 4}
    more = [] if patience is None else [transformers.EarlyStoppingCallback(patience)]
    plain, kept = tmp_path / "plain", tmp_path / "kept"
    last = hf_train(plain / "out", hf_monitor(plain), **often)
    best = hf_train(kept / "out", hf_monitor(kept), load_best_model_at_end=True, more=more, **often, **best_is_worst)
    assert not same(last.state_dict(), best.state_dict())
    table = Trajectory.load(kept / "trajectory.parquet").table
    assert table["step"].to_list() == steps
    wanted = Trajectory.load(plain / "trajectory.parquet").table
    assert table["margin"].to_list() == wanted["margin"].to_list()[: len(steps)]


# Lightning


def lightning_train(
    package: Any,
    out: Path,
    callback: Callable[[nn.Module], Any] | None,
    *,
    stop: int = 12,
    resume: bool = False,
    logger: Any = False,
) -> nn.Module:
    class Module(package.LightningModule):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.network = gpt2()

        def training_step(self, batch: Tensor, _: int) -> Tensor:
            return next_token_loss(self.network(batch).logits, batch)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), lr=1e-2)

    module = Module()
    package.seed_everything(3, verbose=False)
    keep = package.pytorch.callbacks if package is lightning else package.callbacks
    trainer = package.Trainer(
        max_steps=stop,
        accelerator="cpu",
        accumulate_grad_batches=2,
        callbacks=[
            keep.ModelCheckpoint(out, "last", every_n_train_steps=7, enable_version_counter=False),
            *([] if callback is None else [callback(module.network)]),
        ],
        logger=logger,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=out,
    )
    batches = torch.utils.data.DataLoader(TOKENS, batch_size=4)  # type: ignore[arg-type]
    trainer.fit(module, batches, ckpt_path=str(out / "last.ckpt") if resume else None)
    return module.network  # type: ignore[no-any-return]


def lightning_monitor(folder: Path, **options: Any) -> Callable[[nn.Module], Any]:
    return lambda model: LightningCallback(
        Monitor(model, probes=[token_probe()], every=5, folder=folder, on_error="raise", **options)
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("package", [lightning, pytorch_lightning], ids=["lightning", "pytorch_lightning"])
def test_lightning_is_read_and_does_not_notice(tmp_path: Path, package: Any) -> None:
    without = lightning_train(package, tmp_path / "without", None)
    with_one = lightning_train(package, tmp_path / "with", lightning_monitor(tmp_path))
    assert same(without.state_dict(), with_one.state_dict())
    assert steps_and_positions(tmp_path) == [(5, 40), (10, 80), (12, 96)]  # 4 samples twice a step
    with_one.eval()
    assert final_margin(tmp_path) == pytest.approx(read_probe(token_probe(), LiveModel(with_one)).margin, abs=1e-5)
    table = Monitor(Settable(), probes=[token_probe()], folder=tmp_path).history._tables["training_loss"]
    assert [row["count"] for row in table] == [10, 10, 4]
    assert table[0]["loss"] == pytest.approx(2.9, abs=0.2)  # near log(16): what Lightning divided is multiplied again


@pytest.mark.filterwarnings("ignore")
def test_lightning_resumes_with_its_readings_and_logs_them(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    lightning_train(lightning, whole / "out", lightning_monitor(whole))
    lightning_train(lightning, cut / "out", lightning_monitor(cut), stop=9)
    assert steps_and_positions(cut) == [(5, 40), (9, 72)]
    logger = RecordingLogger()
    lightning_train(lightning, cut / "out", lightning_monitor(cut), resume=True, logger=logger)
    assert steps_and_positions(cut) == [(5, 40), (10, 80), (12, 96)]
    assert [step for metrics, step in logger.logged if "probe/p/margin" in metrics] == [10, 12]


class RecordingLogger(lightning.pytorch.loggers.logger.DummyLogger):
    def __init__(self) -> None:
        super().__init__()
        self.logged: list[tuple[dict[str, float], int]] = []

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:  # type: ignore[override]
        self.logged.append((metrics, step))


# Composer, whose package cannot be installed beside this torch: its documented interface


class ComposerCallbackBase:
    """`composer.core.Callback` as far as it matters: an event calls the method of its name with state and logger."""

    def __init__(self) -> None:
        pass

    def run_event(self, event: str, state: Any, logger: Any) -> None:
        getattr(self, event)(state, logger)


def composer_state(batch: int, samples: int, loss: object) -> SimpleNamespace:
    clock = SimpleNamespace(batch=SimpleNamespace(value=batch), sample=SimpleNamespace(value=samples))
    return SimpleNamespace(timestamp=clock, loss=loss)


def test_composer_is_followed_by_its_own_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    core = stand_in("composer.core", Callback=ComposerCallbackBase)
    monkeypatch.setitem(sys.modules, "composer", stand_in("composer", core=core))
    monkeypatch.setitem(sys.modules, "composer.core", core)
    monkeypatch.delitem(sys.modules, "curriculum.callbacks.composer", raising=False)
    from curriculum.callbacks.composer import ComposerCallback

    logged: list[tuple[dict[str, float], int]] = []
    logger = SimpleNamespace(log_metrics=lambda metrics, step: logged.append((metrics, step)))
    raised: list[Alert] = []
    model = Settable(0.5)
    losses = [torch.tensor(2.0), [torch.tensor(1.5), torch.tensor(0.5)], {"total": torch.tensor(2.0), "a": torch.tensor(9.0)}]

    def fit(start: int, stop: int) -> None:
        callback = ComposerCallback(Monitor(model, probes=[settable_probe()], every=4, folder=tmp_path, on_alert=raised.append))
        callback.run_event("fit_start", composer_state(start, 32 * start, None), logger)
        for batch in range(start + 1, stop + 1):
            model.margin = -0.5 if batch > 8 else 0.5
            callback.run_event("batch_end", composer_state(batch, 32 * batch, losses[batch % 3]), logger)
        callback.run_event("fit_end", composer_state(stop, 32 * stop, None), logger)

    fit(0, 9)
    assert steps_and_positions(tmp_path) == [(4, 128), (8, 256), (9, 288)]
    assert [(alert.step, alert.loss_before, alert.loss_after) for alert in raised] == [(9, 2.0, 2.0)]
    assert ({"probe/p/mode": -1.0}, 9) in logged
    fit(5, 13)  # resumed from a checkpoint at batch 5
    assert steps_and_positions(tmp_path) == [(4, 128), (8, 256), (12, 384), (13, 416)]
