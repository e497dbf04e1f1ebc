"""The images with most errors, and what may be missing in the annotations."""

from typing import Any

import numpy as np

from keras_maskrcnn.evaluation.report.analysis import Analysis
from keras_maskrcnn.evaluation.report.errors import KINDS

DOUBTFUL_SCORE = 0.7


def error_numbers(analysis: Analysis) -> np.ndarray:
    """(images, 6) how many errors of each of `KINDS` are in each image.

    Counted are the detections from the score up that serves best, and the objects that none of
    them covers.
    """
    numbers = np.zeros((len(analysis.images), len(KINDS)), int)
    for row, image, wrong in zip(numbers, analysis.images, analysis.wrong, strict=True):
        kinds = wrong.kinds[image.scores >= analysis.score]
        row[:-1] = [np.sum(kinds == kind) for kind in KINDS[:-1]]
        row[-1] = np.sum(missed(analysis, image, wrong))
    return numbers


def missed(analysis: Analysis, image, wrong) -> np.ndarray:
    """(G,) bool: objects that no detection from the best score up covers."""
    return ~image.crowd & ~(wrong.covered >= max(0.0, np.nan_to_num(analysis.score)))


def worst_images(analysis: Analysis, most: int) -> list[int]:
    """The positions of the images with most errors, the worst first; none without errors."""
    numbers = error_numbers(analysis).sum(axis=1)
    order = np.argsort(-numbers, kind="stable")[:most]
    return [int(i) for i in order if numbers[i]]


def doubtful(analysis: Analysis, most: int) -> list[tuple[int, int]]:
    """Detections with a high score where nothing is annotated, the highest first.

    High is `DOUBTFUL_SCORE`, and at least the score that serves best.

    Returns:
        The position of the image, and that of the detection in it.
    """
    least = max(DOUBTFUL_SCORE, np.nan_to_num(analysis.score))
    found: list[tuple[Any, ...]] = []
    for position, (image, wrong) in enumerate(zip(analysis.images, analysis.wrong, strict=True)):
        for i in np.flatnonzero((wrong.kinds == "background") & (image.scores >= least)):
            found.append((-image.scores[i], position, int(i)))
    return [place[1:] for place in sorted(found)[:most]]
