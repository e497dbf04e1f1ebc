"""Reading JSON files, whole or only as far as it takes to know them."""

import json
import pathlib
import re
from typing import Any

from keras_maskrcnn.data.formats.shared.text_files import encoding_of, read_text

START = 2**16  # bytes that are read of a file to know it: it can be too large to be read twice

# A string with the colon that makes it a key, or a bracket. A string that is cut off ends with the
# bytes.
TOKEN = re.compile(rb'"((?:[^"\\]|\\.)*+)"?\s*(:?)|([{}\[\]])', re.DOTALL)


def read_json(path: pathlib.Path) -> Any:
    """What a JSON file holds.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no JSON file, or in an encoding that is not read; the message names it.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not a JSON file: {error}") from error


def outer_keys(path: pathlib.Path) -> tuple[set[str], set[str]]:
    """The keys of a file's outermost object, and those of the objects that are its values.

    Only of the first 64 KB; none if it is no JSON file.

    Example:
        >>> path = pathlib.Path("via.json")
        >>> size = path.write_text('{"a.png9": {"regions": []}}')
        >>> outer_keys(path)
        ({'a.png9'}, {'regions'})
    """
    with path.open("rb") as file:
        start = file.read(START)
    start = start.decode(encoding_of(start), errors="replace").encode()
    keys: dict[bytes, set[str]] = {b"{": set(), b"{{": set()}
    opened = b""
    for text, colon, bracket in TOKEN.findall(start):
        if bracket in (b"{", b"["):
            opened += bracket
        elif bracket:
            opened = opened[:-1]
        elif colon and opened in keys:
            keys[opened].add(text.decode(errors="replace"))
    return keys[b"{"], keys[b"{{"]
