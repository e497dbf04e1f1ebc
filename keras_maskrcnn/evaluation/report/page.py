"""The files of a report: `report.json`, and `index.html`, which needs only its pictures."""

import json
import math
import pathlib
from typing import Any

import numpy as np

HERE = pathlib.Path(__file__).parent


def write_page(content: dict[str, Any], folder: pathlib.Path) -> None:
    """Writes both files.

    Args:
        content: What the report holds; NaN becomes null.
        folder: Where they go.
    """
    text = json.dumps(plain(content), separators=(",", ":"), allow_nan=False)
    (folder / "report.json").write_text(text + "\n", encoding="utf-8")
    page = (HERE / "page.html").read_text(encoding="utf-8")
    parts = {
        "/* page.css */": (HERE / "page.css").read_text(encoding="utf-8"),
        "/* page.js */": (HERE / "page.js").read_text(encoding="utf-8"),
        # In the page, no name of a class can end the script.
        "/* report.json */": text.replace("<", "\\u003c"),
    }
    for place, part in parts.items():
        page = page.replace(place, part)
    (folder / "index.html").write_text(page, encoding="utf-8")


def plain(value: Any) -> Any:
    """The same as JSON can hold it: lists for arrays, null for NaN.

    Example:
        >>> plain({"ap": np.float32("nan"), "counts": np.arange(2)})
        {'ap': None, 'counts': [0, 1]}
    """
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
