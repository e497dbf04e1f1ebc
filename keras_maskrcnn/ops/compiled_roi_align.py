"""RoIAlign and RoIPool as ops of TensorFlow's own, compiled from `custom_ops/roi_align`."""

import ctypes
import functools
import pathlib
import re
import warnings
from collections.abc import Sequence
from types import ModuleType
from typing import NamedTuple

import tensorflow as tf

from keras_maskrcnn.ops.build import abi, built_for, library_name

LIBRARY = pathlib.Path(__file__).with_name(library_name(tf.__version__))
BUILT_FOR = re.compile(rb"keras_maskrcnn built for TensorFlow (\S+) (with|without) CUDA\.")
ATTRIBUTES = ("output_size", "strides", "canonical_scale")
ALIGN_ATTRIBUTES = (*ATTRIBUTES, "sampling_ratio", "aligned", "aggregation")


class Library(NamedTuple):
    """The compiled ops, or why there are none."""

    ops: ModuleType | None
    description: str


@functools.cache
def load(path: pathlib.Path = LIBRARY) -> Library:
    """Loads the compiled ops, if they are built for the TensorFlow that is running.

    A file for another TensorFlow is recognised before it is loaded, which could crash the process.
    """
    remedy = "compile it with `keras-maskrcnn build-ops`"
    if not path.is_file():
        others = ", ".join(built_for(path.parent)) or "no version"
        reason = f"this is TensorFlow {tf.__version__}, the compiled op is there for {others}"
        return Library(None, f"portable and slower: {reason}; {remedy}")
    found = BUILT_FOR.search(path.read_bytes())
    version, cuda = (part.decode() for part in found.groups()) if found else ("?", "without")
    if abi(version) != abi(tf.__version__):
        reason = f"{path.name} was built for TensorFlow {version}, this is {tf.__version__}"
        return Library(None, f"portable: {reason}; {remedy}")
    if cuda == "without" and tf.config.list_physical_devices("GPU"):
        return Library(None, f"portable: {path.name} was built without CUDA; {remedy}")
    try:
        ops = tf.load_op_library(str(path))
    except (tf.errors.OpError, OSError) as error:
        return Library(None, f"portable: {path.name} cannot be loaded ({error}); {remedy}")
    instructions = ctypes.CDLL(str(path)).keras_maskrcnn_instruction_set
    instructions.restype = ctypes.c_char_p
    description = f"compiled for TensorFlow {version} {cuda} CUDA, {instructions().decode()}"
    return Library(ops, description)


@functools.cache
def warn_once() -> None:
    """Says that the portable version runs, and why."""
    warnings.warn(f"RoIAlign is {load().description}.", stacklevel=2)


def roi_align(
    features: Sequence[tf.Tensor],
    boxes: tf.Tensor,
    strides: Sequence[int],
    output_size: int,
    sampling_ratio: int,
    aligned: bool,
    aggregation: str,
) -> tf.Tensor:
    """See `keras_maskrcnn.ops.roi_align.roi_align`."""
    return load().ops.keras_maskrcnn_roi_align(
        features=features,
        boxes=boxes,
        output_size=output_size,
        strides=list(strides),
        sampling_ratio=sampling_ratio,
        aligned=aligned,
        aggregation=aggregation,
    )


def roi_pool(
    features: Sequence[tf.Tensor], boxes: tf.Tensor, strides: Sequence[int], output_size: int
) -> tf.Tensor:
    """See `keras_maskrcnn.ops.roi_align.roi_pool`."""
    return load().ops.keras_maskrcnn_roi_pool(
        features=features, boxes=boxes, output_size=output_size, strides=list(strides)
    )


@tf.RegisterGradient("KerasMaskrcnn>RoiAlign")
def _roi_align_gradient(op, upstream):
    gradient_op = load().ops.keras_maskrcnn_roi_align_grad
    # A mean's gradient has no need of the features, which then need not be kept for it.
    read = op.inputs[:-1] if op.get_attr("aggregation") == b"max" else []
    return _gradient(gradient_op, op, upstream, ALIGN_ATTRIBUTES, read)


@tf.RegisterGradient("KerasMaskrcnn>RoiPool")
def _roi_pool_gradient(op, upstream):
    gradient_op = load().ops.keras_maskrcnn_roi_pool_grad
    return _gradient(gradient_op, op, upstream, ATTRIBUTES, op.inputs[:-1])


def _gradient(gradient_op, op, upstream, attributes, features):
    *levels, boxes = op.inputs
    gradients = gradient_op(
        features=features,
        shapes=[tf.shape(level) for level in levels],
        boxes=boxes,
        upstream=upstream,
        **{name: op.get_attr(name) for name in attributes},
    )
    return [*gradients, None]
