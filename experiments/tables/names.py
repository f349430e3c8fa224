"""Display names: how tables and figures call models, methods, tasks and columns (conf/names.yaml).

Configs, CSV files and JSON keep ids. An id without a display name shows itself.
"""

from functools import cache

from omegaconf import OmegaConf

from experiments.store.paths import CONF
from lora.errors import check_choice

NAMED = ("model", "method", "task", "variant", "projection")  # columns of tables whose values are ids
KINDS = ("models", "methods", "tasks", "columns")


@cache
def display_names() -> dict[str, str]:
    """Every display name by id; ValueError for an unknown kind of names or an id with two of them."""
    names: dict[str, str] = {}
    for kind, of_kind in OmegaConf.load(CONF / "names.yaml").items():
        check_choice("conf/names.yaml: kind of names", str(kind), KINDS)
        if twice := sorted(names.keys() & of_kind.keys()):
            raise ValueError(f"conf/names.yaml: {twice[0]!r} has two names, {names[twice[0]]!r} and "
                             f"{of_kind[twice[0]]!r}")
        names |= of_kind
    return names


def display_name(word: str) -> str:
    """The display name of an id; the id itself where it has none."""
    return display_names().get(word, word)
