"""All numbers of the boxes, or of the masks, of one evaluation."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools.cocoeval import COCOeval

from keras_maskrcnn.evaluation.report.average_precision import (
    average_recall,
    class_precisions,
    of_images,
)
from keras_maskrcnn.evaluation.report.by_score import (
    best_of_all,
    best_of_class,
    counts_by_score,
    number_from,
    step_of,
)
from keras_maskrcnn.evaluation.report.calibration import Calibration, calibration
from keras_maskrcnn.evaluation.report.confusion import confusion_matrix, taken_for
from keras_maskrcnn.evaluation.report.errors import (
    KINDS,
    ErrorCost,
    ImageErrors,
    error_costs,
    image_errors,
)
from keras_maskrcnn.evaluation.report.matching import IGNORED, Matches, match_all
from keras_maskrcnn.evaluation.report.overlaps import ImageOverlaps, overlaps

AT_50, AT_75 = 0, 5
OBJECT_NUMBERS = ((1, 1), (2, 4), (5, 9), (10, 19), (20, None))
AREAS = ("small", "medium", "large")


@dataclass(frozen=True)
class Analysis:
    """What was found, matched with what is annotated, at IoU 0.5 where nothing else is said.

    Attributes:
        images: The overlaps in each image.
        matches: What found what.
        wrong: The errors in each image.
        precisions: (10, classes, 101) of each IoU, class and recall.
        taken_for: Annotated class, found class and score of each detection.
        score: From which detections are best taken, by the F1 of all classes together; NaN where
            no detection is right.
    """

    images: list[ImageOverlaps]
    matches: Matches
    wrong: list[ImageErrors]
    precisions: np.ndarray
    taken_for: tuple[np.ndarray, np.ndarray, np.ndarray]
    score: float

    @functools.cached_property
    def objects(self) -> np.ndarray:
        """(classes,) annotated objects."""
        return self.matches.object_counts.sum(axis=0)

    @functools.cached_property
    def confusion(self) -> np.ndarray:
        """The confusion matrix of the detections from `score` up."""
        return confusion_matrix(*self.taken_for, self.objects, self.score)

    @functools.cached_property
    def errors(self) -> dict[str, ErrorCost]:
        """How many errors of each kind there are and what they cost."""
        return error_costs(self.images, self.wrong, len(self.objects))

    @functools.cached_property
    def calibration(self) -> Calibration:
        """The calibration of the scores."""
        counted = self.matches.objects[AT_50] != IGNORED
        right = self.matches.objects[AT_50] >= 0
        return calibration(self.matches.scores[counted], right[counted])


def analyse(evaluation: COCOeval, category_ids: Sequence[int]) -> Analysis:
    """The numbers of an evaluation of `run_coco_eval`, classes in the order of `category_ids`."""
    images = overlaps(evaluation, category_ids)
    number = len(category_ids)
    matches = match_all(images, number)
    return Analysis(
        images,
        matches,
        [image_errors(image) for image in images],
        class_precisions(matches, number),
        taken_for(images, number),
        best_of_all(matches).score,
    )


def recalls(analysis: Analysis) -> dict[str, float]:
    """COCO's `ar1` and `ar10`: of the best detection, and of ten, of each class in an image."""
    return {f"ar{most}": average_recall(analysis.matches, most) for most in (1, 10)}


def recalls_by_area(evaluation: COCOeval) -> dict[str, float]:
    """COCO's `ar_small`, `ar_medium` and `ar_large`; NaN where no object is of the size."""
    of_sizes = evaluation.eval["recall"][:, :, 1:, -1]
    means = [v[v > -1].mean() if (v > -1).any() else np.nan for v in np.moveaxis(of_sizes, 2, 0)]
    return {f"ar_{area}": float(mean) for area, mean in zip(AREAS, means, strict=True)}


def class_figures(analysis: Analysis, class_id: int) -> dict[str, float]:
    """AP, and precision, recall and F1 at the score that serves the class best."""
    aps = analysis.precisions[:, class_id].mean(axis=-1)
    values = {"ap": aps.mean(), "ap50": aps[AT_50], "ap75": aps[AT_75]}
    best = best_of_class(analysis.matches, class_id)._asdict()
    return {name: float(value) for name, value in {**values, **best}.items()}


def by_object_number(analysis: Analysis) -> list[dict[str, Any]]:
    """AP in images with few and with many objects.

    Returns:
        For each range that some image is in: `least` and `most` objects, `images`, `objects`, `ap`
        and `ap50`.
    """
    numbers = analysis.matches.object_counts.sum(axis=1)
    rows = []
    for least, most in OBJECT_NUMBERS:
        chosen = (numbers >= least) & (numbers <= (most or np.inf))
        if chosen.any():
            part = of_images(analysis.matches, chosen)
            aps = class_precisions(part, len(analysis.objects)).mean(axis=-1)
            row = {"least": least, "most": most, "images": int(chosen.sum())}
            row |= {"objects": int(numbers[chosen].sum())}
            rows.append(row | {"ap": _mean(aps), "ap50": _mean(aps[AT_50])})
    return rows


def _mean(aps):
    return float(aps[~np.isnan(aps)].mean())


def for_page(analysis: Analysis) -> dict[str, Any]:
    """What the page shows of it, by the steps of its slider where it moves."""
    right, wrong = counts_by_score(analysis.matches, len(analysis.objects))
    steps = np.stack([*analysis.taken_for[:2], step_of(analysis.taken_for[2])], axis=1)
    cells, counts = np.unique(steps, axis=0, return_counts=True)
    return {
        "score": analysis.score,
        "objects": analysis.objects,
        "right": right,
        "wrong": wrong,
        "precisions": np.round(analysis.precisions[AT_50], 4),
        "confusions": np.concatenate([cells, counts[:, None]], axis=1),
        "errors": {name: cost._asdict() for name, cost in analysis.errors.items()},
        "error_counts": _error_counts(analysis),
        "by_objects": by_object_number(analysis),
        "calibration": analysis.calibration._asdict(),
    }


def _error_counts(analysis):
    """How many errors of each kind there are among the detections from each step up."""
    pairs = list(zip(analysis.images, analysis.wrong, strict=True))
    counts = {
        kind: number_from(
            np.concatenate([image.scores[wrong.kinds == kind] for image, wrong in pairs])
        )
        for kind in KINDS[:-1]
    }
    covered = np.concatenate([wrong.covered for _, wrong in pairs])
    counts["missed"] = analysis.objects.sum() - number_from(covered[covered >= 0])
    return counts
