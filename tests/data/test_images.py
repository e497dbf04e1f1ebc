import io
import struct
import tracemalloc
import zlib

import cv2
import numpy as np
import PIL.ExifTags
import PIL.Image
import PIL.PngImagePlugin
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_maskrcnn.data.images import (
    decode_image,
    image_size,
    read_image,
    read_numbers,
    resize_image,
    resized_shape,
    turn_upright,
)


@pytest.fixture
def picture():
    """Four quarters, so that every turn of it can be told apart."""
    image = np.zeros((40, 60, 3), np.uint8)
    image[:20, :30] = (250, 0, 0)
    image[:20, 30:] = (0, 250, 0)
    image[20:, :30] = (0, 0, 250)
    return image


def write(path, rgb):
    assert cv2.imwrite(str(path), rgb[:, :, ::-1] if rgb.ndim == 3 else rgb)
    return path


def with_orientation(jpeg, orientation):
    """A JPEG with an EXIF block of one entry, the orientation."""
    entry = struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0)
    tiff = b"MM\x00*" + struct.pack(">I", 8) + struct.pack(">H", 1) + entry + struct.pack(">I", 0)
    exif = b"Exif\x00\x00" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]


def test_png_is_read_as_it_is(tmp_path, picture):
    np.testing.assert_array_equal(read_image(write(tmp_path / "a.png", picture)), picture)


@pytest.mark.parametrize(
    ("orientation", "turn"),
    [
        (1, lambda a: a),
        (2, lambda a: a[:, ::-1]),
        (3, lambda a: a[::-1, ::-1]),
        (4, lambda a: a[::-1]),
        (5, lambda a: a.swapaxes(0, 1)),
        (6, lambda a: np.rot90(a, -1)),
        (7, lambda a: a[::-1, ::-1].swapaxes(0, 1)),
        (8, lambda a: np.rot90(a, 1)),
    ],
)
def test_exif_orientation(tmp_path, picture, orientation, turn):
    _, jpeg = cv2.imencode(".jpg", picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 98])
    path = tmp_path / "turned.jpg"
    path.write_bytes(with_orientation(jpeg.tobytes(), orientation))
    expected = turn(picture)
    image = read_image(path)
    assert image.shape == expected.shape
    assert np.abs(image.astype(int) - expected).mean() < 12


def test_grey_16_bit_and_alpha(tmp_path):
    grey = np.arange(0, 250, 10, dtype=np.uint8).reshape(5, 5)
    expected = np.repeat(grey[:, :, None], 3, axis=2)
    np.testing.assert_array_equal(read_image(write(tmp_path / "g.png", grey)), expected)
    deep = write(tmp_path / "deep.png", grey.astype(np.uint16) * 257)
    np.testing.assert_allclose(read_image(deep), expected, atol=1)
    alpha = np.concatenate([expected, np.full((5, 5, 1), 7, np.uint8)], axis=2)
    cv2.imwrite(str(tmp_path / "a.png"), alpha)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), expected)


def test_broken_files(tmp_path, picture):
    with pytest.raises(FileNotFoundError, match="none.png"):
        read_image(tmp_path / "none.png")
    empty = tmp_path / "empty.jpg"
    empty.touch()
    with pytest.raises(ValueError, match=r"empty.jpg: the image file is empty"):
        read_image(empty)
    text = tmp_path / "text.jpg"
    text.write_text("no picture")
    with pytest.raises(ValueError, match=r"text.jpg: not an image"):
        read_image(text)


@pytest.mark.parametrize("share", [0.3, 0.7, 0.99])
def test_truncated_jpeg_is_refused(tmp_path, shared, share):
    photo = next((shared / "data/coco_tiny/train2017").glob("*.jpg")).read_bytes()
    path = tmp_path / "cut.jpg"
    path.write_bytes(photo[: int(len(photo) * share)])
    with pytest.raises(ValueError, match=r"cut.jpg: the JPEG file is truncated"):
        read_image(path)


def test_all_photos_can_be_read(shared):
    for path in (shared / "data/coco_tiny").glob("*2017/*.jpg"):
        assert read_image(path).shape[2] == 3


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 1000), st.integers(0, 1000))
def test_resized_shape(height, width, min_size, more):
    max_size = min_size + more
    new = resized_shape(height, width, min_size, max_size)
    assert max(new) <= max_size
    assert min(new) <= min_size
    assert min(new) == min_size or max(new) == max_size
    scale = min(min_size / min(height, width), max_size / max(height, width))
    assert new[0] == pytest.approx(height * scale, abs=1)
    assert new[1] == pytest.approx(width * scale, abs=1)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((480, 640), (800, 1067)), ((640, 480), (1067, 800)), ((200, 1000), (267, 1333))],
)
def test_resized_shape_of_photos(size, expected):
    assert resized_shape(*size, 800, 1333) == expected


def test_resize_keeps_means_and_places(picture):
    for shape in ((20, 30), (80, 120)):
        resized = resize_image(picture, shape)
        assert resized.shape == (*shape, 3)
        assert resized.mean() == pytest.approx(picture.mean(), abs=2)
        assert tuple(resized[2, 2]) == (250, 0, 0)
    assert resize_image(picture, (40, 60)) is picture


def test_torchvision_resizes_without_smoothing_and_rounds_down():
    assert resized_shape(427, 640, 800, 1333) == (800, 1199)
    assert resized_shape(427, 641, 800, 1333, "torchvision") == (800, int(641 * 800 / 427))
    assert resized_shape(333, 500, 800, 1333) == (800, 1201)
    assert resized_shape(333, 500, 800, 1333, "torchvision") == (800, 1201)
    assert resized_shape(480, 719, 800, 1333, "torchvision") == (800, 1198)
    picture = np.zeros((4, 16, 3), np.float32)
    picture[:, ::4] = 1  # one pixel of four; bilinear samples between the second and the third
    assert resize_image(picture, (1, 4)).mean() == 0.25
    assert resize_image(picture, (1, 4), "torchvision").max() == 0


def test_size_of_the_header_is_that_of_the_picture(tmp_path, picture, shared):
    _, jpeg = cv2.imencode(".jpg", picture)
    for orientation in range(1, 9):
        path = tmp_path / f"{orientation}.jpg"
        path.write_bytes(with_orientation(jpeg.tobytes(), orientation))
        assert image_size(path) == read_image(path).shape[:2]
    path = next((shared / "data/coco_tiny/train2017").glob("*.jpg"))
    assert image_size(path) == read_image(path).shape[:2]
    with pytest.raises(FileNotFoundError):
        image_size(tmp_path / "none.png")
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(ValueError, match=r"text.jpg: not an image"):
        image_size(tmp_path / "text.jpg")


def test_numbers_of_pixels(tmp_path):
    numbers = np.arange(20).reshape(4, 5)
    for dtype in (np.uint8, np.uint16):
        path = write(tmp_path / "n.png", (numbers * 13).astype(dtype))
        np.testing.assert_array_equal(read_numbers(path), numbers * 13)
    write(tmp_path / "rgb.png", np.zeros((4, 5, 3), np.uint8))
    with pytest.raises(ValueError, match=r"rgb.png: expected one number a pixel .*4x5x3"):
        read_numbers(tmp_path / "rgb.png")
    with pytest.raises(FileNotFoundError):
        read_numbers(tmp_path / "none.png")


@pytest.mark.parametrize("kind", ["TIFF", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_size_of_the_header_follows_the_orientation_of_each_format(
    tmp_path, picture, kind, orientation
):
    exif = PIL.Image.Exif()
    exif[PIL.ExifTags.Base.Orientation] = orientation
    path = tmp_path / f"turned.{kind.lower()}"
    PIL.Image.fromarray(picture).save(path, kind, exif=exif, lossless=True)
    image = read_image(path)
    np.testing.assert_array_equal(image, turn_upright(picture, orientation))
    assert image_size(path) == image.shape[:2]


def jpeg_of(picture, **options):
    file = io.BytesIO()
    PIL.Image.fromarray(picture).save(file, "JPEG", **options)
    return file.getvalue()


def with_thumbnail(jpeg):
    """A small JPEG within an APP1 block, as EXIF keeps one: it has an end marker of its own."""
    small = jpeg_of(np.zeros((8, 8, 3), np.uint8))
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(small) + 2) + small + jpeg[2:]


JPEGS = {
    "baseline": lambda p: jpeg_of(p),
    "progressive": lambda p: jpeg_of(p, progressive=True),
    "restart markers": lambda p: jpeg_of(p, restart_marker_blocks=1),
    "thumbnail": lambda p: with_thumbnail(jpeg_of(p)),
    "fillers": lambda p: jpeg_of(p)[:2] + b"\xff\xff\xff" + jpeg_of(p)[2:],
}
TRAILERS = {
    "zeros": bytes(5000),
    "a video": np.random.default_rng(0).bytes(100_000),
    "another picture": jpeg_of(np.zeros((8, 8, 3), np.uint8)),
}


@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("trailer", TRAILERS)
def test_jpeg_with_bytes_behind_its_end_is_read(picture, kind, trailer):
    jpeg = JPEGS[kind](picture)
    expected = decode_image(jpeg, "plain")
    np.testing.assert_array_equal(decode_image(jpeg + TRAILERS[trailer], "motion"), expected)


@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.9, 0.999])
@pytest.mark.parametrize("rest", [b"", bytes(5000), TRAILERS["another picture"]])
def test_jpeg_that_is_cut_off_is_refused_whatever_stands_in_the_rest(picture, kind, share, rest):
    """Its thumbnail's end marker is not its own, nor is that of a picture behind it."""
    jpeg = JPEGS[kind](cv2.resize(picture, (600, 400)))
    with pytest.raises(ValueError, match=r"cut.jpg: .* truncated"):
        decode_image(jpeg[: int(len(jpeg) * share)] + rest, "cut.jpg")


def test_the_size_of_a_png_is_read_without_its_pixels(tmp_path):
    """The header claims 81 million of them, and there is none."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 9_000, 9_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + bytes(4) + b"IDAT" + bytes(99))
    tracemalloc.start()
    try:
        assert image_size(tmp_path / "a.png") == (9_000, 9_000)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_exif_in_a_text_of_a_png_turns_neither_the_picture_nor_its_size(tmp_path, picture):
    exif = PIL.Image.Exif()
    exif[PIL.ExifTags.Base.Orientation] = 6
    block = b"Exif\0\0" + exif.tobytes().removeprefix(b"Exif\0\0")
    text = PIL.PngImagePlugin.PngInfo()
    text.add_text("Raw profile type exif", f"\nexif\n{len(block):8}\n{block.hex()}\n")
    PIL.Image.fromarray(picture).save(tmp_path / "a.png", pnginfo=text)
    with PIL.Image.open(tmp_path / "a.png") as opened:
        assert opened.getexif()[PIL.ExifTags.Base.Orientation] == 6
    assert image_size(tmp_path / "a.png") == read_image(tmp_path / "a.png").shape[:2]
