"""Test-time augmentation: an image in several sizes, also mirrored, and what is found merged."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.data.images import resize_image, resized_shape
from keras_maskrcnn.ops.nms import batched_nms

# Of `image_min_size`. Of 800 they are Detectron2's TEST.AUG.MIN_SIZES, 400 to 1200.
SCALES = (0.5, 0.625, 0.75, 0.875, 1.0, 1.125, 1.25, 1.375, 1.5)
# Of `image_max_size`. Detectron2 allows 4000 pixels where it else allows 1333.
LARGEST_SCALE = 3


class View(NamedTuple):
    """An image at another size, mirrored or not.

    Attributes:
        original_size: Height and width of the image.
        size: Height and width of the view.
        mirrored: Whether left and right are exchanged.
    """

    original_size: tuple[int, int]
    size: tuple[int, int]
    mirrored: bool

    def image(self, image: np.ndarray) -> np.ndarray:
        """The view (1, h, w, C) float32 of an image (H, W, C)."""
        image = resize_image(image, self.size).astype(np.float32)
        return np.ascontiguousarray(image[:, ::-1] if self.mirrored else image)[None]

    def boxes(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes (..., 4) xyxy of the image, in the pixels of the view."""
        boxes = boxes * _scale(self.original_size, self.size)
        return _mirror_boxes(boxes, self.size[1]) if self.mirrored else boxes

    def original_boxes(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes (..., 4) xyxy of the view, in the pixels of the image: the inverse of `boxes`."""
        boxes = _mirror_boxes(boxes, self.size[1]) if self.mirrored else boxes
        return boxes * _scale(self.size, self.original_size)

    def original_masks(self, masks: np.ndarray) -> np.ndarray:
        """Masks (..., m, m) in boxes of the view, as in boxes of the image."""
        return masks[..., ::-1] if self.mirrored else masks


def make_views(config: MaskRCNNConfig, height: int, width: int) -> list[View]:
    """The views of an image: `SCALES` times the size that `config` asks for, each also mirrored."""
    views = []
    for scale in SCALES:
        min_size = round(scale * config.image_min_size)
        max_size = LARGEST_SCALE * config.image_max_size
        size = resized_shape(height, width, min_size, max_size)
        views += [View((height, width), size, mirrored) for mirrored in (False, True)]
    return views


class AugmentedDetector:
    """Detects on all views of an image, as Detectron2's `GeneralizedRCNNWithTTA` does.

    The boxes found in all views are thinned together, per class. The masks of those that are left
    are predicted in each view, and averaged.

    Args:
        model: A `MaskRCNN`.

    Call arguments:
        image: (H, W, 3) RGB 0..255, or the `channels` and `pixel_range` of the config.

    Returns:
        What the model returns for a batch of one, in the pixels of `image`.

    Example:
        >>> detect = AugmentedDetector(model)
        >>> detect(np.zeros((480, 640, 3), np.uint8))["boxes"].shape
        (1, 100, 4)
    """

    def __init__(self, model):
        self.model = model
        image = tf.TensorSpec((1, None, None, model.config.channels))
        boxes, classes = tf.TensorSpec((1, None, 4)), tf.TensorSpec((1, None), tf.int32)
        count = tf.TensorSpec((1,), tf.int32)
        self._find_boxes = tf.function(self._boxes_of, [image], autograph=False)
        self._find_masks = tf.function(
            self._masks_of, [image, boxes, classes, count], autograph=False
        )

    def __call__(self, image: np.ndarray) -> dict[str, np.ndarray]:
        views = make_views(self.model.config, *image.shape[:2])
        found = self._merge([self._boxes_in(view, image) for view in views])
        if self.model.config.mask:
            found["masks"] = sum(self._masks_in(view, image, found) for view in views) / len(views)
        return found

    def _boxes_in(self, view, image):
        """Boxes (1, D, 4) in the pixels of the image, scores and classes of what a view shows."""
        found = self._find_boxes(view.image(image))
        boxes = view.original_boxes(found["boxes"].numpy())
        return boxes, found["scores"].numpy(), found["classes"].numpy()

    def _merge(self, found):
        c = self.model.config
        boxes, scores, classes = (
            np.concatenate(parts, axis=1) for parts in zip(*found, strict=True)
        )
        boxes, scores, classes, count = batched_nms(
            tf.constant(boxes, tf.float32)[:, :, None],
            scores[..., None] * tf.one_hot(classes, c.num_classes),
            iou_threshold=c.box_nms_threshold,
            max_per_group=c.box_detections_per_image,
            max_total=c.box_detections_per_image,
        )
        padded = tf.range(c.box_detections_per_image) >= count[:, None]
        classes = tf.where(padded, -1, classes)
        found = {"boxes": boxes, "scores": scores, "classes": classes, "num_detections": count}
        return {name: value.numpy() for name, value in found.items()}

    def _masks_in(self, view, image, found):
        """Masks (1, D, m, m) that a view shows of what was found."""
        boxes = view.boxes(found["boxes"]).astype(np.float32)
        pixels, classes, count = view.image(image), found["classes"], found["num_detections"]
        return view.original_masks(self._find_masks(pixels, boxes, classes, count).numpy())

    def _boxes_of(self, images):
        sizes = tf.shape(images)[None, 1:3]
        features = self.model.extract_features(images, sizes)
        proposals, _, count = self.model.proposals["test"](*self.model.run_rpn(features), sizes)
        return self.model.detect(features, proposals, count, sizes)

    def _masks_of(self, images, boxes, classes, count):
        # Computed a second time: the features of all views would take gigabytes.
        features = self.model.extract_features(images, tf.shape(images)[None, 1:3])
        found = {"boxes": boxes, "classes": classes, "num_detections": count}
        return self.model.detect_masks(features, found)


def _scale(size, other_size):
    """Factors of xyxy boxes from one (height, width) to another."""
    height, width = np.divide(other_size, size)
    return np.array([width, height, width, height])


def _mirror_boxes(boxes, width):
    x0, y0, x1, y1 = np.moveaxis(boxes, -1, 0)
    return np.stack([width - x1, y0, width - x0, y1], axis=-1)
