"""Models for servers, ONNX Runtime and phones."""

import os
import pathlib
from typing import Any

import keras

from keras_maskrcnn.export.litert import export_litert
from keras_maskrcnn.export.loading import load_saved_model
from keras_maskrcnn.export.onnx import export_onnx
from keras_maskrcnn.export.saved_model import export_saved_model

__all__ = ["export", "export_litert", "export_onnx", "export_saved_model", "load_saved_model"]

FORMATS = {
    "saved_model": export_saved_model,
    "onnx": export_onnx,
    "litert": export_litert,
}
SUFFIXES = {".onnx": "onnx", ".tflite": "litert"}


def export(
    model: keras.Model, path: str | os.PathLike, format: str = "saved_model", **kwargs: Any
) -> None:
    """Writes `model` in a format of `FORMATS`; `kwargs` are those of its function.

    Raises:
        ValueError: There is no such format, or the path ends as files of another one do.
    """
    if format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {format!r}.")
    named = SUFFIXES.get(pathlib.Path(path).suffix.lower(), format)
    if named != format:
        raise ValueError(
            f"{os.fspath(path)} is a name of {named!r}, and the format to write is {format!r}: "
            f"give the format {named!r}, or another path."
        )
    FORMATS[format](model, path, **kwargs)
