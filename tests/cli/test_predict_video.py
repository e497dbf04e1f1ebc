"""Videos from the command line."""

import json
import pathlib
import subprocess
import sys

import cv2
import numpy as np
import pytest
import tensorflow as tf

import keras_maskrcnn as km
from keras_maskrcnn.cli.main import main
from keras_maskrcnn.cli.predict_video import free_name, is_video
from keras_maskrcnn.prediction import video, video_writer

SIDE, COUNT, FPS, TONE = 192, 12, 12, 440


def shape(seed, class_name):
    """A large shape, cut out: pixels and mask."""
    scene = km.data.shapes.Scene(number=(1, 1), radius=(0.14, 0.16))
    rng = np.random.default_rng(seed)
    image, _, masks = km.data.shapes.draw_picture(rng, SIDE, [class_name], scene)
    y, x = np.nonzero(masks[0])
    part = slice(y.min(), y.max() + 1), slice(x.min(), x.max() + 1)
    return image[part], masks[0][part].astype(bool)


@pytest.fixture(scope="module")
def moving():
    """Frames of a ring that goes right and a triangle that goes down, and their boxes (n, 2, 4)."""
    empty = np.random.default_rng(0).normal((90, 110, 70), 3, (SIDE, SIDE, 3))
    frames, boxes = [], []
    for i in range(COUNT):
        frame = np.clip(empty, 0, 255).astype(np.uint8)
        boxes.append([])
        for (pixels, mask), left, top in (
            (shape(1, "ring"), 10 + 5 * i, 20),
            (shape(4, "triangle"), 110, 20 + 6 * i),
        ):
            height, width = mask.shape
            frame[top : top + height, left : left + width][mask] = pixels[mask]
            boxes[-1].append([left, top, left + width, top + height])
        frames.append(frame)
    return frames, np.array(boxes)


@pytest.fixture(scope="module")
def silent(moving, tmp_path_factory):
    path = tmp_path_factory.mktemp("videos") / "in.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FPS, (SIDE, SIDE))
    for frame in moving[0]:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def tone_of(ffmpeg, path):
    """Its loudest frequency and how many seconds of sound there are."""
    decode = [ffmpeg, "-v", "error", "-i", path, "-f", "s16le", "-ac", "1", "-ar", "8000", "-"]
    sound = np.frombuffer(subprocess.run(decode, check=True, capture_output=True).stdout, np.int16)
    spectrum = np.abs(np.fft.rfft(sound))
    return spectrum.argmax() * 8000 / len(sound), len(sound) / 8000


def frames_of(path):
    capture = cv2.VideoCapture(str(path))
    pictures = iter(capture.read, (False, None))
    return [cv2.cvtColor(picture, cv2.COLOR_BGR2RGB) for _, picture in pictures]


def with_sound(ffmpeg, silent, path, codec):
    """The video at another path, with a tone as long as itself."""
    sound = ["-f", "lavfi", "-i", f"sine={TONE}:d={COUNT / FPS}"]
    command = [ffmpeg, "-v", "error", "-i", silent, *sound, "-c:v", "copy", "-c:a", codec, path]
    subprocess.run(command, check=True)
    return path


def test_frames_boxes_ids_and_sound_come_out_right(silent, moving, ffmpeg, tmp_path, capsys):
    source = with_sound(ffmpeg, silent, tmp_path / "in.mp4", "aac")
    options = ["--track", "--batch-size", "5", "--output", str(tmp_path / "out")]
    assert main(["predict", "--model", "demo_shapes", str(source), *options]) == 0
    printed, said = capsys.readouterr()
    assert "sound" not in said
    assert f"24 objects, 2 followed in {COUNT} frames, " in printed
    frames, boxes = moving
    entries = [json.loads(line) for line in (tmp_path / "out/in.jsonl").read_text().splitlines()]
    ids = {"ring": set(), "triangle": set()}
    for i in range(COUNT):
        found = {e["category_name"]: e for e in entries if e["image_id"] == i + 1}
        for name, box in zip(("ring", "triangle"), boxes[i], strict=True):
            left, top, width, height = found[name]["bbox"]
            np.testing.assert_allclose([left, top, left + width, top + height], box, atol=5)
            assert found[name]["time"] == pytest.approx(i / FPS, abs=1e-3)
            assert found[name]["file_name"] == str(source)
            ids[name].add(found[name]["track_id"])
    assert sorted(len(of_one) for of_one in ids.values()) == [2, 2]  # a number, and none at first
    assert len(ids["ring"] | ids["triangle"]) == 3
    for frame, picture, (ring, _) in zip(
        frames, frames_of(tmp_path / "out/in.mp4"), boxes, strict=True
    ):
        changed = np.abs(picture - frame.astype(int)).mean(-1) > 30
        left, top, right, bottom = ring
        assert changed[top:bottom, left:right].mean() > 0.2  # the ring and its label
        assert changed[150:, :90].mean() < 0.01
    frequency, seconds = tone_of(ffmpeg, tmp_path / "out/in.mp4")
    assert frequency == pytest.approx(TONE, abs=3)
    assert seconds == pytest.approx(COUNT / FPS, abs=0.1)


class Blind:
    """Stands in for a model that finds nothing."""

    config = km.MaskRCNNConfig(image_min_size=64, image_max_size=64)

    def predict_step(self, data):
        count = tf.shape(data["images"])[0]
        return {
            "boxes": tf.zeros((count, 1, 4)),
            "scores": tf.zeros((count, 1)),
            "classes": tf.fill((count, 1), -1),
            "num_detections": tf.zeros((count,), tf.int32),
            "image_sizes": data["image_sizes"],
            "original_sizes": data["original_sizes"],
        }


@pytest.fixture
def blind(monkeypatch, tmp_path):
    """A function that runs `predict` with such a model in an empty folder."""
    monkeypatch.setattr("keras_maskrcnn.cli.predict_video.load_model", lambda args: Blind())
    monkeypatch.chdir(tmp_path)
    return lambda *words: main(["predict", "--model", "m.keras", *map(str, words)])


def test_sound_that_mp4_cannot_hold_becomes_aac(blind, silent, ffmpeg, tmp_path):
    source = with_sound(ffmpeg, silent, tmp_path / "in.mkv", "adpcm_ms")
    assert blind(source) == 0
    assert len(frames_of("predictions/in.mp4")) == COUNT
    assert tone_of(ffmpeg, "predictions/in.mp4")[0] == pytest.approx(TONE, abs=3)


def test_without_ffmpeg_the_sound_is_left_out_and_said_once(blind, silent, monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")
    assert blind(silent, silent) == 0
    printed, said = capsys.readouterr()
    assert said.count("sound is left out: it needs the program ffmpeg") == 1
    assert f"0 objects in {COUNT} frames" in printed
    for name in ("in", "in-2"):
        assert len(frames_of(f"predictions/{name}.mp4")) == COUNT
        assert not pathlib.Path(f"predictions/{name}.jsonl").read_text()


def test_what_is_cut_off_or_no_video_is_said_and_the_others_are_done(
    blind, silent, ffmpeg, tmp_path, capsys
):
    fast = [ffmpeg, "-v", "error", "-i", silent, "-c", "copy", "-movflags", "faststart", "cut.mp4"]
    subprocess.run(fast, check=True)
    data = pathlib.Path("cut.mp4").read_bytes()
    pathlib.Path("cut.mp4").write_bytes(data[: 2 * len(data) // 3])
    pathlib.Path("text.mp4").write_text("no video")
    assert blind("cut.mp4", "text.mp4", "none.mov", silent) == 1
    said = capsys.readouterr().err
    assert f"keras-maskrcnn: cut.mp4: {COUNT} frames were promised, " in said
    assert "passed over text.mp4: text.mp4: not a video" in said
    assert "passed over none.mov: There is no video file none.mov." in said
    assert 0 < len(frames_of("predictions/cut.mp4")) < COUNT
    assert len(frames_of("predictions/in.mp4")) == COUNT


def test_a_video_is_not_replaced(blind, silent, capsys):
    before = silent.read_bytes()
    assert blind(silent, "--output", silent.parent) == 1
    assert "would replace it: name another --output" in capsys.readouterr().err
    assert silent.read_bytes() == before


@pytest.mark.parametrize(("is_live", "code"), [(True, 0), (False, 130)])
def test_an_interrupt_ends_a_camera_and_leaves_a_video(blind, silent, monkeypatch, is_live, code):
    class Interrupted(video.Video):
        def __init__(self, source):
            super().__init__(source)
            self.is_live = is_live

    class Writer(video_writer.VideoWriter):
        def write(self, picture, time):
            super().write(picture, time=0.25)
            raise KeyboardInterrupt

    monkeypatch.setattr(video, "Video", Interrupted)
    monkeypatch.setattr(video_writer, "VideoWriter", Writer)
    monkeypatch.setenv("PATH", "")
    assert blind(silent) == code
    assert len(frames_of("predictions/in.mp4")) == 4


def test_a_missing_extra_is_named(blind, silent, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "trackers", None)
    assert blind(silent, "--track") == 2
    said = capsys.readouterr().err
    assert "pip install 'maskrcnn-keras[video]'" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["in.mp4", "a.jpg"], "not both; got a.jpg beside a video"),
        (["in.mp4", "--tile-size", "64"], "--tile-size is for pictures"),
        (["a.jpg", "--track"], "--track is for videos"),
    ],
)
def test_options_that_do_not_fit_are_named(error_of, words, message):
    assert message in error_of(["predict", "--model", "m.keras", *words])


def test_names_of_videos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("folder.mp4").mkdir()
    pathlib.Path("7").touch()
    for name in ("a.mp4", "a.MOV", "0", "rtsp://camera/1", "http://host/a.m3u8"):
        assert is_video(name)
    for name in ("a.jpg", "folder.mp4", "7", "folder"):
        assert not is_video(name)
    taken = set()
    assert [free_name("a", taken) for _ in range(3)] == ["a", "a-2", "a-3"]
