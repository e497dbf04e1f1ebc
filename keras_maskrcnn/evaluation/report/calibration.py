"""Whether a score is the share of detections with it that are right."""

import math
from typing import NamedTuple

import numpy as np

BINS = 10


class Calibration(NamedTuple):
    """Detections in ten bins of their scores, 0 to 0.1 and so on.

    Attributes:
        counts: (10,) detections.
        scores: (10,) their mean score; NaN where there are none.
        precisions: (10,) the share of them that found an object; NaN where there are none.
        error: The expected calibration error: the mean distance of the two, weighted by the
            counts; NaN without detections.
    """

    counts: np.ndarray
    scores: np.ndarray
    precisions: np.ndarray
    error: float


def calibration(scores: np.ndarray, true: np.ndarray) -> Calibration:
    """The calibration of scores.

    Args:
        scores: (N,) 0..1.
        true: (N,) bool: which found an object.

    Example:
        >>> calibration(np.array([0.75, 0.75]), np.array([True, False])).error
        0.25
    """
    bins = np.minimum((scores * BINS).astype(int), BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    with np.errstate(invalid="ignore"):
        means = np.bincount(bins, scores, minlength=BINS) / counts
        precisions = np.bincount(bins, true, minlength=BINS) / counts
    some = counts > 0
    distances = np.abs(means - precisions)[some]
    error = np.average(distances, weights=counts[some]) if some.any() else math.nan
    return Calibration(counts, means, precisions, float(error))
