"""Image files decoded within a graph, against the same files read by `predict`'s reader."""

import functools
import io
import struct

import cv2
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_maskrcnn as km
from keras_maskrcnn.data.images import decode_image, resize_image, resized_shape, turn_upright
from keras_maskrcnn.export.decoding import decode_images
from keras_maskrcnn.export.headers import exif_orientation

# Sides of 60 to 80 pixels keep their size.
KEEPS_SIZE = km.MaskRCNNConfig(image_min_size=60, image_max_size=1000)
FILES = tf.TensorSpec((None,), tf.string)


@functools.cache
def decoder(config):
    """Traced, which takes a second, and so once for all tests of a config."""
    return tf.function(lambda files: decode_images(files, config), input_signature=[FILES])


@pytest.fixture(scope="module")
def decode():
    return decoder(KEEPS_SIZE)


@pytest.fixture(scope="module")
def picture():
    """(60, 80, 3) of smooth colours, which JPEG keeps."""
    colours = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    return cv2.resize(colours, (80, 60))


def encode(picture, kind, mode="RGB", **options):
    file = io.BytesIO()
    PIL.Image.fromarray(picture).convert(mode).save(file, kind, **options)
    return file.getvalue()


def exif_block(orientation, order=">"):
    """A TIFF header and a directory of two entries, the second of them the orientation."""
    head = (b"MM" if order == ">" else b"II") + struct.pack(order + "HI", 42, 8)
    maker = struct.pack(order + "HHII", 0x010F, 2, 4, 0)
    entry = struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0)
    return head + struct.pack(order + "H", 2) + maker + entry + struct.pack(order + "I", 0)


def segment(marker, content):
    return struct.pack(">HH", marker, len(content) + 2) + content


def in_jpeg(jpeg, *segments):
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


@tf.function(input_signature=[tf.TensorSpec((), tf.string)])
def traced_orientation(file):
    return exif_orientation(tf.io.decode_raw(file, tf.uint8))


def orientation_of(file):
    return int(traced_orientation(file))


@pytest.mark.parametrize("order", [">", "<"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_is_turned_as_its_exif_block_says(decode, picture, orientation, order):
    plain = encode(picture, "JPEG")
    exif = segment(0xFFE1, b"Exif\0\0" + exif_block(orientation, order))
    file = in_jpeg(plain, segment(0xFFE0, b"JFIF\0"), exif)
    found = decode([file])
    expected = turn_upright(decode_image(plain, "plain"), orientation)
    np.testing.assert_array_equal(found["images"][0], expected)
    np.testing.assert_array_equal(found["images"][0], decode_image(file, "turned"))
    np.testing.assert_array_equal(found["original_sizes"], [expected.shape[:2]])
    np.testing.assert_array_equal(found["image_sizes"], [expected.shape[:2]])


@pytest.mark.parametrize("orientation", [1, 6, 8])
def test_a_png_is_turned_too(decode, picture, orientation):
    file = encode(picture, "PNG", exif=exif_block(orientation))
    np.testing.assert_array_equal(decode([file])["images"][0], turn_upright(picture, orientation))
    np.testing.assert_array_equal(decode([file])["images"][0], decode_image(file, "turned"))


def test_the_exif_block_is_found_behind_others(picture):
    plain, exif = encode(picture, "JPEG"), segment(0xFFE1, b"Exif\0\0" + exif_block(6))
    xmp = segment(0xFFE1, b"http://ns.adobe.com/xap/1.0/\0" + b"x" * 60000)
    assert orientation_of(in_jpeg(plain, xmp, *[xmp] * 20, exif)) == 6
    assert orientation_of(in_jpeg(plain, b"\xff\xff\xff", exif)) == 6  # fillers
    assert orientation_of(plain) == 1
    assert orientation_of(plain + exif) == 1  # behind the pixels
    assert orientation_of(in_jpeg(encode(picture, "PNG"), exif)) == 1
    assert orientation_of(encode(picture, "BMP")) == 1


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_turns_nothing(picture, orientation):
    exif = segment(0xFFE1, b"Exif\0\0" + exif_block(orientation))
    assert orientation_of(in_jpeg(encode(picture, "JPEG"), exif)) == 1


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=40), st.sampled_from([b"", b"MM\0*", b"II*\0", b"II*\0\x08\0\0\0"]))
def test_a_broken_exif_block_is_no_error(content, head):
    block = segment(0xFFE1, b"Exif\0\0" + head + content)
    assert 1 <= orientation_of(b"\xff\xd8" + block) <= 8
    assert 1 <= orientation_of((b"\xff\xd8" + block)[: 8 + len(content)]) <= 8


PICTURES = {
    "png": lambda p: encode(p, "PNG"),
    "grey png": lambda p: encode(p, "PNG", "L"),
    "black and white png": lambda p: encode(p, "PNG", "1"),
    "png with a palette": lambda p: encode(p, "PNG", "P"),
    "png with alpha": lambda p: encode(np.dstack([p, p[..., :1]]), "PNG", "RGBA"),
    "grey png with alpha": lambda p: encode(p, "PNG", "LA"),
    "16 bit png": lambda p: cv2.imencode(".png", p.astype(np.uint16) * 256 + 77)[1].tobytes(),
    "16 bit grey png": lambda p: cv2.imencode(".png", p[..., 0] * np.uint16(257))[1].tobytes(),
    "jpeg": lambda p: encode(p, "JPEG"),
    "grey jpeg": lambda p: encode(p, "JPEG", "L"),
    "progressive jpeg": lambda p: encode(p, "JPEG", progressive=True),
    "jpeg of full colour": lambda p: encode(p, "JPEG", subsampling=0),
    "jpeg with a trailer": lambda p: encode(p, "JPEG") + bytes(2000),
    "gif": lambda p: encode(p, "GIF"),
    "moving gif": lambda p: encode(
        p, "GIF", save_all=True, append_images=[PIL.Image.fromarray(p[::-1])]
    ),
    "bmp": lambda p: encode(p, "BMP"),
    "32 bit bmp": lambda p: encode(p, "BMP", "RGBA"),
}


@pytest.mark.parametrize("kind", PICTURES)
def test_kinds_of_files(decode, picture, kind):
    file = PICTURES[kind](picture)
    np.testing.assert_array_equal(decode([file])["images"][0], decode_image(file, kind))


def test_cmyk_is_rounded_otherwise(decode, picture):
    file = encode(picture, "JPEG", "CMYK")
    np.testing.assert_allclose(decode([file])["images"][0], decode_image(file, "cmyk"), atol=1)


def test_smaller_pictures_of_a_batch_are_padded(decode, picture):
    tall = np.ascontiguousarray(picture.swapaxes(0, 1))
    found = decode([encode(picture, "PNG"), encode(tall, "PNG"), encode(tall[:60, :60], "PNG")])
    assert found["images"].shape == (3, 80, 80, 3)
    assert found["images"].dtype == tf.float32
    expected = np.zeros((3, 80, 80, 3), np.float32)
    expected[0, :60], expected[1, :, :60], expected[2, :60, :60] = picture, tall, tall[:60, :60]
    np.testing.assert_array_equal(found["images"], expected)
    np.testing.assert_array_equal(found["image_sizes"], [[60, 80], [80, 60], [60, 60]])
    np.testing.assert_array_equal(found["original_sizes"], found["image_sizes"])


@pytest.mark.parametrize("style", ["detectron2", "torchvision"])
@pytest.mark.parametrize("sizes", [(800, 1333), (200, 333)])
def test_photos_are_resized_as_opencv_does(shared, style, sizes):
    """OpenCV's bilinear interpolation of bytes is of fixed point: one grey level may differ."""
    config = km.MaskRCNNConfig(image_min_size=sizes[0], image_max_size=sizes[1], resize_style=style)
    decode = decoder(config)
    photos = sorted((shared / "data/coco_tiny").glob("*2017/*.jpg"))
    for path in photos[:: 4 if sizes[0] == 200 else 10]:
        file = path.read_bytes()
        image = decode_image(file, path.name)
        shape = resized_shape(*image.shape[:2], *sizes, style)
        found = decode([file])
        np.testing.assert_array_equal(found["original_sizes"], [image.shape[:2]])
        np.testing.assert_array_equal(found["image_sizes"], [shape])
        difference = np.abs(found["images"][0] - resize_image(image, shape, style))
        assert difference.max() <= 1
        assert difference.mean() < 0.2


def test_photos_are_decoded_as_opencv_does(shared):
    decode = decoder(km.MaskRCNNConfig(image_min_size=480, image_max_size=640))
    files = [path.read_bytes() for path in sorted((shared / "data/coco_tiny").glob("*2017/*.jpg"))]
    images = [(file, decode_image(file, "photo")) for file in files]
    keeping = [(file, image) for file, image in images if sorted(image.shape[:2]) == [480, 640]]
    assert len(keeping) > 10
    for file, image in keeping:
        np.testing.assert_array_equal(decode([file])["images"][0], image)


@pytest.mark.parametrize("size", [(1, 1), (1, 700), (6000, 8000)])
def test_very_small_and_very_large_pictures(picture, size):
    config = km.MaskRCNNConfig(image_min_size=64, image_max_size=96)
    image = cv2.resize(picture, size[::-1])
    found = decoder(config)([encode(image, "PNG", compress_level=1)])
    shape = resized_shape(*size, 64, 96)
    np.testing.assert_array_equal(found["original_sizes"], [size])
    np.testing.assert_array_equal(found["image_sizes"], [shape])
    np.testing.assert_allclose(found["images"][0], resize_image(image, shape), atol=1)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from(["detectron2", "torchvision"]))
def test_resized_sizes(decoders, height, width, style):
    file = encode(np.zeros((height, width, 3), np.uint8), "PNG")
    found = decoders[style]([file])
    assert tuple(found["image_sizes"][0].numpy()) == resized_shape(height, width, 37, 61, style)


@pytest.fixture(scope="module")
def decoders():
    return {
        style: decoder(km.MaskRCNNConfig(image_min_size=37, image_max_size=61, resize_style=style))
        for style in ("detectron2", "torchvision")
    }


def without_width(png):
    return png[:16] + bytes(4) + png[20:]


def without_height(jpeg):
    frame = jpeg.index(b"\xff\xc0")
    return jpeg[: frame + 5] + bytes(2) + jpeg[frame + 7 :]


BROKEN = {
    "nothing": (lambda p: b"", "is empty: send the bytes"),
    "one byte": (lambda p: b"\xff", "is no JPEG, PNG, GIF or BMP file: convert"),
    "text": (lambda p: b"no picture", "is no JPEG, PNG, GIF or BMP file: convert"),
    "webp": (lambda p: encode(p, "WEBP"), "is no JPEG, PNG, GIF or BMP file: convert"),
    "jpeg cut off": (lambda p: encode(p, "JPEG")[:-20], "is a JPEG that is cut off: send"),
    "a jpeg's start": (lambda p: b"\xff\xd8\xff", "is a JPEG that is cut off: send"),
    "png cut off": (lambda p: encode(p, "PNG")[:-20], "is a PNG that is cut off: send"),
    "jpeg without frame": (lambda p: b"\xff\xd8\xff\xd9", "has no width or no height: send"),
    "jpeg of no height": (lambda p: without_height(encode(p, "JPEG")), "has no width or no height"),
    "png of no width": (lambda p: without_width(encode(p, "PNG")), "has no width or no height"),
    "png without header": (lambda p: b"\x89PNG\r\n\x1a\nIEND", "has no width or no height"),
    "bmp with a palette": (lambda p: encode(p, "BMP", "P"), "is a BMP of less than 24 bits"),
}


@pytest.mark.parametrize("index", [0, 2])
@pytest.mark.parametrize("kind", BROKEN)
def test_bad_files_are_named_by_their_index(decode, picture, kind, index):
    make, problem = BROKEN[kind]
    files = [encode(picture, "PNG")] * 3
    files[index] = make(picture)
    message = rf"image {index} of the batch \(the first is 0\) {problem}"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        decode(files)


@pytest.mark.parametrize("kind", ["GIF", "BMP", "PNG", "JPEG"])
def test_what_only_the_decoder_finds_is_an_invalid_argument(decode, picture, kind):
    file = encode(picture, kind)
    broken = {
        "GIF": file[:100],
        "BMP": file[:100],
        "PNG": file[:200] + bytes(400) + file[600:],
        "JPEG": file[: file.find(b"\xff\xda")] + b"\xff\xd9",
    }
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode([broken[kind]])


def test_an_empty_batch(decode):
    with pytest.raises(tf.errors.InvalidArgumentError, match="batch is empty: send one image"):
        decode(tf.zeros((0,), tf.string))


def test_segments_without_end_do_not_keep_a_server(decode):
    """A million of empty segments are read on to a bound; the file is refused as any other."""
    file = b"\xff\xd8" + b"\xff\xe2\0\x02" * 1_000_000 + b"\xff\xd9"
    with pytest.raises(tf.errors.InvalidArgumentError, match="has no width"):
        decode([file])


def test_no_operation_calls_python(decode):
    graph = decode.get_concrete_function().graph.as_graph_def()
    nodes = [*graph.node, *(node for f in graph.library.function for node in f.node_def)]
    assert "DecodeJpeg" in {node.op for node in nodes}
    assert not {node.op for node in nodes if "PyFunc" in node.op}


def with_thumbnail(jpeg):
    """Its EXIF block holds a small JPEG, which has an end marker of its own."""
    small = encode(np.zeros((8, 8, 3), np.uint8), "JPEG")
    return in_jpeg(jpeg, segment(0xFFE1, small))


JPEGS = {
    "baseline": lambda p: encode(p, "JPEG"),
    "progressive": lambda p: encode(p, "JPEG", progressive=True),
    "restart markers": lambda p: encode(p, "JPEG", restart_marker_blocks=1),
    "thumbnail": lambda p: with_thumbnail(encode(p, "JPEG")),
    "fillers": lambda p: in_jpeg(encode(p, "JPEG"), b"\xff\xff\xff"),
    "png": lambda p: encode(p, "PNG"),
}
ANOTHER = encode(np.zeros((8, 8, 3), np.uint8), "JPEG")
TRAILERS = {
    "zeros": bytes(5000),
    "a video": np.random.default_rng(0).bytes(50_000),
    "another picture": ANOTHER + ANOTHER,
}


@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("trailer", TRAILERS)
def test_what_follows_the_end_of_a_picture_is_passed_over(decode, picture, kind, trailer):
    file = JPEGS[kind](picture)
    found = decode([file + TRAILERS[trailer]])["images"][0]
    np.testing.assert_array_equal(found, decode_image(file, kind))


@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.99])
@pytest.mark.parametrize("rest", [b"", bytes(5000), ANOTHER])
def test_the_end_of_a_thumbnail_or_of_another_picture_is_not_its_own(
    decode, picture, kind, share, rest
):
    file = JPEGS[kind](cv2.resize(picture, (320, 240)))
    cut = file[: int(len(file) * share)] + rest
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"image 1 of .* that is cut off"):
        decode([file, cut])


def test_a_file_of_more_segments_than_are_walked_is_refused_where_it_is_cut_off(decode, picture):
    jpeg = encode(picture, "JPEG")
    scan = jpeg.index(b"\xff\xda")
    long = jpeg[:scan] + segment(0xFFFE, b"") * 3000 + jpeg[scan:]
    np.testing.assert_array_equal(decode([long])["images"][0], decode_image(jpeg, "plain"))
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode([long[:-200]])
