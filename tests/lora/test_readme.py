"""The library's page: its code runs as it stands, and its table has every method."""

import importlib
import re
from pathlib import Path

import pytest
import torch
import yaml
from hydra.utils import instantiate
from transformers import AutoModelForSequenceClassification

import lora.methods
from lora import adapters
from tests.conftest import ROOT
from tests.lora.tiny import LAYERS, tiny

PAGE = (ROOT / "lora" / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
SHIPPED = ROOT / "results" / "nano" / "pretrained" / "roberta-nano"  # in the place of roberta-base


def write_loralib(file: Path) -> None:
    """A checkpoint as the authors' code writes it, on W_q and W_v of the shipped model."""
    model = AutoModelForSequenceClassification.from_pretrained(SHIPPED, num_labels=2)
    state = {name: value for name, value in model.state_dict().items() if name.startswith("classifier")}
    for layer in range(model.config.num_hidden_layers):
        for projection in ("query", "value"):
            module = f"roberta.encoder.layer.{layer}.attention.self.{projection}"
            state[f"{module}.lora_A"] = torch.randn(8, model.config.hidden_size)
            state[f"{module}.lora_B"] = torch.zeros(model.config.hidden_size, 8)
    torch.save(state, file)


def test_the_code_of_the_page_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    write_loralib(tmp_path / "authors.pt")
    names: dict = {}
    for language, code in BLOCKS:
        if language == "python" and not code.startswith("# "):
            exec(code.replace('from_pretrained("roberta-base"', f'from_pretrained("{SHIPPED}"'), names)
    assert adapters(names["model"]) == ["default", "second", "from_peft", "from_loralib"]


def test_the_methods_in_the_table_are_those_that_are_there():
    table = PAGE.partition("## Methods")[2].partition("\n## ")[0]
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| `")]
    classes = [row[0].strip("| `") for row in rows]
    assert sorted(classes) == sorted(set(lora.methods.__all__) - {"Method", "ParameterGroup"})
    targets = {path.stem: yaml.safe_load(path.read_text()).get("_target_")
               for path in (ROOT / "conf" / "method").glob("*.yaml")}
    files = {name: f"lora.{row[0].strip('| `')}" for row in rows for name in re.findall(r"`([\w+]+)`", row[1])}
    assert files.keys() == targets.keys()
    assert {name: target for name, target in targets.items() if target is not None}.items() <= files.items()


@pytest.mark.parametrize("biases", [True, False])
def test_the_method_of_the_page_trains_what_it_says(biases: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(tmp_path)
    for _, code in BLOCKS:
        if name := re.match(r"# (\S+\.(?:py|yaml))\n", code):
            (tmp_path / name[1]).write_text(code)
    importlib.invalidate_caches()
    config = yaml.safe_load((tmp_path / "layernorms.yaml").read_text())
    model = tiny("roberta")
    instantiate(config | {"biases": biases}).apply(model, pooler="train")
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    places = ["embeddings", *(f"encoder.layer.{layer}.{part}" for layer in range(LAYERS)
                              for part in ("attention.output", "output"))]
    ends = ["weight", "bias"] if biases else ["weight"]
    assert {name for name in trained if not name.startswith("classifier")} == {
        f"roberta.{place}.LayerNorm.{end}" for place in places for end in ends}
