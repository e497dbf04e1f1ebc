"""The ResNet-50 and ResNet-101 of keras.applications: backbones in HDF5."""

import os
import re
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np

from keras_maskrcnn.weights.layout import Slot

NAME = "keras.applications"
IGNORED = re.compile(r"^predictions/")
CONVS = {"shortcut": "0", "conv1": "1", "conv2": "2", "conv3": "3"}


def read_h5(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The arrays of a Keras weights file by `layer/weight`, from the weights or the whole model.

    Raises:
        ValueError: Not an HDF5 file, or one that is cut off.
    """
    tensors = {}

    def collect(name, item):
        if isinstance(item, h5py.Dataset):
            layer, *_, weight = name.split("/")
            tensors[f"{layer}/{weight.split(':')[0]}"] = np.asarray(item)

    try:
        with h5py.File(path, "r") as file:
            file.get("model_weights", file).visititems(collect)
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{os.fspath(path)}: not a readable HDF5 file: {error}.") from error
    return tensors


def recognises(tensors: Mapping[str, np.ndarray]) -> bool:
    """Whether these are the names of a ResNet of version 1."""
    return {"conv1_conv/kernel", "conv2_block1_0_bn/gamma"} <= tensors.keys()


def prepare(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The kernels in PyTorch's layout, and the biases of the convolutions in the norms.

    A norm that subtracts the mean m of a convolution with bias b is the one that subtracts m - b
    of the same convolution without.
    """
    prepared = dict(tensors)
    for name in tensors:
        layer, weight = name.split("/")
        if layer.endswith("_conv") and weight == "kernel":
            prepared[name] = tensors[name].transpose(3, 2, 0, 1)
        elif layer.endswith("_conv") and weight == "bias":
            mean = f"{layer.removesuffix('_conv')}_bn/moving_mean"
            prepared[mean] = tensors[mean] - prepared.pop(name)
    return prepared


def tensor_name(part: str, weight: str, neck: str) -> str:
    """The name of the array of a `Slot`; there are only those of the backbone."""
    layer = "conv1" if part == "stem" else part
    if part.startswith("res"):
        stage, block, conv = part.removeprefix("res").split(".")
        layer = f"conv{stage}_block{int(block) + 1}_{CONVS[conv]}"
    return f"{layer}_{'conv' if weight == 'kernel' else 'bn'}/{weight}"


def adapt(slot: Slot, tensor: np.ndarray) -> np.ndarray:
    """The tensor for RGB pixels; these models feed BGR."""
    return tensor[:, ::-1] if (slot.part, slot.weight) == ("stem", "kernel") else tensor


def settings(tensors: Mapping[str, np.ndarray], fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the config that these models agree on."""
    return {
        "stride_in_1x1": True,
        "norm_epsilon": 1.001e-5,
        "pixel_mean": (123.68, 116.779, 103.939),
        "pixel_std": (1.0, 1.0, 1.0),
    }
