"""A misspelt key or choice of a run names the one that was meant."""

import pytest

from experiments.config.compose import configs
from experiments.config.overrides import CommandLine
from experiments.store.paths import CONF


@pytest.mark.parametrize(("override", "message"), [
    ("method.sites=[q]", r"did you mean 'method\.targets'\?"),
    ("sites=[q]", r"did you mean 'method\.targets'\?"),
    ("seed=range(0,0)", r"seed=range\(0,0\) sweeps over no value"),
    ("model=glob(no-such*)", r"sweeps over no value"),
    ("method.targets=[q,v", r"method\.targets cannot be read from '\[q,v' .* needs its own, as in"),
    ("store=it's", r"store cannot be read from \"it's\""),
    ("learning_rate=1e-3", r"did you mean 'trainer\.learning_rate'\?"),
    ("model=bert-base-uncased", r"any other: model=local model\.path=bert-base-uncased$"),
])
def test_a_wrong_key_or_model_names_the_right_one(override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CommandLine("train", CONF, [override]).checked()


def test_a_key_that_a_swept_method_lacks_asks_for_two_sweeps() -> None:
    message = (r"method=ft,bitfit has no key method\.rank: make two sweeps into one store, "
               r"with method=lora method\.rank=1,4 and with method=ft,bitfit$")
    with pytest.raises(ValueError, match=message):
        CommandLine("train", CONF, ["method=ft,lora,bitfit", "method.rank=1,4"]).checked()
    sweep = ["method=lora,dora", "method.rank=1,4", "model=roberta-nano,minilm"]
    assert CommandLine("train", CONF, sweep).checked() == sweep


def test_help_has_the_keys_that_a_model_takes_from_its_base() -> None:
    text = CommandLine("train", CONF, ["model=deberta-v2-xxlarge"]).help("experiments.train", "", [])
    assert "model.weights=pickle " in text
    assert text.count("model.weights=") == 1
    assert "model.init=pretrained " in text


@pytest.mark.parametrize("path", ["runs/epoch=3/train.csv", "данные/train.csv", "my data (1)/数据.csv", "a#b/c.csv"])
def test_a_path_that_hydra_reads_in_quotes_only_is_given_them(path: str) -> None:
    lines = ["task=classification", f"task.files.train={path}", f"store={path}"]
    with configs("train") as compose:
        cfg = compose(CommandLine("train", CONF, lines).checked())
    assert (cfg.task.files.train, cfg.store) == (path, path)


def test_a_former_key_of_an_analysis_names_its_successor() -> None:
    with pytest.raises(ValueError, match=r"key 'sites' .* did you mean 'roles'\?"):
        CommandLine("subspace", CONF, ["sites=[q]"]).checked()


@pytest.mark.parametrize("choice", ["roberta-nano", "roberta-nano-large", "deberta-nano", "gpt2-nano", "gpt3-nano"])
def test_a_models_file_gives_its_settings_to_its_own_weights_only(choice: str) -> None:
    with configs("train") as compose:
        shipped, mine, local = (compose(lines) for lines in (
            [f"model={choice}"], [f"model={choice}", "model.path=my/own"], ["model=local", "model.path=my/own"]))
    assert (shipped.preset, shipped.model.dropout, shipped.model.attention) == ("nano", 0.0, "eager")
    assert (mine.preset, mine.trainer, mine.method) == (local.preset, local.trainer, local.method)
    keys = local.model.keys() - {"pinned", "config"} - ({"attention"} if choice == "deberta-nano" else set())
    assert {key: mine.model[key] for key in keys} == {key: local.model[key] for key in keys}
