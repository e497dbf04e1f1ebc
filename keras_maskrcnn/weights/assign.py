"""Gives the tensors of a checkpoint to the variables of a model, all of them or none."""

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

import keras
import numpy as np


class Source(NamedTuple):
    """Where a variable comes from: the name of a tensor, and how it has to be turned."""

    variable: keras.Variable
    name: str
    transform: Callable[[np.ndarray], np.ndarray]


def assign(
    sources: Collection[Source],
    tensors: Mapping[str, np.ndarray],
    ignored: Collection[str],
    origin: str,
) -> None:
    """Sets every variable, after having checked that all fits.

    Args:
        sources: One for each variable that the checkpoint has to set.
        tensors: The checkpoint's tensors by name.
        ignored: Names of tensors that no variable uses, and that is fine.
        origin: Named in errors: the file.

    Raises:
        ValueError: A tensor is missing, has another shape, is no number, or is left over.
    """
    problems, values = [], []
    for variable, name, transform in sources:
        if name not in tensors:
            problems.append(f"{name} is missing ({variable.path} needs it)")
            continue
        value = _turned(np.asarray(tensors[name]), transform)
        if value is None or value.shape != tuple(variable.shape):
            problems.append(
                f"{name} is {np.shape(tensors[name])}, {variable.path} of the model is "
                f"{tuple(variable.shape)}"
            )
        elif not np.isfinite(value).all():
            problems.append(f"{name} holds values that are NaN or infinite")
        values.append((variable, value))
    known = {source.name for source in sources} | set(ignored)
    problems += [f"{name} has no place" for name in tensors if name not in known]
    if problems:
        shown = "\n  ".join(problems[:8])
        more = f"\n  and {len(problems) - 8} more" if len(problems) > 8 else ""
        raise ValueError(f"{origin} does not fit this model:\n  {shown}{more}")
    for variable, value in values:
        variable.assign(value)


def _turned(value, transform):
    """The value in the variable's layout; None where its shape does not even allow that."""
    try:
        return transform(value).astype(np.float32)
    except (ValueError, IndexError, TypeError):
        return None
