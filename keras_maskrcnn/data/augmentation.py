"""Augmentation of training images, with their boxes and masks, in `tf.data`.

Keras' own geometric layers move boxes and full-size masks, but know nothing of masks that are cut
out in their boxes; so here every geometric option is an affine map from points of the result to
points of the original, and their product is applied once to the image, the boxes and the masks.
Likewise every colour option is an affine map of RGB, and one product changes the pixels.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from keras_maskrcnn.data.views import ROUNDING, View, whole_number
from keras_maskrcnn.ops.boxes import shortest_side

Range = float | Sequence[float]

# Each option has random numbers of its own, so that one more option does not change the others.
DRAWS = (
    *("flip", "rotation", "crop_height", "crop_width", "crop_top", "crop_left"),
    *("short_side", "jitter", "jitter_top", "jitter_left"),
    *("brightness", "contrast", "saturation", "hue"),
)
COLOURS = ("brightness", "contrast", "saturation", "hue")
LUMA = (0.299, 0.587, 0.114)  # of RGB, as in ITU-R BT.601
SMALLEST_SIDE = 1.0  # pixels of an object that is kept


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Random changes of an image and of the objects in it.

    They are made in the order of the arguments from `rotation` on, each drawn anew for each
    image; what is None is off. A range is `(low, high)`; the number `v` alone stands for
    `(-v, v)`, unless another meaning is given. An object of which less than a pixel of width or
    height remains is dropped. A box that is cut off or turned becomes the extent of its visible
    mask, or without masks that of the part of the box that is inside.

    Without `short_side` and `scale_jitter` the image keeps the scale of its file.

    Args:
        horizontal_flip: The probability of exchanging left and right, 0..1.
        rotation: Degrees counter-clockwise, -180..180, about the centre. All of the image stays in
            sight; the corners that it leaves free are black
            until the colours change.
        crop: Height and width of a part of the image, as shares of its own, 0..1, each drawn by
            itself; `v` stands for `(v, 1)`.
        short_side: Pixels of the shorter side after resizing, whole numbers; `v` stands for
            `(v, v)`. Detectron2's baselines train with `(640, 800)`.
        longest_side: Pixels that the longer side may have after resizing to `short_side`.
        scale_jitter: Large-scale jitter (Ghiasi et al., 2021): the size of the image, as a factor
            of the size that just fits into a square of `jitter_size`, above 0; `v` stands for
            `(v, v)`. The paper has `(0.1, 2.0)`. What is larger than the square is cropped to it.
            It takes the place of `short_side`.
        jitter_size: Pixels of that square's side.
        brightness: Added to all pixels, as a share of 255 or of the width of `pixel_range`, -1..1.
        contrast: Change of the distance from the mean grey, -1 (all grey) .. 1 (double); without
            three channels, from the mean of all of them.
        saturation: Change of the distance of each pixel from its grey, -1..1; of three channels.
        hue: Share of a full turn of the colours around the grey axis, -0.5..0.5; of three channels.
        pixel_range: The lowest value that pixels can have, which is black, and the highest, as in
            the config. `rotation`, `brightness` and so on need it for images that are not uint8.

    Call arguments:
        element: `{"image": (H, W, 3) uint8 RGB, or (H, W, C) float32 within `pixel_range`,
            "boxes": (N, 4) float32 xyxy pixels, "classes": (N,) int32, -1 where padded, "masks":
            (N, M, M) uint8 0 or 1, cut out in the boxes}`, with or without masks, tensors or
            arrays. Further entries are passed on.
        seed: (2,) int32. The same seed gives the same result.

    Returns:
        The element, changed; its image, of the same type, has the size to train on. Rows of padding
        are dropped like objects, but where nothing else would be left one row of padding stays.

    Raises:
        ValueError: An option is out of its range, two exclude each other, the element lacks an
            entry, or its image has no such colours.

    Example:
        >>> augment = Augmentation(horizontal_flip=0.5, short_side=(640, 800))
        >>> image = np.zeros((480, 640, 3), np.uint8)
        >>> boxes = np.array([[10, 20, 110, 220]], np.float32)
        >>> element = {"image": image, "boxes": boxes, "classes": np.array([0], np.int32)}
        >>> int(min(augment(element, seed=(0, 1))["image"].shape[:2])) in range(640, 801)
        True
    """

    horizontal_flip: float = 0.0
    rotation: Range | None = None
    crop: Range | None = None
    short_side: int | Sequence[int] | None = None
    longest_side: int = 1333
    scale_jitter: Range | None = None
    jitter_size: int = 1024
    brightness: Range | None = None
    contrast: Range | None = None
    saturation: Range | None = None
    hue: Range | None = None
    pixel_range: Sequence[float] | None = None

    def __post_init__(self):
        if self.short_side is not None and self.scale_jitter is not None:
            raise ValueError("short_side and scale_jitter exclude each other: give one of them.")
        _number("horizontal_flip", self.horizontal_flip, 0, 1)
        _number("longest_side", self.longest_side, 1, math.inf, whole=True)
        _number("jitter_size", self.jitter_size, 1, math.inf, whole=True)
        self._set_range("rotation", -180, 180)
        self._set_range("crop", 0, 1, lambda value: (value, 1.0), above=True)
        self._set_range("short_side", 1, self.longest_side, lambda value: (value,) * 2, whole=True)
        self._set_range("scale_jitter", 0, math.inf, lambda value: (value,) * 2, above=True)
        for name in COLOURS:
            limit = 0.5 if name == "hue" else 1
            self._set_range(name, -limit, limit)
        if self.pixel_range is not None:
            self._set_range("pixel_range", -math.inf, math.inf)

    def _set_range(self, name, least, most, spread=lambda value: (-value, value), **checks):
        value = getattr(self, name)
        if value is None:
            return
        ends = spread(value) if isinstance(value, int | float) else value
        if isinstance(ends, str) or not isinstance(ends, Sequence) or len(ends) != 2:
            raise ValueError(f"{name} must be a number or (low, high), got {value!r}.")
        for end in ends:
            _number(name, end, least, most, **checks)
        if ends[0] > ends[1]:
            raise ValueError(f"{name} must be (low, high), low first, got {value!r}.")
        object.__setattr__(self, name, tuple(ends))  # the dataclass is frozen

    def get_config(self) -> dict[str, Any]:
        """The arguments that make it anew: `Augmentation(**config)`."""
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Augmentation":
        """The inverse of `get_config`."""
        return cls(**config)

    def __call__(self, element: Mapping[str, Any], seed) -> dict[str, tf.Tensor]:
        element = _tensors(element)
        numbers = tf.random.stateless_uniform([len(DRAWS)], seed)
        draws = dict(zip(DRAWS, tf.unstack(numbers), strict=True))
        view = self._view(element["image"], draws)
        image = self._change_pixels(element["image"], view, draws)
        return {**element, "image": image, **_move_objects(element, view)}

    def _view(self, image, draws):
        view = View.of(image)
        if self.rotation is not None:
            view = view.rotate(_between(draws["rotation"], self.rotation))
        if self.crop is not None:
            height = view.height * _between(draws["crop_height"], self.crop)
            width = view.width * _between(draws["crop_width"], self.crop)
            view = view.crop(height, width, draws["crop_top"], draws["crop_left"])
        if self.short_side is not None:
            view = view.resize(
                whole_number(draws["short_side"], *self.short_side), self.longest_side
            )
        if self.scale_jitter is not None:
            side = float(self.jitter_size)
            view = view.resize(math.inf, side * _between(draws["jitter"], self.scale_jitter))
            view = view.crop(side, side, draws["jitter_top"], draws["jitter_left"])
        return view.flip(draws["flip"] < self.horizontal_flip)

    def _change_pixels(self, stored, view, draws):
        recolours = any(getattr(self, name) is not None for name in COLOURS)
        low, high = self._pixel_range(stored, recolours)
        image = view.image(stored, low)
        if recolours:
            image = self._recolour(image, draws, high - low)
        if stored.dtype == tf.uint8:
            return tf.saturate_cast(tf.round(image), tf.uint8)
        return tf.clip_by_value(image, low, high) if recolours else image

    def _pixel_range(self, image, recolours):
        """The lowest and the highest value of an image's pixels; 0, 0 where nothing needs them."""
        if self.pixel_range is not None:
            return self.pixel_range
        if image.dtype == tf.uint8:
            return 0.0, 255.0
        if recolours or self.rotation is not None:
            raise ValueError(
                f"The image is {image.dtype.name}: give Augmentation the pixel_range of the config."
            )
        return 0.0, 0.0

    def _recolour(self, image, draws, width):
        """An image float32 in other colours; they may leave its range, which is of this width."""
        count = image.shape[-1]
        if count != 3 and (self.saturation is not None or self.hue is not None):
            raise ValueError(
                f"saturation and hue are of RGB, the image has {count} channels: leave them out."
            )
        brightness, contrast, saturation, hue = (
            _between(draws[name], getattr(self, name) or (0.0, 0.0)) for name in COLOURS
        )
        weights = LUMA if count == 3 else [1 / count] * count
        grey = tf.tile(tf.constant(weights)[:, None], [1, count])
        colours = tf.eye(count) + saturation * (tf.eye(count) - grey)
        colours = _hue_rotation(hue) @ colours if count == 3 else colours
        mean_grey = tf.reduce_mean(image, axis=(0, 1))[None] @ colours @ grey
        shift = width * brightness - contrast * mean_grey[0]
        return tf.tensordot(image, (1 + contrast) * colours, 1) + shift


def _number(name, value, least, most, whole=False, above=False):
    kind = int if whole else int | float
    fits = isinstance(value, kind) and not isinstance(value, bool) and least <= value <= most
    if not fits or (above and value == least) or math.isinf(value):
        limits = f"above {least}" if above else f"at least {least}"
        limits += f" and at most {most}" if most < math.inf else ""
        described = "whole number" if whole else "number"
        raise ValueError(f"{name} must be a {described} {limits}, got {value!r}.")


def _tensors(element):
    missing = [name for name in ("image", "boxes", "classes") if name not in element]
    if missing:
        raise ValueError(f"The element has no {', '.join(missing)}; it has {sorted(element)}.")
    element = {name: tf.convert_to_tensor(value) for name, value in element.items()}
    image = element["image"]
    is_rgb = image.dtype == tf.uint8 and image.shape[-1] == 3
    if image.shape.rank != 3 or not (is_rgb or image.dtype == tf.float32):
        raise ValueError(
            "image must be (H, W, 3) uint8, or (H, W, C) float32; got "
            f"{image.shape} {image.dtype.name}."
        )
    return element


def _between(draw, ends):
    return ends[0] + draw * (ends[1] - ends[0])


def _hue_rotation(turns):
    """(3, 3) that turns the colours in rows about the grey axis: by 1/3, red becomes green."""
    angle = turns * (2 * math.pi)
    across = tf.constant([[0.0, 1.0, -1.0], [-1.0, 0.0, 1.0], [1.0, -1.0, 0.0]])
    cos, sin = tf.cos(angle), tf.sin(angle)
    return cos * tf.eye(3) + (1 - cos) / 3 + sin / math.sqrt(3) * across


def _move_objects(element, view):
    """Boxes, classes and masks, if there are any, as they are in the view."""
    original, classes, masks = (element.get(name) for name in ("boxes", "classes", "masks"))
    hulls = view.boxes(original)
    boxes = tf.clip_by_value(hulls, 0.0, tf.stack([view.width, view.height] * 2))
    visible = classes >= 0
    if masks is not None and (view.rotated or view.cropped):
        loose = view.rotated | tf.reduce_any(tf.abs(boxes - hulls) > ROUNDING, axis=1)
        # Once more in the box found, in which the mask's edges stand out finer.
        for _ in range(2):
            seen = view.masks(masks, original, boxes)
            boxes = tf.where(loose[:, None], _extents(seen, boxes), boxes)
            visible &= ~loose | tf.reduce_any(seen > 0, axis=(1, 2))
    visible &= shortest_side(boxes) >= SMALLEST_SIDE
    moved = {"boxes": boxes, "classes": classes}
    if masks is not None:
        moved["masks"] = view.masks(masks, original, boxes)
    return _keep(moved, visible)


def _extents(masks, boxes):
    """The boxes (N, 4) around what is set of masks (N, M, M) in boxes; all of an empty one."""
    starts, ends = [], []
    for axis in (1, 2):  # columns for x, rows for y
        shown = tf.reduce_max(masks, axis=axis)
        starts.append(tf.argmax(shown, axis=1))
        ends.append(tf.argmax(tf.reverse(shown, [1]), axis=1))
    cells = (boxes[:, 2:] - boxes[:, :2]) / tf.cast(tf.shape(masks)[1], tf.float32)
    low = boxes[:, :2] + tf.cast(tf.stack(starts, 1), tf.float32) * cells
    high = boxes[:, 2:] - tf.cast(tf.stack(ends, 1), tf.float32) * cells
    return tf.concat([low, high], axis=1)


def _keep(objects, visible):
    """The visible rows; one of padding if there is none, for a batch needs a row."""
    first = tf.range(tf.size(visible)) == 0
    kept = visible | (first & ~tf.reduce_any(visible))
    padding = {"boxes": 0.0, "classes": -1, "masks": 0}
    rows = {}
    for name, values in objects.items():
        shown = tf.reshape(visible, [-1] + [1] * (values.shape.rank - 1))
        values = tf.where(shown, values, tf.cast(padding[name], values.dtype))
        rows[name] = tf.boolean_mask(values, kept)
    return rows
