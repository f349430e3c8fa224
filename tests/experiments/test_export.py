"""An exported run predicts under PEFT what it predicts here."""

import inspect
from pathlib import Path

import pytest
import torch

from experiments import export
from experiments.models.load import load_model
from experiments.runs.execute import run
from lora.adapter_file import load_adapter
from tests.experiments.made import compose


def test_peft_predicts_with_an_exported_run_as_we_do(tiny_run: list[str], model_folder: Path, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    cfg = compose(*tiny_run)
    record = run(cfg)
    folder = Path(cfg.store) / str(record.adapter)
    made = inspect.unwrap(export.main)(compose("model=local", f"model.path={model_folder}", f"adapter={folder}",
                                               f"output={tmp_path / 'peft'}", config="export"))
    assert made["files"] == ["adapter_config.json", "adapter_model.safetensors"]
    labels = ["blame", "praise"]
    ours, theirs = (load_model(cfg.model, "classification", 2, labels) for _ in range(2))
    load_adapter(ours, folder)
    theirs = peft.PeftModel.from_pretrained(theirs, str(tmp_path / "peft")).eval()
    inputs = torch.randint(5, 1000, (4, 9))
    torch.testing.assert_close(theirs(input_ids=inputs).logits, ours(input_ids=inputs).logits)
    before = load_model(cfg.model, "classification", 2, labels)(input_ids=inputs).logits
    assert not torch.allclose(before, ours(input_ids=inputs).logits, atol=1e-3)


def test_a_missing_folder_is_named() -> None:
    with pytest.raises(ValueError, match="adapter is not given: adapter=<folder>"):
        inspect.unwrap(export.main)(compose("output=x", config="export"))
