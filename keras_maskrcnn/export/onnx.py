"""ONNX, of its standard operators only: RoiAlign and NonMaxSuppression are its own.

tf2onnx converts the model. Where it would meet an operation that ONNX has ready, the graph has a
placeholder that names the ONNX operator, its inputs and its attributes.
"""

import json
import os

import keras
import tensorflow as tf

from keras_maskrcnn.export.endpoints import image_dtype
from keras_maskrcnn.export.substitutes import with_substitutes
from keras_maskrcnn.ops.portable_roi_align import assign_levels

OPSET = 18


def export_onnx(model: keras.Model, path: str | os.PathLike) -> None:
    """Writes `model` as one ONNX file (opset 18), for any batch size and any size of the images.

    Inputs are `images` (B, H, W, 3) uint8 RGB, or of a config with other `channels` or
    `pixel_range` (B, H, W, channels) of the type that `export.endpoints.image_dtype` says, and
    `image_sizes` (B, 2) int32, height and width of the valid top-left part. Outputs are `boxes`
    (B, D, 4) float32 xyxy pixels of these images, `scores` (B, D) float32, `classes` (B, D) int32,
    -1 where padded, `num_detections` (B,) int32, and, unless it is a Faster R-CNN, `masks`
    (B, D, m, m) float32, probabilities in the box. It does not resize: send images of the size that
    the model was trained on. The file's metadata holds the config as JSON under `config`.

    Args:
        model: A `MaskRCNN`. Whatever its dtype policy, the file computes in float32.
        path: The file to write, e.g. `mask_rcnn.onnx`.

    Raises:
        ImportError: tf2onnx is missing.
        ValueError: The model pools its regions otherwise than by the mean of RoIAlign.

    Example:
        >>> import onnxruntime
        >>> export_onnx(model, "mask_rcnn.onnx")
        >>> session = onnxruntime.InferenceSession("mask_rcnn.onnx")
        >>> images = np.zeros((2, 480, 640, 3), np.uint8)
        >>> sizes = np.array([[480, 640], [480, 500]], np.int32)
        >>> boxes, *_ = session.run(None, {"images": images, "image_sizes": sizes})
        >>> boxes.shape
        (2, 100, 4)
    """
    try:
        import onnx
        import tf2onnx
    except ImportError as error:
        raise ImportError(
            f"{error.name} is missing: pip install 'maskrcnn-keras[onnx]' brings it."
        ) from error
    served = with_substitutes(model, _keep, _roi_align)
    signature = [
        tf.TensorSpec(
            (None, None, None, model.config.channels), image_dtype(model.config), name="images"
        ),
        tf.TensorSpec((None, 2), tf.int32, name="image_sizes"),
    ]

    @tf.function(input_signature=signature, autograph=False)
    def detect(images, image_sizes):
        return served({"images": images, "image_sizes": image_sizes}, training=False)

    written, _ = tf2onnx.convert.from_function(
        detect,
        input_signature=signature,
        opset=OPSET,
        custom_op_handlers={"PyFuncStateless": (_to_operator, []), "FloorMod": (_to_mod, [])},
    )
    _name_dimensions(written.graph)
    onnx.helper.set_model_props(written, {"config": json.dumps(model.config.to_dict())})
    onnx.checker.check_model(written, full_check=True)
    onnx.save(written, os.fspath(path))


def _name_dimensions(graph):
    """Gives the dimensions that may vary telling names."""
    for value in (*graph.input, *graph.output):
        sides = value.type.tensor_type.shape.dim
        for side, name in zip(sides, ("batch", "height", "width"), strict=False):
            if not side.dim_value:
                side.dim_param = name


def _operator(name, inputs, dtype, shape, **attributes):
    """A placeholder in TensorFlow's graph for the ONNX operator `name`."""
    # Not run by TensorFlow: the token, which would name a Python function, says what it stands for.
    token = json.dumps({"name": name, "attributes": attributes})
    (output,) = tf.raw_ops.PyFuncStateless(input=inputs, token=token, Tout=[dtype])
    return tf.ensure_shape(output, shape)


def _to_operator(context, node, name, args):
    """Makes the ONNX operator of a placeholder that tf2onnx has come to."""
    operator = json.loads(node.get_attr_str("token"))
    node.type = operator["name"]
    node.attr.clear()
    for key, value in operator["attributes"].items():
        node.set_attr(key, value)


def _to_mod(context, node, name, args):
    """tf2onnx's own version divides integers towards zero: -70 % 32 would be -6."""
    node.type = "Mod"


def _keep(boxes, scores, iou_threshold, max_kept):
    """See `with_substitutes`; each group is a row of ONNX's batch, with a single class."""
    limits = tf.constant(max_kept, tf.int64), tf.constant(iou_threshold, tf.float32)
    selected = _operator(
        "NonMaxSuppression",
        [boxes, scores[:, None], *limits, tf.constant(0.0)],
        tf.int64,
        [None, 3],
    )
    indices = tf.cast(tf.gather(selected, [0, 2], axis=1), tf.int32)
    ones = tf.ones(tf.shape(indices)[:1], tf.int32)
    return tf.scatter_nd(indices, ones, tf.shape(scores)) > 0


def _roi_align(layer, features, boxes):
    """See `with_substitutes`; each level cuts out its own boxes, and they are put in order."""
    batch, number = tf.unstack(tf.shape(boxes)[:2])
    images = tf.repeat(tf.range(tf.cast(batch, tf.int64)), number)
    rois = tf.reshape(boxes, [-1, 4])
    level = tf.zeros_like(images, tf.int32)
    if len(features) > 1:
        lowest = layer.strides[0].bit_length() - 1
        level = assign_levels(rois, lowest, lowest + len(features) - 1) - lowest
    rows, regions = [], []
    for i, (level_map, stride) in enumerate(zip(features, layer.strides, strict=True)):
        rows.append(tf.where(level == i)[:, 0])
        of_level = tf.gather(rois, rows[-1]), tf.gather(images, rows[-1])
        regions.append(_roi_align_of_level(layer, level_map, stride, *of_level))
    total = tf.size(images, tf.int64)
    place = tf.scatter_nd(tf.concat(rows, 0)[:, None], tf.range(total), total[None])
    regions = tf.transpose(tf.gather(tf.concat(regions, 0), place), [0, 2, 3, 1])
    return tf.reshape(regions, [batch, number, *regions.shape[1:]])


def _roi_align_of_level(layer, level_map, stride, rois, images):
    """Regions (N, C, h, w) of the boxes (N, 4) of images (N,)."""
    size = layer.output_size
    return _operator(
        "RoiAlign",
        [tf.transpose(level_map, [0, 3, 1, 2]), rois, images],
        tf.float32,
        [None, level_map.shape[-1], size, size],
        coordinate_transformation_mode="half_pixel" if layer.aligned else "output_half_pixel",
        output_height=size,
        output_width=size,
        sampling_ratio=layer.sampling_ratio,
        spatial_scale=1.0 / stride,
    )
