"""What the values of annotation files mean: flags, ids, sizes and names as exporters write them."""

import math
import re
from collections.abc import Iterable
from typing import Any

FARTHEST = 10**9  # pixels: what is further away overflows in what is made of it
MOST_PIXELS = 2**31  # of a side, as of the formats of pictures
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


def number(value: Any) -> float:
    """A number, or the text of one; infinite if it has more digits than a float has room for.

    Raises:
        ValueError: It is another text.
        TypeError: It is neither.
    """
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def coordinates(values: Iterable[Any], name: str) -> list[float]:
    """Numbers, or texts of them, as coordinates in pixels.

    Raises:
        ValueError: One is NaN, infinite or beyond any image, or no number.
        TypeError: One is of another type.
    """
    values = list(values)
    numbers = [number(value) for value in values]
    if not all(abs(coordinate) <= FARTHEST for coordinate in numbers):  # NaN is not, either
        raise ValueError(
            f"{name} has a coordinate that is NaN or infinite, or beyond any image: {values!r:.80}"
        )
    return numbers


def pixels(value: Any, name: str) -> int:
    """The side of an image: 120, 120.0 and "120" are 120 pixels.

    Raises:
        ValueError: It is no whole number above 0, or one that no image has.
    """
    try:
        side = identity(value, name)
    except ValueError:
        side = None
    if not isinstance(side, int) or not 0 < side < MOST_PIXELS:
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
