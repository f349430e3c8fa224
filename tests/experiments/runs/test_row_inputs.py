"""A run whose tokenizer pads with a token of its own, or gives token types, is the run that it would be without."""

import json
from pathlib import Path

import pytest
from transformers import AutoModel

from experiments.runs.execute import run
from tests.experiments.made import compose, write
from tests.experiments.tasks.made import NAMES, WORDS, gpt2, word_level


def save(folder: Path, names: list[str], **config: int) -> Path:
    """A GPT-2 in `folder`, with a tokenizer that pads with token 1 and gives inputs of these names."""
    tokenizer = word_level()
    gpt2(tokenizer).base_model.save_pretrained(folder)
    tokenizer.pad_token, tokenizer.model_input_names = "<unk>", names
    tokenizer.save_pretrained(folder)
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | config))
    assert AutoModel.from_pretrained(folder).config.pad_token_id == config.get("pad_token_id")
    return folder


@pytest.mark.parametrize(("types", "config"), [(False, {}), (False, {"pad_token_id": 5}), (True, {})])
def test_losses_and_scores_are_those_of_a_folder_without_contradiction(tmp_path, types, config):
    texts = [" ".join(WORDS[row % 7:row % 7 + 2 + row % 9]) for row in range(40)]
    rows = [{"text": f"{text} {NAMES[row % 6]}", "label": ["no", "yes"][row % 2]} for row, text in enumerate(texts)]
    file = write(tmp_path / "rows.csv", rows)
    names = ["input_ids", "attention_mask"]

    def history(folder: Path, size: int) -> list[tuple]:
        record = run(compose("model=local", f"model.path={folder}", "task=classification", "preset=null",
                             f"task.files={{train: {file}, validation: {file}}}", f"store={tmp_path / folder.name}",
                             "logger.wandb.mode=disabled", "trainer.precision=fp32", "trainer.epochs=1",
                             "trainer.learning_rate=1e-2", "trainer.save_adapter=false", "trainer.max_length=30",
                             f"trainer.evaluation_batch_size={size}", "overwrite=true", "trainer.device=cpu"))
        return [(entry["loss"], entry["metrics"]) for entry in record.history]

    plain = history(save(tmp_path / "plain", names, pad_token_id=1), size=7)
    other = save(tmp_path / "other", [*names, "token_type_ids"] if types else names, **config)
    assert history(other, size=1) == plain == history(other, size=16)
