import pathlib

import pytest

import keras_maskrcnn as km
from keras_maskrcnn.data import open_dataset


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    return km.data.shapes.generate(tmp_path_factory.mktemp("shapes"), 3, size=64)


@pytest.fixture(scope="module")
def written(shapes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    for target in ("coco", "labelme", "via", "voc", "mask-png"):
        km.data.convert(shapes, target, folder / target)
    return folder


@pytest.mark.parametrize(
    ("path", "images"),
    [
        ("coco", None),
        ("coco/annotations.json", None),
        ("coco/annotations.json", "labelme"),
        ("labelme", None),
        ("via", None),
        ("via/via_region_data.json", "coco/images"),
        ("voc", None),
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


def test_paths_that_are_no_dataset(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file or folder .*none: expected a COCO or VIA"):
        open_dataset(tmp_path / "none")
    with pytest.raises(ValueError, match="of no known format: expected a COCO or VIA file"):
        open_dataset(tmp_path)
    (tmp_path / "a.txt").write_text("a\n")
    with pytest.raises(ValueError, match=r"a.txt is of no known format"):
        open_dataset(tmp_path / "a.txt")
    (tmp_path / "a.json").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"a.json: not a JSON file"):
        open_dataset(tmp_path / "a.json")
