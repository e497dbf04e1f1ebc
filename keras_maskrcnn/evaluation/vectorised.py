"""pycocotools' evaluation with its numbers, in whole arrays where it loops over single numbers."""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from pycocotools.cocoeval import COCOeval

UNMATCHED = -1


class ClassMatches(NamedTuple):
    """The detections of a class in all images, image by image and in each the best first.

    A areas of objects are looked at, and T IoUs from which an object is found.

    Attributes:
        scores: (D,) 0..1.
        ranks: (D,) from 0: place among the detections of the image.
        found: (A, T, D) bool: which of them found an object, or lie in a crowd.
        ignored: (A, T, D) bool: which of them count neither as right nor as wrong.
        objects: (A,) how many objects there are to find.
    """

    scores: np.ndarray
    ranks: np.ndarray
    found: np.ndarray
    ignored: np.ndarray
    objects: np.ndarray


def match(
    ious: np.ndarray, ignored: np.ndarray, crowd: np.ndarray, thresholds: np.ndarray
) -> np.ndarray:
    """The object of each detection: the best first, each takes the free one it overlaps most.

    One that is ignored is taken only where no other is left, and a crowd by any number of
    detections. Of equal overlaps the last is taken.

    Args:
        ious: (D, G) of the detections of an image, the best first, with its objects.
        ignored: (A, G) bool: objects that do not count, crowds among them, in each of A cases.
        crowd: (G,) bool: regions of many objects.
        thresholds: (T,) IoUs from which a detection finds an object.

    Returns:
        (A, T, D) the position of the object, or `UNMATCHED`.

    Example:
        >>> ious = np.array([[0.8, 0.6], [0.7, 0.0]])
        >>> nothing = np.array([False, False])
        >>> match(ious, nothing[None], nothing, np.array([0.5])).tolist()
        [[[0, -1]]]
    """
    least = np.minimum(thresholds, 1 - 1e-10)[:, None]
    matched = np.full((len(ignored), len(least), len(ious)), UNMATCHED)
    free = np.ones((len(ignored), len(least), len(crowd)), bool)
    # Places by overlap, from 0; those of objects that count lie above those of all others.
    places = np.argsort(np.argsort(ious, axis=1, kind="stable"), axis=1)
    above = len(crowd) * ~ignored
    for detection in np.flatnonzero((ious >= least.min()).any(axis=1)):
        candidates = free & (ious[detection] >= least)
        order = np.where(candidates, (places[detection] + above)[:, None], UNMATCHED)
        best = order.argmax(axis=2)
        case, threshold = np.nonzero(candidates.any(axis=2))
        taken = best[case, threshold]
        matched[case, threshold, detection] = taken
        free[case, threshold, taken] = crowd[taken]
    return matched


def evaluate(evaluation: COCOeval) -> None:
    """What `evaluation.evaluate()` and `.accumulate()` do; fills its `eval`, not its `evalImgs`.

    An object is found whatever its annotation's id: pycocotools itself takes one with the id 0 for
    missed.

    Args:
        evaluation: Of boxes or masks, by classes, its `params` set.
    """
    p = evaluation.params
    p.imgIds, p.catIds, p.maxDets = (
        list(np.unique(p.imgIds)),
        list(np.unique(p.catIds)),
        sorted(p.maxDets),
    )
    evaluation._prepare()
    shape = (len(p.iouThrs), len(p.recThrs), len(p.catIds), len(p.areaRng), len(p.maxDets))
    precision, scores = np.full(shape, -1.0), np.full(shape, -1.0)
    recall = np.full((shape[0], *shape[2:]), -1.0)
    for k, category_id in enumerate(p.catIds):
        matches = match_class(evaluation, category_id)
        for a, m in np.ndindex(shape[3:]):
            if matches.objects[a]:
                for t, curve in enumerate(_curves(matches, a, p.maxDets[m], p.recThrs)):
                    precision[t, :, k, a, m], scores[t, :, k, a, m], recall[t, k, a, m] = curve
    arrays = {"precision": precision, "recall": recall, "scores": scores}
    evaluation.eval = {"params": p, "counts": list(shape), **arrays}


def match_class(evaluation: COCOeval, category_id: int) -> ClassMatches:
    """The matches of one class in all images of an evaluation that is prepared."""
    p = evaluation.params
    pairs = [(image_id, category_id) for image_id in p.imgIds]
    found = [_best(evaluation._dts.get(pair, ()), p.maxDets[-1]) for pair in pairs]
    entries = list(itertools.chain.from_iterable(found))
    shape = (len(p.areaRng), len(p.iouThrs), len(entries))
    matches = ClassMatches(
        np.array([entry["score"] for entry in entries], float),
        np.array([rank for best in found for rank in range(len(best))], int),
        np.zeros(shape, bool),
        # What finds nothing is ignored where it is itself not of the area.
        np.array(np.broadcast_to(_outside(p, entries)[:, None], shape)),
        np.zeros(len(p.areaRng), int),
    )
    ends = np.cumsum([len(best) for best in found])
    for pair, best, end in zip(pairs, found, ends, strict=True):
        if true := evaluation._gts.get(pair, ()):
            crowd = np.array([bool(entry["iscrowd"]) for entry in true])
            ignored = crowd | _outside(p, true)
            matches.objects[:] += np.sum(~ignored, axis=1)
            if best:
                ious = np.array(evaluation.computeIoU(*pair))
                objects = match(ious, ignored, crowd, p.iouThrs)
                _note(matches, slice(end - len(best), end), objects, ignored)
    return matches


def _best(entries, most):
    return sorted(entries, key=lambda entry: -entry["score"])[:most]


def _note(matches, detections, objects, ignored):
    """Notes what the detections of an image found."""
    found, cases = objects != UNMATCHED, np.arange(len(ignored))[:, None, None]
    matches.found[..., detections] = found
    matches.ignored[..., detections][found] = ignored[cases, objects][found]


def _outside(p, entries):
    """(A, N) bool: which areas are not in the ranges."""
    areas = np.array([entry["area"] for entry in entries], float)
    low, high = np.array(p.areaRng, float).T[:, :, None]
    return (areas < low) | (areas > high)


def _curves(matches, area, most, recalls) -> Iterator[tuple[np.ndarray, np.ndarray, float]]:
    """At each IoU: precision and score at the recalls, 0 where they are not reached; the recall."""
    chosen = np.flatnonzero(matches.ranks < most)
    # Of equal scores the earlier image is the first, as in pycocotools.
    chosen = chosen[np.argsort(-matches.scores[chosen], kind="stable")]
    scores = np.append(matches.scores[chosen], 0.0)
    for found, ignored in zip(matches.found[area], matches.ignored[area], strict=True):
        found, ignored = found[chosen], ignored[chosen]
        right = np.cumsum(found & ~ignored)
        wrong = np.cumsum(~found & ~ignored)
        precision = right / (wrong + right + np.spacing(1))
        precision = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
        recall = right / matches.objects[area]
        reached = np.searchsorted(recall, recalls)
        yield precision[reached], scores[reached], recall[-1] if len(recall) else 0.0
