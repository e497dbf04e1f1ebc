import http.server
import itertools
import os
import threading
import types

import cv2
import numpy as np
import pytest
import tensorflow as tf

import keras_maskrcnn as km
from keras_maskrcnn.prediction.video import Frame, Video, _ahead, find_in_video

COUNT, FPS, HEIGHT, WIDTH = 20, 25, 64, 96
BOUNDARY = b"--frame\r\nContent-Type: image/jpeg\r\n\r\n"


class RedAndBlue:
    """Stands in for a model: finds what is red, class 0, and what is blue, class 1."""

    config = km.MaskRCNNConfig(
        num_classes=2, class_names=("red", "blue"), image_min_size=HEIGHT, image_max_size=WIDTH
    )

    def __init__(self):
        self.traces = 0
        self.batches = []

    def predict_step(self, data):
        self.traces += 1
        boxes = tf.numpy_function(self.find, [data["images"]], tf.float32)
        count = tf.shape(boxes)[0]
        return {
            "boxes": boxes,
            "scores": tf.fill((count, 2), 0.9),
            "classes": tf.tile([[0, 1]], (count, 1)),
            "num_detections": tf.fill((count,), 2),
            "image_sizes": data["image_sizes"],
            "original_sizes": data["original_sizes"],
        }

    def find(self, images):
        self.batches.append(len(images))
        boxes = np.zeros((len(images), 2, 4), np.float32)
        for (image, channel), box in zip(
            itertools.product(images, (0, 2)), boxes.reshape(-1, 4), strict=True
        ):
            y, x = np.nonzero((image[..., channel] > 170) & (image[..., 2 - channel] < 110))
            if len(y):
                box[:] = x.min(), y.min(), x.max() + 1, y.max() + 1
        return boxes


def boxes_at(i):
    """Of the red square and of the blue one in frame i."""
    return np.array([[4 + 3 * i, 8, 20 + 3 * i, 24], [70, 2 + 2 * i, 86, 18 + 2 * i]])


def draw(i, shape=(HEIGHT, WIDTH)):
    frame = np.full((*shape, 3), (20, 30 + 8 * i, 20), np.uint8)  # green counts the frames
    for (left, top, right, bottom), colour in zip(
        boxes_at(i), ((250, 10, 10), (10, 10, 250)), strict=True
    ):
        frame[top:bottom, left:right] = colour
    return frame


def write(path, codec, count=COUNT, frame_at=draw):
    first = frame_at(0)
    codec = cv2.VideoWriter.fourcc(*codec)
    writer = cv2.VideoWriter(str(path), codec, FPS, first.shape[1::-1])
    for i in range(count):
        writer.write(cv2.cvtColor(frame_at(i), cv2.COLOR_RGB2BGR))
    writer.release()
    return path


@pytest.fixture(scope="module")
def avi(tmp_path_factory):
    return write(tmp_path_factory.mktemp("video") / "a.avi", "MJPG")


@pytest.fixture(scope="module")
def mp4(tmp_path_factory):
    return write(tmp_path_factory.mktemp("video") / "a.mp4", "mp4v")


def numbers_of(frames):
    """Which frames of the video they are, by their green."""
    return [round((frame[-4:, :8, 1].mean() - 30) / 8) for frame in frames]


@pytest.mark.parametrize("batch_size", [1, 3])
def test_frames_boxes_and_track_ids_come_out(avi, batch_size):
    model = RedAndBlue()
    pairs = list(km.predict_video(model, avi, batch_size, track=True))
    assert numbers_of(frame for frame, _ in pairs) == list(range(COUNT))
    ids = []
    for i, (frame, found) in enumerate(pairs):
        assert frame.dtype == np.uint8
        assert np.abs(frame - draw(i).astype(int)).mean() < 6
        assert found.class_names == ["red", "blue"]
        assert found.image_size == frame.shape[:2] == (HEIGHT, WIDTH)
        np.testing.assert_allclose(found.boxes, boxes_at(i), atol=1.5)
        ids.append(tuple(found.track_ids.tolist()))
    assert ids[0] == (-1, -1)
    assert set(ids[1:]) in ({(1, 2)}, {(2, 1)})
    assert model.traces == 1
    assert model.batches == [batch_size] * (COUNT // batch_size) + [2] * (batch_size == 3)


def test_it_is_lazy_and_ends_its_thread(avi):
    model = RedAndBlue()
    pairs = km.predict_video(model, str(avi))
    assert model.traces == 0
    _, found = next(pairs)
    assert found.track_ids is None
    assert len(model.batches) == 1
    pairs.close()
    assert "video" not in {thread.name for thread in threading.enumerate()}


def test_frames_have_numbers_and_times(mp4):
    with Video(mp4) as video:
        frames = list(video)
    assert (video.frame_count, video.fps, video.is_live) == (COUNT, FPS, False)
    assert [frame.number for frame in frames] == list(range(1, COUNT + 1))
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(COUNT) / FPS, atol=1e-3)
    assert video.complaint is None


def test_a_file_that_is_cut_off_is_said_with_its_numbers(avi, tmp_path):
    data = avi.read_bytes()
    (tmp_path / "cut.avi").write_bytes(data[: len(data) // 2])
    pairs = []
    with pytest.warns(UserWarning, match=rf"cut.avi: {COUNT} frames were promised, (\d+) could"):
        pairs.extend(km.predict_video(RedAndBlue(), tmp_path / "cut.avi"))
    assert 0 < len(pairs) < COUNT
    whole = [frame for frame, _ in pairs][:-1]  # the cut goes through the last one
    assert numbers_of(whole) == list(range(len(whole)))
    with Video(tmp_path / "cut.avi") as video:
        list(video)
    assert f"promised, {len(pairs)} could be read" in video.complaint


def test_frames_after_broken_ones_come_in_their_places(mp4, tmp_path):
    data = bytearray(mp4.read_bytes())
    middle = data.index(b"mdat") + (data.index(b"moov") - data.index(b"mdat")) // 2
    data[middle : middle + 100] = bytes(100)
    (tmp_path / "broken.mp4").write_bytes(data)
    with Video(tmp_path / "broken.mp4") as video:
        frames = list(video)
    numbers = [frame.number for frame in frames]
    assert numbers[0] == 1
    assert numbers[-1] == COUNT
    assert len(numbers) < COUNT
    np.testing.assert_allclose([f.time for f in frames], (np.array(numbers) - 1) / FPS, atol=1e-3)
    assert f"{COUNT} frames were promised, {len(frames)} could be read" in video.complaint


def test_sources_that_are_none_are_named_at_once(tmp_path, capfd):
    model = RedAndBlue()
    with pytest.raises(FileNotFoundError, match=r"There is no video file none\.mp4"):
        km.predict_video(model, "none.mp4")
    (tmp_path / "text.mp4").write_bytes(b"no video")
    with pytest.raises(ValueError, match=r"text\.mp4: not a video, or cut off"):
        km.predict_video(model, tmp_path / "text.mp4")
    with pytest.raises(ValueError, match="camera 99 cannot be opened"):
        km.predict_video(model, 99)
    capfd.readouterr()  # what FFmpeg and the driver say


class Streams(http.server.BaseHTTPRequestHandler):
    """A camera's pictures, JPEG after JPEG, until it is switched off."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for i in range(COUNT):
            jpeg = cv2.imencode(".jpg", draw(i)[..., ::-1])[1].tobytes()
            self.wfile.write(BOUNDARY + jpeg + b"\r\n")

    def log_message(self, *_):
        pass


def test_the_end_of_a_stream_is_said(capfd):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Streams)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/camera"
    try:
        with pytest.warns(UserWarning, match=rf"{address} has ended after \d+ frames"):
            pairs = list(km.predict_video(RedAndBlue(), address))
    finally:
        server.shutdown()
        server.server_close()
    assert pairs
    assert numbers_of([pairs[-1][0]]) in ([COUNT - 1], [COUNT - 2])
    capfd.readouterr()


def test_a_stream_may_change_its_size():
    frames = [draw(0), draw(1), draw(2, (2 * HEIGHT, 2 * WIDTH)), draw(3), draw(4)]
    stream = [Frame(i, i / FPS, frame) for i, frame in enumerate(frames, 1)]
    model = RedAndBlue()
    video = type("Stream", (list,), {"fps": FPS, "is_live": False})(stream)
    for i, (frame, found) in enumerate(find_in_video(model, video, batch_size=4)):
        assert found.image_size == frame.pixels.shape[:2]
        np.testing.assert_allclose(found.boxes, boxes_at(i), atol=1.5)
    assert model.batches == [2, 1, 2]


def test_what_is_live_is_looked_at_newest_first():
    taken, is_last = [], threading.Event()

    def numbers():
        for i in range(100):
            if i == 3:
                assert is_first.wait(10)
            yield i
        is_last.set()

    is_first = threading.Event()
    for i in _ahead(numbers(), 2, newest=True):
        taken.append(i)
        is_first.set()
        assert is_last.wait(10)
    assert taken[0] < 3
    assert taken[-1] == 99 or taken[-2:] == [98, 99]
    assert len(taken) <= 4
    assert list(_ahead(range(100), 2, newest=False)) == list(range(100))


def test_an_error_of_the_thread_is_raised():
    def failing():
        yield 1
        raise OSError("the camera burns")

    items = _ahead(failing(), 1, newest=False)
    assert next(items) == 1
    with pytest.raises(OSError, match="the camera burns"):
        next(items)


@pytest.mark.slow
def test_memory_does_not_grow_over_10_000_frames(tmp_path):
    count = 10_000
    path = write(tmp_path / "long.mp4", "mp4v", count, lambda i: draw(i % COUNT))
    used = []
    pairs = km.predict_video(RedAndBlue(), path, batch_size=8, track=True)
    for i, _ in enumerate(pairs, 1):
        if i % 1000 == 0:
            with open("/proc/self/statm") as file:
                used.append(int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20)
    assert i == count
    print([round(mebibytes) for mebibytes in used])
    assert max(used[2:]) - used[1] < 16


def test_models_of_other_channels_are_refused(small_config):
    model = types.SimpleNamespace(config=small_config.replace(channels=1))
    with pytest.raises(ValueError, match="RGB 0..255; the model is of 1 channel, 0..255: predict"):
        next(find_in_video(model, types.SimpleNamespace(name="a.mp4")))
