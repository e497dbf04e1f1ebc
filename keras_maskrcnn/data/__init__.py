"""Annotated images: from files to the batches that the model trains on."""

from keras_maskrcnn.data import shapes
from keras_maskrcnn.data.augmentation import Augmentation
from keras_maskrcnn.data.dataset import Dataset
from keras_maskrcnn.data.formats.coco import CocoDataset
from keras_maskrcnn.data.formats.convert import convert
from keras_maskrcnn.data.formats.opening import open_dataset
from keras_maskrcnn.data.formats.tfrecord import TFRecordDataset, write_tfrecords
from keras_maskrcnn.data.masks import crop_masks
from keras_maskrcnn.data.records import Instance, Problem, Record

__all__ = [
    "Augmentation",
    "CocoDataset",
    "Dataset",
    "Instance",
    "Problem",
    "Record",
    "TFRecordDataset",
    "convert",
    "crop_masks",
    "open_dataset",
    "shapes",
    "write_tfrecords",
]
