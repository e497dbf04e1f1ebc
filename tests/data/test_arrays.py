"""TIFF and `.npy` files of any number of channels are read as they are stored."""

import io

import numpy as np
import pytest
import tifffile

from keras_maskrcnn.data.arrays import array_size, decode_array

RNG = np.random.default_rng(0)
DEEP = RNG.integers(0, 2**16, (30, 40, 6), np.uint16)
PLAIN = {"photometric": "minisblack", "metadata": None}
WRITTEN = {
    "beside each other": (DEEP, DEEP, {"planarconfig": "contig"}),
    "planes": (DEEP, np.moveaxis(DEEP, 2, 0), {"planarconfig": "separate"}),
    "pages": (DEEP, np.moveaxis(DEEP, 2, 0), {}),
    "tiles": (DEEP, DEEP, {"planarconfig": "contig", "tile": (16, 16), "compression": "zlib"}),
    "BigTIFF": (DEEP, DEEP, {"planarconfig": "contig", "bigtiff": True}),
    "one channel": (DEEP[..., :1], DEEP[..., 0], {}),
    "8 bits": ((DEEP // 257).astype(np.uint8),) * 2 + ({"planarconfig": "contig"},),
    "floats": ((DEEP / 65535).astype(np.float32),) * 2 + ({"planarconfig": "contig"},),
}


def check(data, expected):
    pixels, orientation = decode_array(data, "a file")
    assert (pixels.dtype, orientation) == (expected.dtype, 1)
    np.testing.assert_array_equal(pixels, expected)
    assert array_size(io.BytesIO(data), "a file") == expected.shape[:2]


@pytest.mark.parametrize("how", WRITTEN)
def test_tiffs(how):
    expected, stored, options = WRITTEN[how]
    file = io.BytesIO()
    tifffile.imwrite(file, stored, **PLAIN, **options)
    check(file.getvalue(), expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(30, 40, 6), (30, 40)])
def test_arrays(dtype, shape):
    pixels = DEEP.astype(dtype)[tuple(slice(side) for side in shape[:2])]
    pixels = pixels if len(shape) == 3 else pixels[..., 0]
    file = io.BytesIO()
    np.save(file, pixels)
    check(file.getvalue(), pixels.reshape(30, 40, -1))


def npy(array):
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def tiff(array, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, array, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (npy(DEEP)[:900], "a file: not an array that can be read"),
        (npy(np.array([{"a": 1}], object)), "a file: not an array that can be read"),
        (npy(DEEP[None]), r"a file: an image must be an array .*\(1, 30, 40, 6\)"),
        (npy(DEEP[:0]), r"a file: an image must be an array .*\(0, 40, 6\)"),
        (b"II*\0" + bytes(60), "a file: not an image, or a broken one"),
        (tiff(DEEP, **PLAIN, planarconfig="contig", compression="zlib")[:-4000], "a file: not an"),
        (
            tiff(RNG.integers(0, 9, (2, 30, 40, 3), np.uint8), photometric="rgb"),
            "a file: an image must have rows, columns and channels, .*save one image a file",
        ),
    ],
    ids=["cut off", "objects", "a batch", "empty", "no page", "TIFF cut off", "pages of RGB"],
)
def test_what_cannot_be_read_is_named(data, message):
    with pytest.raises(ValueError, match=message):
        decode_array(data, "a file")
