import cv2
import numpy as np
import PIL.Image
import pytest

from keras_maskrcnn.data import Dataset
from keras_maskrcnn.data.formats.voc import VOC_CLASSES, voc_palette
from keras_maskrcnn.data.masks import decode_mask


def write(root, name, objects, classes):
    for part in ("JPEGImages", "SegmentationObject", "SegmentationClass"):
        (root / part).mkdir(exist_ok=True)
    shape = (*objects.shape, 3)
    cv2.imwrite(str(root / "JPEGImages" / f"{name}.jpg"), np.full(shape, 90, np.uint8))
    for part, values in (("SegmentationObject", objects), ("SegmentationClass", classes)):
        picture = PIL.Image.fromarray(values)
        picture.putpalette(voc_palette())
        picture.save(root / part / f"{name}.png")


@pytest.fixture
def pair():
    """Two objects, of aeroplane and person, the second with a void border."""
    objects, classes = np.zeros((2, 20, 30), np.uint8)
    objects[2:6, 3:9] = 1
    classes[2:6, 3:9] = 1
    objects[9:19, 11:29] = classes[9:19, 11:29] = 255
    objects[10:18, 12:28] = 2
    classes[10:18, 12:28] = 15
    return objects, classes


def test_palette_of_the_devkit():
    colours = np.reshape(voc_palette(), (256, 3)).tolist()
    assert colours[0] == [0, 0, 0]
    assert colours[1] == [128, 0, 0]
    assert colours[15] == [192, 128, 128]
    assert colours[255] == [224, 224, 192]
    assert len({tuple(colour) for colour in colours}) == 256


def test_objects_and_void(tmp_path, pair):
    write(tmp_path, "a", *pair)
    dataset = Dataset.from_voc(tmp_path)
    assert dataset.class_names == VOC_CLASSES
    assert dataset.problems == []
    first, second = dataset.records[0].instances
    assert (first.class_id, second.class_id) == (0, 14)
    assert (first.box, first.area) == ((3, 2, 9, 6), 24)
    assert second.box == (12, 10, 28, 18)
    np.testing.assert_array_equal(decode_mask(second.segmentation, 20, 30), pair[0] == 2)


def test_split_and_class_names(tmp_path, pair):
    for name in "cab":
        write(tmp_path, name, *pair)
    (tmp_path / "ImageSets/Segmentation").mkdir(parents=True)
    (tmp_path / "ImageSets/Segmentation/val.txt").write_text("c\na\n")
    dataset = Dataset.from_voc(tmp_path, "val", ["person"])
    assert [record.path[-5] for record in dataset.records] == ["c", "a"]
    assert [i.class_id for record in dataset.records for i in record.instances] == [0, 0]
    assert [record.path[-5] for record in Dataset.from_voc(tmp_path).records] == ["a", "b", "c"]
    with pytest.raises(ValueError, match="no class 'unicorn'; there are aeroplane"):
        Dataset.from_voc(tmp_path, class_names=["unicorn"])
    with pytest.raises(FileNotFoundError, match="test.txt"):
        Dataset.from_voc(tmp_path, "test")


def test_a_split_names_images_with_blanks(tmp_path, pair):
    write(tmp_path, "my photo 1", *pair)
    (tmp_path / "ImageSets/Segmentation").mkdir(parents=True)
    (tmp_path / "ImageSets/Segmentation/val.txt").write_text("my photo 1 \n\n")
    dataset = Dataset.from_voc(tmp_path, "val")
    assert dataset.problems == []
    assert [len(record.instances) for record in dataset.records] == [2]


def test_bad_records_are_left_out_and_listed(tmp_path, pair):
    objects, classes = pair
    write(tmp_path, "a", *pair)
    write(tmp_path, "unclassed", objects, np.where(objects == 1, 0, classes).astype(np.uint8))
    write(tmp_path, "unknown", objects, np.where(objects == 1, 99, classes).astype(np.uint8))
    write(tmp_path, "size", objects, classes[:-1])
    write(tmp_path, "cut", *pair)
    path = tmp_path / "SegmentationObject/cut.png"
    path.write_bytes(path.read_bytes()[:-40])
    write(tmp_path, "colours", *pair)
    colours = PIL.Image.fromarray(np.zeros((20, 30, 3), np.uint8))
    colours.save(tmp_path / "SegmentationClass/colours.png")
    write(tmp_path, "lone", *pair)
    (tmp_path / "JPEGImages/lone.jpg").unlink()
    dataset = Dataset.from_voc(tmp_path)
    assert len(dataset) == 3
    assert dataset.broken() == {"image": (4, 7), "annotation": (2, 6)}
    report = dataset.problem_report()
    for part in (
        "unclassed.png: object 1: its pixels have no class",
        "unknown.png: object 1: its class is 99, but there are 20 classes",
        "SegmentationClass/size.png is 30x19, but ",
        "cut.png: not an image, or a broken one",
        "expected one number a pixel (grey or with a palette), got 20x30x3",
        "holds no image lone",
    ):
        assert part in report


def test_folders_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="JPEGImages"):
        Dataset.from_voc(tmp_path)


@pytest.mark.parametrize(
    ("lines", "names"),
    [
        ("__ignore__\n_background_\na\nb\n", ("a", "b")),
        ("_background_\na\nb\n", ("a", "b")),
        ("background\na\n", ("a",)),
        ("a\nb\n", ("a", "b")),
        ("_background_\na\nbackground\n__ignore__\n", ("a", "background", "__ignore__")),
        ("_background_\n_background_\na\n", ("_background_", "a")),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_lines_of_class_names(tmp_path, pair, lines, names, encoding):
    write(tmp_path, "a", *pair)
    (tmp_path / "class_names.txt").write_text(lines, encoding=encoding)
    (tmp_path / "ImageSets/Segmentation").mkdir(parents=True)
    (tmp_path / "ImageSets/Segmentation/all.txt").write_text("a\n \n", encoding=encoding)
    assert Dataset.from_voc(tmp_path, "all").class_names == names


def test_names_in_another_encoding(tmp_path, pair):
    write(tmp_path, "a", *pair)
    (tmp_path / "class_names.txt").write_text("\u72d7\n", encoding="gb18030")
    with pytest.raises(
        ValueError, match=r"class_names.txt: not a text in utf-8 .*, perhaps gb18030"
    ):
        Dataset.from_voc(tmp_path)


def test_masks_saved_as_jpeg(tmp_path, pair):
    write(tmp_path, "a", *pair)
    PIL.Image.fromarray(pair[0]).save(tmp_path / "SegmentationObject/a.png", "JPEG")
    with pytest.raises(ValueError, match=r"a.png: a mask saved as JPEG.*save masks as PNG"):
        Dataset.from_voc(tmp_path)


def test_files_of_systems_are_read_past_and_stems_are_told_apart(tmp_path, pair):
    for name in "ab":
        write(tmp_path, name, *pair)
    for part in ("JPEGImages", "SegmentationObject", "SegmentationClass"):
        for name in (".DS_Store", "Thumbs.db", "._a.png"):
            (tmp_path / part / name).write_bytes(b"\0\5\26\7")
    assert Dataset.from_voc(tmp_path).problems == []
    PIL.Image.new("RGB", (30, 20)).save(tmp_path / "JPEGImages/b.png")
    dataset = Dataset.from_voc(tmp_path)
    assert len(dataset) == 1
    (problem,) = dataset.problems
    assert "b.jpg and " in problem.what
    assert "b.png have one name but for the suffix" in problem.what


def test_masks_of_another_size_than_the_picture_are_not_read(tmp_path, pair):
    """Their pixels could take any time and memory, as those of this photo of 16 bits do."""
    for name in "ab":
        write(tmp_path, name, *pair)
    values = np.arange(400 * 400, dtype=np.uint32).astype(np.uint16).reshape(400, 400)
    for part in ("SegmentationObject", "SegmentationClass"):
        PIL.Image.fromarray(values).save(tmp_path / part / "b.png")
    (problem,) = Dataset.from_voc(tmp_path).problems
    assert "SegmentationObject/b.png is 400x400, but " in problem.what
    assert "JPEGImages/b.jpg is 30x20; the image is left out" in problem.what


def test_pixels_of_any_number(tmp_path, pair):
    write(tmp_path, "a", *pair)
    classes = np.full((20, 30), 2**31 - 1, np.int32)
    classes[:6], classes[6, :20] = 7, -9
    # Pillow reads files by what is in them.
    path = tmp_path / "SegmentationClass/a.png"
    PIL.Image.fromarray(classes).save(path, "TIFF")
    dataset = Dataset.from_voc(tmp_path)
    assert [i.class_id for i in dataset.records[0].instances] == [6]
    assert "a.png: object 2: its pixels have no class" in dataset.problem_report()
