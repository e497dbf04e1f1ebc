"""The arrays of an evaluation against those that pycocotools itself computes."""

import contextlib
import copy
import io

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from keras_maskrcnn.evaluation import vectorised

SIDE = 160
CLASSES = {3: "both", 5: "only annotated", 8: "only found", 9: "neither", 11: "both too"}


def random_box(rng):
    """On a coarse grid: many are equal, and so are overlaps."""
    return [*(8.0 * rng.integers(0, 12, 2)), *(8.0 * rng.integers(1, 16, 2))]


def entry(image_id, category_id, box):
    mask = np.zeros((SIDE, SIDE), np.uint8, order="F")
    x, y, width, height = map(int, box)
    mask[y : y + height, x : x + width] = 1
    shape = {"bbox": box, "segmentation": coco_mask.encode(mask)}
    return {"image_id": image_id, "category_id": category_id, **shape}


def random_scene(seed, first_id):
    """Annotations and results of eight images, one of them with neither, ids in any order."""
    rng = np.random.default_rng(seed)
    annotations, results = [], []
    image_ids = rng.permutation([first_id + type(first_id)(i) for i in range(1, 9)]).tolist()
    for image_id in image_ids[1:]:
        for _ in range(rng.integers(0, 9)):
            box = random_box(rng)
            one = entry(image_id, int(rng.choice([3, 5, 11])), box)
            more = {"id": len(annotations) + 1, "iscrowd": int(rng.uniform() < 0.2)}
            annotations.append({**one, **more, "area": box[2] * box[3]})
        near = [one for one in annotations if one["image_id"] == image_id for _ in range(3)]
        for one in [*near, None, None]:
            box = random_box(rng) if one is None else one["bbox"]
            moved = np.maximum(np.array(box) + 2 * rng.integers(-4, 5, 4), [0, 0, 2, 2]).tolist()
            same = one is not None and rng.uniform() < 0.8
            category_id = one["category_id"] if same and one["category_id"] != 5 else 8
            # Scores of a few values: many are equal.
            score = float(rng.integers(1, 9)) / 8
            results.append({**entry(image_id, category_id, moved), "score": score})
    truth = COCO()
    truth.dataset = {
        "images": [{"id": image_id, "height": SIDE, "width": SIDE} for image_id in image_ids],
        "categories": [{"id": key, "name": name} for key, name in CLASSES.items()],
        "annotations": annotations,
    }
    return truth, results, image_ids


def prepared(truth, results, kind):
    """An evaluation of copies, for pycocotools writes into what it is given."""
    left_out = {"bbox": "segmentation", "segm": "bbox"}[kind]
    results = [{k: v for k, v in one.items() if k != left_out} for one in results]
    truth = copy.deepcopy(truth)
    truth.createIndex()
    return COCOeval(truth, truth.loadRes(results), kind)


@pytest.mark.parametrize("kind", ["bbox", "segm"])
@pytest.mark.parametrize(
    ("seed", "first_id", "max_detections"),
    [(0, 0, [1, 10, 100]), (1, 0, [1, 10, 100]), (2, 7, [4]), (3, "image ", [2, 300])],
)
def test_arrays_are_those_of_pycocotools(seed, first_id, max_detections, kind):
    truth, results, image_ids = random_scene(seed, first_id)
    with contextlib.redirect_stdout(io.StringIO()):
        ours, theirs = (prepared(truth, results, kind) for _ in range(2))
        for evaluation in (ours, theirs):
            evaluation.params.maxDets = list(max_detections)
            evaluation.params.imgIds = image_ids[:-1]
        vectorised.evaluate(ours)
        theirs.evaluate()
        theirs.accumulate()
        assert ours.eval["counts"] == theirs.eval["counts"]
        for name in ("precision", "recall", "scores"):
            np.testing.assert_allclose(ours.eval[name], theirs.eval[name], rtol=0, atol=1e-9)
        of_classes = theirs.eval["precision"][..., 0, -1].mean(axis=(0, 1))
        assert (of_classes[[0, 4]] > 0.01).all()
        assert of_classes[[1, 2, 3]].tolist() == [0, -1, -1]
        if max_detections == [1, 10, 100]:
            for evaluation in (ours, theirs):
                evaluation.summarize()
            np.testing.assert_allclose(ours.stats, theirs.stats, rtol=0, atol=1e-9)


def test_nothing_annotated_and_nothing_found():
    truth, results, _ = random_scene(0, 0)
    with contextlib.redirect_stdout(io.StringIO()):
        found_alone = prepared(truth, results, "bbox")
        found_alone.cocoGt.dataset["annotations"] = []
        found_alone.cocoGt.createIndex()
        vectorised.evaluate(found_alone)
        nothing_found = prepared(truth, results, "bbox")
        nothing_found.cocoDt.anns, nothing_found.cocoDt.imgToAnns = {}, {}
        vectorised.evaluate(nothing_found)
    assert (found_alone.eval["precision"] == -1).all()
    assert set(np.unique(nothing_found.eval["recall"])) == {-1, 0}
    assert set(np.unique(nothing_found.eval["precision"])) == {-1, 0}


def test_an_annotation_of_id_0_is_found():
    truth, _, (image_id, *_) = random_scene(0, 0)
    one = entry(image_id, 3, [8.0, 8.0, 40.0, 40.0])
    truth.dataset["annotations"] = [{**one, "id": 0, "iscrowd": 0, "area": 1600.0}]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = prepared(truth, [{**one, "score": 0.5}], "segm")
        vectorised.evaluate(evaluation)
    recall = evaluation.eval["recall"][:, 0, 0, -1]
    np.testing.assert_array_equal(recall, np.ones(10))
