"""tests.experiments.runs.made"""

from pathlib import Path

from experiments.store.paths import CONF

D, LAYERS, UPDATES = 32, 2, 2 * 2 * 8 * (32 + 32)  # of the tiny BERT; LoRA of rank 8 on q and v
COUNTS = {"prefix_embed": D * 6, "prefix_layer": LAYERS * D * 6, "lora+prefix_embed": UPDATES + D * 6,
          "lora+prefix_layer": UPDATES + LAYERS * D * 6}
SIZES = {word: [f"method.{word.replace('lora+', 'parts.') + '.' if '+' in word else ''}{size}"
                for size in ("l_p=4", "l_i=2")] for word in COUNTS}
SIZES |= {f"adapter_{letter}": ["method.bottleneck=8"] for letter in "hlpd"}
METHODS = sorted(path.stem for path in (CONF / "method").glob("*.yaml"))


def overrides(lines: list[str], word: str) -> list[str]:
    return [*(line for line in lines if not line.startswith("method")), f"method={word}", *SIZES.get(word, [])]


def store_files(folder: Path) -> set[str]:
    """Every file of a store but its locks."""
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and "locks" not in path.parts
    }
