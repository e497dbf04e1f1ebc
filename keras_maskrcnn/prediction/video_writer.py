"""Videos of what was found, with the sound of where it was found."""

import os
import pathlib
import shutil
import subprocess

import cv2
import numpy as np


class VideoWriter:
    """Writes pictures as an MP4 file that keeps the time of the video that they are of.

    Where frames are missing the one before stays, so that the sound fits.

    Args:
        path: Where to; `.mp4`.
        fps: Frames a second.

    Raises:
        OSError: The file cannot be written there. It is raised by the first picture.

    Example:
        >>> with VideoWriter("out.mp4", fps=25) as writer:
        ...     for i in range(3):
        ...         writer.write(np.zeros((48, 64, 3), np.uint8), time=i / 25)
    """

    def __init__(self, path: str | os.PathLike, fps: float):
        self.path, self.fps = pathlib.Path(path), fps
        self._writer: cv2.VideoWriter | None = None
        self._written = 0

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, *_) -> None:
        if self._writer is not None:
            self._writer.release()

    def write(self, picture: np.ndarray, time: float) -> None:
        """Adds a picture (H, W, 3) uint8 RGB, `time` seconds after the first."""
        if self._writer is None:
            self._size = picture.shape[1::-1]
            codec = cv2.VideoWriter.fourcc(*"mp4v")
            self._writer = cv2.VideoWriter(str(self.path), codec, self.fps, self._size)
            if not self._writer.isOpened():
                raise OSError(f"{self.path}: the video cannot be written there.")
        if picture.shape[1::-1] != self._size:  # OpenCV would leave it out without a word
            picture = cv2.resize(picture, self._size)
        picture = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
        for _ in range(round(time * self.fps) + 1 - self._written):
            self._writer.write(picture)
            self._written += 1


def add_sound(path: str | os.PathLike, source: str | os.PathLike) -> None:
    """Gives a video the sound of another one, if that has any, by the program ffmpeg.

    The sound is copied; where MP4 cannot hold it as it is, it becomes AAC.

    Args:
        path: The video, an `.mp4` file, which is replaced.
        source: The video with the sound.

    Raises:
        FileNotFoundError: There is no program ffmpeg.
        ValueError: ffmpeg could not do it; the video stays as it is.

    Example:
        >>> add_sound("found/in.mp4", "in.mp4")
    """
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        raise FileNotFoundError("There is no program ffmpeg.")
    path = pathlib.Path(path)
    new = path.with_suffix(".sound.mp4")
    command = [ffmpeg, "-nostdin", "-v", "error", "-y", "-i", str(path), "-i", os.fspath(source)]
    command += ["-map", "0:v", "-map", "1:a?", "-c:v", "copy", "-c:a"]
    for codec in ("copy", "aac"):
        done = subprocess.run([*command, codec, str(new)], capture_output=True, text=True)
        if done.returncode == 0:
            os.replace(new, path)
            return
    new.unlink(missing_ok=True)
    reason = " ".join(done.stderr.split())[-300:]
    raise ValueError(f"{source}: ffmpeg did not take the sound: {reason}")
