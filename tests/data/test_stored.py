"""What a model of other channels than RGB is given of an image file, and what people see of it."""

import cv2
import numpy as np
import PIL.Image
import pytest
import tifffile

from keras_maskrcnn import MaskRCNNConfig
from keras_maskrcnn.data import Record, display
from keras_maskrcnn.data.images import image_size, read_image
from keras_maskrcnn.data.records import load_image, load_pixels
from keras_maskrcnn.data.stored import as_pixels, read_pixels, read_to_show

DEEP = np.random.default_rng(0).integers(0, 2**16, (30, 40, 4), np.uint16)
DEEP[0, 0] = 0, 1, 65534, 65535
GREY = (DEEP[..., 0] // 256).astype(np.uint8)


def config(channels, *pixel_range):
    return MaskRCNNConfig(channels=channels, pixel_range=pixel_range)


def write_tiff(path, pixels):
    planes = None if pixels.shape[2] == 1 else "contig"
    tifffile.imwrite(path, pixels, photometric="minisblack", planarconfig=planes)


def write_png(path, pixels):
    if pixels.ndim == 3:
        pixels = pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]
    cv2.imwrite(str(path), pixels)


@pytest.mark.parametrize(("ending", "write"), [(".npy", np.save), (".tif", write_tiff)])
@pytest.mark.parametrize(
    ("pixels", "of"),
    [
        (DEEP, (4, 0, 65535)),
        (DEEP[..., :1], (1, 0, 65535)),
        (DEEP[..., :2], (2, 0, 65535)),
        (DEEP[..., :3], (3, 0, 65535)),
        (GREY[..., None], (1, 0, 255)),
        ((DEEP / 65535).astype(np.float32), (4, 0, 1)),
    ],
    ids=["four", "one", "two", "RGB of 16 bits", "grey", "floats"],
)
def test_pixels_are_as_they_are_stored(tmp_path, ending, write, pixels, of):
    path = tmp_path / f"a{ending}"
    write(path, pixels)
    read = read_pixels(path, config(*of))
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, pixels)
    assert image_size(path) == (30, 40)


@pytest.mark.parametrize(
    ("pixels", "of"),
    [
        (DEEP, (4, 0, 65535)),
        (DEEP[..., :3], (3, 0, 65535)),
        (DEEP[..., 0], (1, 0, 65535)),
        (GREY, (1, 0, 255)),
    ],
    ids=["alpha", "RGB", "grey of 16 bits", "grey"],
)
def test_pngs_are_as_they_are_stored(tmp_path, pixels, of):
    write_png(tmp_path / "a.png", pixels)
    read = read_pixels(tmp_path / "a.png", config(*of))
    np.testing.assert_array_equal(read, pixels.reshape(30, 40, -1))


@pytest.mark.parametrize("ending", [".jpg", ".tif"])
def test_what_is_stored_turned_is_turned_upright(tmp_path, ending):
    path, exif = tmp_path / f"a{ending}", PIL.Image.Exif()
    exif[274] = 6
    PIL.Image.fromarray(GREY).save(path, exif=exif)
    read = read_pixels(path, config(1, 0, 255))
    assert read.shape == (*image_size(path), 1) == (40, 30, 1)
    expected = np.rot90(GREY, -1)[..., None].astype(int)
    np.testing.assert_allclose(read, expected, atol=0 if ending == ".tif" else 60)


def test_rgb_is_read_as_ever(tmp_path):
    write_png(tmp_path / "a.png", DEEP)
    read = read_pixels(tmp_path / "a.png", MaskRCNNConfig())
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, read_image(tmp_path / "a.png"))
    np.save(tmp_path / "a.npy", np.dstack([GREY] * 3))
    np.testing.assert_array_equal(read_image(tmp_path / "a.npy"), np.dstack([GREY] * 3))
    np.save(tmp_path / "a.npy", GREY)
    np.testing.assert_array_equal(read_image(tmp_path / "a.npy"), np.dstack([GREY] * 3))


def test_rgb_is_not_made_of_other_channels(tmp_path):
    np.save(tmp_path / "a.npy", DEEP)
    with pytest.raises(ValueError, match=r"a.npy: \(30, 40, 4\) uint16 is not RGB .*channels and"):
        read_image(tmp_path / "a.npy")
    write_tiff(tmp_path / "a.tif", np.dstack([DEEP, DEEP]))
    with pytest.raises(ValueError, match="a.tif: not an image.* a model takes those of its config"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("pixels", "of", "message"),
    [
        (DEEP, (3, 0, 65535), r"must be \(H, W, 3\), RGB 0..65535; got shape \(30, 40, 4\) uint16"),
        (DEEP, (4, 0, 4095), "must be 4 channels, 0..4095; got uint16 pixels from 0.0 to 65535.0"),
        (GREY, (1, 0, 65535), "must be 1 channel, 0..65535; got uint8 pixels from 0 to 255"),
        (GREY / 255, (1, 0, 65535), "must be 1 channel, 0..65535; got float64 pixels from 0 to 1"),
        (np.full((9, 9), np.nan), (1, 0, 1), r"NaN or infinite, the first at \[\[0, 0, 0\]\]"),
        (GREY > 9, (1, 0, 255), "must hold numbers 1 channel, 0..255; got bool"),
        (GREY[None, None], (1, 0, 255), r"must be \(H, W, 1\).*\(1, 1, 30, 40\)"),
    ],
    ids=["channels", "range", "8 bits for 16", "0..1", "NaN", "bool", "a batch"],
)
def test_other_pixels_are_refused(pixels, of, message):
    with pytest.raises(ValueError, match=f"an image .*{message}"):
        as_pixels(pixels, "an image", config(*of))


def test_records_have_the_pixels_and_a_picture(tmp_path):
    np.save(tmp_path / "a.npy", DEEP)
    four = config(4, 0, 65535)
    on_disk = Record(1, str(tmp_path / "a.npy"), 30, 40)
    in_memory = Record(1, "a.npy", 30, 40, encoded=(tmp_path / "a.npy").read_bytes())
    for record in (on_disk, in_memory):
        np.testing.assert_array_equal(load_pixels(record, four), DEEP)
        np.testing.assert_array_equal(load_image(record, four), display(DEEP, (0, 65535)))
        assert load_image(record).shape == (30, 40, 3)
    with pytest.raises(ValueError, match="the image is 40x30, its annotation says 40x31"):
        load_pixels(Record(1, str(tmp_path / "a.npy"), 31, 40), four)


def test_channels_are_shown_as_chosen():
    shown = display(DEEP, (0, 65535), (3, 0, 1))
    assert shown.dtype == np.uint8
    np.testing.assert_array_equal(shown, DEEP[..., [3, 0, 1]] // 257)
    np.testing.assert_array_equal(display(DEEP, (1000, 2000))[DEEP[..., 0] < 1000][:, 0], 0)
    np.testing.assert_array_equal(display(DEEP, (1000, 2000))[DEEP[..., 0] > 2000][:, 0], 255)
    np.testing.assert_array_equal(display(GREY[..., None]), np.dstack([GREY] * 3))
    two = display(np.dstack([GREY, GREY // 2]))
    np.testing.assert_array_equal(two, np.dstack([GREY, GREY // 2, GREY]))


def test_channels_that_are_not_there_cannot_be_shown():
    with pytest.raises(ValueError, match=r"channels must be three of 0 to 3.*got \[1, 2, 4\]"):
        display(DEEP, channels=(1, 2, 4))
    with pytest.raises(ValueError, match=r"must be \(H, W, channels\); got \(30, 40\)"):
        display(GREY)


def test_files_are_shown_by_their_own_range(tmp_path):
    np.save(tmp_path / "a.npy", 100 + DEEP // 256)
    shown = read_to_show(tmp_path / "a.npy")
    assert (shown.min(), shown.max()) == (0, 255)
    chosen = read_to_show(tmp_path / "a.npy", (0, 510), (3, 2, 1))
    np.testing.assert_array_equal(chosen, (100 + DEEP // 256)[..., [3, 2, 1]] // 2)
    write_png(tmp_path / "a.png", DEEP[..., :3])
    np.testing.assert_array_equal(read_to_show(tmp_path / "a.png"), read_image(tmp_path / "a.png"))
