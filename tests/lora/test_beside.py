"""An adapter that is added while another trains base weights in place: it must see the base as it was."""

from pathlib import Path

import pytest
import torch

from lora import Method, TopBlocks, activate, load_adapter, save_adapter
from tests.lora import adapted_models as models
from tests.lora.adapted_models import small_method

LOW_RANK = ["lora", "loraplus", "rslora", "pissa", "dora", "lora+prefix_embed"]


def beside_tuned_blocks() -> torch.nn.Module:
    """A BERT with the active adapter `tuned`, whose last block is another than the base's."""
    torch.manual_seed(1)
    return models.adapted("bert", TopBlocks(name="ft_top1", blocks=1), "frozen", "tuned")


@pytest.mark.parametrize("word", LOW_RANK)
def test_it_starts_as_it_does_alone_and_the_other_comes_back(word: str) -> None:
    def applied(to: torch.nn.Module) -> torch.Tensor:
        torch.manual_seed(2)
        made: Method = small_method(word)
        made.apply(to, pooler="frozen", adapter="new")
        return models.logits(to)

    model = beside_tuned_blocks()
    tuned = models.logits(model)
    new = applied(model)
    activate(model, "tuned")
    assert torch.equal(models.logits(model), tuned)
    with torch.no_grad():  # the head is the model's as it stands, the body the base's
        alone = models.model("bert")
        alone.classifier.load_state_dict(model.classifier.state_dict())
    torch.testing.assert_close(new, applied(alone))


@pytest.mark.parametrize("word", LOW_RANK)
def test_it_is_loaded_as_it_was_saved(word: str, tmp_path: Path) -> None:
    torch.manual_seed(3)
    saved = models.adapted("bert", small_method(word), "frozen")
    save_adapter(saved, tmp_path, base={})
    model = beside_tuned_blocks()
    load_adapter(model, tmp_path, "new")
    torch.testing.assert_close(models.logits(model), models.logits(saved))
