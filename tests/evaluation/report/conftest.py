"""Small cases made by hand: objects and detections as boxes, masks that fill them."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from keras_maskrcnn.evaluation.coco import _run_on_results

SIDE = 200


@pytest.fixture(scope="session")
def evaluated():
    """A function from objects and detections to pycocotools' evaluations of boxes and masks.

    Both are lists of images; an image is a list of (class, x, y, width, height) and, of detections,
    the score; of an object `crowd` may stand there. Category ids are 10, 20, ...
    """

    def evaluations(objects, found, num_classes=2, kinds=("box", "mask")):
        ground_truth = COCO()
        ground_truth.dataset = {
            "images": [{"id": i, "height": SIDE, "width": SIDE} for i in range(len(objects))],
            "categories": [{"id": 10 * (i + 1), "name": f"c{i}"} for i in range(num_classes)],
            "annotations": [
                {**entry, "id": number, "iscrowd": int("crowd" in of)}
                for number, (entry, of) in enumerate(_entries(objects), 1)
            ],
        }
        ground_truth.createIndex()
        results = [{**entry, "score": of[5]} for entry, of in _entries(found)]
        return _run_on_results(results, ground_truth, kinds, None, 100)

    return evaluations


def _entries(images):
    for image_id, of_image in enumerate(images):
        for of in of_image:
            class_id, x, y, width, height = of[:5]
            mask = np.zeros((SIDE, SIDE), np.uint8, order="F")
            mask[y : y + height, x : x + width] = 1
            entry = {
                "image_id": image_id,
                "category_id": 10 * (class_id + 1),
                "bbox": [x, y, width, height],
                "area": width * height,
                "segmentation": coco_mask.encode(mask),
            }
            yield entry, of
