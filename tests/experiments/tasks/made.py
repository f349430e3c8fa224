"""A tiny GPT-2, a word-level and a byte-level tokenizer, and rows of E2E's columns."""

from pathlib import Path

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, GPT2Config, PreTrainedTokenizerFast

from experiments.tasks import TextTask
from experiments.tasks.generation import Generation
from tests.conftest import ROOT
from tests.experiments.made import compose

END = "<|endoftext|>"
NAMES = ["Cocum", "Strada", "Zizzi", "Aromi", "Giraffe", "Browns"]
FOODS = ["Thai", "French", "Indian"]
ROWS = [
    {"meaning_representation": f"name[{name}], eatType[pub], food[{food}]",
     "human_reference": f"{name} is a {kind} that serves {food} food."}
    for name in NAMES for food in FOODS for kind in ("pub", "venue")
]
WORDS = [*NAMES, *FOODS, "name", "Type", "food", "pub", "venue", "is", "a", "that", "serves", ":", "|", ".", "="]


def word_level() -> PreTrainedTokenizerFast:
    """One token a word of WORDS."""
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate([END, "<unk>", *WORDS])}, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, bos_token=END, unk_token="<unk>")


def byte_level() -> PreTrainedTokenizerFast:
    """Byte-level BPE as GPT-2's, learnt from ROWS."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=[END], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator([row["human_reference"] for row in ROWS], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, bos_token=END)


def gpt2(tokenizer: PreTrainedTokenizerFast, positions: int = 64, dropout: float = 0.0):
    """A GPT-2 of two layers and 16 dimensions with random weights."""
    config = GPT2Config(vocab_size=len(tokenizer), n_embd=16, n_layer=2, n_head=2, n_positions=positions,
                        initializer_range=0.2, bos_token_id=0, eos_token_id=0,
                        resid_pdrop=dropout, embd_pdrop=dropout, attn_pdrop=dropout)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(config)


def save_gpt2(folder: Path, positions: int = 64) -> Path:
    """The word-level tokenizer and its model in a folder."""
    tokenizer = word_level()
    gpt2(tokenizer, positions).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder



def make(*overrides: str, task: str = "e2e") -> Generation:
    return instantiate(compose(f"task={task}", "trainer.max_length=64", *overrides).task)


def config(name: str, *overrides: str) -> DictConfig:
    file = OmegaConf.create({"task": OmegaConf.load(ROOT / "conf" / "task" / f"{name}.yaml")})
    return OmegaConf.merge(file, OmegaConf.from_dotlist(list(overrides)))


def text_task(name: str, *overrides: str) -> TextTask:
    return instantiate(config(name, *overrides).task)
