"""Large images, looked at in overlapping tiles."""

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np

from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.data.windows import WindowedImage
from keras_maskrcnn.detections import Detections
from keras_maskrcnn.ops.runs import Window, mask_runs
from keras_maskrcnn.prediction.seams import Part, join_parts

LEAST_TILE = 32  # pixels

Find = Callable[[Sequence[np.ndarray]], list[Detections]]


def check_tiles(tile_size: int, tile_overlap: float) -> None:
    """Refuses tiles that cannot be meant.

    Raises:
        ValueError: `tile_size` is below 32, or `tile_overlap` is not from 0 to below 1.
    """
    if tile_size < LEAST_TILE or int(tile_size) != tile_size:
        raise ValueError(
            f"tile_size must be a whole number of pixels, {LEAST_TILE} or more; got {tile_size}."
        )
    if not 0 <= tile_overlap < 1:
        raise ValueError(f"tile_overlap must be at least 0 and below 1, got {tile_overlap}.")


def tile_windows(size: tuple[int, int], tile_size: int, tile_overlap: float) -> list[Window]:
    """Squares that cover an image, row by row.

    They are spread evenly, so that neighbours overlap by at least the share asked for. Where the
    image is smaller than a tile, so is the window.

    Args:
        size: Height and width of the image.
        tile_size: Side of a tile, in pixels.
        tile_overlap: Least share of a tile that its neighbour has in common with it.

    Example:
        >>> tile_windows((100, 250), 100, 0.25)
        [(0, 0, 100, 100), (75, 0, 175, 100), (150, 0, 250, 100)]
    """
    rows, columns = (_starts(length, tile_size, tile_overlap) for length in size)
    height, width = (min(length, tile_size) for length in size)
    return [(x, y, x + width, y + height) for y, x in itertools.product(rows, columns)]


def _starts(length, tile_size, tile_overlap):
    rest = max(0, length - tile_size)
    step = max(1, int(tile_size * (1 - tile_overlap)))
    return np.linspace(0, rest, math.ceil(rest / step) + 1).round().astype(int).tolist()


def find_in_tiles(
    find: Find,
    config: MaskRCNNConfig,
    picture: WindowedImage,
    tile_size: int,
    tile_overlap: float,
    batch_size: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
) -> Detections:
    """The objects of one image, found in tiles and put together at their seams.

    An image that fits into a tile is looked at as without tiles. A tile of one colour shows
    nothing, and is passed over.

    Args:
        find: Gives the `Detections` of each of some tiles (h, w, C).
        config: Of the model.
        picture: The image.
        tile_size: Side of a tile, in pixels.
        tile_overlap: Least share of a tile that its neighbour has in common with it.
        batch_size: Tiles that `find` is given at a time.
        on_progress: Called with how many tiles are done, and of how many.

    Returns:
        `Detections` in the pixels of the image; unless one tile was enough, their masks are runs.
    """
    windows = tile_windows(picture.size, tile_size, tile_overlap)
    if len(windows) == 1:
        return find([picture.window(windows[0])])[0]
    parts: list[Part] = []
    tiles: dict[int, np.ndarray] = {}
    for number, window in enumerate(windows):
        tile = picture.window(window)
        if (tile != tile[0, 0]).any():
            tiles[number] = tile
        if len(tiles) == batch_size or (tiles and number + 1 == len(windows)):
            for of_tile, detections in zip(tiles, find(list(tiles.values())), strict=True):
                parts += _as_parts(detections, of_tile, windows[of_tile])
            tiles = {}
        if on_progress is not None:
            on_progress(number + 1, len(windows))
    objects = join_parts(parts, windows, picture.size)
    return Detections(
        boxes=np.array([part.box for part in objects]).reshape(-1, 4),
        scores=np.array([part.score for part in objects]),
        class_ids=np.array([part.class_id for part in objects]),
        box_masks=None,
        image_size=picture.size,
        class_names=config.class_names,
        mask_runs=[part.runs for part in objects] if config.mask else None,
    )


def _as_parts(detections, tile, window):
    """What was found in a tile, in the pixels of the image."""
    left, top, *_ = window
    for i, box in enumerate(detections.boxes):
        if detections.has_masks:
            part, (row, column) = detections.mask_part(i)
        else:  # then the box is all that is known of it
            column, row, right, bottom = np.round(box).astype(int)
            part = np.ones((bottom - row, right - column), bool)
        runs = mask_runs(part, (row + top, column + left))
        box = box + np.array([left, top, left, top], np.float32)
        yield Part(tile, box, detections.scores[i], detections.class_ids[i], runs)
