"""What lies beside the graph of a SavedModel: class names, and requests to warm a server up."""

from collections.abc import Mapping

import tensorflow as tf

from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.export.endpoints import image_dtype

CLASS_NAMES = "class_names.txt"
WARMUP = "assets.extra/tf_serving_warmup_requests"


def write_class_names(config: MaskRCNNConfig, folder: str) -> str:
    """Writes the name of each class on a line, its number where it has none; returns the path."""
    names = config.class_names or [str(i) for i in range(config.num_classes)]
    path = tf.io.gfile.join(folder, CLASS_NAMES)
    with tf.io.gfile.GFile(path, "w") as file:
        file.write("".join(" ".join(name.split()) + "\n" for name in names))
    return path


def write_warmup(path: str, config: MaskRCNNConfig) -> None:
    """Writes a request for each signature into the SavedModel at `path`.

    TensorFlow Serving runs them before it takes requests, the first of which would otherwise wait
    until the graph is optimised. They are black images as high and wide as the short side that
    the model was trained on.
    """
    side = config.image_min_size
    images = black_images(side, config.channels, image_dtype(config))
    sizes = tf.make_tensor_proto([[side, side]], tf.int32)
    png = tf.io.encode_png(tf.zeros((64, 64, 3), tf.uint8)).numpy()
    requests = {
        "serving_default": {"images": images},
        "serve_sizes": {"images": images, "image_sizes": sizes},
    }
    if config.is_rgb:
        requests["serve_bytes"] = {"image_bytes": tf.make_tensor_proto([png], tf.string)}
    file = tf.io.gfile.join(path, WARMUP)
    tf.io.gfile.makedirs(file.rpartition("/")[0])
    with tf.io.TFRecordWriter(file) as writer:
        for signature, inputs in requests.items():
            writer.write(prediction_log(signature, inputs))


def black_images(side: int, channels: int = 3, dtype: tf.DType = tf.uint8):
    """A `TensorProto` of one image: a last value that stands once counts for all behind it."""
    proto = tf.make_tensor_proto(0, dtype)
    proto.ClearField("tensor_content")
    values = proto.int_val if dtype.is_integer else proto.float_val
    values[:] = [0]
    proto.tensor_shape.CopyFrom(tf.TensorShape([1, side, side, channels]).as_proto())
    return proto


def prediction_log(signature: str, inputs: Mapping) -> bytes:
    """A `tensorflow.serving.PredictionLog` of a predict request, as TensorFlow Serving reads it.

    Its definition comes with tensorflow-serving-api, which nothing else here needs. The numbers
    are those of the fields in its .proto files.

    Args:
        signature: Name of the signature.
        inputs: `TensorProto` of each input.
    """
    model_spec = _field(3, signature.encode())
    request = _field(1, model_spec)
    for name, tensor in inputs.items():  # a map is a list of entries of key and value
        request += _field(2, _field(1, name.encode()) + _field(2, tensor.SerializeToString()))
    predict_log = _field(1, request)
    return _field(6, predict_log)


def _field(number, payload):
    """A field of a protobuf message that holds bytes, text or another message."""
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _varint(value):
    """Seven bits a byte, the lowest first; the eighth says that more follow."""
    low, rest = value & 127, value >> 7
    return bytes([low | 128]) + _varint(rest) if rest else bytes([low])
