"""Annotated images: from files to the batches that the model trains on."""

from keras_maskrcnn.data import shapes
from keras_maskrcnn.data.coco import CocoDataset
from keras_maskrcnn.data.masks import crop_masks
from keras_maskrcnn.data.records import Instance, Problem, Record
from keras_maskrcnn.data.tfrecord import TFRecordDataset, write_tfrecords

__all__ = [
    "CocoDataset",
    "Instance",
    "Problem",
    "Record",
    "TFRecordDataset",
    "crop_masks",
    "shapes",
    "write_tfrecords",
]
