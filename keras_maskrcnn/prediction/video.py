"""The objects of videos, streams and cameras, frame by frame."""

import contextlib
import itertools
import math
import os
import queue
import threading
import time
import warnings
from collections.abc import Generator, Iterable, Iterator
from typing import NamedTuple

import cv2
import keras
import numpy as np

from keras_maskrcnn.batch import describe_pixels
from keras_maskrcnn.detections import Detections
from keras_maskrcnn.prediction.predict import compile_detector, resize_for
from keras_maskrcnn.prediction.tracking import Tracker

USUAL_FPS = 30.0  # where a source does not say
# The headers of these say how many frames there are; of others the number comes from the duration,
# which may be that of the sound.
COUNTS_FRAMES = (".avi", ".m4v", ".mov", ".mp4")


def predict_video(
    model: keras.Model,
    source: str | os.PathLike | int,
    batch_size: int = 1,
    track: bool = False,
) -> Iterator[tuple[np.ndarray, Detections]]:
    """Finds the objects in a video, frame by frame.

    Frames are decoded ahead in a thread. Of a camera and of a stream without end the newest are
    looked at: those that come while the model is busy are left out.

    Args:
        model: A `MaskRCNN`.
        source: A file, the address of a stream (`"rtsp://..."`, `"http://..."`), or the number of
            a camera, from 0.
        batch_size: Frames at a time.
        track: Whether to follow the objects: `Detections.track_ids` are then numbers that last,
            from 1. An object has -1 in the first frame in which it is found.

    Returns:
        An iterator over the frames, (H, W, 3) uint8 RGB, each with its `Detections`. It warns at
        its end if frames are missing or broken, or if a stream or a camera has ended.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no video, or a stream or a camera that cannot be opened; or the model is
            not of RGB 0..255.
        ModuleNotFoundError: `track` needs supervision and trackers.

    Example:
        >>> for frame, found in predict_video(model, "in.mp4", batch_size=4):
        ...     picture = found[found.scores > 0.5].plot(frame)
    """
    return _pairs(model, Video(source), batch_size, track)


def _pairs(model, video, batch_size, track):
    found_in_video = find_in_video(model, video, batch_size, track)
    with video, contextlib.closing(found_in_video):  # the thread ends before the video is closed
        for frame, found in found_in_video:
            yield frame.pixels, found
    if video.complaint:
        warnings.warn(video.complaint, stacklevel=2)


class Frame(NamedTuple):
    """A picture of a video.

    Attributes:
        number: From 1; broken ones count.
        time: Seconds from the first one.
        pixels: (H, W, 3) uint8 RGB.
    """

    number: int
    time: float
    pixels: np.ndarray


class Video:
    """A video file, a stream or a camera, whose frames are read once, in order.

    Args:
        source: As for `predict_video`.

    Attributes:
        source: As given.
        fps: Frames a second; 30 if it does not say.
        frame_count: How many frames it promises; None if it does not say.
        is_live: Whether its frames come as they happen.
        frames_read: How many came so far.
        complaint: After the last frame: what was missing, or None.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no video, or a stream or a camera that cannot be opened.

    Example:
        >>> with Video("in.mp4") as video:
        ...     numbers = [frame.number for frame in video]
        >>> numbers[0], len(numbers) == video.frame_count
        (1, True)
    """

    def __init__(self, source: str | os.PathLike | int):
        self.source = source if isinstance(source, int) else os.fspath(source)
        self._is_file = isinstance(self.source, str) and "://" not in self.source
        if self._is_file and not os.path.isfile(self.source):
            raise FileNotFoundError(f"There is no video file {self.source}.")
        self._capture = cv2.VideoCapture(self.source)
        if not self._capture.isOpened():
            raise ValueError(
                f"{self.name}: not a video, or cut off before its frames."
                if self._is_file
                else f"{self.name} cannot be opened: is it there, and does nobody else use it?"
            )
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 0 < fps <= 1000 else USUAL_FPS
        count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.frame_count = count if count > 0 else None
        self.is_live = not self._is_file and self.frame_count is None
        self.frames_read = 0
        self.complaint: str | None = None

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"camera {self.source}" if isinstance(self.source, int) else self.source

    def __enter__(self) -> "Video":
        return self

    def __exit__(self, *_) -> None:
        self._capture.release()

    def __iter__(self) -> Iterator[Frame]:
        begin, passed, broken = time.monotonic(), -1 / self.fps, 0
        while True:
            is_read, picture = self._capture.read()
            if is_read:
                passed = time.monotonic() - begin if self.is_live else self._time_after(passed)
                self.frames_read += 1
                cv2.cvtColor(picture, cv2.COLOR_BGR2RGB, dst=picture)
                yield Frame(self.frames_read + broken, passed, picture)
            # A broken frame fails as the end does: only a file that promises more is read on.
            elif not self._is_file or self.frames_read + broken >= (self.frame_count or 0):
                break
            else:
                broken += 1
        self.complaint = self._complaint()

    def _time_after(self, last):
        """The time of the frame that was read, which is `last` seconds or more after the first."""
        passed = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if not passed > last:  # some files do not say
            passed = last + 1 / self.fps
        return passed if self.frame_count is None else min(passed, self.frame_count / self.fps)

    def _complaint(self):
        if self.frame_count is None:
            ended = f"{self.name} has ended after {self.frames_read} frames."
            return None if self._is_file and self.frames_read else ended
        exact = self._is_file and self.source.lower().endswith(COUNTS_FRAMES)
        missing = self.frame_count - self.frames_read
        if missing <= (0 if exact else math.ceil(self.fps)):
            return None
        return (
            f"{self.name}: {self.frame_count} frames were promised, {self.frames_read} could be "
            "read; the others are broken, cut off, or left out by an edit without re-encoding."
        )


def find_in_video(
    model: keras.Model, video: Video, batch_size: int = 1, track: bool = False
) -> Generator[tuple[Frame, Detections], None, None]:
    """As `predict_video`, of an opened video, and with the number and the time of each frame."""
    if not model.config.is_rgb:
        raise ValueError(
            f"{video.name}: frames of videos are RGB 0..255; the model is of "
            f"{describe_pixels(model.config)}: predict images."
        )
    tracker = Tracker(video.fps) if track else None
    detect = compile_detector(model)
    resized = ((frame, resize_for(model.config, frame.pixels)) for frame in video)
    with contextlib.closing(_ahead(resized, 2 * batch_size, newest=video.is_live)) as frames:
        for batch in _batches_of_one_size(frames, batch_size):
            for (frame, _), found in zip(batch, detect(_stacked(batch)), strict=True):
                yield frame, found if tracker is None else tracker.update(found)


def _batches_of_one_size(items, batch_size):
    """Streams may change their size."""
    for _, same in itertools.groupby(items, lambda item: item[0].pixels.shape):
        while batch := list(itertools.islice(same, batch_size)):
            yield batch


def _stacked(batch):
    images = np.stack([resized for _, resized in batch]).astype(np.float32)
    originals = np.array([frame.pixels.shape[:2] for frame, _ in batch], np.int32)
    sizes = np.full_like(originals, images.shape[1:3])
    return {"images": images, "image_sizes": sizes, "original_sizes": originals}


def _ahead(items: Iterable, size: int, newest: bool) -> Generator:
    """The items, taken in a thread up to `size` ahead; with `newest` it never waits, and the oldest
    that nobody took yet make room.
    """
    waiting: queue.Queue = queue.Queue(size)
    stopped = threading.Event()

    def put(item):
        while not stopped.is_set():
            try:
                return waiting.put(item, timeout=0 if newest else 0.1)
            except queue.Full:
                if newest:
                    with contextlib.suppress(queue.Empty):
                        waiting.get_nowait()

    def work():
        error = None
        try:
            for item in items:
                put([item])
                if stopped.is_set():
                    return
        except Exception as caught:
            error = caught
        put(error)

    # A daemon: whoever leaves the iterator lying about can still end the program.
    thread = threading.Thread(target=work, name="video", daemon=True)
    thread.start()
    try:
        while isinstance(item := waiting.get(), list):
            yield item[0]
        if item is not None:
            raise item
    finally:
        stopped.set()
        thread.join()
