"""`lora-lab`: it lists the commands, names a misspelt one, and completes a command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.config.console import commands, completions
from experiments.store.paths import CONF, ROOT


def lora_lab(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "experiments.config.console", *arguments], cwd=ROOT, text=True,
                          env=os.environ | {"PYTHONPATH": str(ROOT)} | environment, capture_output=True, timeout=120)


def test_alone_it_lists_every_command_with_its_purpose() -> None:
    done = lora_lab()
    assert done.returncode == 0, done.stderr
    for name, command in commands().items():
        assert f"  {name:<15}{command.purpose}\n" in done.stdout
        assert len(command.purpose) > 20


def test_every_command_has_a_config() -> None:
    assert {"train", "paper", "count", "spectrum", "report"} <= set(commands())
    for command in commands().values():
        assert (CONF / f"{command.config_name}.yaml").is_file()


def test_a_misspelt_command_is_named_with_the_nearest() -> None:
    done = lora_lab("trian")
    assert done.returncode == 2
    assert done.stderr.endswith("did you mean 'train'?\n")
    assert json.loads(done.stdout)["status"] == "failed"


def test_bash_asks_for_the_words_as_the_script_says() -> None:
    script = lora_lab("completion", "bash").stdout
    assert "-F hydra_bash_completion lora-lab" in script
    assert "$helper -sc query=bash" in script
    assert lora_lab("-sc", "query=bash", COMP_LINE="lora-lab tra").stdout.split() == ["train"]


@pytest.mark.parametrize(("line", "words"), [
    ("lora-lab comp", ["compare", "completion"]),
    ("lora-lab completion z", ["zsh"]),
    ("lora-lab train mod", ["model.", "model="]),
    ("lora-lab train model=roberta-nano", ["model=roberta-nano", "model=roberta-nano-large"]),
    ("lora-lab train -m method=lora,ft_", ["method=lora,ft_top2"]),
    ("lora-lab train method=adapter_h method.bott", ["method.bottleneck="]),
    ("lora-lab train preset=n", ["preset=nano"]),
    ("lora-lab train hydra/launcher=job", ["hydra/launcher=joblib"]),
    ("lora-lab train artifact", []),
    ("lora-lab train method=lorra mod", []),
    ("lora-lab nothing mod", []),
])
def test_a_command_line_is_completed(line: str, words: list[str]) -> None:
    assert completions(line) == words


def test_a_users_own_folder_is_completed_too(tmp_path: Path) -> None:
    (tmp_path / "method").mkdir()
    (tmp_path / "method" / "mine.yaml").write_text("defaults: [lora]\nname: mine\n")
    assert completions(f"lora-lab train --config-dir {tmp_path} method=mi") == ["method=mine"]
