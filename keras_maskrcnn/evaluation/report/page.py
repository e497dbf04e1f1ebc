"""The files of a report: its numbers as JSON, and a page that needs only its pictures."""

import json
import math
import pathlib
from typing import Any

import numpy as np

HERE = pathlib.Path(__file__).parent


def write_page(name: str, content: dict[str, Any], folder: pathlib.Path) -> None:
    """Writes `report.json` and `index.html`.

    Args:
        name: Of the page, `"page"` or `"runs"`: its body and its script lie beside this module,
            and the frame of both.
        content: What the page shows; NaN becomes null.
        folder: Where the files go.
    """
    text = json.dumps(plain(content), separators=(",", ":"), allow_nan=False)
    (folder / "report.json").write_text(text + "\n", encoding="utf-8")
    page = _read("frame.html").replace("<!-- body -->\n", _read(f"{name}.html"))
    page = page.replace("/* script */", f"/* {name}.js */")
    for part in ("page.css", "shared.js", f"{name}.js"):
        page = page.replace(f"/* {part} */", _read(part))
    # In the page, no name of a class can end the script.
    page = page.replace("/* report.json */", text.replace("<", "\\u003c"))
    (folder / "index.html").write_text(page, encoding="utf-8")


def _read(name):
    return (HERE / name).read_text(encoding="utf-8")


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
