"""Broken records are counted and listed; too many of them stop what reads them."""

import json
import pathlib

import cv2
import numpy as np
import pytest

import keras_maskrcnn as km
from keras_maskrcnn.data.problems import ProblemLog
from keras_maskrcnn.data.records import Problem

SIZE = 64
BROKEN_ANNOTATIONS = {
    "unknown category": {"category_id": 4},
    "unknown image": {"image_id": 9999},
    "empty box": {"bbox": [2, 2, 0, 10], "segmentation": None},
    "box outside": {"bbox": [90, 2, 10, 10], "segmentation": None},
    "NaN box": {"bbox": [2, 2, float("nan"), 4], "segmentation": None},
    "broken polygon": {"segmentation": [[1, 1, 5, 5]]},
    "RLE of another size": {"segmentation": {"size": [9, 9], "counts": [81]}},
    "RLE of wrong runs": {"segmentation": {"size": [SIZE, SIZE], "counts": [81]}},
    "no mask": {"segmentation": []},
}
BROKEN_ENTRIES = {
    "image of a wrong size": {"height": 0},
    "image without a name": {"file_name": 7},
}
BROKEN_FILES = {
    "missing": None,
    "empty": b"",
    "text": b"no picture",
    "truncated": "cut",
    "of another size": "other",
}


@pytest.fixture
def folder(tmp_path):
    return tmp_path


def write_set(folder, count, annotations=(), entries=(), files=()):
    """`count` images of one object each, from the first on broken as said; and its path."""
    jpeg = cv2.imencode(".jpg", np.full((SIZE, SIZE, 3), 90, np.uint8))[1].tobytes()
    other = cv2.imencode(".jpg", np.full((SIZE, 2 * SIZE, 3), 90, np.uint8))[1].tobytes()
    square = [[2.0, 2.0, 12.0, 2.0, 12.0, 12.0, 2.0, 12.0]]
    content = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "cat"}]}
    for number in range(count):
        name = f"{number:04}.jpg"
        (folder / name).write_bytes(jpeg)
        info = {"id": number, "file_name": name, "height": SIZE, "width": SIZE}
        annotation = {"id": number, "image_id": number, "category_id": 1}
        annotation |= {"bbox": [2, 2, 10, 10], "area": 100, "segmentation": square}
        content["images"].append(info)
        content["annotations"].append(annotation)
    for annotation, change in zip(content["annotations"], annotations, strict=False):
        annotation.update(change)
    for info, change in zip(content["images"][-50:], entries, strict=False):
        info.update(change)
    for info, how in zip(content["images"][-20:], files, strict=False):
        path = folder / info["file_name"]
        bad = {"cut": jpeg[: len(jpeg) // 2], "other": other}.get(how, how)
        path.unlink() if bad is None else path.write_bytes(bad)
    (folder / "annotations.json").write_text(json.dumps(content))
    return folder / "annotations.json"


@pytest.fixture
def config():
    return km.MaskRCNNConfig(image_min_size=32, image_max_size=32, gt_mask_size=14)


def test_one_of_each_kind_in_a_thousand_is_listed_and_the_run_goes_on(folder, config):
    path = write_set(
        folder, 1000, BROKEN_ANNOTATIONS.values(), BROKEN_ENTRIES.values(), BROKEN_FILES.values()
    )
    dataset = km.data.CocoDataset(path, folder)
    objects = 0
    for x, y in dataset.batches(config, batch_size=10, training=True):
        assert x["images"].shape == (10, 32, 32, 3)
        objects += int(np.sum(y["classes"] >= 0))
    usable = 1000 - len(BROKEN_ENTRIES) - 1  # the missing file is met at opening
    assert len(dataset) == usable
    # Batches of ten leave some images out, and others take the place of those that are broken.
    assert usable // 10 * 10 - len(BROKEN_ANNOTATIONS) <= objects <= usable // 10 * 10
    list(dataset.batches(config, batch_size=1))
    images = len(BROKEN_ENTRIES) + len(BROKEN_FILES)
    assert dataset.broken()["image"] == (images, 1000)
    assert dataset.broken()["annotation"][0] == len(BROKEN_ANNOTATIONS)
    assert len(dataset.problems) == images + len(BROKEN_ANNOTATIONS)
    report = dataset.problem_report(most=100)
    assert report.startswith(f"{len(dataset.problems)} problems in {path}\n")
    assert len(report.splitlines()) == 1 + len(dataset.problems)


@pytest.mark.parametrize(
    "broken",
    [
        {"annotations": [{"category_id": 4}] * 11},
        {"entries": [{"height": 0}] * 11},
        {"files": [None] * 11},
    ],
)
def test_too_much_broken_at_opening_stops_with_the_list(folder, config, broken):
    dataset = km.data.CocoDataset(write_set(folder, 100, **broken), folder)
    assert len(dataset.problems) == 11
    kind = "annotations" if "annotations" in broken else "images"
    for use in (lambda: dataset.batches(config), dataset.ground_truth):
        with pytest.raises(ValueError, match=rf"11 of 100 {kind} cannot be used.*\n11 problems"):
            use()
    dataset.max_broken = 0.2
    assert len(dataset.ground_truth().getImgIds()) == len(dataset)


def test_too_much_broken_while_reading_stops_with_the_list(folder, config):
    dataset = km.data.CocoDataset(write_set(folder, 100, files=["cut"] * 11), folder)
    with pytest.raises(Exception, match="11 of 100 images cannot be used") as stop:
        list(dataset.batches(config))
    assert "0081.jpg: the JPEG file is truncated" in str(stop.value)
    dataset.max_broken = 0.2
    assert len(list(dataset.batches(config))) == 100


def test_a_tenth_broken_goes_on(folder, config):
    path = write_set(folder, 100, [{"category_id": 4}] * 10, files=["cut"] * 10)
    assert len(list(km.data.CocoDataset(path, folder).batches(config))) == 100


def test_annotations_of_images_that_are_left_out_go_with_them(folder):
    path = write_set(folder, 60, entries=[{"height": -1}, {"height": "tall"}, {"id": 59}])
    dataset = km.data.CocoDataset(path, folder)
    assert dataset.broken() == {"image": (3, 60), "annotation": (1, 58)}  # image 12 has no entry
    report = dataset.problem_report()
    assert "images[10]: height must be a whole number of pixels, got -1" in report
    assert "images[59]: has the id 59 of" in report


def test_each_once_and_a_record_counts_once():
    log = ProblemLog("set", images=100, annotations=0)
    for what in ("truncated", "truncated", "its objects count as missed"):
        log.add(Problem("a.jpg", what, "image"))
    log.add(Problem("a.jpg", "mended"))
    assert len(log) == 3
    assert log.counts() == {"image": (1, 100), "annotation": (0, 0)}


def test_report_is_cut_off():
    log = ProblemLog("set", 100, 100, [Problem(f"{i}", "bad") for i in range(12)])
    assert log.report(most=2) == "12 problems in set\n  0: bad\n  1: bad\n  and 10 more"


def test_few_do_not_stop_a_small_set():
    log = ProblemLog("set", images=6, annotations=0)
    for i in range(5):
        log.add(Problem(f"{i}.jpg", "bad", "image"))
    with pytest.raises(ValueError, match="6 of 6 images"):
        log.add(Problem("5.jpg", "bad", "image"))


def test_a_problem_does_not_name_its_file_twice():
    assert str(Problem("a.jpg", "a.jpg: empty")) == "a.jpg: empty"


def test_no_image_at_all(folder):
    path = write_set(folder, 3)
    for file in pathlib.Path(folder).glob("*.jpg"):
        file.unlink()
    with pytest.raises(ValueError, match="none of its 3 images is usable"):
        km.data.CocoDataset(path, folder)


def test_a_known_problem_stops_what_reads_on():
    """As another thread does that meets it after the first has stopped."""
    log = ProblemLog("set", images=6, annotations=0)
    problems = [Problem(f"{i}.jpg", "truncated", lost="image") for i in range(6)]
    for problem in problems[:5]:
        log.add(problem)
    for problem in (problems[5], problems[0]):
        with pytest.raises(ValueError, match="6 of 6 images cannot be used"):
            log.add(problem)
    assert len(log) == 6


def test_a_training_without_an_object_warns(folder, config):
    path = write_set(folder, 4, [{"iscrowd": 1}] * 4)
    dataset = km.data.CocoDataset(path, folder)
    message = (
        f"{path}: nothing is left to train on, since all 4 annotations are crowds.* set their "
        "iscrowd to 0"
    )
    with pytest.warns(UserWarning, match=message):
        dataset.batches(config, training=True)
    records = km.data.write_tfrecords(dataset, folder / "records", mask_size=14)
    with pytest.warns(UserWarning, match="records: nothing is left .* all 4 annotations are crowd"):
        records.batches(config, training=True)
    path = write_set(folder, 4, [{"category_id": 2}] * 4)
    with pytest.warns(UserWarning, match="no image has an object: check that annotations, images"):
        km.data.CocoDataset(path, folder).batches(config, training=True)


def test_one_object_or_no_training_does_not_warn(folder, config, recwarn):
    path = write_set(folder, 4, [{"iscrowd": 1}] * 4)
    km.data.CocoDataset(path, folder).batches(config)
    km.data.CocoDataset(write_set(folder, 4, [{"iscrowd": 1}] * 3), folder).batches(
        config, training=True
    )
    assert not [w for w in recwarn if "nothing is left" in str(w.message)]
