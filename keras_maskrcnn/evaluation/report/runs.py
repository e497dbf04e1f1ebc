"""Several training runs side by side."""

import csv
import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from keras_maskrcnn.evaluation.report.page import write_page


def compare_runs(runs: Sequence[str | os.PathLike], folder: str | os.PathLike) -> None:
    """Writes a page that shows runs side by side: figures, classes, error kinds, training curves.

    Args:
        runs: Run folders of `keras-maskrcnn train`, each with its `report/` and its `log.csv`.
        folder: Where the page goes, `index.html`, and its numbers, `report.json`.

    Raises:
        FileNotFoundError: A run has no report.
        OSError: The folder cannot be written to.
    """
    paths = [pathlib.Path(run) for run in runs]
    alike = len({path.name for path in paths}) < len(paths)
    content = [{"name": str(p) if alike else p.name, **_read_run(p)} for p in paths]
    pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
    write_page("runs", {"runs": content}, pathlib.Path(folder))


def _read_run(run: pathlib.Path) -> dict[str, Any]:
    path = run / "report" / "report.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"{run} holds no report/report.json. Where it is a run folder, write one: "
            f"keras-maskrcnn report --run {run} --data ..."
        )
    report = json.loads(path.read_text(encoding="utf-8"))
    kept = ("source", "images", "class_names", "main", "figures", "per_class")
    errors = {kind: of_kind["errors"] for kind, of_kind in report["kinds"].items()}
    return {**{name: report[name] for name in kept}, "errors": errors, "log": _read_log(run)}


def _read_log(run: pathlib.Path) -> dict[str, list[float | None]]:
    """The columns of the run's log; None where an epoch has no value."""
    path = run / "log.csv"
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    names = rows[0] if rows else ()
    return {name: [_number(row[name]) for row in rows] for name in names}


def _number(text):
    return None if text in (None, "", "NA") else float(text)
