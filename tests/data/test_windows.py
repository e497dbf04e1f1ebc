"""Windows of image files are as those of the whole image."""

import sys

import cv2
import numpy as np
import pytest
import tifffile

from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.data.images import read_image
from keras_maskrcnn.data.stored import read_pixels
from keras_maskrcnn.data.windows import StoredWindows, TiffWindows, WholeImage, open_windows

HEIGHT, WIDTH = 107, 141
WINDOWS = [(0, 0, WIDTH, HEIGHT), (13, 7, 130, 90), (70, 64, 141, 107), (5, 0, 6, 1)]
COLOURS = cv2.resize(
    np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8),
    (WIDTH, HEIGHT),
    interpolation=cv2.INTER_CUBIC,
)
DEEP = np.random.default_rng(1).integers(0, 2**16, COLOURS.shape, np.uint16)
WITH_ALPHA = np.dstack([COLOURS, COLOURS[..., :1]])
LAYOUTS = {"tiles": {"tile": (64, 32)}, "strips": {"rowsperstrip": 16}, "strip": {}}


def check(path, kind):
    whole = read_image(path)
    with open_windows(path) as picture:
        assert isinstance(picture, kind)
        assert picture.size == whole.shape[:2]
        for left, top, right, bottom in WINDOWS:
            seen = picture.window((left, top, right, bottom))
            assert seen.dtype == np.uint8
            np.testing.assert_array_equal(seen, whole[top:bottom, left:right])


def window(path, window):
    with open_windows(path) as picture:
        return picture.window(window)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "jpeg"])
def test_layouts_and_compressions(tmp_path, layout, compression):
    tifffile.imwrite(
        tmp_path / "a.tif", COLOURS, photometric="rgb", compression=compression, **LAYOUTS[layout]
    )
    check(tmp_path / "a.tif", TiffWindows)


@pytest.mark.parametrize(
    ("pixels", "options"),
    [
        (COLOURS[..., 0], {"photometric": "minisblack"}),
        (DEEP, {"photometric": "rgb"}),
        (DEEP[..., 0], {"photometric": "minisblack"}),
        (WITH_ALPHA, {"photometric": "rgb", "extrasamples": ["unassalpha"]}),
        (WITH_ALPHA, {"photometric": "rgb", "extrasamples": ["assocalpha"]}),
    ],
    ids=["grey", "16 bits", "grey of 16 bits", "alpha", "associated alpha"],
)
def test_samples(tmp_path, pixels, options):
    tifffile.imwrite(tmp_path / "a.tif", pixels, rowsperstrip=16, **options)
    check(tmp_path / "a.tif", TiffWindows)


CHANNELS = np.dstack([DEEP, DEEP[..., ::-1]])
STORED = {
    "tiles": (CHANNELS, {"planarconfig": "contig", "tile": (32, 16), "compression": "zlib"}),
    "strips": (CHANNELS, {"planarconfig": "contig", "rowsperstrip": 16}),
    "floats": (CHANNELS / np.float32(2), {"planarconfig": "contig", "tile": (32, 16)}),
    "planes": (np.moveaxis(CHANNELS, 2, 0), {"planarconfig": "separate"}),
    "pages": (np.moveaxis(CHANNELS, 2, 0), {}),
}


@pytest.mark.parametrize("how", [*STORED, ".npy"])
def test_windows_of_other_channels(tmp_path, how):
    config = MaskRCNNConfig(channels=6, pixel_range=(0, 65535))
    path = tmp_path / ("a.npy" if how == ".npy" else "a.tif")
    if how == ".npy":
        np.save(path, CHANNELS)
    else:
        stored, options = STORED[how]
        tifffile.imwrite(path, stored, photometric="minisblack", **options)
    whole = read_pixels(path, config)
    with open_windows(path, config) as picture:
        assert isinstance(picture, WholeImage if how in ("planes", "pages") else StoredWindows)
        assert picture.size == (HEIGHT, WIDTH)
        for left, top, right, bottom in WINDOWS:
            seen = picture.window((left, top, right, bottom))
            assert seen.dtype == np.float32
            np.testing.assert_array_equal(seen, whole[top:bottom, left:right])


def test_windows_of_other_channels_are_checked(tmp_path):
    np.save(tmp_path / "a.npy", CHANNELS)
    for config, message in (
        (MaskRCNNConfig(channels=4), r"a.npy must be \(H, W, 4\), 4 channels, 0..255; got shape"),
        (MaskRCNNConfig(channels=6), "a.npy must be 6 channels, 0..255; got uint16 pixels from"),
    ):
        with (
            open_windows(tmp_path / "a.npy", config) as picture,
            pytest.raises(ValueError, match=message),
        ):
            picture.window((0, 0, 64, 64))


@pytest.mark.parametrize(
    ("pixels", "options"),
    [
        (np.moveaxis(COLOURS, 2, 0), {"photometric": "rgb", "planarconfig": "separate"}),
        (COLOURS[..., 0], {"photometric": "miniswhite"}),
        (
            np.rot90(COLOURS),
            {"photometric": "rgb", "extratags": [("Orientation", "H", 1, 6, True)]},
        ),
    ],
    ids=["planes", "white is 0", "turned"],
)
def test_what_is_stored_otherwise_is_read_whole(tmp_path, pixels, options):
    tifffile.imwrite(tmp_path / "a.tif", pixels, **options)
    check(tmp_path / "a.tif", WholeImage)


def test_other_formats_are_read_whole(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), COLOURS)
    check(tmp_path / "a.png", WholeImage)


def test_the_largest_level_of_a_pyramid(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        options = {"photometric": "rgb", "tile": (32, 32)}
        file.write(COLOURS, subifds=1, **options)
        file.write(COLOURS[::2, ::2], subfiletype=1, **options)
    check(tmp_path / "a.tif", TiffWindows)


def test_tiles_that_the_file_leaves_out_are_black(tmp_path):
    tiles = [None if i else np.full((64, 64, 3), 7, np.uint8) for i in range(4)]
    options = {"shape": (128, 128, 3), "dtype": np.uint8, "tile": (64, 64), "compression": "zlib"}
    tifffile.imwrite(tmp_path / "a.tif", iter(tiles), photometric="rgb", **options)
    seen = window(tmp_path / "a.tif", (32, 32, 128, 128))
    expected = np.zeros((96, 96, 3))
    expected[:32, :32] = 7
    np.testing.assert_array_equal(seen, expected)


def test_no_more_is_kept_than_a_row_of_windows_needs(tmp_path, monkeypatch):
    monkeypatch.setattr("keras_maskrcnn.data.windows.LEAST_CACHE", 0)
    options = {"photometric": "rgb", "tile": (16, 16)}
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((160, 160, 3), np.uint8), **options)
    with open_windows(tmp_path / "a.tif") as picture:
        for left in range(0, 128, 32):
            picture.window((left, 0, left + 32, 32))
            assert len(picture._decoded) <= 12


def test_broken_files_are_named(tmp_path, monkeypatch):
    path = tmp_path / "a.tif"
    with pytest.raises(FileNotFoundError, match="a.tif"):
        window(path, (0, 0, 1, 1))
    path.write_bytes(b"II*\0 no picture")
    with pytest.raises(ValueError, match="a.tif"):
        window(path, (0, 0, 1, 1))
    tifffile.imwrite(path, COLOURS, photometric="rgb", rowsperstrip=16)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ValueError, match=r"a.tif: part 6 .* cut off"):
        window(path, (0, 0, WIDTH, HEIGHT))
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(ModuleNotFoundError, match=r"maskrcnn-keras\[tiff\]"):
        window(path, (0, 0, 1, 1))
