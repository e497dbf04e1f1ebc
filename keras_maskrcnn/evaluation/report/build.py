"""`report`: everything of an evaluation in one folder."""

import os
import pathlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from pycocotools.cocoeval import COCOeval

from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.data.dataset import Dataset
from keras_maskrcnn.evaluation.coco import figures, run_coco_eval
from keras_maskrcnn.evaluation.report.analysis import (
    Analysis,
    analyse,
    by_object_number,
    class_figures,
    for_page,
    recalls,
    recalls_by_area,
)
from keras_maskrcnn.evaluation.report.calibration import Calibration
from keras_maskrcnn.evaluation.report.errors import KINDS, ErrorCost
from keras_maskrcnn.evaluation.report.images import doubtful, error_numbers, worst_images
from keras_maskrcnn.evaluation.report.page import write_page
from keras_maskrcnn.evaluation.report.pictures import Painter, picture_facts

MOST_IMAGES, MOST_DOUBTFUL = 12, 24


@dataclass(frozen=True, repr=False)
class Report:
    """The numbers of a report, as `report` gives them.

    What is of `"mask"` is there where the model has a mask branch; all of it is at IoU 0.5 where
    nothing else is said. NaN is what could not be measured.

    Attributes:
        class_names: The classes, in the order of `confusion`.
        figures: COCO's twelve by `"box_ap"`, `"mask_ap50"` and so on: those of `evaluate`, and
            `ar1`, `ar10`, `ar_small`, `ar_medium` and `ar_large`.
        per_class: Of each class by its name `"mask_ap"`, `"mask_ap50"`, `"mask_ap75"`, and, of the
            detections from `"mask_score"` up, which serves the class best, `"mask_precision"`,
            `"mask_recall"` and `"mask_f1"`; the same of boxes; `"objects"` and `"images"`. See
            `evaluation.report.thresholds` for how a model takes these scores for its own.
        score: From which detections are best taken, of all classes together, by F1.
        confusion: (classes + 1, classes + 1) int: a row for what is annotated, a column for what
            was found with at least `score`, the last ones for background. Of masks if there are.
        errors: By `"box"` and `"mask"`, and TIDE's kinds: `number`, and `cost` in AP50.
        by_objects: By `"box"` and `"mask"`, AP in images with few and with many objects.
        calibration: By `"box"` and `"mask"`.
        worst_images: The images with most errors, the worst first, with the `number` of them and
            `errors`, how many of each kind.
        doubtful: What was found with a high score where nothing is annotated, the highest first.
    """

    class_names: tuple[str, ...]
    figures: dict[str, float]
    per_class: dict[str, dict[str, float]]
    score: float
    confusion: np.ndarray
    errors: dict[str, dict[str, ErrorCost]]
    by_objects: dict[str, list[dict[str, Any]]]
    calibration: dict[str, Calibration]
    worst_images: list[dict[str, Any]] = field(default_factory=list)
    doubtful: list[dict[str, Any]] = field(default_factory=list)

    def __repr__(self) -> str:
        aps = [f"{kind} AP {100 * self.figures[f'{kind}_ap']:.1f}" for kind in self.errors]
        return f"<Report on {len(self.class_names)} classes: {', '.join(aps)}>"


def report(
    model: keras.Model,
    dataset: Dataset,
    folder: str | os.PathLike,
    batch_size: int = 1,
    verbose: int | str = "auto",
    max_images: int | None = None,
    tile_size: int | None = None,
    tile_overlap: float = 0.25,
) -> Report:
    """What a model does well on a dataset and what it does not, as numbers and as a page.

    Writes `index.html`, which needs no network, `report.json` and `pictures/` into the folder, over
    those of an earlier report.

    Args:
        model: A `MaskRCNN`.
        dataset: A `Dataset` whose classes are the model's, as for `evaluate`.
        folder: Where to; it is made if it is not there.
        batch_size: Images at a time.
        verbose: 0 for silence; else a progress bar.
        max_images: Only the first so many images; all of them if None.
        tile_size: Looks at the images in tiles, as `evaluate` does.
        tile_overlap: Least share of a tile that the next one has in common with it.

    Returns:
        The numbers.

    Raises:
        ValueError: As of `evaluate`.
        OSError: The folder cannot be written to.

    Example:
        >>> numbers = report(model, val, "report/", verbose=0)
        >>> numbers.per_class["ring"]["mask_ap"] <= 1, numbers.confusion.shape
        (True, (4, 4))
    """
    prepare_folder(folder)  # before the long work
    how = batch_size, verbose, max_images, tile_size, tile_overlap
    return write_report(run_coco_eval(model, dataset, *how), dataset, folder, model.config)


def write_report(
    evaluations: Mapping[str, COCOeval],
    dataset: Dataset,
    folder: str | os.PathLike,
    config: MaskRCNNConfig,
) -> Report:
    """The report of evaluations that are there already.

    Args:
        evaluations: Of `run_coco_eval`, or a `CocoEvaluation`'s.
        dataset: That they are of.
        folder: As for `report`.
        config: Of the model.

    Returns:
        The numbers.
    """
    folder = prepare_folder(folder)
    evaluations = {kind: evaluations[kind] for kind in ("box", "mask") if kind in evaluations}
    analyses = {
        kind: analyse(evaluation, dataset.category_ids) for kind, evaluation in evaluations.items()
    }
    main = "mask" if "mask" in analyses else "box"
    analysis = analyses[main]
    numbers = Report(
        dataset.class_names,
        _figures(evaluations, analyses),
        _per_class(analyses, dataset.class_names),
        analysis.score,
        analysis.confusion,
        {kind: of_kind.errors for kind, of_kind in analyses.items()},
        {kind: by_object_number(of_kind) for kind, of_kind in analyses.items()},
        {kind: of_kind.calibration for kind, of_kind in analyses.items()},
        *_images(evaluations[main], analysis, dataset, folder / "pictures", config),
    )
    write_page("page", _content(numbers, analyses, dataset, main), folder)
    return numbers


def prepare_folder(folder: str | os.PathLike) -> pathlib.Path:
    """The folder of a report, which is made, and cleared of an earlier one's pictures.

    Raises:
        OSError: It cannot be written to.
    """
    pictures = pathlib.Path(folder) / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    for stale in (*pictures.glob("errors_*.jpg"), *pictures.glob("doubtful_*.jpg")):
        stale.unlink()
    return pictures.parent


def _figures(evaluations, analyses):
    values = figures(evaluations)
    for kind, evaluation in evaluations.items():
        more = {**recalls(analyses[kind]), **recalls_by_area(evaluation)}
        values |= {f"{kind}_{name}": value for name, value in more.items()}
    return values


def _per_class(analyses: Mapping[str, Analysis], class_names):
    counts = next(iter(analyses.values())).matches.object_counts
    rows = {}
    for class_id, name in enumerate(class_names):
        rows[name] = {
            f"{kind}_{figure}": value
            for kind, analysis in analyses.items()
            for figure, value in class_figures(analysis, class_id).items()
        }
        rows[name]["objects"] = int(counts[:, class_id].sum())
        rows[name]["images"] = int(np.sum(counts[:, class_id] > 0))
    return rows


def _images(evaluation, analysis, dataset, folder, config):
    """The worst images and the doubtful annotations, with their pictures."""
    worst, unsure = worst_images(analysis, MOST_IMAGES), doubtful(analysis, MOST_DOUBTFUL)
    chosen = {analysis.images[i].image_id for i in (*worst, *(i for i, _ in unsure))}
    records = {r.image_id: r for r in dataset.records if r.image_id in chosen}
    painter = Painter(folder, evaluation, analysis, dataset.class_names, records, config)
    numbers = error_numbers(analysis)
    shown = []
    for place, i in enumerate(worst):
        image_id = analysis.images[i].image_id
        facts = picture_facts(records.get(image_id), image_id)
        facts |= {"number": int(numbers[i].sum())}
        facts |= {"errors": dict(zip(KINDS, numbers[i].tolist(), strict=True))}
        shown.append(facts | {"pictures": painter.whole(i, f"errors_{place:02}")})
    doubts = []
    for place, (i, detection) in enumerate(unsure):
        image = analysis.images[i]
        facts = picture_facts(records.get(image.image_id), image.image_id)
        facts |= {"class": dataset.class_names[image.classes[detection]]}
        facts |= {"score": float(image.scores[detection])}
        bbox = evaluation.cocoDt.anns[image.found_ids[detection]]["bbox"]
        facts |= {"bbox": [float(value) for value in bbox]}
        doubts.append(facts | {"pictures": painter.part(i, detection, f"doubtful_{place:02}")})
    return shown, doubts


def _content(numbers, analyses, dataset, main):
    """What `report.json` and the page hold."""
    return {
        "source": pathlib.PurePath(dataset.source).name,
        "images": len(analyses[main].images),
        "class_names": numbers.class_names,
        "main": main,
        "figures": numbers.figures,
        "per_class": numbers.per_class,
        "confusion": numbers.confusion,
        "kinds": {kind: for_page(analysis) for kind, analysis in analyses.items()},
        "worst_images": numbers.worst_images,
        "doubtful": numbers.doubtful,
    }
