import json
import math

import cv2
import numpy as np
import pytest

from keras_maskrcnn.data import Dataset, open_dataset
from keras_maskrcnn.data.masks import decode_mask

POLYGON = {"name": "polygon", "all_points_x": [2, 12, 12, 2], "all_points_y": [2, 2, 12, 12]}


def region(shape=POLYGON, **attributes):
    return {"shape_attributes": shape, "region_attributes": attributes}


def write(folder, *regions, **entries):
    """A VIA file of one image of 30 x 20, and of further entries."""
    cv2.imwrite(str(folder / "a.png"), np.full((20, 30, 3), 90, np.uint8))
    entry = {"filename": "a.png", "size": 9, "regions": list(regions), "file_attributes": {}}
    (folder / "via.json").write_text(json.dumps({"a.png9": entry, **entries}))
    return folder / "via.json"


def only(path):
    (record,) = Dataset.from_via(path).records
    (instance,) = record.instances
    return instance


def test_balloons_have_no_attribute(tmp_path):
    entry = {"fileref": "", "size": 9, "filename": "a.png", "base64_img_data": ""}
    entry |= {"file_attributes": {}, "regions": {"0": region(), "1": region()}}
    write(tmp_path)
    (tmp_path / "via.json").write_text(json.dumps({"a.png9": entry}))
    dataset = Dataset.from_via(tmp_path / "via.json")
    assert dataset.class_names == ("object",)
    assert [i.box for i in dataset.records[0].instances] == [(2, 2, 12, 12)] * 2
    assert (dataset.records[0].height, dataset.records[0].width) == (20, 30)


def test_rectangle(tmp_path):
    shape = {"name": "rect", "x": 3, "y": 4, "width": 7, "height": 5}
    instance = only(write(tmp_path, region(shape)))
    assert instance.box == (3, 4, 10, 9)
    assert decode_mask(instance.segmentation, 20, 30).sum() == 35


def test_circle_and_ellipse(tmp_path):
    circle = {"name": "circle", "cx": 15, "cy": 10, "r": 8}
    instance = only(write(tmp_path, region(circle)))
    np.testing.assert_allclose(instance.box, (7, 2, 23, 18))
    ellipse = {"name": "ellipse", "cx": 15, "cy": 10, "rx": 8, "ry": 3, "theta": math.pi / 2}
    instance = only(write(tmp_path, region(ellipse)))
    np.testing.assert_allclose(instance.box, (12, 2, 18, 18))
    assert instance.area == pytest.approx(math.pi * 24, rel=0.002)


def test_class_attribute(tmp_path):
    path = write(
        tmp_path,
        region(kind="cat", colour="red"),
        region(kind={"dog": True, "cat": False}, colour="grey"),
        region(colour="red"),
    )
    with pytest.raises(ValueError, match="attributes colour, kind: say which is the class"):
        Dataset.from_via(path)
    dataset = Dataset.from_via(path, class_attribute="kind")
    assert dataset.class_names == ("cat", "dog")
    assert [i.class_id for i in dataset.records[0].instances] == [0, 1]
    assert "regions[2]: has no 'kind'; it is left out" in dataset.problem_report()
    dataset = Dataset.from_via(path, class_names=["dog"], class_attribute="kind")
    assert [i.class_id for i in dataset.records[0].instances] == [0]
    with pytest.raises(ValueError, match="no object of cow; there are grey, red"):
        Dataset.from_via(path, class_names=["cow"], class_attribute="colour")


@pytest.mark.parametrize(
    ("attributes", "name"),
    [
        ({"cat": ""}, "cat"),
        ({"cat": "", "dog": "1"}, "dog"),
        ({" cat ": "x", "dog": "0"}, "cat"),
        ({"cat": {"yes": False}, "dog": {"yes": True}, "group_id": "7"}, "dog"),
    ],
)
def test_the_class_is_the_name_of_the_attribute_that_is_set(attributes, name, tmp_path):
    path = write(tmp_path, region(**attributes))
    dataset = Dataset.from_via(path, class_attribute="*")
    assert dataset.problems == []
    assert dataset.class_names == (name,)


def test_regions_of_no_or_several_attributes_are_listed(tmp_path):
    path = write(tmp_path, region(cat="1"), region(cat="1", dog="1"), region(cat="", dog=" "))
    with pytest.raises(ValueError, match=r"or '\*' if the class is the name of the attribute"):
        Dataset.from_via(path)
    dataset = Dataset.from_via(path, class_attribute="*")
    assert dataset.class_names == ("cat",)
    several, none = dataset.problems
    assert "regions[1]: must have one attribute that is set, it has cat, dog" in str(several)
    assert "regions[2]: must have one attribute that is set, it has none" in str(none)


def test_polylines_that_end_where_they_begin(tmp_path):
    closed = {"name": "polyline", "all_points_x": [2, 9, 9, 2], "all_points_y": [3, 3, 8, 3]}
    line = {"name": "polyline", "all_points_x": [2, 9, 9, 2], "all_points_y": [3, 3, 8, 4]}
    dataset = Dataset.from_via(write(tmp_path, region(closed), region(line)))
    (instance,) = dataset.records[0].instances
    assert instance.segmentation == [[2, 3, 9, 3, 9, 8]]
    (problem,) = dataset.problems
    assert "regions[1]: a polyline that does not end where it begins" in str(problem)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"name": "point", "cx": 3, "cy": 4}, "a 'point' encloses nothing"),
        ({"name": "circle", "cx": 3, "cy": 4}, "a circle needs r"),
        ({"name": "circle", "cx": 3, "cy": 4, "r": -1}, "is empty"),
        ({"name": "polygon", "all_points_x": [1, 2, 3]}, "must be lists of the same length"),
        ({"name": "polygon", "all_points_x": [1, 2], "all_points_y": [1, 2]}, "three points"),
        ({"name": "rect", "x": 50, "y": 1, "width": 4, "height": 4}, "lies outside the image"),
        (None, "has no shape_attributes"),
    ],
)
def test_bad_regions_are_left_out_and_listed(tmp_path, bad, message):
    dataset = Dataset.from_via(write(tmp_path, region(), region(bad)))
    assert len(dataset.records[0].instances) == 1
    assert "a.png9 regions[1]: " in dataset.problem_report()
    assert message in dataset.problem_report()
    assert dataset.broken()["annotation"] == (1, 2)


def test_regions_that_are_no_objects_are_listed(tmp_path):
    path = write(tmp_path, {"shape_attributes": POLYGON}, "text")
    dataset = Dataset.from_via(path)
    assert len(dataset.records[0].instances) == 1
    assert "a.png9 regions[1]: must be an object, got 'text'" in dataset.problem_report()


def test_bad_images_are_left_out_and_listed(tmp_path):
    (tmp_path / "b.png").write_bytes(b"")
    path = write(
        tmp_path,
        region(),
        missing={"filename": "no.png", "regions": []},
        empty={"filename": "b.png", "regions": []},
        unnamed={"regions": []},
        wrong={"filename": "a.png", "regions": 7},
        text="text",
    )
    dataset = Dataset.from_via(path)
    assert len(dataset) == 1
    assert dataset.broken()["image"] == (5, 6)
    report = dataset.problem_report()
    for part in ("no.png", "b.png: not an image", "unnamed: has no filename", "got 7"):
        assert part in report


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"images": []}', '{"a": {"b": 1}}'])
def test_files_that_are_none(tmp_path, text):
    (tmp_path / "via.json").write_text(text)
    with pytest.raises(ValueError, match=r"via.json: not a (JSON|VIA) file"):
        Dataset.from_via(tmp_path / "via.json")


@pytest.mark.parametrize("chosen", [True, 1, "true", "1"])
@pytest.mark.parametrize("other", [False, 0, "false", "0", None])
def test_options_that_are_chosen(tmp_path, chosen, other):
    path = write(tmp_path, region(kind={"dog": chosen, "cat": other}))
    assert Dataset.from_via(path).class_names == ("dog",)


def test_an_option_that_is_neither(tmp_path):
    path = write(tmp_path, region(kind="cat"), region(kind={"dog": "perhaps"}))
    assert "kind dog must be 0 or 1, got 'perhaps'" in Dataset.from_via(path).problem_report()


def test_blanks_around_a_class_do_not_count_and_numbers_are_texts(tmp_path):
    path = write(tmp_path, region(kind="cat"), region(kind=" cat "), region(kind=7))
    dataset = Dataset.from_via(path)
    assert dataset.class_names == ("7", "cat")
    assert [i.class_id for i in dataset.records[0].instances] == [1, 1, 0]


@pytest.mark.parametrize("name", ["photos/a.png", "..\\photos\\a.png", "C:\\photos\\a.png"])
def test_the_image_lies_beside_the_file(tmp_path, name):
    write(tmp_path)
    entry = {"filename": name, "size": 9, "regions": [region()]}
    (tmp_path / "via.json").write_text(json.dumps({"a": entry}))
    (record,) = Dataset.from_via(tmp_path / "via.json").records
    assert record.path == str(tmp_path / "a.png")


def test_a_byte_order_mark(tmp_path):
    path = write(tmp_path, region(kind="cat"))
    path.write_text(path.read_text(), encoding="utf-8-sig")
    assert open_dataset(path).class_names == ("cat",)


def test_attributes_that_are_a_list(tmp_path):
    broken = {"shape_attributes": POLYGON, "region_attributes": [13.0, "a"]}
    dataset = Dataset.from_via(write(tmp_path, region(animal="cat"), broken))
    assert dataset.class_names == ("cat",)
    (problem,) = dataset.problems
    assert "regions[1]: has no 'animal'; it is left out" in str(problem)
