"""Masks of colours with a `labelmap.txt`, alone and in a folder laid out as VOC's."""

import cv2
import numpy as np
import PIL.Image
import pytest

from keras_maskrcnn.data import open_dataset
from keras_maskrcnn.data.formats.shared.labelmap import class_values, object_numbers, read_labelmap
from keras_maskrcnn.data.formats.voc import voc_palette
from keras_maskrcnn.data.masks import decode_mask

# As CVAT's documentation shows it.
LABELMAP = (
    "\ufeff# label:color_rgb:parts:actions\ncat:250,50,83::\nbackground:0,0,0::\ndog:61,61,245::\n"
)
CAT, DOG, VOID = (250, 50, 83), (61, 61, 245), (224, 224, 192)


@pytest.fixture
def pair():
    """The pixels of objects and classes: a cat, and a dog with a void border."""
    objects, classes = np.zeros((2, 20, 30, 3), np.uint8)
    objects[2:6, 3:9], classes[2:6, 3:9] = (128, 0, 0), CAT
    objects[9:19, 11:29] = classes[9:19, 11:29] = VOID
    objects[10:18, 12:28], classes[10:18, 12:28] = (0, 128, 0), DOG
    return objects, classes


def write(root, objects, classes, mode="RGB", labelmap=LABELMAP):
    for part in ("JPEGImages", "SegmentationObject", "SegmentationClass"):
        (root / part).mkdir(exist_ok=True)
    cv2.imwrite(str(root / "JPEGImages/a.jpg"), np.full((20, 30, 3), 90, np.uint8))
    for part, values in (("SegmentationObject", objects), ("SegmentationClass", classes)):
        picture = PIL.Image.fromarray(values).convert(mode, palette=PIL.Image.Palette.ADAPTIVE)
        picture.save(root / part / "a.png")
    (root / "labelmap.txt").write_text(labelmap, encoding="utf-8")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_colours_say_objects_and_classes(mode, tmp_path, pair):
    write(tmp_path, *pair, mode)
    dataset = open_dataset(tmp_path)
    assert dataset.class_names == ("cat", "dog")
    assert dataset.problems == []
    cat, dog = sorted(dataset.records[0].instances, key=lambda instance: instance.class_id)
    assert (cat.class_id, cat.box, cat.area) == (0, (3, 2, 9, 6), 24)
    assert (dog.class_id, dog.box) == (1, (12, 10, 28, 18))
    mask = (pair[0] == (0, 128, 0)).all(2)
    np.testing.assert_array_equal(decode_mask(dog.segmentation, 20, 30), mask)


def test_grey_pixels_are_lines_of_the_labelmap(tmp_path, pair):
    objects = np.zeros((20, 30), np.uint8)
    objects[2:6, 3:9], objects[10:18, 12:28] = 1, 2
    write(tmp_path, objects, np.array([1, 0, 2], np.uint8)[objects], "L")
    dataset = open_dataset(tmp_path, class_names=["dog", "cat"])
    assert dataset.problems == []
    cat, dog = dataset.records[0].instances
    assert (cat.class_id, cat.box) == (1, (3, 2, 9, 6))
    assert (dog.class_id, dog.box) == (0, (12, 10, 28, 18))


def test_colours_without_a_class_are_said(tmp_path, pair):
    objects, classes = pair
    classes[2:6, 3:9] = (1, 2, 3)
    write(tmp_path, objects, classes)
    dataset = open_dataset(tmp_path)
    first, second = dataset.problems
    assert "SegmentationClass/a.png: no class of labelmap.txt has the colour 1,2,3" in str(first)
    assert "its pixels have no class in SegmentationClass" in str(second)
    assert len(dataset.records[0].instances) == 1


def test_lines(tmp_path):
    file = tmp_path / "labelmap.txt"
    file.write_text("\n# comment\n_background_:9,8,7\na:b:1,2,3:x:y\n cat :::\ndog\n")
    labels = read_labelmap(file, voc_palette())
    assert labels.names == ("a:b", "cat", "dog")
    # The palette's third and fourth colour.
    assert labels.colours == {0: 0, 0x090807: 0, 0x010203: 1, 0x008000: 2, 0x808000: 3}
    assert labels.order == (0, 1, 2, 3)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (":1,2,3::", "it has no name"),
        ("dog:1,2::", "must be like name:red,green,blue::"),
        ("dog:1,2,256::", "must be like name:red,green,blue::"),
        ("dog:1,2,x::", "must be like name:red,green,blue::"),
        ("cat:1,2,3::", "'cat' is there already"),
        ("dog:9,9,9::", "'dog' has the colour of cat"),
        ("dog:0,0,0::", "'dog' has the colour of the background"),
    ],
)
def test_a_broken_line_is_named(line, what, tmp_path):
    file = tmp_path / "labelmap.txt"
    file.write_text(f"cat:9,9,9::\n{line}\n")
    with pytest.raises(ValueError, match=what) as error:
        read_labelmap(file, voc_palette())
    assert f"{file}: line 2" in str(error.value)


def test_files_that_are_no_masks(tmp_path):
    labels = read_labelmap(_touch(tmp_path / "labelmap.txt", b"cat:9,9,9"), voc_palette())
    broken = _touch(tmp_path / "a.png", b"no picture")
    with pytest.raises(ValueError, match=r"a\.png: not a mask, or a broken one"):
        class_values(broken, labels)
    noise = np.random.default_rng(0).integers(0, 256, (80, 80, 3), np.uint8)
    PIL.Image.fromarray(noise).save(tmp_path / "photo.png")
    with pytest.raises(ValueError, match="colours: a photo, not a mask"):
        object_numbers(tmp_path / "photo.png")
    PIL.Image.fromarray(noise).save(tmp_path / "photo.jpg")
    with pytest.raises(ValueError, match="it is a JPEG: save masks as PNG"):
        object_numbers(tmp_path / "photo.jpg")
    with pytest.raises(FileNotFoundError):
        object_numbers(tmp_path / "none.png")


def _touch(path, data):
    path.write_bytes(data)
    return path
