"""Models for servers: SavedModel."""

import os

from keras_maskrcnn.export.loading import load_saved_model
from keras_maskrcnn.export.saved_model import export_saved_model

__all__ = ["export", "export_saved_model", "load_saved_model"]

FORMATS = {"saved_model": export_saved_model}


def export(model, path: str | os.PathLike, format: str = "saved_model", **kwargs) -> None:
    """Writes `model` in a format of `FORMATS`; `kwargs` are those of its function.

    Raises:
        ValueError: There is no such format.
    """
    if format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {format!r}.")
    FORMATS[format](model, path, **kwargs)
