"""Finding the objects of millions of files: a stream that a killed process goes on with."""

import collections
import concurrent.futures
import dataclasses
import hashlib
import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from keras_maskrcnn.data.stored import read_pixels
from keras_maskrcnn.detections import Detections
from keras_maskrcnn.prediction.predict import compile_detector, predict, resize_for
from keras_maskrcnn.prediction.results_file import Progress, ResultsFile, result_lines
from keras_maskrcnn.prediction.tiles import check_tiles

# Batches are made of so many batches' files that follow each other, those of like shape together.
WINDOW = 8
COMMIT_SECONDS = 1.0


def predict_files(
    model,
    files: Iterable[str],
    output: str | os.PathLike,
    *,
    shard: tuple[int, int] = (1, 1),
    batch_size: int = 1,
    score_threshold: float = 0.5,
    tile_size: int | None = None,
    tile_overlap: float = 0.25,
    on_progress: Callable[[Progress], None] | None = None,
) -> Progress:
    """Finds the objects of image files and writes them in COCO's results format, an entry a line.

    Neither the files nor the results are held in memory. A run that was killed goes on where it
    stopped when it is started again in the same way, and gives the file of an undisturbed run;
    see `ResultsFile`. A file that cannot be read is passed over and listed, with the reason, in
    `<output without .json>.errors.jsonl`.

    Entries are those of `Detections.to_coco`. Their `image_id` is the file's number in `files`,
    from 1, whatever the shard and whatever was passed over; `file_name` and `category_name` are
    added.

    On a GPU, where sums come out in another order each time, the last digits of a run that was
    killed agree with those of an undisturbed one only under
    `tf.config.experimental.enable_op_determinism()`.

    Args:
        model: A `MaskRCNN`.
        files: Paths; empty ones count, but are not looked at.
        output: The file to write; it ends in `.json`.
        shard: (k, n) takes the files number k, k + n, k + 2n and so on; k is from 1 to n.
        batch_size: Images at a time.
        score_threshold: Keep objects that score at least this.
        tile_size: Looks at the images in tiles, with this side in pixels, one image after the
            other; see `prediction.predict.predict`.
        tile_overlap: Least share of a tile that the next one has in common with it.
        on_progress: Called now and then with how far the run is.

    Returns:
        How many files were looked at, failed, and objects found, those of killed runs included.

    Raises:
        ValueError: The run that was killed had other settings, another model or other files.
        FileExistsError: `output` is there and finished.

    Example:
        >>> with open("files.txt") as lines:
        ...     files = (line.rstrip("\\n") for line in lines)
        ...     progress = predict_files(model, files, "results.json")
        >>> progress.inputs
        3
    """
    index, count = shard
    if not 1 <= index <= count:
        raise ValueError(f"shard must be (k, n) with k from 1 to n; got {shard}.")
    numbered = itertools.islice(enumerate(files, 1), index - 1, None, count)
    numbered = ((number, file) for number, file in numbered if file)
    tiles = {}
    if tile_size is not None:
        check_tiles(tile_size, tile_overlap)
        tiles = {"tile_size": tile_size, "tile_overlap": tile_overlap}
    settings = {**_settings(model, shard, batch_size, score_threshold), **tiles}
    entries = _tiled_entries if tiles else _entries
    with ResultsFile(output, settings) as results:
        todo = results.remaining(numbered)
        committed = time.monotonic()
        for picture in entries(model, todo, batch_size, score_threshold, **tiles):
            if picture.error is None:
                results.add(picture.number, picture.file, picture.entries)
            else:
                results.add_failure(picture.number, picture.file, picture.error)
            # Only there: batches after a new start must be those of an undisturbed run.
            if picture.ends_window and time.monotonic() - committed > COMMIT_SECONDS:
                results.commit()
                committed = time.monotonic()
                if on_progress is not None:
                    on_progress(results.progress)
        results.finish()
        if on_progress is not None:
            on_progress(results.progress)
        return results.progress


@dataclasses.dataclass
class _Picture:
    """A file on its way: read, then looked at, then as text."""

    number: int
    file: str
    pixels: np.ndarray | None = None  # as resized for the model
    size: tuple[int, int] | None = None  # of the file
    error: str | None = None
    ends_window: bool = False
    found: Detections | None = None
    entries: list[str] | None = None


def _entries(model, numbered, batch_size, score_threshold):
    """Pictures in order, as entries; reading and writing go on in threads beside the model."""

    def read(item):
        picture = _Picture(*item)
        try:
            image = read_pixels(picture.file, model.config)
            picture.pixels, picture.size = resize_for(model.config, image), image.shape[:2]
        except (ValueError, OSError) as error:
            picture.error = str(error)
        return picture

    def encode(picture):
        if picture.error is None:
            named = picture.number, picture.file
            picture.entries = result_lines(picture.found, *named, score_threshold)
            picture.found = None
        return picture

    window = WINDOW * batch_size
    with concurrent.futures.ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        # A whole window, which is read while the model looks at the one before.
        pictures = _ahead(pool, read, numbered, window)
        yield from _ahead(pool, encode, _detect(model, pictures, batch_size), window)


def _tiled_entries(model, numbered, batch_size, score_threshold, **tiles):
    """As `_entries`, of pictures that are looked at in tiles: one is work enough."""
    for number, file in numbered:
        picture = _Picture(number, file, ends_window=True)
        try:
            found = predict(model, file, batch_size, verbose=0, **tiles)[0]
            picture.entries = result_lines(found, number, file, score_threshold)
        except (ValueError, OSError) as error:
            picture.error = str(error)
        yield picture


def _ahead(pool, function, items, number):
    """`pool.map` that takes no more than so many items before their results are asked for."""
    waiting = collections.deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > number:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _detect(model, pictures, batch_size) -> Iterator[_Picture]:
    """The pictures in order with what is found in them."""
    detect = compile_detector(model)
    for window in _batched(pictures, WINDOW * batch_size):
        readable = [picture for picture in window if picture.error is None]
        # Like shapes together need little padding.
        readable.sort(key=lambda picture: picture.pixels.shape)
        for batch in _batched(readable, batch_size):
            for picture, detections in zip(batch, detect(_padded(batch)), strict=True):
                picture.found, picture.pixels = detections, None
        window[-1].ends_window = True
        yield from window


def _batched(items, size):
    items = iter(items)
    while batch := list(itertools.islice(items, size)):
        yield batch


def _padded(pictures):
    sizes = np.array([picture.pixels.shape[:2] for picture in pictures], np.int32)
    channels = pictures[0].pixels.shape[2]
    images = np.zeros((len(pictures), *sizes.max(axis=0), channels), np.float32)
    for image, picture, (height, width) in zip(images, pictures, sizes, strict=True):
        image[:height, :width] = picture.pixels
    originals = np.array([picture.size for picture in pictures], np.int32)
    return {"images": images, "image_sizes": sizes, "original_sizes": originals}


def _settings(model, shard, batch_size, score_threshold):
    """What the results depend on beside the files."""
    digest = hashlib.sha256(model.dtype_policy.name.encode())
    for weight in model.get_weights():
        digest.update(weight.tobytes())
    return {
        "weights": digest.hexdigest()[:16],
        "shard": "{}/{}".format(*shard),
        "batch_size": batch_size,
        "score_threshold": score_threshold,
        **model.config.to_dict(),
    }
