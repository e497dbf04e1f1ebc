"""A SavedModel that TensorFlow Serving loads as it is: stock operations only."""

import os
import tempfile

import keras
import tensorflow as tf

from keras_maskrcnn.export.assets import write_class_names, write_warmup
from keras_maskrcnn.export.endpoints import make_endpoints
from keras_maskrcnn.export.folding import folded_copy

ROI_ALIGN = {"portable": "portable", "custom": "compiled"}
DTYPES = ("float32", "bfloat16")


def export_saved_model(
    model: keras.Model,
    path: str | os.PathLike,
    roi_align: str = "portable",
    dtype: str | None = None,
    pasted_masks: bool = False,
    verbose: bool = True,
) -> None:
    """Writes `model` as a SavedModel; images of any size, batches of any size.

    Its signatures are

    - `serving_default`: `images` (B, H, W, 3) uint8 RGB, which are not resized: send them as the
      model was trained on them; of a config with other `channels` or `pixel_range`, (B, H, W,
      channels) of the type that `export.endpoints.image_dtype` says;
    - `serve_sizes`: the same with `image_sizes` (B, 2) int32, height and width of the valid
      top-left part of each image, the rest being padding;
    - `serve_bytes`: `image_bytes` (B,) string, JPEG or PNG files, which are decoded and resized
      by the rule of the model's config; only where images are RGB 0..255, for TensorFlow's
      operations read no others.

    Each returns `boxes` (B, D, 4) float32 xyxy pixels of the images that were sent, `scores`
    (B, D), `classes` (B, D) int32, -1 where padded, `num_detections` (B,) int32, and, of a model
    with a mask branch, `masks` (B, D, m, m), probabilities in the box.

    Batch norms are folded into the weights, which are variables, one set for all signatures. The
    names of the classes are in `assets/class_names.txt`, one a line, and requests to warm
    TensorFlow Serving up in `assets.extra`. The model itself stays as it is.

    Args:
        model: A `MaskRCNN`.
        path: The folder to write, e.g. `serving/1`.
        roi_align: `"portable"`, in stock operations, or `"custom"`, the compiled one, for servers
            that link it: faster, see `docs/tf_serving_custom_op.md`.
        dtype: What to compute in, `"float32"` or `"bfloat16"`; boxes and scores are float32
            all the same. The model's own if None.
        pasted_masks: Whether to return `pasted_masks` (B, D, H, W) uint8 too, 1 inside of an
            object, at the size of the images that were sent (of the largest file in a batch).
            They take B * D * H * W bytes, twice that for a while: 107 MB for 100 detections in
            one image of 800 x 1333 pixels. Clients that paste `masks` themselves need 0.3 MB.
        verbose: Whether to print what was written.

    Raises:
        ValueError: An unknown `roi_align` or `dtype`, or `pasted_masks` of a model without masks.
        RuntimeError: `roi_align="custom"`, and the op is not compiled.

    Example:
        >>> export_saved_model(model, "serving/1", verbose=False)
        >>> serve = tf.saved_model.load("serving/1").signatures["serving_default"]
        >>> serve(images=tf.zeros((1, 480, 640, 3), tf.uint8))["boxes"].shape
        TensorShape([1, 100, 4])
    """
    _check_choice("roi_align", roi_align, ROI_ALIGN)
    if dtype is not None:
        _check_choice("dtype", dtype, DTYPES)
    if pasted_masks and not model.config.mask:
        raise ValueError("pasted_masks=True needs a mask branch; this model has mask=False.")
    path = os.fspath(path)
    policy = keras.DTypePolicy(dtype) if dtype else model.dtype_policy
    module, served = tf.Module(), folded_copy(model, ROI_ALIGN[roi_align], policy)
    module.detect = _detection(served)
    module.weights = module.detect.variables  # which a traced function does not keep by itself
    endpoints = make_endpoints(module.detect, model.config, pasted_masks)
    with tempfile.TemporaryDirectory() as folder:
        module.class_names = tf.saved_model.Asset(write_class_names(model.config, folder))
        # Gradients would be traced for the sake of training, and need names that are ours.
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        tf.saved_model.save(module, path, signatures=endpoints, options=options)
    write_warmup(path, model.config)
    if verbose:
        print(f"{path}: {_size(path) / 1e6:.1f} MB, signatures {', '.join(endpoints)}")


def _size(folder):
    """Bytes of the files in a folder, of any file system that TensorFlow knows."""
    return sum(
        tf.io.gfile.stat(tf.io.gfile.join(parent, file)).length
        for parent, _, files in tf.io.gfile.walk(folder)
        for file in files
    )


def _check_choice(name, value, choices):
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}.")


def _detection(served):
    """The concrete function of images and their sizes."""

    @tf.function(
        input_signature=[
            tf.TensorSpec((None, None, None, served.config.channels), tf.float32, name="images"),
            tf.TensorSpec((None, 2), tf.int32, name="image_sizes"),
        ],
        autograph=False,
    )
    def detect(images, image_sizes):
        return served({"images": images, "image_sizes": image_sizes}, training=False)

    return detect.get_concrete_function()
