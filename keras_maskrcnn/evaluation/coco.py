"""The official COCO evaluation of boxes and masks."""

import collections
import contextlib
import functools
import io
import itertools
import math
import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from rich.progress import Progress
from rich.table import Table

from keras_maskrcnn.config import NO_CLASS
from keras_maskrcnn.data.dataset import Dataset
from keras_maskrcnn.data.problems import listed, opening_advice
from keras_maskrcnn.evaluation import vectorised
from keras_maskrcnn.evaluation.workers import gather, this_worker

STATISTICS = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar")
COCO_DETECTIONS = 100  # an image, of which COCO's figures count the best
IMAGES_AT_A_TIME = 32


def evaluate(
    model: keras.Model,
    dataset: Dataset,
    batch_size: int = 1,
    verbose: int | str = "auto",
    max_images: int | None = None,
    tile_size: int | None = None,
    tile_overlap: float = 0.25,
) -> dict[str, float]:
    """COCO's figures for a model on a dataset.

    COCO counts the best 100 detections of an image. Where the model gives more, of a
    `box_detections_per_image` above that or in tiles, all are counted.

    Under a `tf.distribute` strategy of several processes each of them looks at its share of the
    images, on one replica, and all have the figures of the whole: all must call this.

    Args:
        model: A `MaskRCNN`.
        dataset: A `Dataset` whose classes are the model's, in any order: they are matched by name,
            or by their order where the model has no `class_names`.
        batch_size: Images at a time.
        verbose: 0 for silence; else a progress bar.
        max_images: Only the first so many images; all of them if None.
        tile_size: Looks at the images in tiles, with this side in pixels; see
            `prediction.predict.predict`.
        tile_overlap: Least share of a tile that the next one has in common with it.

    Returns:
        `box_ap` (mean over IoU 0.50 to 0.95), `box_ap50`, `box_ap75`, `box_ap_small`,
        `box_ap_medium`, `box_ap_large` and `box_ar`, and the same of masks where there is a mask
        branch, 0..1. NaN where nothing of that kind is annotated. An image that cannot be read is
        noted in `dataset.problems`, and its objects count as missed.

    Raises:
        ValueError: The dataset has other classes than the model, which are named, or another
            number of them, or `max_images` is below 1.

    Example:
        >>> results = evaluate(model, val, verbose=0)
        >>> 0 <= results["mask_ap"] <= results["mask_ap50"] <= 1
        True
    """
    how = batch_size, verbose, max_images, tile_size, tile_overlap
    return figures(run_coco_eval(model, dataset, *how))


def run_coco_eval(
    model: keras.Model,
    dataset: Dataset,
    batch_size: int = 1,
    verbose: int | str = "auto",
    max_images: int | None = None,
    tile_size: int | None = None,
    tile_overlap: float = 0.25,
) -> dict[str, COCOeval]:
    """The evaluation of `"box"` and, with a mask branch, `"mask"`; see `evaluate`.

    They are pycocotools' own objects, with its numbers in `eval`; `evalImgs` stays empty.
    """
    if max_images is not None and max_images < 1:
        raise ValueError(f"max_images must be at least 1, got {max_images}.")
    category_ids = match_classes(model, dataset)
    find = functools.partial(
        model.predict,
        batch_size=batch_size,
        verbose=0,
        tile_size=tile_size,
        tile_overlap=tile_overlap,
    )
    worker = this_worker(model.distribute_strategy)
    results, image_ids = [], []
    chosen = itertools.islice(dataset.records, max_images)
    with Progress(disable=verbose == 0, transient=True) as progress:
        total = min(len(dataset.records), max_images or len(dataset.records))
        task = progress.add_task("evaluate", total=total)
        while records := list(itertools.islice(chosen, IMAGES_AT_A_TIME * worker.number)):
            own = records[worker.index :: worker.number]
            results += _detect(find, own, dataset, category_ids, model.config)
            image_ids += [record.image_id for record in records]
            progress.advance(task, len(records))
    results = gather(results, model.distribute_strategy)
    kinds = ("box", "mask") if model.config.mask else ("box",)
    per_image = collections.Counter(result["image_id"] for result in results)
    most = max([COCO_DETECTIONS, *per_image.values()])
    if most > COCO_DETECTIONS and verbose != 0:
        print(f"Up to {most} detections an image count; COCO's figures count {COCO_DETECTIONS}.")
    return _run_on_results(results, dataset.ground_truth(), kinds, image_ids, most)


def match_classes(model: keras.Model, dataset: Dataset) -> list[int | None]:
    """The dataset's category id of each of a model's classes, found by name.

    Args:
        model: A `MaskRCNN`; without `class_names` its classes are those of the dataset in order.
            Those that are called "N/A" have no id: what is found of them does not count.
        dataset: A `Dataset`.

    Raises:
        ValueError: One has a class that the other lacks, or another number of them.
    """
    known, number = dataset.class_names, model.config.num_classes
    names = model.config.class_names or known
    problems = []
    if unknown := [name for name in known if name not in names]:
        problems.append(
            f"has classes that the model does not know: {listed(unknown)}. Open it with "
            f"{opening_advice(names)} to leave them out."
        )
    if missing := [name for name in names if name not in (*known, NO_CLASS)]:
        problems.append(
            f"lacks classes of the model: {listed(missing)}. Add them to its categories; without "
            "objects they do not count."
        )
    if problems:
        raise ValueError(f"{dataset.source} " + " It ".join(problems))
    if len(names) != number or len(known) != number - names.count(NO_CLASS):
        raise ValueError(f"The dataset has {len(known)} classes, the model num_classes={number}.")
    ids = dict(zip(known, dataset.category_ids, strict=True))
    return [ids.get(name) for name in names]


def figures(evaluations: dict[str, COCOeval]) -> dict[str, float]:
    """The figures of `run_coco_eval`, as `evaluate` returns them."""
    return {
        f"{kind}_{name}": value
        for kind, evaluation in evaluations.items()
        for name, value in zip(STATISTICS, _statistics(evaluation), strict=True)
    }


def _statistics(evaluation):
    """The values of `STATISTICS`: COCO's own summary knows 100 detections only."""
    most_detections, all_areas = -1, 0
    precision = evaluation.eval["precision"][..., most_detections]  # IoU, recall, class, area
    recall = evaluation.eval["recall"][..., all_areas, most_detections]  # IoU, class
    at_50, at_75 = (int(np.argmin(np.abs(evaluation.params.iouThrs - iou))) for iou in (0.5, 0.75))
    of_areas = [precision[..., area] for area in range(1, 4)]
    of_all = precision[..., all_areas]
    counted = (of_all, of_all[at_50], of_all[at_75], *of_areas, recall)
    return [float(v[v > -1].mean()) if (v > -1).any() else math.nan for v in counted]


def precision_curves(evaluation: COCOeval, iou: float = 0.5) -> dict[int | str, np.ndarray]:
    """Precision at each recall, for each category id of which there is an object.

    Args:
        evaluation: Of `run_coco_eval`.
        iou: From which an object is found; 0.50, 0.55 and so on to 0.95.

    Returns:
        (101,) float each: precision at the recalls 0, 0.01 and so on to 1; 0 where the model does
        not reach the recall.
    """
    at = int(np.argmin(np.abs(evaluation.params.iouThrs - iou)))
    of_all_areas, most_detections = 0, -1
    curves = evaluation.eval["precision"][at, :, :, of_all_areas, most_detections]
    return {
        category: curve
        for category, curve in zip(evaluation.params.catIds, curves.T, strict=True)
        if curve[0] >= 0
    }


def evaluate_results(
    results: list[dict[str, Any]],
    ground_truth: COCO,
    kinds: Sequence[str] = ("box", "mask"),
    image_ids: Sequence[int | str] | None = None,
    max_detections: int = COCO_DETECTIONS,
) -> dict[str, float]:
    """COCO's figures for results that are there already.

    Args:
        results: Entries of a COCO results file, as `Detections.to_coco` gives them.
        ground_truth: The annotations. An object without a mask counts neither for nor against
            what is found there when masks are evaluated.
        kinds: `"box"`, `"mask"` or both, the default.
        image_ids: Images to evaluate; all of the annotations' if None.
        max_detections: How many of an image's results count, the best first; COCO's 100.

    Returns:
        As `evaluate`.

    Raises:
        ValueError: A result is of an image or a category that is not among the annotations, has a
            `category_name` that is not theirs, or no mask where masks are evaluated; or there is no
            such kind.
    """
    return figures(_run_on_results(results, ground_truth, kinds, image_ids, max_detections))


def _run_on_results(results, ground_truth, kinds, image_ids, max_detections):
    _check_results(results, ground_truth, kinds)
    image_ids = ground_truth.getImgIds() if image_ids is None else list(image_ids)
    run = {"box": _run_on_boxes, "mask": _run_on_masks}
    return {kind: run[kind](results, ground_truth, image_ids, max_detections) for kind in kinds}


def results_table(results: dict[str, float]) -> Table:
    """Figures of `evaluate` as a table to print, in percent; a dash is what was not measured."""
    table = Table(title="COCO evaluation, %")
    table.add_column("")
    names = STATISTICS
    for name in names:
        table.add_column(name.upper().replace("_", " "), justify="right")
    for kind in ("box", "mask"):
        if f"{kind}_ap" in results:
            values = [results.get(f"{kind}_{name}", math.nan) for name in names]
            table.add_row(kind, *("-" if math.isnan(v) else f"{100 * v:.1f}" for v in values))
    return table


def _detect(find, records, dataset, category_ids, config):
    """COCO results of a few images, those that cannot be read left out and noted."""
    if not records:
        return []
    try:
        images = [r.path if r.encoded is None else r.read_pixels(config) for r in records]
        found = find(images)
    except (ValueError, OSError):
        readable = _readable(records, dataset, config)
        if len(readable) == len(records):  # then it was no image's fault
            raise
        return _detect(find, readable, dataset, category_ids, config)
    return [
        entry
        for record, detections in zip(records, found, strict=True)
        for entry in _of_classes(detections, category_ids).to_coco(record.image_id, category_ids)
    ]


def _of_classes(detections, category_ids):
    """The detections whose class has a category id."""
    return detections[[category_ids[class_id] is not None for class_id in detections.class_ids]]


def _readable(records, dataset, config):
    """The records whose image can be read; the others are noted."""
    readable = []
    for record in records:
        try:
            record.read_pixels(config)
            readable.append(record)
        except (ValueError, OSError) as error:
            what = f"{str(error).rstrip('.')}; its objects count as missed"
            dataset.note(record.path, what, lost="image")
            warnings.warn(f"{error} Its objects count as missed.", stacklevel=4)
    return readable


def _check_results(results, ground_truth, kinds):
    if isinstance(kinds, str) or not set(kinds) <= {"box", "mask"}:
        raise ValueError(f"kinds must be a list of 'box' and 'mask', got {kinds!r}.")
    known = set(ground_truth.getImgIds())
    names = {key: category.get("name") for key, category in ground_truth.cats.items()}
    for index, result in enumerate(results):
        if result["image_id"] not in known:
            raise ValueError(
                f"results[{index}] is of image {result['image_id']!r}, which the annotations lack."
            )
        category, name = result["category_id"], result.get("category_name")
        if category not in names or name not in (None, names[category]):
            named = "" if name is None else f" {name!r}"
            raise ValueError(
                f"results[{index}] is of category {category!r}{named}, which the annotations lack; "
                f"they have {listed([f'{i} {name!r}' for i, name in names.items()])}. Write "
                "results with Detections.to_coco(image_id, dataset.category_ids)."
            )
        if "mask" in kinds and "segmentation" not in result:
            raise ValueError(f"results[{index}] has no segmentation: evaluate kinds=('box',).")


def _run_on_boxes(results, ground_truth, image_ids, max_detections):
    boxes = [{k: v for k, v in result.items() if k != "segmentation"} for result in results]
    return _run(boxes, ground_truth, image_ids, "bbox", max_detections)


def _run_on_masks(results, ground_truth, image_ids, max_detections):
    # Of results that have a box, pycocotools would take the box's area for the mask's.
    masks = [{k: v for k, v in result.items() if k != "bbox"} for result in results]
    return _run(masks, _with_masks(ground_truth), image_ids, "segm", max_detections)


def _with_masks(ground_truth):
    """The annotations; one without a mask becomes a crowd as large as its box."""
    annotations = []
    for annotation in ground_truth.dataset["annotations"]:
        if not annotation.get("segmentation"):
            x, y, w, h = annotation["bbox"]
            corners = [[x, y, x + w, y, x + w, y + h, x, y + h]]
            annotation = {**annotation, "segmentation": corners, "iscrowd": 1}
        annotations.append(dict(annotation))  # COCOeval writes into them
    return _coco({**ground_truth.dataset, "annotations": annotations})


def _coco(dataset):
    coco = COCO()
    coco.dataset = dataset
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def _run(results, ground_truth, image_ids, kind, max_detections):
    with contextlib.redirect_stdout(io.StringIO()):
        # pycocotools cannot load an empty list.
        nothing = {**ground_truth.dataset, "annotations": []}
        found = ground_truth.loadRes(results) if results else _coco(nothing)
        evaluation = COCOeval(ground_truth, found, kind)
        evaluation.params.imgIds = image_ids
        evaluation.params.maxDets = [max_detections]
        vectorised.evaluate(evaluation)
    return evaluation
