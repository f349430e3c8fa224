"""Numbers and lists of conf/method, checked before torch is imported; a method checks the rest itself."""

from collections.abc import Mapping
from typing import Any

from lora.errors import check_number, check_whole

LEAST = {"rank": 1, "bottleneck": 1, "blocks": 1, "dropped_layers": 0, "l_p": 0, "l_i": 0}
ABOVE_ZERO = ("alpha", "init_std", "learning_rate_scale_B")


def check_method(method: Mapping[str, Any], prefix: str = "method") -> None:
    """Raise ValueError for a number that no method of lora has; a class of the user's own checks itself."""
    for word, part in method.get("parts", {}).items():
        check_method(part, f"{prefix}.parts.{word}")
    if not str(method.get("_target_")).startswith("lora."):
        return
    for key, value in method.items():
        for number in value.values() if isinstance(value, Mapping) else [value]:
            if key in LEAST and number is not None:
                check_whole(f"{prefix}.{key}", number, LEAST[key])
            if key in ABOVE_ZERO and number is not None:
                check_number(f"{prefix}.{key}", number, above=0)
    if isinstance(targets := method.get("targets"), str):
        raise ValueError(f"{prefix}.targets {targets!r} is not a list: write [{','.join(targets)}]")
