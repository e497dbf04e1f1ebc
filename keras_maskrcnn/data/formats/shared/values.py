"""What the values of annotation files mean: flags, ids, sizes and names as exporters write them."""

import re
from typing import Any

WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,17})")
FLAGS = {None: False, 0: False, 1: True, "0": False, "1": True, "false": False, "true": True}


def flag(value: Any, name: str) -> bool:
    """What 0, 1, false and true mean, as numbers or as text; False for null.

    Args:
        value: As the file has it.
        name: Of the field, for the message.

    Raises:
        ValueError: It is something else.

    Example:
        >>> flag("False", "iscrowd")
        False
    """
    try:
        return FLAGS[value.strip().lower() if isinstance(value, str) else value]
    except (KeyError, TypeError):
        raise ValueError(f"{name} must be 0 or 1, got {value!r:.80}") from None


def identity(value: Any, name: str) -> int | str:
    """What an id is compared by: 1, 1.0 and "1" are one id.

    Raises:
        ValueError: It is neither a whole number nor a text.
    """
    if value.__class__ is int:
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str):
        return int(value) if WHOLE.fullmatch(value.strip()) else value
    raise ValueError(f"{name} must be a whole number or a text, got {value!r:.80}")


def pixels(value: Any, name: str) -> int:
    """The side of an image: 120, 120.0 and "120" are 120 pixels.

    Raises:
        ValueError: It is no whole number above 0.
    """
    try:
        side = identity(value, name)
    except ValueError:
        side = None
    if not isinstance(side, int) or side < 1:
        raise ValueError(f"{name} must be a whole number of pixels, got {value!r:.80}")
    return side


def class_name(value: Any, name: str) -> str:
    """The name of a class, without the blanks around it; of a number, its digits.

    Raises:
        ValueError: There is none.

    Example:
        >>> class_name(" cat ", "label"), class_name(7, "label")
        ('cat', '7')
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(identity(value, name)) if value == value // 1 else str(value)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"has no {name}")
    return value.strip()
