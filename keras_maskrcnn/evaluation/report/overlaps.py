"""How what was found in an image overlaps what is annotated there."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.cocoeval import COCOeval


class ImageOverlaps(NamedTuple):
    """The detections of one image, best first, beside its annotated objects.

    Attributes:
        image_id: As in the annotations.
        scores: (D,) 0..1.
        classes: (D,) from 0.
        found_ids: (D,) of the entries in pycocotools' `COCO` of the results.
        true_classes: (G,) from 0.
        crowd: (G,) bool: regions of many objects, where what is found does not count.
        annotation_ids: (G,) of the entries in pycocotools' `COCO` of the annotations.
        ious: (D, G); with a crowd, the share of the detection that lies in it.
    """

    image_id: int | str
    scores: np.ndarray
    classes: np.ndarray
    found_ids: list[int]
    true_classes: np.ndarray
    crowd: np.ndarray
    annotation_ids: list[int]
    ious: np.ndarray


def overlaps(evaluation: COCOeval, category_ids: Sequence[int]) -> list[ImageOverlaps]:
    """The overlaps in each image of an evaluation, whatever the classes.

    Args:
        evaluation: Of `run_coco_eval`: its boxes or its masks overlap.
        category_ids: The COCO id of each class.
    """
    class_of = {category_id: i for i, category_id in enumerate(category_ids)}
    image_ids = np.asarray(evaluation.params.imgIds).tolist()
    return [_of_image(evaluation, image_id, class_of) for image_id in image_ids]


def _of_image(evaluation, image_id, class_of):
    found = evaluation.cocoDt.imgToAnns.get(image_id, [])
    found = sorted(found, key=lambda entry: -entry["score"])
    true = evaluation.cocoGt.imgToAnns.get(image_id, [])
    crowd = [bool(entry.get("iscrowd")) for entry in true]
    return ImageOverlaps(
        image_id,
        np.array([entry["score"] for entry in found], float),
        np.array([class_of[entry["category_id"]] for entry in found], int),
        [entry["id"] for entry in found],
        np.array([class_of[entry["category_id"]] for entry in true], int),
        np.array(crowd, bool),
        [entry["id"] for entry in true],
        _ious(evaluation, found, true, crowd),
    )


def _ious(evaluation, found, true, crowd):
    if not found or not true:
        return np.zeros((len(found), len(true)))
    if evaluation.params.iouType == "bbox":
        shapes = [[entry["bbox"] for entry in entries] for entries in (found, true)]
    else:
        sides = ((evaluation.cocoDt, found), (evaluation.cocoGt, true))
        shapes = [[coco.annToRLE(entry) for entry in entries] for coco, entries in sides]
    return np.array(coco_mask.iou(*shapes, crowd)).reshape(len(found), len(true))
