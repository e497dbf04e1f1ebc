import math

import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn.data.formats.shared.serialization import parse_record, serialize_record
from keras_maskrcnn.data.records import Instance, Record

SQUARE = Instance((2.0, 3.0, 8.0, 9.0), 1, [[2.0, 3.0, 8.0, 3.0, 8.0, 9.0, 2.0, 9.0]], area=36.0)
RECORD = Record(7, "a.png", 20, 30, (SQUARE,))


def test_there_and_back():
    record = parse_record(serialize_record(RECORD, b"png", 1, 28), 2)
    (instance,) = record.instances
    assert (record.image_id, record.path, record.encoded) == (7, "a.png", b"png")
    assert (instance.box, instance.class_id, instance.area) == (SQUARE.box, 1, 36.0)
    assert np.unpackbits(np.frombuffer(instance.packed_mask, np.uint8)).sum() == 28 * 28


def feature(*values):
    if isinstance(values[0], bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
    if isinstance(values[0], int):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("height", feature(1.0), "height has 0 values"),
        ("image", feature(1, 2), "image has 0 values"),
        ("image", feature(b"a", b"b"), "image has 2 values"),
        ("image_id", feature(b"[1]"), "id must be a whole number or a text"),
        ("image_id", feature(b"[" * 100_000), "the record is broken"),
        ("annotation_ids", feature(b"{}"), "id must be a whole number or a text"),
        ("boxes", feature(2.0, 3.0, 8.0), "reshape"),
        ("boxes", feature(2.0, 3.0, 8.0, math.nan), "is not in the image of 30x20"),
        ("boxes", feature(2.0, 3.0, 31.0, 9.0), "is not in the image of 30x20"),
        ("boxes", feature(8.0, 3.0, 2.0, 9.0), "is not in the image of 30x20"),
        ("classes", feature(-1), "it has the class id -1"),
        ("classes", feature(2), "it has the class id 2, the index names 2 classes"),
        ("areas", feature(math.nan), "its areas are"),
        ("masks", feature(b"a", b"b"), "longer|shorter"),
    ],
)
def test_broken_records(name, value, message):
    example = tf.train.Example.FromString(serialize_record(RECORD, b"png", 1, 28))
    example.features.feature[name].CopyFrom(value)
    with pytest.raises(ValueError, match=message):
        parse_record(example.SerializeToString(), 2)
