"""Gives the tensors of a checkpoint to the variables of a model, all of them or none."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import keras
import numpy as np

Transform = Callable[[np.ndarray], np.ndarray]


class Source(NamedTuple):
    """Where a variable comes from: the name of a tensor, and how it has to be turned."""

    variable: keras.Variable
    name: str
    transform: Transform


def assign(sources: list[Source], tensors: Mapping[str, np.ndarray], ignored, origin: str) -> None:
    """Sets every variable, after having checked that all fits.

    Args:
        sources: One for each variable of the model.
        tensors: The checkpoint's tensors by name.
        ignored: Called with the name of a tensor that no variable uses; says whether that is fine.
        origin: Named in errors: the file.

    Raises:
        ValueError: A tensor is missing, has another shape, or is left over.
    """
    problems, values = [], []
    for variable, name, transform in sources:
        if name not in tensors:
            problems.append(f"{name} is missing ({variable.path} needs it)")
            continue
        value = transform(np.asarray(tensors[name]))
        if value.shape != tuple(variable.shape):
            problems.append(
                f"{name} is {np.shape(tensors[name])}, {variable.path} of the model is "
                f"{tuple(variable.shape)}"
            )
        values.append((variable, value))
    used = {source.name for source in sources}
    problems += [
        f"{name} has no place" for name in tensors if name not in used | set(ignored(tensors))
    ]
    if problems:
        shown = "\n  ".join(problems[:8])
        more = f"\n  and {len(problems) - 8} more" if len(problems) > 8 else ""
        raise ValueError(f"{origin} does not fit this model:\n  {shown}{more}")
    for variable, value in values:
        variable.assign(value)
