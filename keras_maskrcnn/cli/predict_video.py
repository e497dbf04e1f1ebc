"""`predict` of videos, streams and cameras."""

import argparse
import contextlib
import json
import pathlib
import shutil
import sys
import time
import urllib.parse

from keras_maskrcnn.cli.loading import load_model
from keras_maskrcnn.cli.pictures import least_score

VIDEOS = (
    *(".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg"),
    *(".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv"),
)


def is_video(name: str) -> bool:
    """Whether the name is that of a video, the address of a stream or the number of a camera."""
    path = pathlib.Path(name)
    if path.exists():
        return path.is_file() and path.suffix.lower() in VIDEOS
    return "://" in name or name.isdecimal() or path.suffix.lower() in VIDEOS


def predict_videos(args: argparse.Namespace) -> int:
    """Find the objects of videos; write the videos with them drawn, and JSON lines.

    Raises:
        ValueError: An option is given that is not for videos, or pictures beside the videos.
    """
    _check(args)
    model = load_model(args)
    output = pathlib.Path(args.output or "predictions")
    output.mkdir(parents=True, exist_ok=True)
    if shutil.which("ffmpeg") is None and any(pathlib.Path(name).exists() for name in args.images):
        _say("sound is left out: it needs the program ffmpeg")
    complaints: list[str] = []
    taken: set[str] = set()
    for name in args.images:
        path = output / f"{free_name(_stem(name), taken)}.mp4"
        try:
            complaints += _predict_video(args, model, name, path)
        except (ValueError, OSError) as error:
            complaints.append(f"passed over {name}: {' '.join(str(error).split())}")
    for complaint in complaints:
        _say(complaint)
    return 1 if complaints else 0


def free_name(stem: str, taken: set[str]) -> str:
    """The stem, or with a number where another folder's file has it already; adds it to `taken`."""
    name, number = stem, 1
    while name in taken:
        number += 1
        name = f"{stem}-{number}"
    taken.add(name)
    return name


def _check(args):
    pictures = [name for name in args.images if not is_video(name)]
    if pictures:
        raise ValueError(f"Give pictures or videos, not both; got {pictures[0]} beside a video.")
    if args.tile_size is not None:
        raise ValueError("--tile-size is for pictures: leave it out for videos.")


def _predict_video(args, model, name, path):
    """Writes `path` and the lines beside it; returns what was wrong with the video."""
    from keras_maskrcnn.prediction.video import Video
    from keras_maskrcnn.prediction.video_writer import add_sound

    is_file = pathlib.Path(name).exists()
    if is_file and path.exists() and path.samefile(name):
        raise ValueError("what is drawn would replace it: name another --output.")
    begin = time.monotonic()
    with Video(int(name) if _is_camera(name) else name) as video:
        count, tracks = _write_found(args, model, video, path)
    speed = video.frames_read / (time.monotonic() - begin)
    complaints = [] if video.complaint is None else [video.complaint]
    if is_file and video.frames_read and shutil.which("ffmpeg"):
        try:
            add_sound(path, name)
        except ValueError as error:
            complaints.append(str(error))
    followed = f", {tracks} followed" if args.track else ""
    print(
        f"{count} objects{followed} in {video.frames_read} frames, {speed:.1f} frames a second: "
        f"{path}, {path.with_suffix('.jsonl')}"
    )
    return complaints


def _write_found(args, model, video, path):
    """Draws and lists what is found; returns how many objects and how many of them followed."""
    from keras_maskrcnn.prediction.video import find_in_video
    from keras_maskrcnn.prediction.video_writer import VideoWriter

    found_in_video = find_in_video(model, video, args.batch_size, args.track)
    count, tracks = 0, set()
    with (
        contextlib.closing(found_in_video),
        path.with_suffix(".jsonl").open("w", encoding="utf-8") as results,
        VideoWriter(path, video.fps) as writer,
        _progress_bar() as bar,
    ):
        task = bar.add_task(path.stem, total=video.frame_count)
        try:
            for frame, found in found_in_video:
                found = found[found.scores >= least_score(args, model)]
                writer.write(found.plot(frame.pixels), frame.time)
                results.writelines(_lines(found, frame, video))
                count += len(found)
                tracks.update([] if found.track_ids is None else found.track_ids.tolist())
                bar.update(task, completed=frame.number)
        except KeyboardInterrupt:
            if not video.is_live:  # nothing else ends a camera
                raise
    return count, len(tracks - {-1})


def _lines(found, frame, video):
    """Entries of COCO results, whose image is the frame's number."""
    for class_name, entry in zip(found.class_names, found.to_coco(frame.number), strict=True):
        named = {"category_name": class_name, "file_name": video.name, "time": round(frame.time, 3)}
        yield json.dumps({**entry, **named}) + "\n"


def _progress_bar():
    from rich import console, progress

    class Speed(progress.ProgressColumn):
        def render(self, task):
            return "" if task.speed is None else f"{task.speed:.1f} frames a second"

    return progress.Progress(
        *progress.Progress.get_default_columns(),
        progress.MofNCompleteColumn(),
        Speed(),
        console=console.Console(stderr=True),
        disable=not sys.stderr.isatty(),
    )


def _is_camera(name):
    return name.isdecimal() and not pathlib.Path(name).exists()


def _stem(name):
    if _is_camera(name):
        return f"camera-{name}"
    if "://" in name:
        return pathlib.PurePosixPath(urllib.parse.urlsplit(name).path).stem or "stream"
    return pathlib.Path(name).stem


def _say(text):
    print(f"keras-maskrcnn: {text}", file=sys.stderr)
