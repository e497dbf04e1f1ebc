"""What objects of each class are taken for."""

from collections.abc import Sequence

import numpy as np

from keras_maskrcnn.evaluation.report.matching import IGNORED, any_class, match
from keras_maskrcnn.evaluation.report.overlaps import ImageOverlaps


def taken_for(images: Sequence[ImageOverlaps], num_classes: int, iou: float = 0.5):
    """The class of the object that each detection lies on, whatever the class it was given.

    The best detections choose first, so that those from some score up, alone, would lie on the
    same objects.

    Returns:
        Three arrays (N,): the annotated class, `num_classes` for background; the class that was
        found; the score.
    """
    rows = [np.zeros((0, 3))]
    for image in images:
        (matched,) = match(image, any_class(image), np.array([iou]))
        annotated = np.full(len(matched), num_classes)
        annotated[matched >= 0] = image.true_classes[matched[matched >= 0]]
        row = np.stack([annotated, image.classes, image.scores], axis=1)
        rows.append(row[matched != IGNORED])
    annotated, found, scores = np.concatenate(rows).T
    return annotated.astype(int), found.astype(int), scores


def confusion_matrix(
    annotated: np.ndarray,
    found: np.ndarray,
    scores: np.ndarray,
    objects: np.ndarray,
    least_score: float,
) -> np.ndarray:
    """The confusion matrix of the detections from a score up.

    Args:
        annotated: (N,) of `taken_for`.
        found: The same.
        scores: The same.
        objects: (classes,) annotated objects of each class.
        least_score: Detections below it are left out; NaN takes none.

    Returns:
        (classes + 1, classes + 1) int: a row for what is annotated, a column for what was found,
        the last ones for background: objects missed, and detections where there is no object.
    """
    size = len(objects) + 1
    matrix = np.zeros((size, size), int)
    taken = scores >= least_score
    np.add.at(matrix, (annotated[taken], found[taken]), 1)
    matrix[:-1, -1] = objects - matrix[:-1].sum(axis=1)
    return matrix
