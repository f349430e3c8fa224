"""Load base models and tokenizers, or build a model of the same shape without weights."""
from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from experiments.models.architectures import auto_class, task_config
from experiments.models.files import check, checked_folder, declared, model_folder, weight_files
from experiments.models.record import check_record
from experiments.models.tokens import read_tokenizer
from experiments.models.weights import check_finite, check_numbers, check_unread, some
from lora.sites import head_modules

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


def load_model(cfg: DictConfig, kind: str, num_labels: int, labels: list[str]) -> PreTrainedModel:
    """As load_base, the model alone."""
    return load_base(cfg, kind, num_labels, labels)[0]


def load_base(cfg: DictConfig, kind: str, num_labels: int, labels: list[str]) -> tuple[PreTrainedModel, list[str]]:
    """The model of `cfg` in fp32 with a head for `kind`, in eval mode, and the names of its new tensors.

    New weights (a head, or everything with init=random, then ["*"]) are drawn from torch's global generator. A tensor
    whose shape follows the number of labels is new whatever the file has: its rows may stand for other labels. Raises
    FileNotFoundError where the files are not to be had, ValueError where they are not what `cfg` declares.
    """

    check(cfg)
    if cfg.init == "random":
        return _from_config(cfg, kind, num_labels, labels).eval(), ["*"]
    folder = checked_folder(cfg)
    config = _config(cfg, kind, num_labels, labels, pretrained=True)
    model, new = _from_folder(cfg, folder, kind, config)
    heads = tuple(f"{name}." for name in head_modules(model, cfg.pooler))
    base = f"{model.base_model_prefix}."
    kept = [key for key in model.state_dict() if key.startswith(heads) and not key.startswith(base) and key not in new]
    if kept and (outputs := _outputs(cfg, kind, num_labels).intersection(kept)):
        _draw(model, outputs)
        new |= outputs
    if strange := sorted(key for key in new if not key.startswith(heads)):
        raise ValueError(f"{folder} lacks {len(strange)} tensors of the base model, or has other shapes: "
                         f"{some(strange)}")
    return model, sorted(new)


def _from_folder(cfg: DictConfig, folder: Path, kind: str,
                 config: PreTrainedConfig) -> tuple[PreTrainedModel, set[str]]:
    """A model with the weights of a folder, and the names of the tensors that these lack or have in other shapes.

    ValueError where the file's numbers are not values, or the model has no place for a tensor of its base.
    """
    if cfg.weights == "safetensors":
        check_numbers(weight_files(cfg, folder))
    with quiet_transformers():
        model, info = auto_class(cfg, kind, config).from_pretrained(
            folder,
            config=config,
            attn_implementation=cfg.attention,
            use_safetensors=cfg.weights == "safetensors",
            weights_only=True,
            dtype="float32",
            local_files_only=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,  # reported like missing ones, and refused unless in the head
            output_loading_info=True,
        )
    check_unread(folder, model, info["unexpected_keys"])
    new = set(info["missing_keys"]) | {key for key, *_ in info["mismatched_keys"]}
    check_finite(folder, model, new)
    return model, new


def _outputs(cfg: DictConfig, kind: str, num_labels: int) -> set[str]:
    """Names of the tensors whose shape follows the number of labels."""
    shapes, more = ({key: tensor.shape for key, tensor in empty_model(cfg, kind, number).state_dict().items()}
                    for number in (num_labels, num_labels + 1))
    return {key for key, shape in shapes.items() if shape != more[key]}


def _draw(model: PreTrainedModel, names: Collection[str]) -> None:
    """Draw tensors anew as their architecture does; ValueError for one that it does not draw."""
    import torch

    tensors = {name: model.get_parameter(name) for name in names}
    for tensor in tensors.values():
        torch.nn.init.constant_(tensor, float("nan"))
        tensor._is_hf_initialized = False  # type: ignore[attr-defined]
    for place in sorted({name.rpartition(".")[0] for name in names}):
        with torch.no_grad():
            model._init_weights(model.get_submodule(place))
    if left := [name for name, tensor in tensors.items() if tensor.isnan().any()]:
        raise ValueError(f"the file has {some(left)}, whose rows stand for labels, and {type(model).__name__} cannot "
                         "draw them anew: give a file without them")


def load_tokenizer(cfg: DictConfig) -> PreTrainedTokenizerBase:
    """The tokenizer beside the model (see read_tokenizer)."""
    folder = model_folder(cfg)
    check_record(cfg, folder)
    return read_tokenizer(folder)


def empty_model(cfg: DictConfig, kind: str, num_labels: int) -> PreTrainedModel:
    """The model's modules on the meta device: all shapes, no numbers; no files if `config` is given."""
    import torch

    check(cfg)
    with torch.device("meta"):
        return _from_config(cfg, kind, num_labels, [])


def kind_of(model: DictConfig) -> str:
    """The task kind that the paper used a model for, by its `config`."""
    return "causal_lm" if model.config and model.config.model_type == "gpt2" else "classification"


def adapter_kind(description: Mapping[str, Any]) -> str:
    """The task kind that an adapter was trained for, by the head and labels that its file describes."""
    if not description["head"]:
        return "causal_lm"
    return "regression" if len(description["labels"]) == 1 else "classification"


def _config(cfg: DictConfig, kind: str, num_labels: int, labels: list[str], pretrained: bool) -> PreTrainedConfig:
    """The transformers config: from the folder of `pretrained` weights, else from the declared fields."""
    fields = declared(cfg)
    folder = None if fields and not pretrained else model_folder(cfg)
    return task_config(cfg, fields or {}, folder, kind, num_labels, labels)


def _from_config(cfg: DictConfig, kind: str, num_labels: int, labels: list[str]) -> PreTrainedModel:
    """A model of this architecture, with weights drawn anew (or none, on the meta device)."""
    config = _config(cfg, kind, num_labels, labels, pretrained=False)
    auto = auto_class(cfg, kind, config)
    return auto.from_config(config, attn_implementation=cfg.attention, trust_remote_code=False)


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Without the load report and its bar: what they would say is checked, and raised, by load_model."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
