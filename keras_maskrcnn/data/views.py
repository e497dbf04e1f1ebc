"""Affine views of an image: what they show of its pixels, of boxes and of masks in boxes."""

import math
from typing import NamedTuple

import tensorflow as tf

ROUNDING = 0.01  # pixels by which two borders may differ that are meant to be the same


class View(NamedTuple):
    """What an augmented image shows of the original.

    Each of `rotate`, `crop`, `resize` and `flip` gives a view of the view. `image`, `boxes` and
    `masks` then sample the original once.

    Attributes:
        matrix: (3, 3), takes points (x, y, 1) of the augmented image to those of the original, in
            continuous pixels: the centre of the first pixel is at (0.5, 0.5).
        height: Of the augmented image in pixels, a whole number as float32.
        width: The same.
        rotated: Whether it may lie at a slant.
        cropped: Whether it may leave out something.
    """

    matrix: tf.Tensor
    height: tf.Tensor
    width: tf.Tensor
    rotated: bool = False
    cropped: bool = False

    @classmethod
    def of(cls, image: tf.Tensor) -> "View":
        """All of an image (H, W, 3), as it is."""
        height, width, _ = tf.unstack(tf.cast(tf.shape(image), tf.float32))
        return cls(tf.eye(3), height, width)

    def rotate(self, degrees: tf.Tensor) -> "View":
        """Turned counter-clockwise about the centre, in an image just large enough."""
        angle = degrees * (math.pi / 180)
        cos, sin = tf.cos(angle), tf.sin(angle)
        height = _rounded(tf.abs(sin) * self.width + tf.abs(cos) * self.height)
        width = _rounded(tf.abs(cos) * self.width + tf.abs(sin) * self.height)
        turn = tf.stack([[cos, -sin], [sin, cos]])
        centre, new_centre = tf.stack([self.width, self.height]) / 2, tf.stack([width, height]) / 2
        matrix = self.matrix @ _affine(turn, centre - tf.linalg.matvec(turn, new_centre))
        return self._replace(matrix=matrix, height=height, width=width, rotated=True)

    def crop(self, height: tf.Tensor, width: tf.Tensor, top: tf.Tensor, left: tf.Tensor) -> "View":
        """A part of it, of about this height and width and at most all.

        `top` and `left`, 0..1, choose among the whole pixels where it can begin.
        """
        height = tf.minimum(_rounded(height), self.height)
        width = tf.minimum(_rounded(width), self.width)
        x, y = whole_number(left, 0, self.width - width), whole_number(top, 0, self.height - height)
        matrix = self.matrix @ _affine(tf.eye(2), tf.stack([x, y]))
        return self._replace(matrix=matrix, height=height, width=width, cropped=True)

    def resize(self, short_side: tf.Tensor | float, longest_side: tf.Tensor | float) -> "View":
        """All of it at another size, that of `resized_shape` in `data.images`."""
        # In float64, so that it rounds as Python does.
        sides = tf.cast(tf.stack([self.height, self.width]), tf.float64)
        short_side, longest_side = (tf.cast(s, tf.float64) for s in (short_side, longest_side))
        scale = tf.minimum(short_side / tf.reduce_min(sides), longest_side / tf.reduce_max(sides))
        height, width = tf.unstack(tf.cast(_rounded(sides * scale), tf.float32))
        scale = tf.stack([self.width / width, self.height / height])
        matrix = self.matrix @ _affine(tf.linalg.diag(scale), tf.zeros(2))
        return self._replace(matrix=matrix, height=height, width=width)

    def flip(self, mirrored: tf.Tensor) -> "View":
        """Left and right exchanged where `mirrored`."""
        scale = tf.stack([tf.where(mirrored, -1.0, 1.0), 1.0])
        shift = tf.stack([tf.where(mirrored, self.width, 0.0), 0.0])
        return self._replace(matrix=self.matrix @ _affine(tf.linalg.diag(scale), shift))

    @property
    def size(self) -> tf.Tensor:
        """(2,) int32 height and width."""
        return tf.cast(tf.stack([self.height, self.width]), tf.int32)

    def image(self, image: tf.Tensor, black: float = 0.0) -> tf.Tensor:
        """What it shows of the pixels (H, W, C): float32, smoothed where it shrinks.

        What lies outside of the image is `black`.
        """
        images = tf.cast(image, tf.float32)[None]
        images = _warp(images - black, self) + black if self.rotated else _resample(images, self)
        return tf.ensure_shape(images[0], (None, None, image.shape[-1]))

    def boxes(self, boxes: tf.Tensor) -> tf.Tensor:
        """Boxes (N, 4) xyxy around boxes of the original; they may reach out of the view."""
        inverse = tf.linalg.inv(self.matrix)
        corners = tf.reshape(tf.gather(boxes, [0, 1, 2, 1, 0, 3, 2, 3], axis=1), (-1, 4, 2))
        corners = tf.matmul(corners, inverse[:2, :2], transpose_b=True) + inverse[:2, 2]
        return tf.concat([tf.reduce_min(corners, 1), tf.reduce_max(corners, 1)], axis=1)

    def masks(self, masks: tf.Tensor, boxes: tf.Tensor, new_boxes: tf.Tensor) -> tf.Tensor:
        """Masks (N, M, M) uint8, cut out in boxes of the original, as in boxes of the view."""
        size = tf.shape(masks)[1:]
        cells = tf.cast(size[0], tf.float32)
        scale = cells / tf.maximum(boxes[:, 2:] - boxes[:, :2], 1e-6)
        to_cells = _affine(tf.linalg.diag(scale), -boxes[:, :2] * scale)
        new_scale = (new_boxes[:, 2:] - new_boxes[:, :2]) / cells
        from_cells = _affine(tf.linalg.diag(new_scale), new_boxes[:, :2])
        matrices = to_cells @ self.matrix @ from_cells
        values = _project(tf.cast(masks, tf.float32)[..., None], matrices, size)
        return tf.ensure_shape(tf.cast(values[..., 0] >= 0.5, tf.uint8), masks.shape)


def whole_number(draw: tf.Tensor, low: tf.Tensor | int, high: tf.Tensor | int) -> tf.Tensor:
    """The whole number from `low` to `high`, both possible, that `draw` 0..1 chooses: float32."""
    low, high = tf.cast(low, tf.float32), tf.cast(high, tf.float32)
    return tf.minimum(tf.floor(low + draw * (high - low + 1)), high)


def _rounded(length):
    return tf.maximum(tf.floor(length + 0.5), 1)


def _affine(linear, shift):
    """(..., 3, 3) of the map `linear @ point + shift`, (..., 2, 2) and (..., 2)."""
    rows = tf.concat([linear, shift[..., None]], axis=-1)
    padding = [[0, 0]] * (rows.shape.rank - 2) + [[0, 1], [0, 0]]
    return tf.pad(rows, padding) + tf.constant([[0.0] * 3, [0.0] * 3, [0.0, 0.0, 1.0]])


def _warp(images, view):
    """The view of images (1, H, W, C), one that may be rotated."""
    # It samples single points, which would alias; so the image shrinks before.
    area = tf.abs(tf.linalg.det(view.matrix[:2, :2]))
    scale = tf.minimum(tf.math.rsqrt(area), 1.0)
    height, width = tf.unstack(_rounded(scale * _sides(images)))
    shrink = tf.linalg.diag(tf.stack([scale, scale, 1.0]))
    images = _resample(images, View(tf.linalg.inv(shrink), height, width))
    return _project(images, (shrink @ view.matrix)[None], view.size)


def _resample(images, view):
    """The view of images (1, H, W, C), one that is not rotated."""
    mirrored = view.matrix[0, 0] < 0
    left = view.matrix[0, 2] + tf.where(mirrored, view.matrix[0, 0] * view.width, 0.0)
    start = tf.stack([view.matrix[1, 2], left])
    scale = 1 / tf.abs(tf.stack([view.matrix[1, 1], view.matrix[0, 0]]))
    images = _scale(images, start, scale, view.size)
    return tf.cond(mirrored, lambda: tf.reverse(images, [2]), lambda: images)


def _scale(images, start, scale, size):
    """The part of images (1, H, W, C) that begins at `start`, scaled, rows first."""

    def smooth():
        return tf.raw_ops.ScaleAndTranslate(
            images=images,
            size=size,
            scale=scale,
            translation=-start * scale,
            kernel_type="triangle",
            antialias=True,
        )

    # The same where all of an image grows, and several times as fast.
    end = start + tf.cast(size, tf.float32) / scale
    cut = tf.abs(tf.concat([start, end - _sides(images)], 0)) > ROUNDING
    shrinks = scale < 1 - 1e-6
    plain = ~(tf.reduce_any(cut) | tf.reduce_any(shrinks))
    return tf.cond(plain, lambda: tf.image.resize(images, size), smooth)


def _sides(images):
    """(2,) float32 height and width of images (N, H, W, C)."""
    return tf.cast(tf.shape(images)[1:3], tf.float32)


def _project(images, matrices, size):
    """Images (N, H, W, C) float32 seen through (N, 3, 3) `matrices`, bilinear, 0 outside."""
    # The op counts from the centre of the first pixel.
    half = tf.constant([0.5, 0.5])
    matrices = _affine(tf.eye(2), -half) @ matrices @ _affine(tf.eye(2), half)
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.reshape(matrices, (-1, 9))[:, :8],
        output_shape=size,
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
