"""A user's own config folder: its choices are checked, shown and composed; a shipped name is refused."""

from pathlib import Path

import pytest

from experiments.config import presets
from experiments.config.compose import check_file, train_configs
from experiments.config.overrides import CommandLine
from experiments.config.search_path import config_files, search_path, searching
from experiments.store.paths import CONF
from tests.experiments.config.made import run_app


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A folder with a method and a preset."""
    files = {"method/mine.yaml": "defaults: [lora]\nname: mine\nwidth: 3  # of mine\n",
             "presets/my_rates.csv": "model,method,task,source,trainer.learning_rate\n*,*,*,tried,1e-2\n"}
    for name, text in files.items():
        (tmp_path / "mine" / name).parent.mkdir(parents=True)
        (tmp_path / "mine" / name).write_text(text)
    return tmp_path / "mine"


def command_line(mine: Path, way: str, *overrides: str) -> CommandLine:
    if way == "--config-dir":
        return CommandLine("train", CONF, overrides, str(mine))
    return CommandLine("train", CONF, [*overrides, f"hydra.searchpath=[file://{mine}]"])


@pytest.mark.parametrize("way", ["--config-dir", "hydra.searchpath"])
def test_its_choices_are_checked_and_shown(mine: Path, way: str) -> None:
    line = command_line(mine, way, "method=mine", "method.width=4")
    assert line.added == [mine]
    assert line.checked()[:2] == ["method=mine", "method.width=4"]
    printed = line.help("experiments.train", "", [])
    assert "  method     mine, adapter_d, " in printed
    assert "method.width=3 " in printed
    with pytest.raises(ValueError, match="did you mean 'mine'"):
        command_line(mine, way, "method=minee").checked()
    with pytest.raises(ValueError, match=r"did you mean 'method.width'"):
        command_line(mine, way, "method=mine", "method.widht=1").checked()


@pytest.mark.parametrize("way", ["--config-dir", "hydra.searchpath"])
def test_a_file_of_a_shipped_name_is_refused(mine: Path, way: str) -> None:
    (mine / "method" / "lora.yaml").write_text("name: lora\n")
    with pytest.raises(ValueError, match=r"mine: method/lora.yaml is the name of a shipped file; rename yours"):
        command_line(mine, way)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"config folder /.*nowhere does not exist"):
        CommandLine("train", CONF, [], str(tmp_path / "nowhere"))


def test_inside_a_command_everything_finds_its_files(mine: Path) -> None:
    with searching([mine]):
        check_file("method", "mine")
        assert config_files("method")["mine"] == mine / "method" / "mine.yaml"
        with train_configs() as compose:
            cfg = compose(["method=mine", "preset=my_rates"])
            assert (cfg.method.width, cfg.trainer.learning_rate) == (3, 1e-2)
        presets.put_rows("my_rates", [presets.find_row("my_rates", "m", "mine", "t") | {"trainer.learning_rate": "3"}])
        assert presets.find_row("my_rates", "m", "mine", "t")["trainer.learning_rate"] == "3"
    assert search_path() == []
    with pytest.raises(ValueError, match="preset 'my_rates' is not one of"):
        presets.find_row("my_rates", "m", "mine", "t")


@pytest.mark.parametrize("arguments", [
    ["--config-dir", "mine"], ["-m", "hydra.searchpath=[mine]", "hydra/launcher=joblib", "logger.wandb.mode=disabled"],
])
def test_a_run_and_a_job_of_a_launcher_have_the_folder(app: Path, arguments: list[str]) -> None:
    (app / "elsewhere" / "mine" / "method").mkdir(parents=True)
    (app / "elsewhere" / "mine" / "method" / "own.yaml").write_text("name: own\n")
    done = run_app(app, *arguments, "method=own", "seed=21")
    assert done.returncode == 0, done.stderr
    assert str(app / "elsewhere" / "mine") in done.stdout
