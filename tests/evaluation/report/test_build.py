"""A whole report: its numbers, its files, and what it does with broken images."""

import json
import math
import pathlib
import re
import shutil

import cv2
import numpy as np
import pytest

import keras_maskrcnn as km
from keras_maskrcnn.data import CocoDataset
from keras_maskrcnn.evaluation.coco import STATISTICS
from keras_maskrcnn.evaluation.report.page import plain

TWELVE = {*STATISTICS, "ar1", "ar10", "ar_small", "ar_medium", "ar_large"}


def test_figures_are_those_of_evaluate(written, synthetic, stand_in):
    report, _ = written
    assert set(report.figures) == {f"{kind}_{name}" for kind in ("box", "mask") for name in TWELVE}
    for name, value in km.evaluate(stand_in(synthetic), synthetic, verbose=0).items():
        np.testing.assert_equal(report.figures[name], value)
    for name in ("box_ap", "mask_ap", "mask_ap50"):
        of_classes = [row[name] for row in report.per_class.values()]
        assert np.mean(of_classes) == pytest.approx(report.figures[name])


def test_repr_is_short(written):
    box, mask = (100 * written[0].figures[name] for name in ("box_ap", "mask_ap"))
    assert repr(written[0]) == f"<Report on 3 classes: box AP {box:.1f}, mask AP {mask:.1f}>"


def test_the_errors_are_those_of_the_model(written, synthetic):
    report, _ = written
    instances = [record.instances for record in synthetic.records]
    objects = sum(map(len, instances))
    assert sum(row["objects"] for row in report.per_class.values()) == objects
    assert report.per_class["ring"]["images"] == sum(
        any(one.class_id == synthetic.class_names.index("ring") for one in of) for of in instances
    )
    assert report.errors["box"]["background"].number == len(instances)
    assert report.errors["box"]["missed"].number == len(instances)
    assert report.errors["box"]["classification"].number == len(instances) // 2
    annotated = [row["objects"] for row in report.per_class.values()]
    np.testing.assert_array_equal(report.confusion[:-1].sum(axis=1), annotated)
    right = np.trace(report.confusion[:-1, :-1])
    assert right + report.confusion[:-1, -1].sum() + len(instances) // 2 == objects
    assert len(report.worst_images) == len(instances)
    numbers = [image["number"] for image in report.worst_images]
    assert numbers == sorted(numbers, reverse=True)
    assert all(image["number"] == sum(image["errors"].values()) for image in report.worst_images)
    # What it finds in the corners.
    assert [one["score"] for one in report.doubtful] == pytest.approx([0.97] * len(instances))
    assert {one["class"] for one in report.doubtful} == {synthetic.class_names[0]}


def test_the_files_hold_the_same(written):
    report, folder = written
    content = json.loads((folder / "report.json").read_text())
    assert content["confusion"] == report.confusion.tolist()
    assert content["per_class"] == plain(report.per_class)
    assert content["figures"]["mask_ap"] == report.figures["mask_ap"]
    assert math.isnan(report.figures["mask_ap_large"])
    assert content["figures"]["mask_ap_large"] is None
    named = {
        picture
        for image in (*report.worst_images, *report.doubtful)
        for picture in image["pictures"].values()
    }
    there = {f"pictures/{path.name}" for path in (folder / "pictures").iterdir()}
    assert named == there
    assert len(named) == 3 * len(report.worst_images)
    for picture in named:
        assert cv2.imread(str(folder / picture)) is not None


def test_the_page_needs_nothing_else(written):
    _, folder = written
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert set(re.findall(r"https?://[^\"' ]+", page)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"<link|@import|src=", page)
    assert page.count("</script>") == 2
    assert "<b>star" not in page
    data = re.search(r'<script id="data"[^>]*>(.*?)</script>', page, re.DOTALL)[1]
    assert json.loads(data) == json.loads((folder / "report.json").read_text())


def test_marked_pictures_show_what_is_missed(written, synthetic):
    """Where the missed object lies, what was found is as in the image, what is annotated is not."""
    report, folder = written
    worst = report.worst_images[0]
    (record,) = [r for r in synthetic.records if r.image_id == worst["image_id"]]
    image = cv2.cvtColor(record.read_image(), cv2.COLOR_RGB2BGR)
    changed = {}
    for what, picture in worst["pictures"].items():
        drawn = cv2.imread(str(folder / picture))
        assert max(drawn.shape) == 720
        enlarged = cv2.resize(image, drawn.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        changed[what] = np.abs(drawn.astype(int) - enlarged).mean(axis=-1) > 15
    left, top, right, bottom = (np.array(record.instances[-1].box) * 720 / 96).astype(int)
    inside = {what: of[top:bottom, left:right].mean() for what, of in changed.items()}
    assert inside["annotated"] > inside["found"] + 0.2


def test_boxes_alone_and_an_image_that_cannot_be_read(synthetic, stand_in, tmp_path):
    shutil.copytree(pathlib.Path(synthetic.records[0].path).parent, tmp_path / "images")
    dataset = CocoDataset(synthetic.source, tmp_path / "images")
    broken = dataset.records[2]
    stale = tmp_path / "report/pictures/errors_11_found.jpg"
    stale.parent.mkdir(parents=True)
    stale.touch()
    model = stand_in(dataset, mask=False)
    pathlib.Path(broken.path).write_bytes(b"")
    with pytest.warns(UserWarning, match="count as missed"):
        report = km.report(model, dataset, tmp_path / "report", verbose=0)
    assert set(report.errors) == {"box"}
    assert "mask_ap" not in report.per_class["ring"]
    (of_broken,) = [one for one in report.worst_images if one["image_id"] == broken.image_id]
    assert of_broken["pictures"] == {}
    assert of_broken["errors"]["missed"] == len(broken.instances)
    assert not stale.exists()
    assert not any(one["image_id"] == broken.image_id for one in report.doubtful)
