"""A SavedModel that TensorFlow Serving loads as it is: stock operations only."""

import os

import keras
import tensorflow as tf


def export_saved_model(model, path: str | os.PathLike, verbose: bool = True) -> None:
    """Writes `model` as a SavedModel with the signature `serving_default`.

    It takes `images` (B, H, W, 3) uint8 RGB of any size and returns `boxes` (B, D, 4) xyxy pixels
    of these images, `scores` (B, D), `classes` (B, D) int32, -1 where padded, `num_detections`
    (B,) int32, and `masks` (B, D, m, m), probabilities in the box. It does not resize: send images
    of the size that the model was trained on.

    Args:
        model: A `MaskRCNN`.
        path: The folder to write, e.g. `serving/1`.
        verbose: Whether to print the signature.

    Example:
        >>> export_saved_model(model, "serving/1")
        >>> serve = tf.saved_model.load("serving/1").signatures["serving_default"]
        >>> serve(images=tf.zeros((1, 480, 640, 3), tf.uint8))["boxes"].shape
        TensorShape([1, 100, 4])
    """
    portable = model.config.replace(roi_implementation="portable")
    served = type(model)(portable, dtype=model.dtype_policy)
    served.set_weights(model.get_weights())
    archive = keras.export.ExportArchive()
    archive.track(served)
    archive.add_endpoint(
        name="serving_default",
        fn=lambda images: served({"images": images}, training=False),
        input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8, name="images")],
    )
    archive.write_out(os.fspath(path), verbose=verbose)
