"""Small cases made by hand: objects and detections as boxes, masks that fill them."""

import json
import types

import numpy as np
import pytest
import tensorflow as tf
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from keras_maskrcnn import Detections, report
from keras_maskrcnn.data import CocoDataset, crop_masks, shapes
from keras_maskrcnn.data.images import read_image
from keras_maskrcnn.data.masks import decode_mask
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


class StandInModel:
    """Stands in for a `MaskRCNN` on synthetic images: it errs in a few ways, always the same.

    Of each image it finds all but the last object; it takes the first for another class in every
    second image; and it finds one thing more, in the lower right corner, with a score of 0.97.
    """

    distribute_strategy = tf.distribute.get_strategy()

    def __init__(self, dataset, mask=True):
        self.config = types.SimpleNamespace(
            num_classes=len(dataset.class_names),
            class_names=dataset.class_names,
            mask=mask,
            is_rgb=True,
        )
        self.dataset = dataset
        self.indices = {record.path: i for i, record in enumerate(dataset.records)}

    def predict(self, paths, batch_size, verbose, tile_size, tile_overlap):
        for path in paths:
            read_image(path)
        return [self._found(self.indices[path]) for path in paths]

    def _found(self, index):
        record = self.dataset.records[index]
        shown = record.instances[:-1]
        classes = np.array([one.class_id for one in shown], int)
        if index % 2 and len(classes):
            classes[0] = (classes[0] + 1) % self.config.num_classes
        corner = (record.width - 4, record.height - 4, record.width, record.height)
        boxes = np.array([*(one.box for one in shown), corner], np.float32)
        masks = [decode_mask(one.segmentation, record.height, record.width) for one in shown]
        masks = crop_masks(np.array([*masks, np.ones((record.height, record.width))]), boxes)
        scores = [*np.linspace(0.9, 0.6, len(shown)), 0.97]
        masks = masks if self.config.mask else None
        size = (record.height, record.width)
        return Detections(boxes, scores, [*classes, 0], masks, size, self.config.class_names)


@pytest.fixture(scope="session")
def stand_in():
    """The class of models that err in known ways."""
    return StandInModel


@pytest.fixture(scope="session")
def synthetic(tmp_path_factory):
    """Six images of three classes; one has a name that would end a script."""
    names = ("ring", "star", "cross")
    folder = tmp_path_factory.mktemp("synthetic")
    scene = shapes.Scene(number=(2, 5))
    shapes.generate(folder, 6, size=96, seed=7, class_names=names, scene=scene)
    path = folder / "annotations.json"
    content = json.loads(path.read_text())
    for category in content["categories"]:
        category["name"] = {"star": "</script><b>star"}.get(category["name"], category["name"])
    path.write_text(json.dumps(content))
    return CocoDataset(path, folder / "images")


@pytest.fixture(scope="session")
def written(synthetic, tmp_path_factory):
    """The report of a model that errs on these images, and its folder."""
    folder = tmp_path_factory.mktemp("report")
    return report(StandInModel(synthetic), synthetic, folder, verbose=0), folder
