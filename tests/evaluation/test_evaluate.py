"""COCO's figures against pycocotools itself, with perfect, perturbed, missing and no results."""

import contextlib
import copy
import io
import json
import math
import shutil
import types

import cv2
import numpy as np
import pytest
import tensorflow as tf
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from rich.console import Console

from keras_maskrcnn import Detections, evaluate
from keras_maskrcnn.data import CocoDataset, crop_masks
from keras_maskrcnn.evaluation import coco
from keras_maskrcnn.evaluation.coco import (
    STATISTICS,
    evaluate_results,
    figures,
    precision_curves,
    results_table,
    run_coco_eval,
)
from keras_maskrcnn.evaluation.workers import Worker

FIGURES = {f"{kind}_{name}" for kind in ("box", "mask") for name in STATISTICS}


@pytest.fixture(scope="module")
def photos(shared):
    folder = shared / "data" / "coco_tiny"
    return folder / "annotations" / "instances_val2017.json", folder / "val2017"


@pytest.fixture(scope="module")
def dataset(photos):
    return CocoDataset(*photos)


def perfect_results(ground_truth):
    """What is annotated, as results."""
    results = []
    for annotation in ground_truth.dataset["annotations"]:
        if not annotation["iscrowd"]:
            rle = ground_truth.annToRLE(annotation)
            rle = {"size": rle["size"], "counts": rle["counts"].decode()}
            kept = {key: annotation[key] for key in ("image_id", "category_id", "bbox")}
            results.append(kept | {"score": 0.9, "segmentation": rle})
    return results


def perturbed_results(ground_truth):
    """Results of which some are moved, some missing, some of another class."""
    rng = np.random.default_rng(0)
    results = perfect_results(ground_truth)
    ids = ground_truth.getCatIds()
    for result in results:
        result["bbox"] = list(np.array(result["bbox"]) * rng.uniform(0.9, 1.1, 4))
        result["score"] = rng.uniform()
        if rng.uniform() < 0.2:
            result["category_id"] = int(rng.choice(ids))
    return [result for result in results if rng.uniform() < 0.8]


def by_pycocotools(results, ground_truth, kind):
    results = copy.deepcopy(results)
    if kind == "segm":  # as Detectron2 does, so that sizes are those of masks
        for result in results:
            del result["bbox"]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(ground_truth, ground_truth.loadRes(results), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


class PerfectModel:
    """Stands in for a `MaskRCNN`: finds what is annotated in the files that it is asked about."""

    distribute_strategy = tf.distribute.get_strategy()

    def __init__(self, dataset, mask=True):
        self.config = types.SimpleNamespace(
            num_classes=len(dataset.category_ids),
            class_names=dataset.class_names,
            mask=mask,
            is_rgb=True,
            box_detections_per_image=100,
        )
        self.dataset = dataset
        self.indices = {record.path: i for i, record in enumerate(dataset.records)}
        self.calls = []

    def predict(self, paths, batch_size, verbose, tile_size, tile_overlap):
        self.calls.append((list(paths), batch_size, verbose))
        self.tiles = tile_size, tile_overlap
        for path in paths:
            if cv2.imread(path) is None:
                raise ValueError(f"{path}: not an image.")
        return [self._found(self.dataset.example(self.indices[path])) for path in paths]

    def _found(self, example):
        masks = crop_masks(example["masks"], example["boxes"]) if self.config.mask else None
        scores, size = np.ones(len(example["boxes"])), example["image"].shape[:2]
        return Detections(example["boxes"], scores, example["class_ids"], masks, size)


def test_perfect_results(dataset, capfd):
    ground_truth = dataset.ground_truth()
    figures = evaluate_results(perfect_results(ground_truth), ground_truth)
    assert set(figures) == FIGURES
    assert all(type(value) is float for value in figures.values())
    np.testing.assert_allclose([figures["box_ap"], figures["mask_ap"]], 1.0)
    np.testing.assert_allclose([figures["mask_ap_small"], figures["mask_ap_large"]], 1.0)
    assert capfd.readouterr().out == ""


def test_equal_to_pycocotools(dataset):
    ground_truth = dataset.ground_truth()
    results = perturbed_results(ground_truth)
    before = copy.deepcopy(results)
    figures = evaluate_results(results, ground_truth)
    assert results == before
    assert 0.1 < figures["box_ap"] < 0.9
    assert 0.1 < figures["mask_ap"] < 0.9
    for name, kind in (("box", "bbox"), ("mask", "segm")):
        expected = by_pycocotools(results, dataset.ground_truth(), kind)
        # Of pycocotools' twelve, the sixth and seventh count one and ten detections an image.
        for index, statistic in zip((0, 1, 2, 3, 4, 5, 8), STATISTICS, strict=True):
            np.testing.assert_allclose(figures[f"{name}_{statistic}"], expected[index])


def test_as_many_detections_count_as_the_model_gives():
    """150 objects in an image: COCO's 100 leave a third out, whatever the model finds."""
    boxes = [[20.0 * (i % 15), 20.0 * (i // 15), 10.0, 10.0] for i in range(150)]
    objects = [{"image_id": 1, "category_id": 1, "bbox": box, "area": 100.0} for box in boxes]
    ground_truth = COCO()
    ground_truth.dataset = {
        "images": [{"id": 1, "height": 200, "width": 300}],
        "categories": [{"id": 1, "name": "thing"}],
        "annotations": [{**o, "id": i, "iscrowd": 0} for i, o in enumerate(objects, 1)],
    }
    ground_truth.createIndex()
    results = [{**o, "score": 1 - i / 1000} for i, o in enumerate(objects)]
    of_100 = evaluate_results(results, ground_truth, ("box",))
    assert of_100["box_ar"] == pytest.approx(100 / 150)
    of_all = evaluate_results(results, ground_truth, ("box",), max_detections=200)
    assert of_all["box_ar"] == pytest.approx(1.0)
    assert of_all["box_ap"] == pytest.approx(1.0)


def test_size_of_a_mask_is_not_that_of_its_box():
    """A thin diagonal, small as a mask and medium as a box, is nowhere but among its like."""
    mask = np.eye(100, dtype=np.uint8)
    ground_truth, results = one_object(mask, [0, 0, 100, 100])
    figures = evaluate_results(results, ground_truth)
    assert figures["mask_ap_small"] == pytest.approx(1.0)
    assert math.isnan(figures["mask_ap_large"])


def one_object(mask, box):
    """Annotations of one object in one image, and the result that finds it."""
    rle = coco_mask.encode(np.asfortranarray(mask))
    ground_truth = COCO()
    annotation = {"id": 1, "image_id": 7, "category_id": 3, "bbox": box, "iscrowd": 0}
    ground_truth.dataset = {
        "images": [{"id": 7, "height": mask.shape[0], "width": mask.shape[1]}],
        "categories": [{"id": 3, "name": "thing"}],
        "annotations": [annotation | {"segmentation": rle, "area": int(mask.sum())}],
    }
    ground_truth.createIndex()
    result = {"image_id": 7, "category_id": 3, "bbox": box, "score": 0.5, "segmentation": rle}
    return ground_truth, [result]


def test_nothing_found_is_zero_and_nothing_annotated_is_nan():
    ground_truth, _ = one_object(np.ones((20, 20), np.uint8), [0, 0, 20, 20])
    figures = evaluate_results([], ground_truth)
    assert set(figures) == FIGURES
    assert figures["box_ap"] == figures["mask_ap"] == figures["box_ar"] == 0.0
    assert figures["mask_ap_small"] == 0.0
    assert math.isnan(figures["mask_ap_large"])


def test_object_without_mask_counts_only_as_box():
    ground_truth, results = one_object(np.ones((20, 20), np.uint8), [0, 0, 20, 20])
    with_mask = ground_truth.dataset["annotations"][0]
    boxed = {k: v for k, v in with_mask.items() if k != "segmentation"}
    ground_truth.dataset["images"].append({"id": 8, "height": 20, "width": 20})
    ground_truth.dataset["annotations"].append(boxed | {"id": 2, "image_id": 8})
    ground_truth.createIndex()
    assert evaluate_results(results, ground_truth)["mask_ap"] == pytest.approx(1.0)
    assert evaluate_results(results, ground_truth)["box_ap"] == pytest.approx(0.5, abs=0.01)
    both = [*results, results[0] | {"image_id": 8, "score": 0.9}]
    assert evaluate_results(both, ground_truth)["mask_ap"] == pytest.approx(1.0)


def test_wrong_results_are_named():
    ground_truth, results = one_object(np.ones((20, 20), np.uint8), [0, 0, 20, 20])
    with pytest.raises(ValueError, match=r"results\[0\] is of image 9, which the annotations"):
        evaluate_results([results[0] | {"image_id": 9}], ground_truth)
    boxes = [{k: v for k, v in results[0].items() if k != "segmentation"}]
    with pytest.raises(ValueError, match=r"results\[0\] has no segmentation"):
        evaluate_results(boxes, ground_truth)
    assert evaluate_results(boxes, ground_truth, kinds=["box"])["box_ap"] == pytest.approx(1.0)
    for kinds in ("box", ["segm"]):
        with pytest.raises(ValueError, match="kinds must be a list of 'box' and 'mask'"):
            evaluate_results(results, ground_truth, kinds)


def test_evaluate_asks_for_a_few_images_at_a_time(dataset, capfd):
    model = PerfectModel(dataset)
    figures = evaluate(model, dataset, batch_size=2, verbose=0)
    assert set(figures) == FIGURES
    assert figures["box_ap"] == pytest.approx(1.0)
    assert figures["mask_ap"] > 0.8  # cut out at 112x112 and pasted again
    assert [len(paths) for paths, *_ in model.calls] == [32, 18]
    assert {call[1:] for call in model.calls} == {(2, 0)}
    assert capfd.readouterr().out == ""


def test_evaluate_without_mask_branch(dataset):
    figures = evaluate(PerfectModel(dataset, mask=False), dataset, verbose=1, max_images=3)
    assert set(figures) == {name for name in FIGURES if name.startswith("box")}


def test_max_images_leaves_the_others_out(dataset):
    model = PerfectModel(dataset)
    figures = evaluate(model, dataset, verbose=0, max_images=4)
    assert figures["box_ap"] == pytest.approx(1.0)
    assert [len(paths) for paths, *_ in model.calls] == [4]
    with pytest.raises(ValueError, match="max_images must be at least 1, got 0"):
        evaluate(model, dataset, max_images=0)


class WithManyMore(PerfectModel):
    """Finds, beside all that is there, 120 boxes with a higher score where nothing is."""

    def _found(self, example):
        found = super()._found(example)
        boxes = np.concatenate([np.tile(np.float32([[0, 0, 2, 2]]), (120, 1)), found.boxes])
        masks = np.concatenate([np.ones((120, *found.box_masks.shape[1:])), found.box_masks])
        scores = np.concatenate([np.full(120, 1.0), 0.9 * found.scores])
        ids = np.concatenate([np.full(120, example["class_ids"][0]), found.class_ids])
        return Detections(boxes, scores, ids, masks, found.image_size)


def test_all_detections_of_an_image_count_and_more_than_cocos_are_said(dataset, capsys):
    results = evaluate(WithManyMore(dataset), dataset, verbose=2, max_images=1)
    assert results["box_ar"] == pytest.approx(1.0)  # of COCO's 100 none were left for the objects
    number = 120 + len(dataset.example(0)["boxes"])
    assert f"Up to {number} detections an image count" in capsys.readouterr().out


def test_number_of_classes_must_agree(dataset):
    model = PerfectModel(dataset)
    model.config.num_classes, model.config.class_names = 3, ()
    with pytest.raises(ValueError, match="The dataset has 80 classes, the model num_classes=3"):
        evaluate(model, dataset)


@pytest.fixture
def damaged(photos, tmp_path):
    """Six photos, one of them cut off."""
    annotations, images = photos
    content = json.loads(annotations.read_text())
    content["images"] = content["images"][:6]
    kept = {info["id"] for info in content["images"]}
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] in kept]
    (tmp_path / "val.json").write_text(json.dumps(content))
    for info in content["images"]:
        shutil.copyfile(images / info["file_name"], tmp_path / info["file_name"])
    dataset = CocoDataset(tmp_path / "val.json", tmp_path)
    assert dataset.records[2].instances
    (tmp_path / content["images"][2]["file_name"]).write_bytes(b"")
    return dataset


def test_image_that_cannot_be_read_counts_as_missed(damaged):
    broken = damaged.records[2]
    with pytest.warns(UserWarning, match="objects count as missed"):
        figures = evaluate(PerfectModel(damaged), damaged, verbose=0)
    assert [problem.where for problem in damaged.problems] == [broken.path]
    assert "missed" in damaged.problems[0].what
    ground_truth = damaged.ground_truth()
    seen = [r for r in perfect_results(ground_truth) if r["image_id"] != broken.image_id]
    expected = evaluate_results(seen, ground_truth)
    assert figures["box_ap"] == pytest.approx(expected["box_ap"])
    assert 0 < figures["box_ap"] < 1


def test_other_errors_of_the_model_are_not_hidden(dataset):
    model = PerfectModel(dataset)
    model.indices = None
    with pytest.raises(TypeError):
        evaluate(model, dataset, verbose=0, max_images=2)

    def fail(*args, **kwargs):
        raise ValueError("shapes do not fit")

    model.predict = fail
    with pytest.raises(ValueError, match="shapes do not fit"):
        evaluate(model, dataset, verbose=0, max_images=2)


def test_results_table():
    results = {f"{kind}_{name}": 0.25 for kind in ("box", "mask") for name in STATISTICS}
    console = Console(file=io.StringIO(), width=100)
    console.print(results_table(results | {"mask_ap": 0.3714, "mask_ap_large": math.nan}))
    text = console.file.getvalue()
    for expected in ("box", "mask", "AP50", "AP SMALL", "AR", "37.1", "25.0", " - "):
        assert expected in text
    console.print(results_table({"box_ap": 0.5}))
    assert "50.0" in console.file.getvalue()


@pytest.mark.parametrize(("iou", "name"), [(0.5, "ap50"), (0.75, "ap75")])
def test_ap_is_the_area_under_the_precision_curves(dataset, iou, name):
    class EveryOther(PerfectModel):
        def _found(self, example):
            return super()._found(example)[::2]

    evaluations = run_coco_eval(EveryOther(dataset), dataset, verbose=0)
    for kind, evaluation in evaluations.items():
        curves = precision_curves(evaluation, iou)
        area = np.mean([curve.mean() for curve in curves.values()])
        assert 0.3 < area < 0.9
        assert area == pytest.approx(figures(evaluations)[f"{kind}_{name}"])


class ReorderedModel(PerfectModel):
    """Its classes are those of the dataset, from the last to the first."""

    def __init__(self, dataset):
        super().__init__(dataset)
        self.config.class_names = dataset.class_names[::-1]

    def _found(self, example):
        last = self.config.num_classes - 1
        return super()._found({**example, "class_ids": last - example["class_ids"]})


def test_classes_in_another_order_are_matched_by_name(dataset):
    figures = evaluate(ReorderedModel(dataset), dataset, verbose=0, max_images=6)
    assert figures["box_ap"] == pytest.approx(1.0)
    assert figures["mask_ap"] > 0.8


class SparseModel(PerfectModel):
    """Between the classes of the dataset it has some of no category, as torchvision's models."""

    def __init__(self, dataset):
        super().__init__(dataset)
        names = [part for name in dataset.class_names for part in (name, "N/A")]
        self.config.class_names, self.config.num_classes = tuple(names), len(names)

    def _found(self, example):
        found = super()._found({**example, "class_ids": 2 * example["class_ids"]})
        # And something of no category, with the highest score.
        masks = np.concatenate([found.box_masks, found.box_masks])
        boxes, ids = np.tile(found.boxes, (2, 1)), found.class_ids
        scores = np.repeat([0.9, 1.0], len(ids))
        return Detections(boxes, scores, np.append(ids, ids + 1), masks, found.image_size)


def test_what_is_of_no_category_does_not_count(dataset):
    figures = evaluate(SparseModel(dataset), dataset, verbose=0, max_images=6)
    assert figures["box_ap"] == pytest.approx(1.0)


def test_without_names_the_order_counts(dataset):
    model = PerfectModel(dataset)
    model.config.class_names = ()
    assert evaluate(model, dataset, verbose=0, max_images=6)["box_ap"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ("cat", "dog"),
            r"v.json has classes that the model does not know: eel\. Open it with class_names=model"
            r".* It lacks classes of the model: cat\. Add them to its categories",
        ),
        (("dog",), r"v.json has classes that the model does not know: eel\. Open it"),
        (("eel", "cat", "dog"), r"v.json lacks classes of the model: cat\. Add them"),
    ],
)
def test_other_classes_are_named(names, message):
    data = types.SimpleNamespace(class_names=("dog", "eel"), category_ids=(3, 7), source="v.json")
    config = types.SimpleNamespace(num_classes=len(names), class_names=names)
    with pytest.raises(ValueError, match=message):
        evaluate(types.SimpleNamespace(config=config), data, verbose=0)


def test_results_of_other_categories_are_named():
    """Class ids from 0 for category ids, and names that say that another class is meant."""
    ground_truth, results = one_object(np.ones((20, 20), np.uint8), [0, 0, 20, 20])
    known = r"they have 3 'thing'\. Write results with Detections.to_coco\(image_id, dataset.cat"
    with pytest.raises(ValueError, match=rf"results\[0\] is of category 0, which .*; {known}"):
        evaluate_results([results[0] | {"category_id": 0}], ground_truth)
    named = results[0] | {"category_name": "cat"}
    with pytest.raises(ValueError, match=rf"results\[0\] is of category 3 'cat', .*; {known}"):
        evaluate_results([named], ground_truth)
    named["category_name"] = "thing"
    assert evaluate_results([named], ground_truth)["mask_ap"] == pytest.approx(1.0)


def test_tiles_are_those_of_predict(dataset):
    model = PerfectModel(dataset)
    evaluate(model, dataset, verbose=0, max_images=1)
    assert model.tiles == (None, 0.25)
    evaluate(model, dataset, verbose=0, max_images=1, tile_size=512, tile_overlap=0.4)
    assert model.tiles == (512, 0.4)


def test_each_worker_looks_at_its_share(dataset, monkeypatch):
    whole = evaluate(PerfectModel(dataset), dataset, verbose=0)
    found = []

    def gather(entries, strategy):
        found.append(entries)
        return [entry for of_worker in found for entry in of_worker]

    monkeypatch.setattr(coco, "gather", gather)
    looked_at = []
    for index in range(3):
        monkeypatch.setattr(coco, "this_worker", lambda _, index=index: Worker(index, 3))
        model = PerfectModel(dataset)
        shared = evaluate(model, dataset, verbose=0)
        looked_at.append([path for paths, *_ in model.calls for path in paths])
    paths = [record.path for record in dataset.records]
    assert looked_at == [paths[index::3] for index in range(3)]
    assert shared == pytest.approx(whole, abs=1e-9, nan_ok=True)
