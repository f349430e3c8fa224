"""Export an adapter to PEFT's layout: peft.PeftModel.from_pretrained(model, output) gives the same outputs."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from experiments.config.entry import entry


@entry("export", examples=[
    "python -m experiments.export adapter=results/local/adapters/mrpc-minilm-lora-seed0-d3cdf6df output=mrpc-peft",
    "python -m experiments.export model=roberta-base adapter=results/paper/adapters/rte-... output=rte-peft",
    "python -m experiments.export model=local model.path=my-model adapter=my-adapter output=my-peft",
])
def main(cfg: DictConfig) -> dict[str, Any]:
    """Write a LoRA adapter of ours as PEFT reads it, head included; the model must be the one it was trained on."""
    from experiments.models.load import adapter_kind, load_model
    from lora.adapter_file import load_adapter, read_adapter
    from lora.peft import save_peft

    for key in ("adapter", "output"):
        if cfg[key] is None:
            raise ValueError(f"{key} is not given: {key}=<folder>")
    description, _ = read_adapter(cfg.adapter)
    labels = description["labels"]
    model = load_model(cfg.model, adapter_kind(description), len(labels), labels)
    load_adapter(model, cfg.adapter)
    base = None if cfg.model.package else cfg.model.path
    folder = save_peft(model, Path(cfg.output), base=base, revision=cfg.model.revision)
    return {"adapter": str(cfg.adapter), "output": str(folder), "files": sorted(path.name for path in folder.iterdir())}


if __name__ == "__main__":
    main()
