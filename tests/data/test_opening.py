import json
import pathlib

import PIL.Image
import pytest

import keras_maskrcnn as km
from keras_maskrcnn.data import open_dataset


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    return km.data.shapes.generate(tmp_path_factory.mktemp("shapes"), 3, size=64)


@pytest.fixture(scope="module")
def written(shapes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    for target in ("coco", "labelme", "via", "voc", "mask-png", "tfrecord"):
        km.data.convert(shapes, target, folder / target)
    return folder


@pytest.mark.parametrize(
    ("path", "images"),
    [
        ("coco", None),
        ("coco/annotations.json", None),
        ("coco/annotations.json", "labelme"),
        ("labelme", None),
        ("labelme", "coco/images"),
        ("via", None),
        ("via/via_region_data.json", "coco/images"),
        ("voc", None),
        ("voc", "coco/images"),
        ("voc/ImageSets/Segmentation/all.txt", None),
        ("mask-png", None),
        ("mask-png/masks", "coco/images"),
    ],
)
def test_every_format_by_its_path(written, shapes, path, images):
    dataset = open_dataset(written / path, images and written / images)
    assert len(dataset) == 3
    assert dataset.problems == []
    if images:
        assert pathlib.Path(dataset.records[0].path).parent == written / images
    objects = [len(record.instances) for record in dataset.records]
    assert objects == [len(record.instances) for record in shapes.records]


def test_classes_are_handed_on(written):
    for path in ("coco", "labelme", "via", "voc"):
        assert open_dataset(written / path, class_names=["cross"]).class_names == ("cross",)
    assert open_dataset(written / "mask-png", class_names=["cross"]).class_names == ("cross",)
    with pytest.raises(
        ValueError, match="mask PNGs know one class, but 2 are expected: ring, star"
    ):
        open_dataset(written / "mask-png", class_names=["ring", "star"])


def test_a_class_attribute_is_for_via_alone(written):
    for target in ("coco", "labelme", "voc", "mask-png", "tfrecord"):
        with pytest.raises(
            ValueError, match=f"class_attribute='kind' .*VIA's .*the format is {target}: leave it"
        ):
            open_dataset(written / target, class_attribute="kind")
    dataset = open_dataset(written / "via", class_attribute="class")
    assert dataset.class_names == open_dataset(written / "via").class_names


def test_tfrecords_are_read_as_a_stream(written, shapes):
    dataset = open_dataset(written / "tfrecord", class_names=shapes.class_names)
    assert type(dataset) is km.data.TFRecordDataset
    assert len(dataset) == 3
    with pytest.raises(ValueError, match="its classes are ellipse, .*, expected are ring: TFRec"):
        open_dataset(written / "tfrecord", class_names=["ring"])
    with pytest.raises(ValueError, match="TFRecords hold the images themselves: leave out .*via"):
        open_dataset(written / "tfrecord", written / "via")


def write_coco_and_via(folder, category, attribute):
    """A COCO and a VIA file of one image and one object, `a.json` and `b.json`."""
    PIL.Image.new("RGB", (30, 20)).save(folder / "a.png")
    box = {"bbox": [2, 3, 9, 8], "segmentation": [[2, 3, 11, 3, 11, 11, 2, 11]]}
    coco = {
        "categories": [{"id": 1, "name": category}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, **box}],
        "images": [{"id": 1, "file_name": "a.png", "height": 20, "width": 30}],
    }
    shape = {"name": "rect", "x": 2, "y": 3, "width": 9, "height": 8}
    region = {"shape_attributes": shape, "region_attributes": {attribute: "cat"}}
    via = {"a.png1": {"filename": "a.png", "size": 1, "regions": [region]}}
    (folder / "a.json").write_text(json.dumps(coco))
    (folder / "b.json").write_text(json.dumps(via))


def test_words_inside_of_a_file_do_not_mislead(tmp_path):
    write_coco_and_via(tmp_path, "regions", "categories")
    for name, class_name in (("a.json", "regions"), ("b.json", "cat")):
        dataset = open_dataset(tmp_path / name)
        assert dataset.class_names == (class_name,)
        assert [i.box for i in dataset.records[0].instances] == [(2, 3, 11, 11)]


def test_a_folder_of_two_formats_is_of_the_one_that_is_asked_first(tmp_path):
    write_coco_and_via(tmp_path, "cat", "kind")
    (tmp_path / "b.json").rename(tmp_path / "via_region_data.json")
    assert open_dataset(tmp_path).source == str(tmp_path / "via_region_data.json")
    (tmp_path / "a.json").rename(tmp_path / "annotations.json")
    assert open_dataset(tmp_path).source == str(tmp_path / "annotations.json")


def test_paths_that_are_no_dataset(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file or folder .*none: expected one of"):
        open_dataset(tmp_path / "none")
    with pytest.raises(ValueError, match="of no known format: expected one of") as error:
        open_dataset(tmp_path)
    for part in ("coco: a file", "via: a file", "labelme: a folder", "voc: ", "JPEGImages"):
        assert part in str(error.value)
    (tmp_path / "a.txt").write_text("a\n")
    with pytest.raises(ValueError, match=r"a.txt is of no known format"):
        open_dataset(tmp_path / "a.txt")
    (tmp_path / "a.json").write_text('{"tables": []}')
    with pytest.raises(ValueError, match=r"a.json is of no known format"):
        open_dataset(tmp_path / "a.json")
    (tmp_path / "a.json").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"a.json: not a JSON file"):
        open_dataset(tmp_path / "a.json")
