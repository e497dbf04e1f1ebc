"""Models for servers: SavedModel."""

from keras_maskrcnn.export.saved_model import export_saved_model

__all__ = ["export_saved_model"]
