"""Annotated images: from files to the batches that the model trains on.

Each module of `formats` reads one format of annotations to `records`; `opening` finds out which one
it is. A `Dataset` holds the records, and `problems` what is wrong with them. `pipeline` makes
batches of them, with `images`, `stored`, `masks`, and `augmentation` by `views`.
`tfrecord_dataset` and `service` are for more images than a machine holds, `inspection` is to look
at them, and `shapes` draws some.
"""

from keras_maskrcnn.data import shapes
from keras_maskrcnn.data.augmentation import Augmentation
from keras_maskrcnn.data.dataset import CocoDataset, Dataset
from keras_maskrcnn.data.formats.convert import convert
from keras_maskrcnn.data.masks import crop_masks
from keras_maskrcnn.data.opening import open_dataset
from keras_maskrcnn.data.records import Instance, Problem, Record
from keras_maskrcnn.data.stored import display
from keras_maskrcnn.data.tfrecord_dataset import TFRecordDataset, write_tfrecords

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
    "display",
    "open_dataset",
    "shapes",
    "write_tfrecords",
]
