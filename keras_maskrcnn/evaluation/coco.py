"""The official COCO evaluation of boxes and masks."""

import contextlib
import io
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from rich.progress import Progress
from rich.table import Table

from keras_maskrcnn.data.images import read_image

# What COCOeval calls its first statistics, in its order.
STATISTICS = {0: "ap", 1: "ap50", 2: "ap75", 3: "ap_small", 4: "ap_medium", 5: "ap_large", 8: "ar"}
IMAGES_AT_A_TIME = 32


def evaluate(model, dataset, batch_size: int = 1, verbose: int | str = "auto") -> dict[str, float]:
    """COCO's figures for a model on a dataset.

    Args:
        model: A `MaskRCNN`.
        dataset: A `CocoDataset` whose classes are the model's.
        batch_size: Images at a time.
        verbose: 0 for silence; else a progress bar.

    Returns:
        `box_ap` (mean over IoU 0.50 to 0.95), `box_ap50`, `box_ap75`, `box_ap_small`,
        `box_ap_medium`, `box_ap_large` and `box_ar`, and the same of masks where there is a mask
        branch, 0..1. NaN where nothing of that kind is annotated. An image that cannot be read is
        noted in `dataset.problems`, and its objects count as missed.

    Raises:
        ValueError: The dataset has another number of classes than the model.
    """
    if len(dataset.category_ids) != model.config.num_classes:
        raise ValueError(
            f"The dataset has {len(dataset.category_ids)} classes, "
            f"the model num_classes={model.config.num_classes}."
        )
    results = []
    with Progress(disable=verbose == 0, transient=True) as progress:
        task = progress.add_task("evaluate", total=len(dataset.records))
        for start in range(0, len(dataset.records), IMAGES_AT_A_TIME):
            records = dataset.records[start : start + IMAGES_AT_A_TIME]
            results += _detect(model, _readable(records, dataset), dataset, batch_size)
            progress.advance(task, len(records))
    kinds = ("box", "mask") if model.config.mask else ("box",)
    return evaluate_results(results, dataset.ground_truth(), kinds)


def evaluate_results(
    results: list[dict[str, Any]], ground_truth: COCO, kinds: Iterable[str] = ("box", "mask")
) -> dict[str, float]:
    """COCO's figures for results that are there already.

    Args:
        results: Entries of a COCO results file.
        ground_truth: The annotations.
        kinds: `"box"`, `"mask"` or both.

    Returns:
        As `evaluate`.
    """
    figures = {}
    for kind in kinds:
        statistics = _statistics(results, ground_truth, {"box": "bbox", "mask": "segm"}[kind])
        figures |= {f"{kind}_{name}": float(statistics[i]) for i, name in STATISTICS.items()}
    return {name: value if value >= 0 else float("nan") for name, value in figures.items()}


def results_table(results: dict[str, float]) -> Table:
    """Figures of `evaluate` as a table to print, in percent."""
    table = Table(title="COCO evaluation, %")
    table.add_column("")
    names = list(STATISTICS.values())
    for name in names:
        table.add_column(name.upper().replace("_", " "), justify="right")
    for kind in ("box", "mask"):
        if f"{kind}_ap" in results:
            table.add_row(kind, *(f"{100 * results[f'{kind}_{name}']:.1f}" for name in names))
    return table


def _readable(records, dataset):
    """The records whose image can be read; the others are noted."""
    readable = []
    for record in records:
        try:
            read_image(record.path)
            readable.append(record)
        except (ValueError, OSError) as error:
            dataset.note(record.path, f"{error}; its objects count as missed")
            warnings.warn(f"{error} Its objects count as missed.", stacklevel=3)
    return readable


def _detect(model, records, dataset, batch_size):
    if not records:
        return []
    paths = [record.path for record in records]
    found = model.predict(paths, batch_size=batch_size, verbose=0)
    return [
        entry
        for record, detections in zip(records, found, strict=True)
        for entry in detections.to_coco(record.image_id, dataset.category_ids)
    ]


def _statistics(results, ground_truth, kind):
    if not results:
        has_objects = any(not a["iscrowd"] for a in ground_truth.dataset["annotations"])
        return np.full(12, 0.0 if has_objects else -1.0)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(ground_truth, ground_truth.loadRes(results), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats
