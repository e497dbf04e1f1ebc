"""Class names and warm-up requests beside a SavedModel."""

import pathlib

import pytest
import tensorflow as tf

from keras_maskrcnn.export import assets

# Field numbers of tensorflow_serving/apis: prediction_log, predict and model .proto.
LOG, REQUEST, MODEL_SPEC, INPUTS, SIGNATURE = 6, 1, 1, 2, 3


def fields(message):
    """(number, bytes) of each field of a protobuf message of lengths and bytes."""
    found = []
    while message:
        key, message = varint(message)
        assert key & 7 == 2  # length-delimited
        length, message = varint(message)
        found.append((key >> 3, message[:length]))
        message = message[length:]
    return found


def varint(data):
    value = 0
    for i, byte in enumerate(data):
        value |= (byte & 127) << 7 * i
        if byte < 128:
            return value, data[i + 1 :]
    raise AssertionError("a varint without an end")


def decode(record):
    """Signature and inputs of a PredictionLog, by the definition of the wire format."""
    ((number, log),) = fields(record)
    assert number == LOG
    ((number, request),) = fields(log)
    assert number == REQUEST
    parts = fields(request)
    ((_, signature),) = [part for spec in (dict(parts)[MODEL_SPEC],) for part in fields(spec)]
    inputs = {}
    for number, entry in parts:
        if number == INPUTS:
            name, tensor = (value for _, value in fields(entry))
            proto = tf.make_tensor_proto(0)
            proto.ParseFromString(tensor)
            inputs[name.decode()] = tf.make_ndarray(proto)
    return signature.decode(), inputs


@pytest.fixture
def records(small_config, tmp_path):
    assets.write_warmup(str(tmp_path), small_config)
    return list(tf.data.TFRecordDataset(str(tmp_path / assets.WARMUP)).as_numpy_iterator())


def test_warm_up_asks_each_signature(records):
    requests = dict(map(decode, records))
    assert set(requests) == {"serving_default", "serve_sizes", "serve_bytes"}
    for signature in ("serving_default", "serve_sizes"):
        images = requests[signature]["images"]
        assert (images.shape, images.dtype, images.max()) == ((1, 64, 64, 3), "uint8", 0)
    assert requests["serve_sizes"]["image_sizes"].tolist() == [[64, 64]]
    (file,) = requests["serve_bytes"]["image_bytes"]
    assert tf.io.decode_image(file).shape == (64, 64, 3)
    assert max(map(len, records)) < 300


def test_class_names_one_a_line(small_config, tmp_path):
    def lines(*names):
        path = assets.write_class_names(small_config.replace(class_names=names), str(tmp_path))
        return pathlib.Path(path).read_text(encoding="utf-8").split("\n")

    assert lines("cat", "dog", "sheep") == ["cat", "dog", "sheep", ""]
    assert lines("a b", "línea\nnueva", "c") == ["a b", "línea nueva", "c", ""]
    assert lines() == ["0", "1", "2", ""]
