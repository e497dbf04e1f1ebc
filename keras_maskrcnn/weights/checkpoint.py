"""Published checkpoints, whoever wrote them: what model they hold, and their weights."""

import os
import types
from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_maskrcnn.config import NECKS, MaskRCNNConfig
from keras_maskrcnn.weights import detectron, detectron2, keras_applications, layout, torchvision
from keras_maskrcnn.weights.assign import assign
from keras_maskrcnn.weights.torch_file import load_torch
from keras_maskrcnn.weights.transfer import transfer_weights, warn_of_spread
from keras_maskrcnn.weights.unpickle import load_pickle

FORMATS = (detectron2, detectron, torchvision, keras_applications)
# PyTorch writes zip files; what it wrote before 1.6 begins with a pickled magic number.
TORCH_SIGNATURES = (b"PK\x03\x04", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19")
H5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
AFFINE = ("frozen_batch_norm", "batch_norm")  # the same map and the same weights at inference


class ImportedWeights(NamedTuple):
    """What an import left out, so that nothing goes unsaid."""

    ignored: list[str]  # tensors of the file that hold nothing for the model
    unset: list[str]  # weights of the model that the file does not hold: of a backbone, the rest


class Checkpoint(NamedTuple):
    """The tensors of a checkpoint file, in the names and the layout of its source."""

    path: str
    source: types.ModuleType
    tensors: Mapping[str, np.ndarray]

    def config(self) -> dict[str, Any]:
        """The fields of the config that the checkpoint determines.

        Raises:
            ValueError: It is incomplete, or of no model of this package.
        """
        try:
            neck = next(
                (
                    n
                    for n in NECKS
                    if self.source.tensor_name("res5.0.conv1", "kernel", n) in self.tensors
                ),
                "fpn",
            )

            def name(part, weight):
                return self.source.tensor_name(part, weight, neck)

            fields = layout.infer_backbone(self.tensors, name)
            if name("rpn.objectness", "kernel") in self.tensors:
                fields |= layout.infer_detector(self.tensors, name)
            return {**fields, **self.source.settings(self.tensors, fields)}
        except KeyError as error:
            raise ValueError(f"{self.path}: it lacks the tensor {error}.") from error
        except (ValueError, IndexError, TypeError, ZeroDivisionError) as error:
            raise ValueError(f"{self.path}: {error}.") from error

    def load_into(self, model: keras.Model) -> ImportedWeights:
        """Sets the weights of `model`: all that the checkpoint holds, or none.

        Of a model with more channels the kernel of the stem is spread over them.

        Raises:
            ValueError: A tensor is missing, left over or of another shape (the first are named).
        """
        sources = layout.sources(model, self.source, whole="neck" in self.config())
        ignored = [name for name in self.tensors if self.source.IGNORED.search(name)]
        assign(sources, self.tensors, ignored, self.path)
        stem = self.source.tensor_name("stem", "kernel", model.config.neck)
        warn_of_spread(self.tensors[stem].shape[1], model.config.stem_channels)
        found = {source.variable.path for source in sources} | {model.sampling_seed.path}
        return ImportedWeights(
            ignored, [weight.path for weight in model.weights if weight.path not in found]
        )


def read_checkpoint(path: str | os.PathLike) -> Checkpoint:
    """Reads a checkpoint, and what wrote it, from its content; code in it is not run.

    Args:
        path: A Detectron2 or Detectron `.pkl`; a `.pth` of torchvision or Detectron2 (needs the
            extra `[torch]`); an `.h5` of keras.applications.

    Raises:
        ValueError: Broken, not weights, wanting to run code, or of an unknown model.
        FileNotFoundError: There is no such file.
        ImportError: A `.pth` file without PyTorch.
    """
    path = os.fspath(path)
    content = _read(path)
    for key in ("model", "state_dict", "blobs"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if isinstance(content, Mapping):
        tensors = {str(name): value for name, value in content.items()}
        for source in FORMATS:
            if source.recognises(tensors):
                return Checkpoint(path, source, source.prepare(tensors))
        content = ", ".join(list(tensors)[:4])
    known = ", ".join(source.NAME for source in FORMATS)
    raise ValueError(
        f"{path}: not a checkpoint of a model of this package by {known}; "
        f"it begins with {str(content)[:200]!r}."
    )


def _read(path):
    with open(path, "rb") as file:
        start = file.read(64)
    if not start:
        raise ValueError(f"{path}: the file is empty.")
    if start.lstrip().startswith(b"<"):
        raise ValueError(
            f"{path}: a web page, not weights; open it to see what the server had to say, and "
            "download the file again."
        )
    if start.startswith(H5_SIGNATURE):
        return keras_applications.read_h5(path)
    return load_torch(path) if start.startswith(TORCH_SIGNATURES) else load_pickle(path)


def load_model(
    model_class: type[keras.Model], path: str | os.PathLike, **overrides: Any
) -> keras.Model:
    """The model that a published checkpoint holds, with its weights.

    Of a backbone, it is a model on this backbone whose other weights are new.

    Args:
        model_class: `MaskRCNN`.
        path: See `read_checkpoint`.
        **overrides: Fields of the config to change, and keywords of the model such as
            `dtype="mixed_bfloat16"`. With another `num_classes` than the checkpoint's the last
            layers of the heads start anew; with more `channels` the stem's kernel is spread.

    Raises:
        ValueError: Not a checkpoint of a model of this package, or one of another shape than the
            overrides ask for.

    Example:
        >>> model = load_model(MaskRCNN, "model_final_f10217.pkl", num_classes=3, freeze_at=2)
    """
    checkpoint = read_checkpoint(path)
    fields = checkpoint.config()
    model = model_class(fields, **overrides)
    num_classes = fields.get("num_classes", model.config.num_classes)  # of a backbone, none
    transfer_weights(model, num_classes, checkpoint.load_into)
    return model


def import_weights(model: keras.Model, path: str | os.PathLike) -> ImportedWeights:
    """Loads a checkpoint into `model`: a whole model, or a backbone; every tensor of it or none.

    Args:
        model: A `MaskRCNN`.
        path: See `read_checkpoint`.

    Returns:
        The names of the tensors that were ignored, and of the weights that were not set.

    Raises:
        ValueError: The checkpoint contradicts the model's config (the fields are named), or a
            tensor is missing, left over or of another shape (the first ones are named).
    """
    checkpoint = read_checkpoint(path)
    _check_config(model.config, checkpoint)
    return checkpoint.load_into(model)


def _check_config(config, checkpoint):
    theirs, ours = checkpoint.config(), config.to_dict()
    implied = MaskRCNNConfig.from_dict(theirs, checkpoint.path).to_dict()
    contradictions = [
        f"{name}: the checkpoint has {implied[name]}, the model {ours[name]}"
        for name in theirs
        if implied[name] != ours[name]
        and not (name == "norm" and {implied[name], ours[name]} <= set(AFFINE))
        # Without a mask branch these say nothing of the model.
        and (config.mask or "mask_" not in name)
    ]
    if contradictions:
        lines = "\n  ".join(contradictions)
        raise ValueError(
            f"{checkpoint.path} is of another model:\n  {lines}\n"
            "Use MaskRCNN.from_checkpoint, or set these fields."
        )
