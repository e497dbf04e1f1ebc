import base64
import json
import math
import re

import cv2
import numpy as np
import pytest

from keras_maskrcnn.data import Dataset, convert, open_dataset
from keras_maskrcnn.data.masks import decode_mask

SQUARE = {"label": "cat", "points": [[2, 2], [12, 2], [12, 12], [2, 12]], "shape_type": "polygon"}


def png(array):
    return base64.b64encode(cv2.imencode(".png", array)[1].tobytes()).decode()


def write(folder, *shapes, name="a", **more):
    """One LabelMe file and its image of 30 x 20."""
    cv2.imwrite(str(folder / f"{name}.png"), np.full((20, 30, 3), 90, np.uint8))
    content = {"shapes": list(shapes), "imagePath": f"{name}.png", "imageData": None}
    content |= {"imageHeight": 20, "imageWidth": 30, **more}
    (folder / f"{name}.json").write_text(json.dumps(content))


def only(folder):
    (record,) = Dataset.from_labelme(folder).records
    (instance,) = record.instances
    return instance


def test_polygon_is_taken_as_it_is(tmp_path):
    write(tmp_path, {**SQUARE, "points": [[2.25, 2.5], [12, 2], [12, 12.75]]})
    instance = only(tmp_path)
    assert instance.segmentation == [[2.25, 2.5, 12.0, 2.0, 12.0, 12.75]]
    assert instance.box == (2.25, 2.0, 12.0, 12.75)
    assert instance.annotation_id == "a.json shapes[0]"
    assert instance.area == pytest.approx(0.5 * abs(9.75 * 10.25 - 9.75 * -0.5))


@pytest.mark.parametrize("points", [[[3, 4], [10, 9]], [[10, 4], [3, 9]]])
def test_rectangle_of_any_two_corners(tmp_path, points):
    write(tmp_path, {**SQUARE, "points": points, "shape_type": "rectangle"})
    instance = only(tmp_path)
    assert instance.box == (3, 4, 10, 9)
    assert instance.area == 35
    assert decode_mask(instance.segmentation, 20, 30).sum() == 35


def test_circle(tmp_path):
    write(tmp_path, {**SQUARE, "points": [[15, 10], [15, 18]], "shape_type": "circle"})
    instance = only(tmp_path)
    np.testing.assert_allclose(instance.box, (7, 2, 23, 18))
    assert instance.area == pytest.approx(math.pi * 64, rel=0.002)


def test_groups_are_parts_of_one_object(tmp_path):
    other = [[20, 2], [25, 2], [25, 8]]
    write(
        tmp_path,
        {**SQUARE, "group_id": 1},
        {**SQUARE, "group_id": 2},
        {**SQUARE, "group_id": 1, "points": other},
        {**SQUARE, "group_id": 1, "label": "dog"},
        {**SQUARE},
        {**SQUARE},
    )
    (record,) = Dataset.from_labelme(tmp_path).records
    assert [len(instance.segmentation) for instance in record.instances] == [2, 1, 1, 1, 1]
    assert [instance.class_id for instance in record.instances] == [0, 0, 1, 0, 0]
    assert record.instances[0].box == (2, 2, 25, 12)


def test_mask_shape_alone_and_with_a_polygon(tmp_path):
    patch = np.zeros((3, 4), np.uint8)
    patch[1:, 2:] = 255
    shape = {"label": "cat", "shape_type": "mask", "points": [[5, 6], [8, 8]], "mask": png(patch)}
    write(tmp_path, shape)
    instance = only(tmp_path)
    expected = np.zeros((20, 30), np.uint8)
    expected[7:9, 7:9] = 1
    np.testing.assert_array_equal(decode_mask(instance.segmentation, 20, 30), expected)
    assert instance.box == (7, 7, 9, 9)
    assert instance.area == 4
    write(tmp_path, {**shape, "group_id": 3}, {**SQUARE, "group_id": 3})
    expected[2:12, 2:12] = 1
    np.testing.assert_array_equal(decode_mask(only(tmp_path).segmentation, 20, 30), expected)


def test_classes(tmp_path):
    write(tmp_path, SQUARE, {**SQUARE, "label": "dog"}, {**SQUARE, "label": "bee"})
    assert Dataset.from_labelme(tmp_path).class_names == ("bee", "cat", "dog")
    dataset = Dataset.from_labelme(tmp_path, ["dog", "cow", "cat"])
    assert dataset.class_names == ("dog", "cow", "cat")
    assert [instance.class_id for instance in dataset.records[0].instances] == [2, 0]
    assert dataset.problems == []
    with pytest.raises(ValueError, match="no object of cow; there are bee, cat, dog"):
        Dataset.from_labelme(tmp_path, ["cow"])


def test_size_is_that_of_the_image_if_none_is_given(tmp_path):
    write(tmp_path, SQUARE, imageHeight=None, imageWidth=None)
    (record,) = Dataset.from_labelme(tmp_path).records
    assert (record.height, record.width) == (20, 30)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape_type": "line"}, "a 'line' encloses nothing"),
        ({"points": [[1, 1], [2, 2]]}, "no polygon has three points"),
        ({"points": [[1, 1], [2, float("nan")], [3, 1]]}, "NaN or infinite"),
        ({"points": [[1, 1], [2], [3, 1]]}, r"points must be a list of \[x, y\]"),
        ({"points": [["a", 1], [2, 2], [3, 1]]}, "could not convert"),
        ({"points": []}, "has no points"),
        ({"points": None}, "points must be a list"),
        ({"points": [[40, 1], [50, 1], [50, 9]]}, "lies outside the image of 30x20"),
        ({"label": None}, "has no label"),
        ({"shape_type": "circle"}, "a circle has 2 points, got 4"),
        ({"shape_type": "circle", "points": [[1, 1], [1, 1]]}, "of radius 0.0 is empty"),
        ({"shape_type": "mask", "points": [[1, 1], [2, 2]]}, "its mask is no PNG"),
        (
            {"shape_type": "mask", "points": [[1, 1], [2, 2]], "mask": png(np.ones((30, 3)))},
            "its mask reaches out",
        ),
    ],
)
def test_bad_shapes_are_left_out_and_listed(tmp_path, change, message):
    write(tmp_path, SQUARE, {**SQUARE, **change})
    dataset = Dataset.from_labelme(tmp_path)
    assert len(dataset.records[0].instances) == 1
    (problem,) = dataset.problems
    assert problem.where == f"{tmp_path / 'a.json'}: shapes[1]"
    assert problem.lost == "annotation"
    assert re.search(message, dataset.problem_report())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a JSON file"),
        ("[]", "not a LabelMe file: it has no list 'shapes'"),
        ('{"shapes": []}', "it has no 'imagePath'"),
        ('{"shapes": [], "imagePath": "no.png"}', "there is no image file"),
        ('{"shapes": [], "imagePath": "b.json"}', "b.json is no image; nor is there another one"),
    ],
)
def test_bad_files_are_left_out_and_listed(tmp_path, text, message):
    write(tmp_path, SQUARE)
    (tmp_path / "b.json").write_text(text)
    dataset = Dataset.from_labelme(tmp_path)
    assert len(dataset) == 1
    (problem,) = dataset.problems
    assert (problem.where, problem.lost) == (str(tmp_path / "b.json"), "image")
    assert message in problem.what


def test_folders_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="none"):
        Dataset.from_labelme(tmp_path / "none")
    with pytest.raises(ValueError, match="holds no LabelMe file"):
        Dataset.from_labelme(tmp_path)


@pytest.mark.parametrize("label", ["__ignore__", "_background_"])
def test_labelmes_own_words_are_no_classes(tmp_path, label):
    write(tmp_path, SQUARE, {**SQUARE, "label": label})
    dataset = Dataset.from_labelme(tmp_path)
    assert dataset.class_names == ("cat",)
    assert [i.annotation_id for i in dataset.records[0].instances] == ["a.json shapes[0]"]
    assert dataset.problems == []


def test_blanks_around_a_label_do_not_count_and_numbers_are_texts(tmp_path):
    write(tmp_path, SQUARE, {**SQUARE, "label": " cat "}, {**SQUARE, "label": 7})
    dataset = Dataset.from_labelme(tmp_path)
    assert dataset.class_names == ("7", "cat")
    assert [i.class_id for i in dataset.records[0].instances] == [1, 1, 0]
    assert dataset.problems == []


@pytest.mark.parametrize("name", ["../img/a.png", "..\\img\\a.png", "C:\\photos\\a.png"])
def test_the_image_lies_beside_the_file(tmp_path, name):
    write(tmp_path, SQUARE, imagePath=name)
    dataset = Dataset.from_labelme(tmp_path)
    assert dataset.records[0].path == str(tmp_path / "a.png")
    assert dataset.problems == []


def test_an_image_is_not_taken_for_two(tmp_path):
    write(tmp_path, SQUARE, imagePath="x/a.png")
    write(tmp_path, SQUARE, name="b", imagePath="y/a.png")
    write(tmp_path, SQUARE, name="c")
    (tmp_path / "b.png").unlink()
    dataset = Dataset.from_labelme(tmp_path)
    assert [record.path[-5:] for record in dataset.records] == ["a.png", "c.png"]
    (problem,) = dataset.problems
    assert problem.where == str(tmp_path / "b.json")
    assert "there is no image file" in problem.what
    assert "y/a.png" in problem.what


def test_the_picture_in_the_file(tmp_path):
    """As in LabelMe's tutorial: `imagePath` is the JSON file itself."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    write(tmp_path, SQUARE, imagePath="a.json", imageData=png(pixels), imageHeight=None)
    (tmp_path / "a.png").unlink()
    dataset = Dataset.from_labelme(tmp_path)
    (record,) = dataset.records
    assert (record.height, record.width, record.path) == (20, 30, str(tmp_path / "a.png"))
    np.testing.assert_array_equal(record.read_image(), pixels[:, :, ::-1])
    assert dataset.problems == []
    for target in ("coco", "tfrecord"):
        convert(dataset, target, tmp_path / target)
        written = open_dataset(tmp_path / target)
        np.testing.assert_array_equal(written.records[0].read_image(), pixels[:, :, ::-1])


def test_the_picture_of_the_same_stem(tmp_path):
    write(tmp_path, SQUARE, imagePath="a.json")
    write(tmp_path, SQUARE, name="b", imagePath="elsewhere.png")
    assert [r.path[-5:] for r in Dataset.from_labelme(tmp_path).records] == ["a.png", "b.png"]


@pytest.mark.parametrize("data", ["no base64", png(np.zeros((2, 3), np.uint8))[:-60], 7, ["a"]])
def test_a_picture_in_the_file_that_is_none(tmp_path, data):
    write(tmp_path, SQUARE)
    write(tmp_path, SQUARE, name="b", imageData=data, imageHeight=None)
    (tmp_path / "b.png").unlink()
    dataset = Dataset.from_labelme(tmp_path)
    (problem,) = dataset.problems
    assert (problem.where, problem.lost) == (str(tmp_path / "b.json"), "image")
    assert "its imageData is no picture in base64" in problem.what


def test_files_of_systems_are_read_past(tmp_path):
    write(tmp_path, SQUARE)
    for name in ("._a.json", ".DS_Store", "Thumbs.db"):
        (tmp_path / name).write_bytes(b"\0\5\26\7")
    dataset = open_dataset(tmp_path)
    assert len(dataset) == 1
    assert dataset.problems == []


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_byte_order_marks(tmp_path, encoding):
    write(tmp_path, SQUARE)
    text = (tmp_path / "a.json").read_text()
    (tmp_path / "a.json").write_text(text, encoding=encoding)
    dataset = open_dataset(tmp_path)
    assert dataset.class_names == ("cat",)
    assert dataset.problems == []


def test_another_size_than_that_of_the_image(tmp_path):
    write(tmp_path, SQUARE, imageHeight=10**9)
    with pytest.raises(ValueError, match="a.png is 30x20, but its imageHeight is said to be 1000"):
        Dataset.from_labelme(tmp_path)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([[1, 1], [2, 2]], "a polygon has fewer than three points"),
        ([[1, 1], [10**400, 1], [2, 2]], "beyond any image"),
        ([[1, 1], [1e10, 1], [2, 2]], "beyond any image"),
    ],
)
def test_a_bad_polygon_beside_a_mask(tmp_path, points, message):
    mask = {"shape_type": "mask", "points": [[1, 1], [3, 3]], "mask": png(np.ones((3, 3)))}
    parts = [{**SQUARE, **mask, "group_id": 1}, {**SQUARE, "points": points, "group_id": 1}]
    write(tmp_path, SQUARE, *parts)
    (problem,) = Dataset.from_labelme(tmp_path).problems
    assert problem.where == f"{tmp_path / 'a.json'}: shapes[1]"
    assert message in problem.what
