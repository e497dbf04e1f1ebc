import json
import pathlib

import numpy as np
import pytest

import keras_maskrcnn as km
from keras_maskrcnn.data import inspection


@pytest.fixture
def dataset(tmp_path):
    """Six synthetic pictures, the last without an object."""
    path = pathlib.Path(km.data.shapes.generate(tmp_path, 6, size=64, seed=1).source)
    content = json.loads(path.read_text())
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] != 6]
    content["annotations"][0]["iscrowd"] = 1
    del content["annotations"][1]["segmentation"]
    path.write_text(json.dumps(content))
    return km.data.CocoDataset(path, tmp_path / "images")


def test_figures_are_those_of_the_annotations(dataset):
    annotated = json.loads(pathlib.Path(dataset.source).read_text())["annotations"][1:]
    figures = inspection.figures(dataset)
    assert (figures.images, figures.empty_images, figures.crowds) == (6, 1, 1)
    assert (figures.objects, figures.without_mask) == (len(annotated), 1)
    assert figures.image_sizes == {(64, 64): 6}
    np.testing.assert_array_equal(figures.object_areas, [a["area"] for a in annotated])
    for class_id in range(6):
        of_class = [a["image_id"] for a in annotated if a["category_id"] == class_id + 1]
        assert figures.class_objects[class_id] == len(of_class)
        assert figures.class_images[class_id] == len(set(of_class))
    assert figures.objects_per_image.sum() == len(annotated)


def test_broken_files_and_masks_are_found(dataset):
    path = pathlib.Path(dataset.records[2].path)
    path.write_bytes(path.read_bytes()[:400])
    instance = dataset.records[1].instances[0]
    instance.segmentation["counts"] = [5]
    assert len(list(inspection.check_files(dataset))) == 6
    assert [(problem.where, problem.lost) for problem in dataset.problems] == [
        (f"{dataset.source}: annotation {instance.annotation_id}", "annotation"),
        (str(path), "image"),
    ]
    assert inspection.contact_sheet(dataset).shape[2] == 3


def test_sheet_shows_the_annotated_pictures(dataset):
    sheet = inspection.contact_sheet(dataset, count=5, columns=2, side=128)
    assert sheet.dtype == np.uint8
    # Three rows of two pictures, the last one alone; around it the margin of the paper.
    tile = np.array([128 + inspection.CAPTION, 128 + inspection.GAP])
    np.testing.assert_array_equal(sheet.shape[:2], tile * (3, 2) + 4 * np.array([2, 1]) + 24)
    assert (sheet[:12] == 255).all()
    assert (sheet[-tile[0] :, tile[1] + 16 :] == 255).all()
    for top in (12, 12 + tile[0] + 4):
        assert sheet[top : top + 128, 12:140].std() > 10
    plain = np.repeat(np.repeat(dataset.example(0)["image"], 2, 0), 2, 1)
    assert np.abs(sheet[12:140, 12:140].astype(int) - plain).mean() < 60


def test_no_picture_at_all(dataset):
    dataset.max_broken = 1.0
    for record in dataset.records:
        pathlib.Path(record.path).write_bytes(b"")
    list(inspection.check_files(dataset))
    with pytest.raises(ValueError, match="no image can be used"):
        inspection.contact_sheet(dataset)


def test_what_training_would_not_make_of_it_is_said(dataset):
    figures = inspection.figures(dataset)
    most = int(figures.objects_per_image.max())
    config = km.MaskRCNNConfig(max_gt_boxes=most, box_detections_per_image=most)
    assert not [r for r in inspection.remarks(dataset, figures, config) if "more than" in r]
    crowded = sum(figures.objects_per_image == most)
    for field in ("max_gt_boxes", "box_detections_per_image"):
        said = inspection.remarks(dataset, figures, config.replace(**{field: most - 1}))[0]
        assert f"{crowded} of 6 images have more than {most - 1} objects ({field})" in said
        assert f"up to {most}" in said
        assert said.endswith(f"--{field.replace('_', '-')} {most}")
        assert said.startswith(dataset.source)


def test_classes_without_an_object_are_said(dataset):
    content = json.loads(pathlib.Path(dataset.source).read_text())
    content["categories"] += [{"id": 90 + i, "name": f"new{i}"} for i in range(12)]
    pathlib.Path(dataset.source).write_text(json.dumps(content))
    larger = km.data.CocoDataset(dataset.source, pathlib.Path(dataset.source).parent / "images")
    figures = inspection.figures(larger)
    (said,) = inspection.remarks(larger, figures, km.MaskRCNNConfig())
    pairs = zip(larger.class_names, figures.class_objects, strict=True)
    absent = [name for name, number in pairs if number == 0]
    assert f"{len(absent)} of 18 classes without an object" in said
    assert f": {', '.join(absent[:10])} and others." in said
    assert "class_names" in said


def test_sheet_marks_the_doubtful_objects(dataset):
    content = json.loads(pathlib.Path(dataset.source).read_text())
    annotation = content["annotations"][-1]
    annotation["bbox"] = [0, 0, 1, 1]
    pathlib.Path(dataset.source).write_text(json.dumps(content))
    doubtful = km.data.CocoDataset(dataset.source, pathlib.Path(dataset.source).parent / "images")
    (problem,) = doubtful.problems
    assert problem.annotation_id == annotation["id"]
    sheet = inspection.contact_sheet(doubtful, count=1, side=128)
    (record,) = [r for r in doubtful.records if r.image_id == annotation["image_id"]]
    instance = next(i for i in record.instances if i.annotation_id == annotation["id"])
    left, top, right, bottom = (2 * np.array(instance.box)).astype(int) + 12
    red = (sheet == inspection.DOUBT).all(2)
    for line in (red[top, left:right], red[bottom - 1, left:right]):
        assert line.mean() > 0.9
    for line in (red[top:bottom, left], red[top:bottom, right - 1]):
        assert line.mean() > 0.9
    assert not (inspection.contact_sheet(dataset, side=128) == inspection.DOUBT).all(2).any()


def test_sheet_marks_broken_masks(dataset):
    instance = dataset.records[4].instances[0]
    instance.segmentation["counts"] = [5]
    list(inspection.check_files(dataset))
    sheet = inspection.contact_sheet(dataset, count=1, side=128)
    assert (sheet == inspection.DOUBT).all(2).sum() > 40


def test_other_channels_are_checked_and_shown(deep_shapes):
    for dataset in (deep_shapes(1, ".tif"), deep_shapes(4, ".npy")):
        assert len(list(inspection.check_files(dataset))) == 3
        assert not dataset.problems
        sheet = inspection.contact_sheet(dataset, side=64)
        assert sheet.dtype == np.uint8
        assert sheet.std() > 30
