"""Which detection found which object, as COCO's evaluation decides it."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from keras_maskrcnn.evaluation import vectorised
from keras_maskrcnn.evaluation.report.overlaps import ImageOverlaps

IOUS = np.linspace(0.5, 0.95, 10)
IGNORED = -2


class Matches(NamedTuple):
    """All detections of a dataset with the objects that they found, image by image.

    Attributes:
        images: (N,) the position of the image.
        classes: (N,) from 0.
        scores: (N,) 0..1.
        ranks: (N,) from 0: place among the detections of its image and class.
        objects: (10, N) at each of `IOUS`, the position of the object in its image; `UNMATCHED`
            (of `evaluation.vectorised`) or `IGNORED`.
        object_counts: (images, classes) annotated objects without crowds.
    """

    images: np.ndarray
    classes: np.ndarray
    scores: np.ndarray
    ranks: np.ndarray
    objects: np.ndarray
    object_counts: np.ndarray


def match(image: ImageOverlaps, pairs: np.ndarray, thresholds: np.ndarray = IOUS) -> np.ndarray:
    """The object of each detection: the best first, each takes the free one it overlaps most.

    Args:
        image: Its detections and objects.
        pairs: (D, G) bool: which of them may belong together.
        thresholds: (T,) IoUs from which a detection finds an object.

    Returns:
        (T, D) the position of the object; `IGNORED` of one that lies in a crowd and found no
        object, else `UNMATCHED`.
    """
    ious = np.where(pairs, image.ious, -1.0)
    (matched,) = vectorised.match(ious, image.crowd[None], image.crowd, thresholds)
    in_crowd = np.append(image.crowd, False)[matched]  # the last is of those without a match
    return np.where(in_crowd, IGNORED, matched)


def same_class(image: ImageOverlaps) -> np.ndarray:
    """(D, G) bool, as COCO's evaluation pairs."""
    return image.classes[:, None] == image.true_classes


def any_class(image: ImageOverlaps) -> np.ndarray:
    """(D, G) bool: every object; crowds only of the same class."""
    return same_class(image) | ~image.crowd


def match_all(images: Sequence[ImageOverlaps], num_classes: int) -> Matches:
    """The matches within the classes of all images, at each of `IOUS`."""
    sizes = [len(image.scores) for image in images]
    return Matches(
        np.repeat(np.arange(len(images)), sizes),
        np.concatenate([image.classes for image in images]),
        np.concatenate([image.scores for image in images]),
        np.concatenate([_ranks(image.classes) for image in images]),
        np.concatenate([match(image, same_class(image)) for image in images], axis=1),
        np.array(
            [np.bincount(i.true_classes[~i.crowd], minlength=num_classes) for i in images]
        ).reshape(len(images), num_classes),
    )


def _ranks(classes):
    return np.array([np.sum(classes[:i] == classes[i]) for i in range(len(classes))], int)
