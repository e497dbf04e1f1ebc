import cv2
import numpy as np
import pytest

from keras_maskrcnn.data import Dataset, open_dataset
from keras_maskrcnn.data.formats import yolo
from keras_maskrcnn.data.formats.convert import convert
from keras_maskrcnn.data.masks import decode_mask, encode_mask
from keras_maskrcnn.data.records import Contents, Instance, Record

WIDTH, HEIGHT = 40, 20
SQUARE = "0.1 0.2 0.5 0.2 0.5 0.6 0.1 0.6"
YAML = "train: {}\nval: {}\nnames: [cat, dog]\n"


def write(root, labels, images="images", text="train: images\nnames: [cat, dog]\n"):
    """Images, their label files where `images` says `labels`, and the text of the YAML."""
    folder = root / images
    folder.mkdir(parents=True, exist_ok=True)
    label_folder = root / images.replace("images", "labels")
    label_folder.mkdir(parents=True, exist_ok=True)
    for name, rows in labels.items():
        cv2.imwrite(str(folder / f"{name}.png"), np.full((HEIGHT, WIDTH, 3), 90, np.uint8))
        if rows is not None:
            (label_folder / f"{name}.txt").write_text(rows)
    (root / "data.yaml").write_text(text)


def report(dataset):
    return [str(problem) for problem in dataset.problems]


def test_polygons_in_shares_of_the_image(tmp_path):
    write(tmp_path, {"a": f"1 {SQUARE}\n\n0 0 0 1 0 1 1\n", "b": ""})
    dataset = open_dataset(tmp_path)
    assert dataset.problems == []
    assert dataset.class_names == ("cat", "dog")
    first, second = dataset.records[0].instances
    assert (first.class_id, first.area) == (1, pytest.approx(128))
    assert first.box == pytest.approx((4, 4, 20, 12))
    assert second.segmentation == [[0, 0, 40, 0, 40, 20]]
    assert dataset.records[1].instances == ()


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("[cat, dog]", ("cat", "dog")),
        ("{0: cat, 1: dog}", ("cat", "dog")),
        ("\n- ' cat '\n- 7", ("cat", "7")),
        ("{1: no, 0: 1e3}", ("1e3", "no")),
        ("\n  0: cat\n  '1': dog", ("cat", "dog")),
    ],
)
def test_names_of_classes(names, expected, tmp_path):
    write(tmp_path, {"a": f"1 {SQUARE}"}, text=f"\ufefftrain: images\nnames: {names}\n")
    dataset = open_dataset(tmp_path / "data.yaml")
    assert dataset.class_names == expected
    assert dataset.records[0].instances[0].class_id == 1
    (kept,) = open_dataset(tmp_path, class_names=expected[1:]).records
    assert [instance.class_id for instance in kept.instances] == [0]
    with pytest.raises(ValueError, match="no class 'cow'; there are"):
        open_dataset(tmp_path, class_names=["cow"])


def test_two_numbers_of_one_name_are_one_class(tmp_path):
    text = "train: images\nnc: 4\nnames: [cat, dog, ' cat']\n"
    write(tmp_path, {"a": f"0 {SQUARE}\n2 {SQUARE}\n1 {SQUARE}"}, text=text)
    dataset = open_dataset(tmp_path)
    assert dataset.class_names == ("cat", "dog")
    assert [i.class_id for i in dataset.records[0].instances] == [0, 0, 1]
    first, second = report(dataset)
    assert "data.yaml: nc is 4, but there are 3 names" in first
    assert "data.yaml: names 0 and 2 are both 'cat'" in second


def test_boxes_of_a_detection_set_are_said(tmp_path):
    write(tmp_path, {"a": "0 0.5 0.5 0.2 0.4\n1 0.1 0.1 0.1 0.1", "b": "0 0.5 0.5 1 1"})
    dataset = open_dataset(tmp_path)
    first = dataset.records[0].instances[0]
    assert first.segmentation is None
    assert first.box == pytest.approx((16, 6, 24, 14))
    (problem,) = report(dataset)
    assert "3 rows are boxes of a detection set, the first is" in problem
    assert "a.txt: row 1; they become objects without a mask" in problem


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("2 " + SQUARE, "there is no class 2 in names"),
        ("0.5 " + SQUARE, "there is no class 0.5 in names"),
        ("-1 " + SQUARE, "there is no class -1 in names"),
        ("0 10 20 50 20 50 60", "shares, 0 to 1, of the image's width and height, got 10 to 60"),
        ("0 0.1 0.2 0.3 0.4 0.5", "three or more points x y"),
        ("0 0.1 0.2 0.3 0.4 0.5 0.6 0.7", "three or more points x y"),
        ("0", "three or more points x y"),
        ("cat " + SQUARE, "could not convert string to float: 'cat'"),
        ("0 nan 0.2 0.3 0.4 0.5 0.6", "NaN or infinite"),
        ("0 inf 0.2 0.3 0.4 0.5 0.6", "shares, 0 to 1"),
        ("0 0.5 0.5 0 0.1", "empty"),
    ],
)
def test_a_bad_row_is_left_out_and_listed(row, what, tmp_path):
    write(tmp_path, {"a": f"0 {SQUARE}\n{row}\n"})
    dataset = open_dataset(tmp_path)
    assert [i.annotation_id for i in dataset.records[0].instances] == ["a.txt row 1"]
    (problem,) = report(dataset)
    assert "a.txt: row 2: " in problem
    assert what in problem
    assert problem.endswith("it is left out")


@pytest.mark.parametrize("entry", ["images/train", "./images/train", "images\\train"])
@pytest.mark.parametrize("path", ["", "path: .\n", "path: /content/set\n", "path: C:\\set\n"])
def test_places_of_a_split(entry, path, tmp_path):
    text = f"{path}train: {entry}\nnames: [cat, dog]\n"
    write(tmp_path, {"a": f"0 {SQUARE}"}, "images/train", text)
    assert len(open_dataset(tmp_path).records[0].instances) == 1
    assert len(open_dataset(tmp_path / "images/train").records[0].instances) == 1


def test_roboflow_s_places(tmp_path):
    text = YAML.format("../train/images", "../valid/images")
    write(tmp_path, {"a": f"0 {SQUARE}"}, "train/images", text)
    write(tmp_path, {"b": f"1 {SQUARE}"}, "valid/images", text)
    for folder in ("valid", "valid/images"):
        (record,) = open_dataset(tmp_path / folder).records
        assert record.path == str(tmp_path / "valid/images/b.png")
        assert record.instances[0].class_id == 1


def test_of_several_splits_one_must_be_chosen(tmp_path):
    text = YAML.format("images/train", "images/val")
    write(tmp_path, {"a": f"0 {SQUARE}"}, "images/train", text)
    dataset = open_dataset(tmp_path)
    assert len(dataset) == 1
    assert "val: there is no" in dataset.problem_report()
    write(tmp_path, {"b": f"0 {SQUARE}"}, "images/val", text)
    with pytest.raises(ValueError, match="has several splits: open one by its images") as error:
        open_dataset(tmp_path)
    assert f"val: {tmp_path / 'images/val'}" in str(error.value)


def test_lists_of_images(tmp_path):
    write(tmp_path, {"a": f"0 {SQUARE}", "b": "", "c": ""}, text="train: t.txt\nnames: [cat]\n")
    (tmp_path / "t.txt").write_text("./images/a.png\nimages\\b.png\n\n./images/gone.png\n")
    for path in (tmp_path, tmp_path / "t.txt"):
        dataset = open_dataset(path)
        assert [record.path[-5] for record in dataset.records] == ["a", "b"]
        (problem,) = report(dataset)
        assert problem.endswith("gone.png: there is no image file; the image is left out")


def test_a_split_of_several_folders(tmp_path):
    text = "train: [images/one, images/two]\nnames: [cat, dog]\n"
    write(tmp_path, {"a": f"0 {SQUARE}"}, "images/one", text)
    write(tmp_path, {"b": f"1 {SQUARE}"}, "images/two", text)
    assert len(open_dataset(tmp_path)) == 2
    assert len(open_dataset(tmp_path / "images/two")) == 1


def test_images_elsewhere(tmp_path):
    write(tmp_path, {"a": f"0 {SQUARE}"})
    (tmp_path / "images").rename(tmp_path / "photos")
    (tmp_path / "images").mkdir()
    dataset = open_dataset(tmp_path, tmp_path / "photos")
    assert dataset.records[0].path == str(tmp_path / "photos/a.png")
    assert len(dataset.records[0].instances) == 1


def test_what_has_no_counterpart_is_said(tmp_path):
    write(tmp_path, {"a": f"0 {SQUARE}", "b": None, "c": ""})
    (tmp_path / "labels/lone.txt").write_text(f"0 {SQUARE}")
    (tmp_path / "labels/classes.txt").write_text("cat\ndog\n")
    (tmp_path / "images/c.png").write_bytes(b"")
    cv2.imwrite(str(tmp_path / "images/a.jpg"), np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    dataset = open_dataset(tmp_path)
    assert len(dataset) == 3
    broken, missing, shared, lone = report(dataset)
    assert "c.png: not an image" in broken
    assert "1 images have no label file, the first would be" in missing
    assert "a.txt: it is the label file of 2 images" in shared
    assert "lone.txt: there is no image for it" in lone


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("train: images\nnames: 7\n", "names must be a list"),
        ("train: images\nnames: [[a], b]\n", r"names\[0\] must be the name of a class"),
        ("train: images\nnames: {a: cat}\n", "'a' is not the number of a class"),
        ("train: [[a]]\nnames: [cat]\n", "train must be a folder or a list of images"),
        ("train: gone\nnames: [cat]\n", "none of its splits is there"),
        ("train: images\nnames: [cat\n", "not a YAML file"),
        ("train: images\nkpt_shape: [17, 3]\nnames: [cat]\n", "a dataset of poses"),
        ("train: images\nnames: [cat]\n#" + "x" * 2**20, "more than 1048576 bytes"),
        ("train: images\nnames: " + "[" * 9000, "not a YAML file"),
    ],
)
def test_a_broken_file_is_refused_by_name(text, what, tmp_path):
    write(tmp_path, {"a": f"0 {SQUARE}"}, text=text)
    with pytest.raises((ValueError, OSError), match=what) as error:
        open_dataset(tmp_path)
    assert "data.yaml" in str(error.value)


def test_of_several_files_one_must_be_chosen(tmp_path):
    write(tmp_path, {"a": f"0 {SQUARE}"})
    (tmp_path / "data.yaml").rename(tmp_path / "one.yaml")
    assert len(open_dataset(tmp_path)) == 1
    (tmp_path / "two.yml").write_text("train: other\nnames: [eel]\n")
    assert open_dataset(tmp_path / "images").class_names == ("cat", "dog")
    with pytest.raises(FileNotFoundError, match=r"open one of .*one.yaml, .*two.yml"):
        open_dataset(tmp_path)


def test_another_file_above_does_not_matter(tmp_path):
    (tmp_path / "set").mkdir()
    write(tmp_path / "set", {"a": f"0 {SQUARE}"})
    (tmp_path / "other.yaml").write_text("train: [\nnames: 7\n")
    assert len(open_dataset(tmp_path / "set/images")) == 1


def test_labels_that_are_none(tmp_path):
    write(tmp_path, {"a": None})
    with pytest.raises(FileNotFoundError, match=r"there is no label file, such as .*labels/a.txt"):
        open_dataset(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no data.yaml above names it"):
        yolo.read(tmp_path.parent)


def test_parts_and_holes_become_one_polygon(tmp_path):
    ring = np.zeros((HEIGHT, WIDTH), np.uint8)
    ring[2:18, 2:18] = 1
    ring[6:12, 6:9] = ring[13:15, 11:16] = 0
    ring[4:9, 25:38] = 1
    squares = [[2.5, 2, 9, 2, 9, 8, 2.5, 8], [12, 3, 12, 9.5, 20, 9.5, 20, 3]]
    overlapping = [[2, 2, 9, 2, 9, 8, 2, 8], [5, 3, 15, 3, 15, 9, 5, 9]]
    outside = [[-3, 2, 9, 2, 9, 8, -3, 8]]
    instances = (
        Instance((2, 2, 38, 18), 0, encode_mask(ring)),
        Instance((2.5, 2, 20, 9.5), 0, squares),
        Instance((2, 2, 15, 9), 0, overlapping),
        Instance((0, 2, 9, 8), 0, outside),
        Instance((5, 6, 7, 8), 0),
        Instance((5, 6, 7, 8), 0, squares, crowd=True),
    )
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    record = Record(1, str(tmp_path / "a.png"), HEIGHT, WIDTH, instances)
    dataset = Dataset(tmp_path, Contents([record], ("cat",)))
    assert convert(dataset, "yolo", tmp_path / "out") == {
        "objects whose parts overlap, traced along pixels": 1,
        "objects cut at the image's edge": 1,
        "objects without a mask, written as rectangles": 1,
        "crowds, left out": 1,
    }
    written = open_dataset(tmp_path / "out").records[0].instances
    assert [len(instance.segmentation) for instance in written] == [1] * 5
    for one, other in zip(instances[:4], written, strict=False):
        size = HEIGHT, WIDTH
        expected = decode_mask(one.segmentation, *size)
        np.testing.assert_array_equal(decode_mask(other.segmentation, *size), expected)
        assert other.box == pytest.approx(one.box)
    assert written[0].area == pytest.approx(ring.sum())
    assert written[1].area == pytest.approx(6.5 * 6 + 8 * 6.5)


def test_a_number_of_a_class_that_is_none(tmp_path):
    text = f"train: images\nnames:\n  ? {'1' * 5000}\n  : cat\n"
    write(tmp_path, {"a": f"0 {SQUARE}"}, text=text)
    with pytest.raises(ValueError, match="data.yaml: names: '111.* is not the number of a class"):
        open_dataset(tmp_path)
