"""The command line of an entry point: accepted words, refused words, and the message for each."""

import importlib
import json
import math
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from experiments.config.console import commands
from experiments.config.entry import Job
from experiments.config.overrides import CommandLine
from experiments.store.paths import CONF
from tests.experiments.config.made import run_app

ENTRY_POINTS = {command.module: command.config_name for command in commands().values()}  # module -> its file in conf


def checked(app: Path, *overrides: str) -> list[str]:
    return CommandLine("train", app / "conf", overrides).checked()


def test_the_record_is_one_json_object_on_the_last_line_and_nothing_is_left_in_the_folder(app: Path) -> None:
    done = run_app(app, "seed=14", "files.train=a.csv")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout.splitlines()[-1])
    assert record["run"] == "run-14"
    assert record["score"] is None  # NaN is not JSON
    assert record["files"] == {"train": "a.csv"}
    assert list((app / "elsewhere").iterdir()) == []


def test_an_error_is_one_line_on_standard_error_and_one_json_object_on_standard_output(app: Path) -> None:
    done = run_app(app, "seed=13")
    assert done.returncode == 1
    assert json.loads(done.stdout) == {"status": "failed", "error": "seed 13 is unlucky"}
    assert done.stderr == "error: seed 13 is unlucky\n"


@pytest.mark.parametrize(("value", "why"), [("a${b}/rows.csv", "Interpolation key 'b' not found"),
                                            ("a${b:1}/rows.csv", "Unsupported interpolation type b")])
def test_a_path_with_what_stands_for_another_key_is_named(app: Path, value: str, why: str) -> None:
    done = run_app(app, f"files.train={value}")
    assert done.returncode == 1
    assert done.stderr == (f"error: {why}: in a value, here of files.train, ${{...}} stands for that of another key; a "
                           "path with it in its name cannot be given, a link to it can\n")


def test_the_traceback_comes_on_request(app: Path) -> None:
    done = run_app(app, "seed=13", LORA_LAB_TRACEBACK="1")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert done.stderr.endswith("error: seed 13 is unlucky\n")


def test_a_job_returns_its_score_which_a_sweeper_may_optimise(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(cfg: DictConfig) -> None:
        raise ValueError("no score")

    monkeypatch.setattr(HydraConfig.instance(), "cfg", OmegaConf.create({"hydra": {"mode": RunMode.RUN}}))
    cfg = OmegaConf.create({})
    assert Job(lambda cfg: {"score": 80.5, "seconds": 3.0})(cfg) == 80.5
    assert Job(lambda cfg: {"rows": []})(cfg) is None
    assert Job(fail)(cfg) is None
    for direction, worst in (("maximize", -math.inf), ("minimize", math.inf)):
        hydra = {"mode": RunMode.RUN, "sweeper": {"direction": direction}}
        monkeypatch.setattr(HydraConfig.instance(), "cfg", OmegaConf.create({"hydra": hydra}))
        assert Job(fail)(cfg) == Job(lambda cfg: {"score": math.nan})(cfg) == worst
        assert Job(lambda cfg: {"score": 80.5})(cfg) == 80.5


def test_an_interrupted_run_exits_with_130(app: Path) -> None:
    done = run_app(app, "seed=130")
    assert (done.returncode, done.stdout) == (130, "")


def test_a_misspelt_command_line_exits_with_2_before_anything_runs(app: Path) -> None:
    done = run_app(app, "model=robertabase")
    assert done.returncode == 2
    message = "model 'robertabase' is not one of minilm, roberta-base; did you mean 'roberta-base'?"
    assert json.loads(done.stdout) == {"status": "failed", "error": message}
    assert done.stderr == f"error: {message}\n"


def test_an_unknown_flag_exits_with_2(app: Path) -> None:
    done = run_app(app, "--multi-run", "seed=1")
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"] == "unrecognized arguments: --multi-run"


def test_packages_without_their_configs_say_how_to_install(app: Path) -> None:
    shutil.rmtree(app / "conf")
    done = run_app(app)
    assert done.returncode == 1
    assert json.loads(done.stdout)["status"] == "failed"
    assert done.stderr.startswith(f"error: no configs in {app / 'conf'}: this installation of lora-lab lacks them; ")


def test_help_shows_purpose_choices_keys_and_examples(app: Path) -> None:
    done = run_app(app, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith("Train one method.\n\nusage: python -m app ")
    for words in ("method     lora, ft", "trainer.epochs=3  ", "passes over the data", "method.rank=8  "):
        assert words in done.stdout
    assert done.stdout.count("  python -m app ") == 3


@pytest.mark.parametrize("model", ["minilm", "roberta-base", "local"])
def test_help_lists_every_key_of_a_run_with_its_value_and_the_presets(model: str) -> None:
    line = CommandLine("train", CONF, [f"model={model}", "method=lora"])
    printed = line.help("experiments.train", "", [])
    config, _ = line.compose([f"model={model}"])
    keys = {"seed", "preset", "store", "overwrite"}
    keys |= {f"{group}.{key}" for group in ("trainer", "method") for key in config[group]}
    keys -= {"method._target_", "method.name"}
    keys |= {f"model.{key}" for key in ("path", "revision", "weights", "init", "pooler", "attention")}
    assert keys <= set(re.findall(r"^  ([\w.]+)=.*?  ?\S", printed, re.MULTILINE))
    assert "authors, default, minilm, nano, paper, restricted" in printed
    assert "${" not in printed
    for setting in ("trainer.batch_size=16 ", "trainer.warmup_steps=null ", "method.dropout=0.0 ", "trainer.epochs=3 "):
        assert setting in printed


def test_help_says_that_of_a_group_nothing_is_chosen() -> None:
    methods = ", ".join(sorted(path.stem for path in (CONF / "method").glob("*.yaml")))
    words = " ".join(CommandLine("compare", CONF, []).help("", "", []).split())  # however its lines are broken
    assert f" method (none), {methods} task (none), " in words


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_every_example_of_the_help_passes_the_check_and_composes(
    entry_point: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = ENTRY_POINTS[entry_point]
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    importlib.import_module(entry_point).main()
    examples = capsys.readouterr().out.partition("\nExamples:\n")[2].splitlines()
    assert examples
    for example in examples:
        python, flag, module, *words = shlex.split(example)
        assert (python, flag, module) == ("python", "-m", entry_point)
        args = get_args_parser().parse_intermixed_args(words)
        line = CommandLine(name, CONF, args.overrides)
        mode = RunMode.MULTIRUN if args.multirun else RunMode.RUN  # a sweep without -m is an error
        line.loader.load_configuration(name, line.checked(), mode)


def test_the_help_of_every_command_imports_neither_torch_nor_pandas() -> None:
    """They take seconds; in one process, so that the first command with a heavy import is named."""
    script = f"""
import importlib, sys
for name in {sorted(ENTRY_POINTS)}:
    sys.argv = [name, "--help"]
    importlib.import_module(name).main()
    heavy = {{"torch", "pandas", "transformers", "matplotlib"}} & set(sys.modules)
    assert not heavy, f"{{name}} imports {{heavy}}"
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=CONF.parent, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr.splitlines()[-1]


def test_every_primary_config_has_its_entry_point() -> None:  # so that none goes without the test above
    assert {path.stem for path in CONF.glob("*.yaml")} - {"base", "names"} == set(ENTRY_POINTS.values())


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("modle=minilm", "did you mean 'model'"),
        ("trainer.learning_rat=1", "one of trainer.epochs, trainer.learning_rate; did you mean"),
        ("trainr.epochs=1", "did you mean 'trainer.epochs'"),
        ("epochs=1", "did you mean 'trainer.epochs'"),
        ("rank=1", "did you mean 'method.rank'"),
        ("method=lora,fft", "method 'fft' is not one of ft, lora; did you mean 'ft'"),
        ("+model=minlm", "model 'minlm'"),
        ("seed.deeper=1", "key 'seed.deeper'"),
    ],
)
def test_a_misspelling_is_named_with_the_nearest_choice(app: Path, override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        checked(app, override)


def test_a_key_is_checked_against_the_chosen_groups(app: Path) -> None:
    assert checked(app, "method=lora", "method.rank=1") == ["method=lora", "method.rank=1"]
    with pytest.raises(ValueError, match=r"key 'method.rank' is not one of method.name"):
        checked(app, "method.rank=1", "method=ft")
    with pytest.raises(ValueError, match=r"did you mean 'model.config.hidden_size'"):
        checked(app, "model=roberta-base", "model.config.hidden=1")


def test_additions_deletions_sweeps_and_hydras_own_keys_pass(app: Path) -> None:
    overrides = ["+new.key=1", "~trainer.epochs", "seed=1,2", "method=lora,ft", "hydra/launcher=joblib"]
    assert checked(app, *overrides, "hydra.launcher.n_jobs=2") == [*overrides, "hydra.launcher.n_jobs=2"]


def test_a_key_below_a_free_form_node_needs_no_plus(app: Path) -> None:
    overrides = ["files.train=a.csv", "model.config.layers=1", "seed=1"]
    assert checked(app, *overrides) == ["++files.train=a.csv", "++model.config.layers=1", "seed=1"]
