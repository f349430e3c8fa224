"""The way in which a base keeps its dense weights: (n_out, n_in) as nn.Linear does, or transposed as Conv1D does.

The shape of a square weight does not tell it; other weights of its layer do, since one layer has one kind of dense map.
"""

from collections.abc import Iterable, Mapping

from analysis.adapters.updates import Update
from lora.sites import LAYER_NUMBER, same_but_for_prefix, sites_by_name

Shape = tuple[int, ...]
READS_HIDDEN = ("q", "k", "v", "fc1")  # their n_in is the width of the layer; of o and fc2 it is n_out


def of_layer(name: str, names: Iterable[str]) -> list[str]:
    """The names within the layer that `name` is in; empty outside the layers."""
    match = LAYER_NUMBER.search(name)
    return [other for other in names if other.startswith(f"{name[:match.end()]}.")] if match else []


def transposed_by_neighbours(square: str, shapes: Mapping[str, Shape], updates: Iterable[Update]) -> bool | None:
    """True where the other weights of a layer are kept transposed, False where not, None where nothing tells.

    `shapes` are those of all tensors of the layer by name, `square` names the weight in question. The length of a bias
    is n_out, and an update has the shape of its matrix; where neither is there, the role of a weight tells which side
    has the width of the layer. ValueError where the weights contradict each other.
    """
    width, updates = shapes[square][0], list(updates)
    measured: dict[str, bool] = {}
    by_role: dict[str, bool] = {}
    for name, shape in shapes.items():
        module = name.removesuffix(".weight")
        if module == name or len(shape) != 2 or shape[0] == shape[1]:
            continue
        outputs = [len(u.B) * u.part.parts for u in updates if same_but_for_prefix(u.module, module)]
        outputs += shapes.get(f"{module}.bias", ())
        if outputs and outputs[0] in shape:
            measured[name] = shape[1] == outputs[0]
        elif (sites := sites_by_name(module)) and width in shape:
            by_role[name] = (shape[0] == width) == (sites[0].role in READS_HIDDEN)
    told = measured or by_role
    if len(set(told.values())) == 2:
        raise ValueError(f"of its layer, {' and '.join(next(n for n in told if told[n] == kind) for kind in (0, 1))} "
                         "are kept in different ways")
    return next(iter(told.values()), None)
