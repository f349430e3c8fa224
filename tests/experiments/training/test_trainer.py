"""The training loop against transformers' own; what it promises of rates, precision, frozen weights."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.nn import functional
from transformers import get_constant_schedule_with_warmup, get_linear_schedule_with_warmup

from experiments.models.load import load_model
from experiments.training.batches import epoch_batches
from experiments.training.optimizer import schedule
from experiments.training.trainer import Trainer
from lora import adapted_layers
from lora.adapter_file import adapter_tensors
from tests.experiments.made import StepLog, adapted, compose, trainer_of

ORACLE = [
    "method.alpha=8",
    "trainer.epochs=4",
    "trainer.warmup_ratio=0.1",
    "trainer.weight_decay=0.01",
    "trainer.learning_rate=2e-2",
    "trainer.log_every=1",
]


def train(*overrides: str) -> tuple[Trainer, StepLog]:
    """A training to its end, every step logged."""
    trainer, steps = prepare(compose(*overrides, "trainer.log_every=1"))
    trainer.fit()
    return trainer, steps


def prepare(cfg: DictConfig) -> tuple[Trainer, StepLog]:
    return trainer_of(cfg, *adapted(cfg))


def batches_of(trainer: Trainer, cfg: DictConfig) -> list[dict[str, Tensor]]:
    """Every batch of a training in its order, collated."""
    chosen = [
        batch
        for epoch in range(cfg.trainer.epochs)
        for batch in epoch_batches(
            trainer.lengths, cfg.trainer.batch_size, cfg.seed, epoch, cfg.trainer.bucket
        )
    ]
    return [
        trainer.task.collate([trainer.train_rows[i] for i in batch], trainer.pad_token_id) for batch in chosen
    ]


def peft_model(cfg: DictConfig) -> nn.Module:
    """PEFT's model with the same base, the same A and the same head, its pooler trained too."""
    peft = pytest.importorskip("peft")
    model, _ = adapted(cfg)
    start = {name: tensor.detach().clone() for name, tensor in adapter_tensors(model).items()}
    task = instantiate(cfg.task)
    base = load_model(cfg.model, task.kind, task.num_labels, task.labels)
    config = peft.LoraConfig(
        r=4,
        lora_alpha=8,
        lora_dropout=0.0,
        target_modules=["query", "value"],
        task_type="SEQ_CLS",
        modules_to_save=["classifier", "pooler"],
    )
    theirs = peft.get_peft_model(base, config)
    parameters = {
        name.removeprefix("base_model.model."): p for name, p in theirs.named_parameters() if p.requires_grad
    }
    with torch.no_grad():
        for name, tensor in start.items():
            module, _, kind = name.rpartition(".")
            theirs_is = (
                f"{module.rpartition('.')[0]}.lora_{kind}.default.weight"
                if kind in "AB"
                else name.replace(".pooler.", ".pooler.modules_to_save.default.").replace(
                    "classifier.", "classifier.modules_to_save.default."
                )
            )
            parameters.pop(theirs_is).copy_(tensor)
    assert not parameters  # PEFT trains nothing else
    return theirs


def losses_of_transformers(
    cfg: DictConfig, batches: list[dict[str, Tensor]], folder: Path
) -> tuple[list[float], ...]:
    """Loss and gradient norm of each step of transformers.Trainer over these batches."""
    import transformers

    losses: list[float] = []
    norms: list[float] = []

    class Oracle(transformers.Trainer):
        def get_train_dataloader(self) -> Any:
            return torch.utils.data.DataLoader(batches, batch_size=None, shuffle=False)  # type: ignore[arg-type]

        def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
            losses.append((loss := super().training_step(*args, **kwargs)).item())
            return loss

        def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
            norms.extend([float(logs["grad_norm"])] if "grad_norm" in logs else [])

    settings = transformers.TrainingArguments(
        output_dir=str(folder),
        use_cpu=True,
        num_train_epochs=1,
        learning_rate=cfg.trainer.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=cfg.trainer.warmup_ratio,
        weight_decay=cfg.trainer.weight_decay,
        max_grad_norm=cfg.trainer.gradient_clip,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    Oracle(peft_model(cfg), settings, train_dataset=[0] * len(batches)).train()  # type: ignore[arg-type]
    return losses, norms


@pytest.mark.parametrize("device_batch_size", ["null", "3"])
def test_peft_under_transformers_trainer_takes_the_same_steps(
    tiny_run: list[str], tmp_path: Path, device_batch_size: str
) -> None:
    cfg = compose(*tiny_run, *ORACLE, f"trainer.device_batch_size={device_batch_size}")
    trainer, steps = prepare(cfg)
    batches = batches_of(trainer, cfg)
    trainer.fit()
    losses, norms = losses_of_transformers(cfg, batches, tmp_path)
    assert len(losses) == 20
    assert max(norms) > cfg.trainer.gradient_clip  # the clip is at work
    assert losses[-1] < 0.7 * losses[0]
    torch.testing.assert_close(steps.values("loss"), losses, rtol=0, atol=1e-5)
    torch.testing.assert_close(steps.values("gradient_norm"), norms, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", ["lora", "bitfit"])
def test_frozen_weights_are_bit_identical_after_training(tiny_run: list[str], method: str) -> None:
    cfg = compose(*[line for line in tiny_run if not line.startswith("method.")], f"method={method}")
    model, groups = adapted(cfg)
    trained = {id(parameter) for group in groups for parameter in group.parameters.values()}
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    trainer_of(cfg, model, groups)[0].fit()
    changed = {
        name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])
    }
    frozen = {name for name, parameter in model.named_parameters() if id(parameter) not in trained}
    assert not changed & frozen
    assert changed
    if method == "bitfit":
        assert all(
            name.endswith("bias") or name.startswith(("classifier", "bert.pooler")) for name in changed
        )


def test_full_fine_tuning_changes_every_kind_of_weight(tiny_run: list[str]) -> None:
    cfg = compose(*[line for line in tiny_run if not line.startswith("method.")], "method=ft")
    model, groups = adapted(cfg)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    trainer_of(cfg, model, groups)[0].fit()
    same = {name for name, parameter in model.named_parameters() if torch.equal(parameter, before[name])}
    assert not same


def test_layers_start_from_different_A(tiny_run: list[str]) -> None:
    model, _ = adapted(compose(*tiny_run))
    starts = [update.A for _, layer in adapted_layers(model) for update in layer.of("default").values()]
    assert len(starts) == 4
    assert len({tuple(A.flatten().tolist()) for A in starts}) == 4


@pytest.mark.parametrize("warmup", [0, 1, 5, 20])
@pytest.mark.parametrize("kind", ["linear", "constant"])
def test_schedules_are_those_of_transformers(kind: str, warmup: int) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = (
        get_linear_schedule_with_warmup(optimizer, warmup, 20)
        if kind == "linear"
        else get_constant_schedule_with_warmup(optimizer, warmup)
    )
    for step in range(20):
        assert schedule(kind, step, warmup, 20) == pytest.approx(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()


def test_warm_up_steps_come_before_the_ratio(tiny_run: list[str]) -> None:
    _, steps = train(
        *tiny_run, "trainer.schedule=constant", "trainer.warmup_steps=4", "trainer.warmup_ratio=0.9"
    )
    assert steps.values("learning_rate") == pytest.approx([5e-3 * min(1, step / 4) for step in range(10)])


def test_a_group_trains_at_its_own_scale_of_the_rate(tiny_run: list[str]) -> None:
    cfg = compose(*tiny_run, "trainer.schedule=constant", "trainer.warmup_ratio=0")
    model, groups = adapted(cfg)
    groups[0].learning_rate_scale = 0.0
    before = {name: p.detach().clone() for name, p in groups[0].parameters.items()}
    trainer_of(cfg, model, groups)[0].fit()
    assert all(torch.equal(p, before[name]) for name, p in groups[0].parameters.items())


def test_label_smoothing_is_torchs(tiny_run: list[str]) -> None:
    cfg = compose(*tiny_run, "trainer.label_smoothing=0.1", "trainer.log_every=1")
    trainer, steps = prepare(cfg)
    batch = batches_of(trainer, cfg)[0]
    labels = batch.pop("labels")
    with torch.no_grad():
        expected = functional.cross_entropy(trainer.model(**batch).logits, labels, label_smoothing=0.1)
    trainer.fit()
    assert steps.values("loss")[0] == pytest.approx(expected.item(), abs=1e-6)


def test_bf16_trains_close_to_fp32_and_keeps_what_trains_in_fp32(tiny_run: list[str]) -> None:
    _, exact = train(*tiny_run)
    for frozen in ("fp32", "bf16"):
        trainer, rounded = train(*tiny_run, "trainer.precision=bf16", f"trainer.frozen={frozen}")
        assert trainer.precision == "bf16"
        torch.testing.assert_close(rounded.values("loss"), exact.values("loss"), rtol=0, atol=0.1)
        assert rounded.values("loss") != exact.values("loss")
        dtypes = {p.requires_grad: p.dtype for p in trainer.model.parameters()}
        assert dtypes == {True: torch.float32, False: torch.bfloat16 if frozen == "bf16" else torch.float32}


def test_the_best_epoch_stays_in_the_model(tiny_run: list[str]) -> None:
    trainer, _ = prepare(compose(*tiny_run, "trainer.epochs=4", "trainer.learning_rate=2e-2"))
    outcome = trainer.fit()
    scores = [entry["metrics"]["accuracy"] for entry in outcome.history]
    assert outcome.best_epoch == scores.index(max(scores)) + 1  # the first of equals
    assert (
        trainer._evaluate()["metrics"]
        == outcome.metrics
        == outcome.history[outcome.best_epoch - 1]["metrics"]
    )


def test_evaluation_does_not_depend_on_its_batch_size(tiny_run: list[str]) -> None:
    random.seed(0)
    scores = [
        train(*tiny_run, f"trainer.evaluation_batch_size={size}")[0].progress.history for size in (1, 7, 64)
    ]
    assert all([e["metrics"] for e in history] == [e["metrics"] for e in scores[0]] for history in scores)


def test_bitfit_trains_beside_weights_held_in_bf16(tiny_run: list[str]) -> None:
    """A LayerNorm whose bias trains keeps its weight in the bias's precision."""
    lines = [line for line in tiny_run if not line.startswith("method.")]
    trainer, _ = train(*lines, "method=bitfit", "trainer.precision=bf16", "trainer.frozen=bf16")
    dtypes = {name: p.dtype for name, p in trainer.model.named_parameters()}
    assert dtypes["bert.encoder.layer.0.output.LayerNorm.weight"] == torch.float32
    assert dtypes["bert.embeddings.word_embeddings.weight"] == torch.bfloat16


def test_evaluation_merges_and_says_how_far_merged_weights_are_off(tiny_run: list[str]) -> None:
    trainer, _ = prepare(compose(*tiny_run, "trainer.precision=fp32"))
    outcome = trainer.fit()
    assert 0 < outcome.merge_error["float32"] < 1e-6
    held = prepare(compose(*tiny_run, "trainer.precision=bf16", "trainer.frozen=bf16"))[0].fit()
    assert held.merge_error == {}  # weights held in bf16 would round the update away: evaluated unmerged


def test_a_score_that_is_not_a_number_is_never_the_best(tiny_run: list[str]) -> None:
    trainer, _ = prepare(compose(*tiny_run))
    for epoch, score in enumerate((float("nan"), 40.0, 30.0), start=1):
        trainer._finish_epoch({"epoch": epoch, "seconds": 0.0, "loss": 0.0, "metrics": {"accuracy": score}})
    assert trainer.progress.best_epoch == 2
