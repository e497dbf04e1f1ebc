"""The kinds of error of TIDE (Bolya et al., 2020, section 2), and what each costs."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from keras_maskrcnn.evaluation.report.average_precision import precision_at_recalls
from keras_maskrcnn.evaluation.report.matching import IGNORED, match, same_class
from keras_maskrcnn.evaluation.report.overlaps import ImageOverlaps
from keras_maskrcnn.evaluation.vectorised import UNMATCHED

KINDS = ("classification", "localization", "both", "duplicate", "background", "missed")
FOREGROUND_IOU, BACKGROUND_IOU = 0.5, 0.1
CORRECT = "correct"


class ImageErrors(NamedTuple):
    """What is wrong in one image.

    Attributes:
        kinds: (D,) text: `CORRECT`, `"ignored"` where it lies in a crowd, or one of `KINDS`.
        objects: (D,) the object that it is, or would be if it were right; `UNMATCHED` if none.
        covered: (G,) the highest score of those detections that are the object, or would be; -1
            of an object that is missed, and of a crowd.
    """

    kinds: np.ndarray
    objects: np.ndarray
    covered: np.ndarray


def image_errors(image: ImageOverlaps) -> ImageErrors:
    """The kind of error of each detection, and the objects that are missed.

    A detection that found no object of its class at IoU 0.5 is

    - `localization`, if it overlaps one of its class by 0.1 to 0.5,
    - `classification`, if it overlaps one of another class by 0.5 or more,
    - `duplicate`, if it overlaps one of its class by 0.5 or more, which a better one has found,
    - `background`, if it overlaps every object by less than 0.1,
    - `both`, else: of another class, by 0.1 to 0.5.

    An object is `missed` that no detection found, nor would find without an error of
    classification or localization. Where two kinds apply, the first counts, as in the authors'
    code.
    """
    (objects,) = match(image, same_class(image), np.array([FOREGROUND_IOU]))
    kinds = np.full(len(objects), "background", object)
    kinds[objects >= 0], kinds[objects == IGNORED] = CORRECT, "ignored"
    objects = np.maximum(objects, UNMATCHED)
    covered = np.full(len(image.true_classes), -1.0)
    if len(covered):
        real = np.where(image.crowd, 0.0, image.ious)
        same = same_class(image)
        own, other = np.where(same, real, 0.0), np.where(same, 0.0, real)
        for i in np.flatnonzero(kinds == "background"):
            kinds[i], objects[i] = _kind(own[i], other[i])
    for i in np.flatnonzero(np.isin(kinds, (CORRECT, "classification", "localization"))):
        covered[objects[i]] = max(covered[objects[i]], image.scores[i])
    return ImageErrors(kinds, objects, covered)


def _kind(own, other):
    """The kind of an unmatched detection, from its IoUs with its class and the others'."""
    best_own, best_other = int(np.argmax(own)), int(np.argmax(other))
    if BACKGROUND_IOU <= own[best_own] < FOREGROUND_IOU:
        return "localization", best_own
    if other[best_other] >= FOREGROUND_IOU:
        return "classification", best_other
    if own[best_own] >= FOREGROUND_IOU:
        return "duplicate", UNMATCHED
    return ("both" if other[best_other] >= BACKGROUND_IOU else "background"), UNMATCHED


class ErrorCost(NamedTuple):
    """How many errors of a kind there are, and the AP50 that would be gained without them."""

    number: int
    cost: float


def error_costs(
    images: Sequence[ImageOverlaps], errors: Sequence[ImageErrors], num_classes: int
) -> dict[str, ErrorCost]:
    """What each kind costs: the mean AP50 if only these errors were mended, less what it is.

    A detection of the wrong class or place becomes a right one if no detection found its object and
    it is the best of those that would; the rest of them, and errors of the other kinds, are taken
    away. Missed objects are not counted.

    Returns:
        An `ErrorCost` of each of `KINDS`; costs are NaN where no object is annotated.
    """
    objects = np.zeros(num_classes, int)
    missed = np.zeros(num_classes, int)
    for image, wrong in zip(images, errors, strict=True):
        np.add.at(objects, image.true_classes[~image.crowd], 1)
        np.add.at(missed, image.true_classes[~image.crowd & (wrong.covered < 0)], 1)
    table = _table(images, errors)
    now = _mean_ap50(table, objects, objects > 0)
    costs = {}
    for kind in KINDS[:-1]:
        mended = _mean_ap50(_mended(table, kind), objects, objects > 0)
        costs[kind] = ErrorCost(int(np.sum(table.kinds == kind)), mended - now)
    without = _mean_ap50(table, objects - missed, objects > 0)
    costs["missed"] = ErrorCost(int(missed.sum()), without - now)
    return costs


class _Table(NamedTuple):
    """All detections that are not ignored; `repairs`: which can become right, of `classes`."""

    kinds: np.ndarray
    scores: np.ndarray
    found: np.ndarray
    classes: np.ndarray
    repairs: np.ndarray


def _table(images, errors):
    rows = []
    for image, wrong in zip(images, errors, strict=True):
        # Whichever of its errors scores best can make an object found, as in the authors' code.
        used = set(wrong.objects[wrong.kinds == CORRECT])
        for i in np.flatnonzero(wrong.kinds != "ignored"):  # the best first
            of_object = wrong.objects[i]
            known = of_object >= 0
            repairs = known and of_object not in used
            used.add(of_object)
            class_id = image.classes[i]
            right_class = image.true_classes[of_object] if known else class_id
            rows.append((wrong.kinds[i], image.scores[i], class_id, right_class, repairs))
    columns = zip(*rows, strict=True) if rows else [()] * 5
    types = (object, float, int, int, bool)
    return _Table(*(np.array(c, kind) for c, kind in zip(columns, types, strict=True)))


def _mended(table, kind):
    """The table without errors of a kind."""
    chosen = table.kinds == kind
    mended = table._replace(
        kinds=np.where(chosen & table.repairs, CORRECT, table.kinds),
        found=np.where(chosen, table.classes, table.found),
    )
    kept = ~chosen | table.repairs
    return _Table(*(column[kept] for column in mended))


def _mean_ap50(table, objects, counted):
    aps = []
    for class_id in np.flatnonzero(counted):
        of_class = table.found == class_id
        if objects[class_id]:
            right = table.kinds[of_class] == CORRECT
            curve = precision_at_recalls(table.scores[of_class], right, objects[class_id])
            aps.append(curve.mean())
        elif of_class.any():  # all of its objects are missed, and something else is taken for it
            aps.append(0.0)
    return float(np.mean(aps)) if aps else float("nan")
