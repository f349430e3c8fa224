"""A method as an adapter's file describes it: its class and its fields, enough to build it again.

A class of lora.methods is described by its name, a user's own by its path (`my_methods.Mine`) and imported from it.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import lora.methods
from lora.bank import AppliedMethod
from lora.errors import check_choice
from lora.methods import Method

# fields of a method that files written before it had them lack
SINCE: dict[str, dict[str, Any]] = {"LoRA": {"dora": False, "learning_rate_scale_B": None}}


def method_of(description: Mapping[str, Any]) -> Method:
    """The method of a class and the fields of its config(); the parts of a combined one alike."""
    fields = dict(description)
    kind = fields.pop("class")
    if "parts" in fields:
        fields["parts"] = {word: method_of(part) for word, part in fields["parts"].items()}
    return _method_class(kind)(**SINCE.get(kind, {}) | fields)


def described(method: AppliedMethod) -> dict[str, Any]:
    """Class and fields of a method, and of its parts: a class of lora.methods by its name, another by its path."""
    kind, fields = type(method), method.config()
    if "parts" in fields:
        fields["parts"] = {word: described(part) for word, part in method.parts.items()}  # type: ignore[attr-defined]
    ours = vars(lora.methods).get(kind.__name__) is kind
    return {"class": kind.__name__ if ours else f"{kind.__module__}.{kind.__qualname__}", **fields}


def _method_class(path: str) -> type[Method]:
    """The class of a method by its name in lora.methods, or by its path; ValueError where there is none."""
    module, _, name = path.rpartition(".")
    if not module:
        methods = {made.__name__: made for made in vars(lora.methods).values()
                   if isinstance(made, type) and issubclass(made, Method) and made is not Method}
        check_choice("method", name, methods)
        return methods[name]
    try:
        kind = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"the method's class {path} cannot be imported ({error}): its file must be on PYTHONPATH "
                         "under the name that it had when the adapter was trained") from None
    if not (isinstance(kind, type) and issubclass(kind, Method)):
        raise ValueError(f"{path} is not a method: it is {kind!r}")
    return kind
