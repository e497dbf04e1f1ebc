"""Annotated images: from files to the batches that the model trains on."""

from keras_maskrcnn.data import shapes
from keras_maskrcnn.data.augmentation import Augmentation
from keras_maskrcnn.data.coco import CocoDataset
from keras_maskrcnn.data.masks import crop_masks
from keras_maskrcnn.data.records import Instance, Problem, Record

__all__ = [
    "Augmentation",
    "CocoDataset",
    "Instance",
    "Problem",
    "Record",
    "crop_masks",
    "shapes",
]
