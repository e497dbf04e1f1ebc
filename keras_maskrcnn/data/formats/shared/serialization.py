"""A record as the bytes of a `tf.train.Example`, and back."""

import json
import math

import numpy as np
import tensorflow as tf
from pycocotools import mask as coco_mask

from keras_maskrcnn.data.formats.shared.values import identity
from keras_maskrcnn.data.masks import decode_rle, pack_mask, polygons_rle, rasterize
from keras_maskrcnn.data.records import Instance, Record


def parse_record(serialized: bytes, num_classes: int) -> Record:
    """The record in a serialized `tf.train.Example` of `write_tfrecords`.

    Args:
        serialized: Its bytes.
        num_classes: Of the dataset: class ids are 0 to one less.

    Raises:
        ValueError: There is none, it lacks something, or it has a class that the dataset has not.
    """
    try:
        features = tf.train.Example.FromString(serialized).features.feature
    except Exception as error:  # protobuf's own, whose class depends on its build
        raise ValueError(f"the record is broken: {error}") from error
    image, image_id, path = (_only(features, name) for name in ("image", "image_id", "path"))
    height, width = (_only(features, name, "int64_list") for name in ("height", "width"))
    boxes = np.array(features["boxes"].float_list.value).reshape(-1, 4)
    _check_boxes(boxes, height, width)
    classes, areas = features["classes"].int64_list.value, features["areas"].float_list.value
    for class_id in classes:
        if not 0 <= class_id < num_classes:
            raise ValueError(
                f"the record is broken: it has the class id {class_id}, the index names "
                f"{num_classes} classes"
            )
    if not all(0 <= area < math.inf for area in areas):
        raise ValueError(f"the record is broken: its areas are {list(areas)!r:.80}")
    columns = (
        boxes.tolist(),
        classes,
        features["rles"].bytes_list.value,
        features["crowds"].int64_list.value,
        areas,
        features["annotation_ids"].bytes_list.value,
        features["masks"].bytes_list.value,
    )
    return Record(
        image_id=_identity(image_id),
        path=path.decode(),
        height=height,
        width=width,
        instances=tuple(
            Instance(
                box=tuple(box),
                class_id=class_id,
                segmentation={"size": [height, width], "counts": rle.decode()} if rle else None,
                crowd=bool(crowd),
                area=area,
                annotation_id=None if annotation_id == b"null" else _identity(annotation_id),
                packed_mask=mask or None,
            )
            for box, class_id, rle, crowd, area, annotation_id, mask in zip(*columns, strict=True)
        ),
        encoded=image,
    )


def _only(features, name, kind="bytes_list"):
    """The one value of a feature."""
    values = getattr(features[name], kind).value if name in features else ()
    if len(values) != 1:
        raise ValueError(f"the record is missing or broken: {name} has {len(values)} values")
    return values[0]


def _identity(text):
    try:
        return identity(json.loads(text), "id")
    except RecursionError as error:
        raise ValueError(f"the record is broken: {error}") from error


def _check_boxes(boxes, height, width):
    """Refuses boxes (N, 4) that are not of an image; a thousandth of a pixel is rounding."""
    low, high = boxes[:, :2], boxes[:, 2:]
    inside = (low >= 0) & (low < high) & (high <= (width + 1e-3, height + 1e-3))
    if not inside.all():
        raise ValueError(
            f"the record is broken: the box {boxes[~inside.all(1)][0].tolist()} is not in the "
            f"image of {width}x{height}"
        )


def is_landscape(serialized: tf.Tensor) -> tf.Tensor:
    """Whether the image of a serialized record is wider than high; False where there is none."""
    sides = {name: tf.io.FixedLenFeature((), tf.int64, 0) for name in ("height", "width")}
    sides = tf.io.parse_single_example(serialized, sides)
    return sides["width"] > sides["height"]


def serialize_record(record: Record, image: bytes, orientation: int, mask_size: int) -> bytes:
    """A record as a serialized `tf.train.Example`: what `parse_record` reads.

    Args:
        record: The image and its objects, whose RLEs can be decoded.
        image: The bytes of the image file.
        orientation: Its EXIF orientation, 1 to 8, for readers that do not look for it.
        mask_size: M, cells along each side of the masks.
    """
    instances = record.instances
    rles = [_rle(instance, record) for instance in instances]
    masks = [_packed(instance, record, mask_size) for instance in instances]
    features = {
        "image": _bytes([image]),
        "image_id": _bytes([json.dumps(record.image_id).encode()]),
        "path": _bytes([record.path.encode()]),
        "height": _ints([record.height]),
        "width": _ints([record.width]),
        "orientation": _ints([orientation]),
        "boxes": _floats([side for instance in instances for side in instance.box]),
        "classes": _ints([instance.class_id for instance in instances]),
        "crowds": _ints([instance.crowd for instance in instances]),
        "areas": _floats([instance.area for instance in instances]),
        "annotation_ids": _bytes([json.dumps(i.annotation_id).encode() for i in instances]),
        "rles": _bytes(rles),
        "masks": _bytes(masks),
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def _rle(instance, record):
    """The compressed counts of the full-size mask, no bytes if there is none."""
    segmentation = instance.segmentation
    if segmentation is None:
        return b""
    size = record.height, record.width
    if isinstance(segmentation, dict):
        # What cannot be decoded must not be written.
        rle = coco_mask.encode(np.asfortranarray(decode_rle(segmentation, *size)))
    else:
        rle = polygons_rle(segmentation, *size)
    return rle["counts"]


def _packed(instance, record, mask_size):
    """The mask cut out in its box, packed to bits; no bytes where none will be trained on."""
    if instance.segmentation is None or instance.crowd:
        return b""
    size = record.height, record.width, mask_size
    return pack_mask(rasterize(instance.segmentation, instance.box, *size))


def _bytes(values):
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))


def _floats(values):
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def _ints(values):
    return tf.train.Feature(int64_list=tf.train.Int64List(value=map(int, values)))
