"""No code that comes with a model is run, and no question about it is asked."""

import ast

from tests.source import CODE, tree

LOADERS = ("from_pretrained", "from_config", "load_dataset")


def test_every_loader_of_transformers_is_told_to_trust_no_code() -> None:
    calls = [(module, call) for module, path in CODE.items() for call in ast.walk(tree(path))
             if isinstance(call, ast.Call) and getattr(call.func, "attr", getattr(call.func, "id", "")) in LOADERS]
    assert len(calls) >= 7
    trusting = [f"{module}:{call.lineno}" for module, call in calls
                if not any(word.arg == "trust_remote_code" and isinstance(word.value, ast.Constant)
                           and word.value.value is False for word in call.keywords)]
    assert trusting == []
