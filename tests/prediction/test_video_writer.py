import cv2
import numpy as np
import pytest

from keras_maskrcnn.prediction.video_writer import VideoWriter, add_sound


def picture(level, shape=(48, 64)):
    return np.full((*shape, 3), (level, 10, 10), np.uint8)


def levels(path):
    """Of red in each frame of a video."""
    video, found = cv2.VideoCapture(str(path)), []
    while True:
        is_read, frame = video.read()
        if not is_read:
            return np.array(found)
        found.append(frame[..., 2].mean())


def test_frames_come_back_in_their_colours(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", fps=25) as writer:
        for i in range(20):
            writer.write(picture(10 * i), time=i / 25)
    assert cv2.VideoCapture(str(tmp_path / "a.mp4")).get(cv2.CAP_PROP_FPS) == 25
    np.testing.assert_allclose(levels(tmp_path / "a.mp4"), np.arange(0, 200, 10), atol=6)


def test_a_gap_is_filled_and_too_many_frames_are_thinned(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", fps=10) as writer:
        for time, level in ((0, 0), (0.101, 50), (0.5, 100), (0.52, 120), (0.6, 200)):
            writer.write(picture(level), time)
    expected = [0, 50, 100, 100, 100, 100, 200]
    np.testing.assert_allclose(levels(tmp_path / "a.mp4"), expected, atol=6)


def test_frames_of_odd_and_of_other_sizes_are_written(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", fps=10) as writer:
        writer.write(picture(50, (49, 65)), 0)
        writer.write(picture(150, (96, 30)), 0.1)
    np.testing.assert_allclose(levels(tmp_path / "a.mp4"), [50, 150], atol=6)


def test_what_cannot_be_written_is_named(tmp_path):
    with (
        VideoWriter(tmp_path / "none/a.mp4", fps=10) as writer,
        pytest.raises(OSError, match="a.mp4: the video cannot be written there"),
    ):
        writer.write(picture(0), 0)
    assert not list(tmp_path.iterdir())


def test_sound_that_ffmpeg_cannot_take_leaves_the_video_alone(ffmpeg, tmp_path):
    path = tmp_path / "a.mp4"
    with VideoWriter(path, fps=10) as writer:
        writer.write(picture(0), 0)
    (tmp_path / "no_video.mp4").write_bytes(b"no video")
    with pytest.raises(ValueError, match=r"no_video.mp4: ffmpeg did not take the sound: .*Invalid"):
        add_sound(path, tmp_path / "no_video.mp4")
    add_sound(path, path)  # it has none
    assert len(levels(path)) == 1
    assert {file.name for file in tmp_path.iterdir()} == {"a.mp4", "no_video.mp4"}


def test_without_ffmpeg(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="no program ffmpeg"):
        add_sound(tmp_path / "a.mp4", tmp_path / "b.mp4")
