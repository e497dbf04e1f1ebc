import base64
import io
import json
import zlib

import cv2
import numpy as np
import PIL.Image
import pytest

from keras_maskrcnn.data import open_dataset
from keras_maskrcnn.data.formats.convert import convert
from keras_maskrcnn.data.masks import decode_mask

WIDTH, HEIGHT = 40, 20
META = {
    "classes": [
        {"title": "dog", "shape": "polygon", "color": "#FF0000"},
        {"title": " cat ", "shape": "bitmap"},
        {"title": "mark", "shape": "point"},
    ],
    "tags": [],
}
# The mask of the format's documentation, encoded by the code that it gives.
DOCUMENTED = (
    "eJzrDPBz5+WS4mJgYOD19HAJAtLMIMwIInOeqf8BUmwBPiGuQPr///9Lb86/C2QxlgT5BTM4PLuRBuTwebo4hlTMSa44"
    "cOHAB6DqY0yORgq8YkAZBk9XP5d1TglNANAFGzA="
)


def encode(mask):
    data = io.BytesIO()
    PIL.Image.fromarray(mask.astype(np.uint8) * 255).save(data, "PNG")
    return base64.b64encode(zlib.compress(data.getvalue())).decode()


def figure(kind, title="dog", **values):
    return {"classTitle": title, "geometryType": kind, "tags": [], **values}


def outline(*exterior, interior=(), **values):
    points = {"exterior": [list(p) for p in exterior], "interior": list(interior)}
    return {"points": points, **values}


def bitmap(data, x, y):
    return {"bitmap": {"data": data, "origin": [x, y]}}


SQUARE = figure("rectangle", **outline((2, 3), (9, 8)))


def write(root, objects, dataset="ds0", name="a.png", meta=META, **content):
    folder = root / dataset
    for part in ("img", "ann"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / "img" / name), np.full((HEIGHT, WIDTH, 3), 90, np.uint8))
    content = {"size": {"height": HEIGHT, "width": WIDTH}, "objects": objects, **content}
    (folder / "ann" / f"{name}.json").write_text(json.dumps(content), encoding="utf-8-sig")
    (root / "meta.json").write_text(json.dumps(meta))


def masks(record):
    return [decode_mask(i.segmentation, record.height, record.width) for i in record.instances]


def test_whole_numbers_count_pixels(tmp_path):
    triangle = outline((10, 3), (20, 3), (20, 13))
    write(tmp_path, [SQUARE, figure("polygon", **triangle)])
    dataset = open_dataset(tmp_path)
    assert dataset.problems == []
    assert dataset.class_names == ("dog", "cat")
    square, triangle = dataset.records[0].instances
    assert (square.box, square.area) == ((2, 3, 10, 9), 48)
    assert triangle.segmentation == [[10.5, 3.5, 20.5, 3.5, 20.5, 13.5]]


def test_fractions_are_continuous(tmp_path):
    square = figure("rectangle", **outline((9.5, 8.25), (2.5, 3.0)))
    triangle = figure("polygon", **outline((10, 3), (20, 3), (20, 13.5)))
    write(tmp_path, [square, triangle])
    square, triangle = open_dataset(tmp_path).records[0].instances
    assert square.box == (2.5, 3, 9.5, 8.25)
    assert triangle.segmentation == [[10, 3, 20, 3, 20, 13.5]]


def test_holes_are_holes(tmp_path):
    square = [(1.25, 1.25), (17.25, 1.25), (17.25, 17.25), (1.25, 17.25)]
    holes = [[[4.25, 4.25], [8.25, 4.25], [8.25, 8.25], [4.25, 8.25]]]
    holes += [[[10.25, 4.25], [12.25, 4.25], [12.25, 8.25], [10.25, 8.25]]]
    part = {"exterior": [[30.25, 2.25], [34.25, 2.25], [34.25, 6.25], [30.25, 6.25]]}
    parts = [{"exterior": list(map(list, square)), "interior": holes}, part]
    polygon = figure("polygon", **outline(*square, interior=holes))
    write(tmp_path, [polygon, figure("multipolygon", parts=parts)])
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[1:17, 1:17] = 1
    expected[4:8, 4:8] = expected[4:8, 10:12] = 0
    record = open_dataset(tmp_path).records[0]
    one, both = masks(record)
    np.testing.assert_array_equal(one, expected)
    expected[2:6, 30:34] = 1
    np.testing.assert_array_equal(both, expected)
    assert record.instances[0].area == 256 - 16 - 8


@pytest.mark.parametrize("mode", ["L", "1", "RGBA", "documented"])
def test_bitmaps(mode, tmp_path):
    expected = np.array([[1, 1, 1], [1, 0, 0], [1, 1, 1]], np.uint8)
    data = io.BytesIO()
    if mode == "RGBA":
        picture = PIL.Image.fromarray(np.dstack([expected * 0] * 3 + [expected * 255]))
    else:
        picture = PIL.Image.fromarray(expected * 255).convert("1" if mode == "1" else "L")
    picture.save(data, "PNG")
    text = base64.b64encode(zlib.compress(data.getvalue())).decode()
    text = DOCUMENTED if mode == "documented" else text
    write(tmp_path, [figure("bitmap", "cat", **bitmap(text, 35, 16))])
    dataset = open_dataset(tmp_path)
    assert dataset.problems == []
    (mask,) = masks(dataset.records[0])
    np.testing.assert_array_equal(mask[16:19, 35:38], expected)
    assert mask.sum() == expected.sum()
    assert dataset.records[0].instances[0].class_id == 1


def test_an_instance_is_of_all_figures_that_are_bound_to_it(tmp_path):
    far = figure("bitmap", **bitmap(encode(np.ones((2, 3), bool)), 20, 2), instance="x")
    write(tmp_path, [SQUARE | {"instance": "x"}, SQUARE, far])
    both, alone = open_dataset(tmp_path).records[0].instances
    assert (both.box, both.area) == ((2, 2, 23, 9), 48 + 6)
    assert alone.area == 48


def test_old_files_say_the_shape_in_the_meta_only(tmp_path):
    old = {"classTitle": "dog", "bitmap": None, **outline((10, 3), (20, 3), (20, 13))}
    write(tmp_path, [old])
    assert len(open_dataset(tmp_path).records[0].instances) == 1


@pytest.mark.parametrize(
    ("shape", "what"),
    [
        (7, "must be an object, got 7"),
        (figure("point", "mark", **outline((3, 4))), "a 'point' has no area"),
        (figure("line", **outline((3, 4), (5, 6), (7, 8))), "a 'line' has no area"),
        (figure("alpha_mask", **bitmap("", 1, 2)), "a 'alpha_mask' has no area"),
        (figure("polygon", None, **outline((3, 4))), "has no classTitle"),
        (figure("polygon"), "has no exterior"),
        (figure("polygon", points={"exterior": [[1, 2, 3]]}), "must be a list of [x, y]"),
        (figure("polygon", points={"exterior": "x"}), "must be a list of [x, y]"),
        (figure("polygon", **outline((3, 4), (5, 6))), "no polygon has three points"),
        (figure("rectangle", **outline((60, 4), (70, 6))), "outside the image of 40x20"),
        (figure("bitmap"), "has no origin"),
        (figure("bitmap", **bitmap("?", 1, 2)), "its bitmap"),
        (figure("bitmap", **bitmap(None, 1, 2)), "its bitmap cannot be read"),
        (figure("bitmap", **bitmap(encode(np.ones((3, 3))), 38, 2)), "reaches out of the image"),
        (figure("bitmap", **bitmap(encode(np.ones((3, 41))), 0, 2)), "larger than the image"),
        (figure("bitmap", **bitmap(encode(np.zeros((3, 3))), 3, 2)), "empty"),
        (
            figure(
                "bitmap", **bitmap(base64.b64encode(zlib.compress(b"x" * 10**8)).decode(), 3, 2)
            ),
            "its bitmap cannot be read",
        ),
    ],
)
def test_a_bad_figure_is_left_out_and_listed(shape, what, tmp_path):
    write(tmp_path, [SQUARE, shape])
    dataset = open_dataset(tmp_path)
    assert len(dataset.records[0].instances) == 1
    (problem,) = dataset.problems
    assert problem.where.endswith("ann/a.png.json: objects[1]")
    assert what in problem.what
    assert problem.lost == "annotation"


def test_bad_images_are_left_out_and_listed(tmp_path):
    write(tmp_path, [SQUARE])
    write(tmp_path, [SQUARE], name="size.png", size={"height": 20, "width": 41})
    write(tmp_path, None, name="none.png")
    write(tmp_path, [SQUARE], name="gone.png")
    (tmp_path / "ds0/img/gone.png").unlink()
    write(tmp_path, [SQUARE], name="lone.png")
    (tmp_path / "ds0/ann/lone.png.json").unlink()
    dataset = open_dataset(tmp_path)
    assert len(dataset) == 1
    assert dataset.broken()["image"] == (4, 5)
    report = dataset.problem_report()
    for part in (
        "size.png is 40x20, but its size is said to be 41x20",
        "none.png.json: not a file of Supervisely: it has no list 'objects'",
        "gone.png.json: there is no image file",
        "lone.png: there is no ann/lone.png.json",
    ):
        assert part in report


def test_of_several_datasets_one_must_be_chosen(tmp_path):
    write(tmp_path, [SQUARE], "train")
    write(tmp_path, [], "train/datasets/night", "b.png")
    with pytest.raises(ValueError, match="open one of its datasets") as error:
        open_dataset(tmp_path)
    assert str(tmp_path / "train/datasets/night") in str(error.value)
    assert len(open_dataset(tmp_path / "train").records[0].instances) == 1
    (record,) = open_dataset(tmp_path / "train/datasets/night").records
    assert record.path == str(tmp_path / "train/datasets/night/img/b.png")


def test_class_names_choose(tmp_path):
    write(tmp_path, [SQUARE, figure("rectangle", "eel", **outline((2, 3), (9, 8)))])
    assert open_dataset(tmp_path).class_names == ("dog", "cat", "eel")
    dataset = open_dataset(tmp_path, class_names=["eel"])
    assert [i.class_id for i in dataset.records[0].instances] == [0]
    with pytest.raises(ValueError, match="no class 'cow'; there are dog, cat, eel"):
        open_dataset(tmp_path, class_names=["cow"])


@pytest.mark.parametrize(
    ("meta", "what"),
    [({"classes": 7}, "has no list 'classes'"), ({"classes": [{}]}, r"classes\[0\] has no title")],
)
def test_a_broken_meta_is_refused_by_name(meta, what, tmp_path):
    write(tmp_path, [SQUARE], meta=meta)
    with pytest.raises(ValueError, match=what) as error:
        open_dataset(tmp_path)
    assert "meta.json" in str(error.value)


def test_it_is_read_only(tmp_path):
    write(tmp_path, [SQUARE])
    with pytest.raises(ValueError, match="No format 'supervisely'"):
        convert(open_dataset(tmp_path), "supervisely", tmp_path / "out")


@pytest.mark.parametrize(("title", "problems"), [("dog", 0), (" dog ", 0), ([], 1), (None, 1)])
def test_titles_of_old_versions_say_the_kind_of_shape(tmp_path, title, problems):
    shape = {**SQUARE, "classTitle": title, "geometryType": None}
    shape["points"] = {"exterior": [[2, 3], [9, 3], [9, 8]], "interior": []}
    write(tmp_path, [SQUARE, shape])
    dataset = open_dataset(tmp_path)
    assert len(dataset.records[0].instances) == 2 - problems
    assert len(dataset.problems) == problems
