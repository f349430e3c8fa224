"""Names of the tensors of PEFT's LoRA: as PEFT writes them, from what training loops leave of them.

PEFT writes base_model.model.<module>.lora_A.weight. A state dict that was saved without PEFT keeps the adapter's name
(lora_A.default.weight) and both copies of a module that trains whole (modules_to_save.default, original_module).
Wrappers of modules add prefixes (lora.interchange).
"""

import re
from collections.abc import Mapping

from torch import Tensor

from lora.interchange import unwrapped

PREFIX = "base_model.model."
_LORA = re.compile(r"(.+\.lora_)(?:([AB])(?:\.([^.]+))??\.(weight|bias)"
                   r"|(embedding_[AB]|magnitude_vector)(?:\.(?!weight$)([^.]+))?(?:\.weight)?)")
_WHOLE = re.compile(r"\.modules_to_save(?:\.([^.]+)(?=\.))?(?=\.)")


def peft_keys(saved: Mapping[str, Tensor], source: object) -> dict[str, Tensor]:
    """The tensors by the names that PEFT gives them.

    ValueError for several adapters in one file, two tensors of one name, and a tensor of LoRA that is not known here.
    """
    plain: dict[str, Tensor] = {}
    adapters: set[str] = set()
    for key, tensor in saved.items():
        name = PREFIX + re.sub(rf"^(?:{re.escape(PREFIX)}|module\.)+", "", unwrapped(key))
        match = _LORA.fullmatch(name)
        if match is None and ".lora_" in name:
            raise ValueError(f"{source} holds {key}, which is none of LoRA's tensors that are known here")
        if match is not None:
            name = f"{match[1]}{match[2]}.{match[4]}" if match[2] else f"{match[1]}{match[5]}"
        if name in plain:
            raise ValueError(f"{source} holds {name} under two names, one of them {key}")
        plain[name] = tensor
        adapters |= {word for word in ((match and (match[3] or match[6])), *_WHOLE.findall(name)) if word}
    if len(adapters) > 1:
        raise ValueError(f"{source} holds {len(adapters)} adapters, {', '.join(sorted(adapters))}: save each alone")
    return _trained_whole(plain)


def _trained_whole(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The trained copies of modules that train whole by the modules' own names, and no frozen copies.

    Those that PEFT wrote beside tensors of these names stay as they are.
    """
    names = {key: _WHOLE.sub("", key) for key in tensors}
    trained = {name for key, name in names.items() if name != key and name not in tensors}
    return {names[key] if names[key] in trained else key: tensor for key, tensor in tensors.items()
            if key.replace(".original_module.", ".") not in trained}
