"""Exported models in a server that is written in Python."""

import os

import tensorflow as tf

from keras_maskrcnn.ops import compiled_roi_align


def load_saved_model(path: str | os.PathLike):
    """Loads a SavedModel of `roi_align="custom"`, after the compiled op that it needs.

    One of `roi_align="portable"` needs no more than `tf.saved_model.load(path)`.

    Args:
        path: The folder, e.g. `serving/1`.

    Returns:
        What `tf.saved_model.load` returns; its `signatures` are those of `export_saved_model`.

    Raises:
        RuntimeError: The op is not compiled for this TensorFlow.
        OSError: There is no SavedModel at `path`.

    Example:
        >>> model.export("serving/2", roi_align="custom", verbose=False)
        >>> serve = load_saved_model("serving/2").signatures["serving_default"]
        >>> serve(images=tf.zeros((1, 480, 640, 3), tf.uint8))["boxes"].shape
        TensorShape([1, 100, 4])
    """
    library = compiled_roi_align.load()
    if library.ops is None:
        raise RuntimeError(f"{os.fspath(path)} may need the compiled op: {library.description}")
    return tf.saved_model.load(os.fspath(path))
