"""Average precision and recall by COCO's definitions, of any part of the detections."""

import math

import numpy as np

from keras_maskrcnn.evaluation.report.matching import IGNORED, Matches

RECALLS = np.linspace(0, 1, 101)


def precision_at_recalls(scores: np.ndarray, true: np.ndarray, objects: int) -> np.ndarray:
    """The best precision that is reached at each of `RECALLS` or beyond, 0 where none is.

    Args:
        scores: (N,) of the detections of a class.
        true: (N,) bool: which of them found an object.
        objects: How many there are to find, at least 1.

    Returns:
        (101,) 0..1; its mean is the average precision.

    Example:
        >>> float(precision_at_recalls(np.array([0.9, 0.5]), np.array([True, False]), 1).mean())
        1.0
    """
    hits = np.cumsum(true[np.argsort(-scores, kind="stable")])
    precision = hits / np.arange(1, len(hits) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    reached = np.searchsorted(hits / objects, RECALLS)
    return np.append(precision, 0.0)[reached]


def class_precisions(matches: Matches, num_classes: int) -> np.ndarray:
    """(10, classes, 101) `precision_at_recalls` at each IoU; NaN of classes without objects."""
    objects = matches.object_counts.sum(axis=0)
    result = np.full((len(matches.objects), num_classes, len(RECALLS)), np.nan)
    for class_id in np.flatnonzero(objects):
        of_class = matches.classes == class_id
        for curve, matched in zip(result[:, class_id], matches.objects[:, of_class], strict=True):
            counted = matched != IGNORED
            scores = matches.scores[of_class][counted]
            curve[:] = precision_at_recalls(scores, matched[counted] >= 0, objects[class_id])
    return result


def average_recall(matches: Matches, most: int) -> float:
    """COCO's recall of the best `most` detections of each class in an image; NaN without objects.

    It is the mean over the IoUs and the classes that have objects.
    """
    objects = matches.object_counts.sum(axis=0)
    counted = (matches.objects >= 0) & (matches.ranks < most)
    hits = [np.bincount(matches.classes[row], minlength=len(objects)) for row in counted]
    some = objects > 0
    return float(np.mean(np.array(hits)[:, some] / objects[some])) if some.any() else math.nan


def of_images(matches: Matches, chosen: np.ndarray) -> Matches:
    """The matches of some images only.

    Args:
        matches: Of all images.
        chosen: (images,) bool.
    """
    kept = chosen[matches.images]
    return matches._replace(
        images=matches.images[kept],
        classes=matches.classes[kept],
        scores=matches.scores[kept],
        ranks=matches.ranks[kept],
        objects=matches.objects[:, kept],
        object_counts=matches.object_counts[chosen],
    )
