"""Mask R-CNN for TensorFlow and Keras 3, from annotation file to served model.

Importing this costs nothing: a public name, and TensorFlow with it, is loaded when it is first
used. Where Keras is loaded, `MaskRCNN` is loaded too: `keras.models.load_model` must know it.
"""

import importlib
import importlib.abc
import importlib.util
import sys

__version__ = "0.1.0"

__all__ = [
    "Detections",
    "MaskRCNN",
    "MaskRCNNConfig",
    "callbacks",
    "data",
    "evaluate",
    "predict_video",
    "report",
    "upload_preset",
]

# The module of each public name, which is either in it or the module itself.
_HOMES = {
    "Detections": "keras_maskrcnn.detections",
    "MaskRCNN": "keras_maskrcnn.mask_rcnn",
    "MaskRCNNConfig": "keras_maskrcnn.config",
    "callbacks": "keras_maskrcnn.evaluation.callbacks",
    "data": "keras_maskrcnn.data",
    "evaluate": "keras_maskrcnn.evaluation.coco",
    "predict_video": "keras_maskrcnn.prediction.video",
    "report": "keras_maskrcnn.evaluation.report.build",
    "upload_preset": "keras_maskrcnn.weights.hub",
}


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'keras_maskrcnn' has no attribute {name!r}")
    module = importlib.import_module(_HOMES[name])
    if "keras" in sys.modules:
        importlib.import_module(_HOMES["MaskRCNN"])
    value = module if _HOMES[name].endswith(f".{name}") else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _WithKeras(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads `MaskRCNN` as soon as Keras is loaded, whoever loads it."""

    keras_loader = None

    def find_spec(self, fullname, path=None, target=None):
        if fullname != "keras":
            return None
        # Some only ask whether there is a Keras, so this stays until one is loaded.
        place = sys.meta_path.index(self)
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        sys.meta_path.insert(place, self)
        if spec is not None:
            self.keras_loader, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec):
        return self.keras_loader.create_module(spec)

    def exec_module(self, module):
        sys.meta_path.remove(self)
        module.__spec__.loader = module.__loader__ = self.keras_loader
        self.keras_loader.exec_module(module)
        # A module of this package that needs Keras is not to find itself half loaded.
        ours = [m for name, m in sys.modules.items() if name.startswith(f"{__name__}.")]
        if any(getattr(m.__spec__, "_initializing", False) for m in ours):
            module.saving.get_custom_objects()[f"{__name__}>MaskRCNN"] = _StandIn
        else:
            importlib.import_module(_HOMES["MaskRCNN"])


class _StandIn:
    """What Keras knows of `MaskRCNN` until its module is loaded."""

    @staticmethod
    def from_config(config):
        return __getattr__("MaskRCNN").from_config(config)


if "keras" in sys.modules:
    importlib.import_module(_HOMES["MaskRCNN"])
else:
    sys.meta_path.insert(0, _WithKeras())
