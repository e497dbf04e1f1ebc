"""Precision, recall and F1, and the score from which detections are best taken."""

import math
from typing import NamedTuple

import numpy as np

from keras_maskrcnn.evaluation.report.matching import IGNORED, Matches

STEPS = np.arange(101) / 100


class BestScore(NamedTuple):
    """What taking the detections with at least `score` gives; NaN where there is no object."""

    score: float
    precision: float
    recall: float
    f1: float


def best_score(scores: np.ndarray, true: np.ndarray, objects: int) -> BestScore:
    """The score with the highest F1; of equal ones the highest.

    Args:
        scores: (N,) of detections.
        true: (N,) bool: which of them found an object.
        objects: How many there are to find.

    Example:
        >>> best_score(np.array([0.9, 0.8, 0.3]), np.array([True, True, False]), 2)
        BestScore(score=0.8, precision=1.0, recall=1.0, f1=1.0)
    """
    if not objects or not true.any():
        return BestScore(math.nan, math.nan, 0.0 if objects else math.nan, math.nan)
    order = np.argsort(-scores, kind="stable")
    scores, hits = scores[order], np.cumsum(true[order])
    taken = np.arange(1, len(scores) + 1)
    f1 = 2 * hits / (taken + objects)
    # Detections of the same score are taken together.
    f1[:-1][scores[:-1] == scores[1:]] = -1
    best = int(np.argmax(f1))
    values = scores[best], hits[best] / taken[best], hits[best] / objects, f1[best]
    return BestScore(*map(float, values))


def best_of_class(matches: Matches, class_id: int) -> BestScore:
    """`best_score` of one class at IoU 0.5."""
    return _best(matches, matches.classes == class_id, matches.object_counts[:, class_id].sum())


def best_of_all(matches: Matches) -> BestScore:
    """`best_score` of all classes together at IoU 0.5."""
    return _best(matches, np.ones(len(matches.classes), bool), matches.object_counts.sum())


def _best(matches, chosen, objects):
    matched = matches.objects[0]
    chosen = chosen & (matched != IGNORED)
    return best_score(matches.scores[chosen], matched[chosen] >= 0, int(objects))


def counts_by_score(matches: Matches, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """How many detections are right, and how many wrong, from each score up, at IoU 0.5.

    Returns:
        Two (classes, 101) int: right and wrong ones with at least the scores `STEPS`.
    """
    right = matches.objects[0] >= 0
    wrong = ~right & (matches.objects[0] != IGNORED)
    of_class = [matches.classes == class_id for class_id in range(num_classes)]
    counts = [[number_from(matches.scores[o & c]) for o in of_class] for c in (right, wrong)]
    return np.array(counts[0]), np.array(counts[1])


def number_from(scores: np.ndarray) -> np.ndarray:
    """(101,) int: how many scores reach each of `STEPS`."""
    return np.bincount(step_of(scores), minlength=len(STEPS))[::-1].cumsum()[::-1]


def step_of(scores: np.ndarray) -> np.ndarray:
    """The last of `STEPS` that each score reaches, as its position."""
    return np.searchsorted(STEPS, scores, side="right") - 1
