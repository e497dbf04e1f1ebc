"""LiteRT (TensorFlow Lite), of its built-in operators only: what phones and small boards run."""

import os
import pathlib

import keras
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from keras_maskrcnn.export.endpoints import image_dtype
from keras_maskrcnn.export.litert_ops import keep, roi_align
from keras_maskrcnn.export.substitutes import with_substitutes

QUANTIZATIONS = (None, "dynamic_int8")


def export_litert(
    model: keras.Model,
    path: str | os.PathLike,
    image_size: tuple[int, int] | None = None,
    quantize: str | None = None,
) -> None:
    """Writes `model` as a LiteRT file for one image at a time, of a fixed size.

    The signature `serving_default` takes `images` (1, H, W, 3) uint8 RGB, or of a config with other
    `channels` or `pixel_range` (1, H, W, channels) of the type that `export.endpoints.image_dtype`
    says, and `image_sizes` (1, 2) int32, height and width of the valid top-left part; what lies
    outside may hold anything. It returns `boxes` (1, D, 4) float32 xyxy pixels, `scores` (1, D)
    float32, `classes` (1, D) int32, -1 where padded, `num_detections` (1,) int32, and, unless it is
    a Faster R-CNN, `masks` (1, D, m, m) float32, probabilities in the box.

    Args:
        model: A `MaskRCNN`. Whatever its dtype policy, the file computes in float32.
        path: The file to write, e.g. `mask_rcnn.tflite`.
        image_size: H and W; by default `image_min_size` and `image_max_size` of the config, which
            holds any image that lies on its long side. Time and memory grow with it.
        quantize: `"dynamic_int8"` stores the weights in 8 bits, a quarter of the size, and
            quantises what they are multiplied with as it runs. Detections then differ somewhat.

    Raises:
        ValueError: An impossible `image_size` or `quantize`, or the model pools its regions
            otherwise than by the mean of RoIAlign.

    Example:
        >>> from ai_edge_litert.interpreter import Interpreter
        >>> export_litert(model, "mask_rcnn.tflite", image_size=(64, 96))
        >>> detect = Interpreter("mask_rcnn.tflite").get_signature_runner()
        >>> images = np.zeros((1, 64, 96, 3), np.uint8)
        >>> detect(images=images, image_sizes=np.array([[64, 96]], np.int32))["boxes"].shape
        (1, 100, 4)
    """
    config = model.config
    height, width = image_size or (config.image_min_size, config.image_max_size)
    if min(height, width) < 1:
        raise ValueError(f"image_size must be height and width in pixels, got {image_size}.")
    if quantize not in QUANTIZATIONS:
        raise ValueError(f"quantize must be one of {QUANTIZATIONS}, got {quantize!r}.")
    served = with_substitutes(model, keep, roi_align)
    signature = [
        tf.TensorSpec((1, height, width, config.channels), image_dtype(config), name="images"),
        tf.TensorSpec((1, 2), tf.int32, name="image_sizes"),
    ]

    def detect(images, image_sizes):
        return served({"images": images, "image_sizes": image_sizes}, training=False)

    frozen = _frozen(detect, signature)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen], tf.Module())
    if quantize == "dynamic_int8":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    pathlib.Path(path).write_bytes(converter.convert())


def _frozen(function, signature):
    """A concrete function with constants for variables: the converter would leave those empty."""
    concrete = tf.function(function, autograph=False).get_concrete_function(*signature)
    frozen = convert_variables_to_constants_v2(concrete, lower_control_flow=False)
    # Freezing loses the names of the outputs.
    named = tf.function(
        lambda images, image_sizes: tf.nest.pack_sequence_as(
            concrete.structured_outputs, frozen(images, image_sizes)
        )
    )
    return named.get_concrete_function(*signature)
