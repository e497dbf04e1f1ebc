"""Published checkpoints, whoever wrote them: what model they hold, and their weights."""

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from keras_maskrcnn.weights import detectron2
from keras_maskrcnn.weights.assign import assign
from keras_maskrcnn.weights.unpickle import load_pickle


class Checkpoint(NamedTuple):
    """The tensors of a checkpoint file by the names that its source gives them."""

    path: str
    tensors: Mapping[str, np.ndarray]

    def config(self) -> dict[str, Any]:
        """The fields of the config that the checkpoint determines."""
        return detectron2.infer_config(self.tensors, self.path)


def read_checkpoint(path: str | os.PathLike) -> Checkpoint:
    """Reads a Detectron2 `.pkl` without running code from it.

    Raises:
        ValueError: Not a pickle of weights, one that wants to run code, or of an unknown model.
        FileNotFoundError: There is no such file.
    """
    content = load_pickle(path)
    tensors = content.get("model", content) if isinstance(content, Mapping) else None
    if not isinstance(tensors, Mapping) or not detectron2.recognises(tensors):
        names = ", ".join(map(str, list(tensors)[:4])) if isinstance(tensors, Mapping) else content
        raise ValueError(
            f"{os.fspath(path)}: not a Detectron2 checkpoint of an FPN model; "
            f"it begins with {str(names)[:200]}."
        )
    return Checkpoint(os.fspath(path), tensors)


def import_weights(model, path: str | os.PathLike) -> None:
    """Loads a checkpoint into `model`, every tensor of it or none.

    Args:
        model: A `MaskRCNN`.
        path: A Detectron2 `.pkl`.

    Raises:
        ValueError: The checkpoint contradicts the model's config (the fields are named), or a
            tensor is missing, left over or of another shape (the first ones are named).
    """
    checkpoint = read_checkpoint(path)
    implied = model.config.replace(**checkpoint.config()).to_dict()
    # Without a mask branch these say nothing of the model.
    names = [name for name in checkpoint.config() if model.config.mask or "mask_" not in name]
    contradictions = [
        f"{name}: the checkpoint has {implied[name]}, the model {value}"
        for name in names
        if implied[name] != (value := model.config.to_dict()[name])
    ]
    if contradictions:
        lines = "\n  ".join(contradictions)
        raise ValueError(
            f"{checkpoint.path} is of another model:\n  {lines}\n"
            "Use MaskRCNN.from_checkpoint, or set these fields."
        )
    assign(detectron2.sources(model), checkpoint.tensors, detectron2.ignored, checkpoint.path)
