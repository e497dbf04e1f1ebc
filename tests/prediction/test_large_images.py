"""Tiles with a model that learned: as good as the pictures alone, and in little memory."""

import json
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

import keras_maskrcnn as km
from keras_maskrcnn.evaluation.coco import evaluate_results
from keras_maskrcnn.ops.runs import mask_runs, runs_rle

SIDE, TIFF_TILE, PICTURE = 30_000, 512, 1_536
MOST_MEMORY = 1.5  # GB
# Of a process of its own: the tests' has had other models in memory. What getrusage counts goes on
# from the process that started this one; VmHWM does not.
PREDICT = """
import json, pathlib, re, sys
import keras_maskrcnn as km
model = km.MaskRCNN.from_preset("demo_shapes")
found, = model.predict(sys.argv[1], tile_size=1536, tile_overlap=0.5, batch_size=4, verbose=0)
found = found[found.scores > 0.5]
status = pathlib.Path("/proc/self/status").read_text()
memory = int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) / 2**20
print(json.dumps({"memory": memory, "size": found.image_size, "results": found.to_coco(1)}))
"""


def encoded_tiles(drawn, background):
    """The tiles of a TIFF: what is drawn in its middle, a strip of background, and nothing."""
    blank = zlib.compress(background.tobytes())
    per_side = -(-SIDE // TIFF_TILE)
    first = SIDE // TIFF_TILE // 2 - 1
    for row in range(per_side):
        for column in range(per_side):
            y, x = (TIFF_TILE * (place - first) for place in (row, column))
            part = drawn[max(y, 0) :, max(x, 0) :][:TIFF_TILE, :TIFF_TILE]
            if min(x, y) >= 0 and part.size:
                yield zlib.compress(part.tobytes())
            else:
                yield blank if row in (10, 11, 45, 46) else b""


@pytest.mark.slow
def test_a_tiff_of_30000x30000_in_little_memory(tmp_path):
    picture, _, _ = km.data.shapes.draw_picture(np.random.default_rng(4))
    drawn = cv2.resize(picture, (PICTURE, PICTURE), interpolation=cv2.INTER_CUBIC)
    rng = np.random.default_rng(0)
    background = rng.integers(90, 110, (TIFF_TILE // 16, TIFF_TILE // 16, 3), np.uint8)
    background = np.kron(background, np.ones((16, 16, 1), np.uint8))
    options = {"shape": (SIDE, SIDE, 3), "dtype": np.uint8, "photometric": "rgb"}
    tifffile.imwrite(
        tmp_path / "a.tif",
        encoded_tiles(drawn, background),
        tile=(TIFF_TILE, TIFF_TILE),
        compression="zlib",
        **options,
    )
    run = [sys.executable, "-c", PREDICT, str(tmp_path / "a.tif")]
    done = json.loads(subprocess.run(run, check=True, capture_output=True).stdout)
    print(f"{done['memory']:.2f} GB")
    assert done["memory"] < MOST_MEMORY
    assert done["size"] == [SIDE, SIDE]
    (alone,) = km.MaskRCNN.from_preset("demo_shapes").predict(drawn, verbose=0)
    alone = alone[alone.scores > 0.5]
    assert len(alone) > 2
    found = [r["bbox"] for r in done["results"]], [r["category_id"] for r in done["results"]]
    boxes, class_ids = map(np.array, found)
    boxes[:, :2] -= TIFF_TILE * (SIDE // TIFF_TILE // 2 - 1)
    expected = np.concatenate([alone.boxes[:, :2], alone.boxes[:, 2:] - alone.boxes[:, :2]], axis=1)
    ious = coco_mask.iou(expected.astype(float), boxes, [0] * len(boxes))
    same = (ious > 0.5) & (alone.class_ids[:, None] == class_ids)
    print(same.sum(axis=1), ious.max(axis=1))
    assert (same.sum(axis=1) == 1).mean() > 0.8


def draw_inside(seed):
    """A picture whose shapes its border does not cut, and their classes and masks."""
    rng = np.random.default_rng(seed)
    while True:
        picture, class_ids, masks = km.data.shapes.draw_picture(rng)
        inner = [mask[2:-2, 2:-2].sum() == mask.sum() for mask in masks]
        if masks and all(inner):
            return picture, class_ids, masks


def ground_truth(images):
    """A `COCO` of images of a side each, of each the classes and the runs of its objects."""
    annotations = []
    for image_id, (side, objects) in images.items():
        for class_id, runs in objects:
            rle = runs_rle(runs, side, side)
            area, box = float(coco_mask.area(rle)), coco_mask.toBbox(rle).tolist()
            ids = {"id": len(annotations) + 1, "image_id": image_id, "category_id": class_id}
            annotations.append(
                {**ids, "segmentation": rle, "bbox": box, "area": area, "iscrowd": 0}
            )
    truth = COCO()
    truth.dataset = {
        "images": [{"id": i, "width": side, "height": side} for i, (side, _) in images.items()],
        "annotations": annotations,
        "categories": [
            {"id": i, "name": name} for i, name in enumerate(km.data.shapes.CLASS_NAMES)
        ],
    }
    truth.createIndex()
    return truth


def at_size(size):
    """The model that ships with the package; it looks at images of this size as they are."""
    more = (size // 192) ** 2
    return km.MaskRCNN.from_preset(
        "demo_shapes",
        image_min_size=size,
        image_max_size=size,
        rpn_pre_nms_top_n_test=500 * more,
        rpn_post_nms_top_n_test=100 * more,
        box_detections_per_image=50 * more,
    )


@pytest.mark.slow
def test_a_mosaic_by_tiles_is_as_good_as_whole():
    """64 pictures side by side: tiles of twice their side, whose seams cut objects.

    The network does not see the pictures' borders in the mosaic: what it finds in it as a whole is
    less than in the pictures alone, and that is not the tiles' doing.
    """
    mosaic = np.zeros((8 * 192, 8 * 192, 3), np.uint8)
    alone, objects, pictures = {}, [], []
    for number in range(64):
        picture, class_ids, masks = draw_inside([7, number])
        top, left = (192 * place for place in divmod(number, 8))
        mosaic[top : top + 192, left : left + 192] = picture
        pictures.append(picture)
        alone[number] = 192, [(c, mask_runs(m)) for c, m in zip(class_ids, masks, strict=True)]
        objects += [(c, mask_runs(m, (top, left))) for c, m in zip(class_ids, masks, strict=True)]
    truth = ground_truth({1: (8 * 192, objects)})
    found = at_size(384).predict(mosaic, verbose=0, tile_size=384)[0]
    in_tiles, at_once, of_pictures = (
        evaluate_results(results, gt, max_detections=10_000)["mask_ap"]
        for results, gt in (
            (found.to_coco(1), truth),
            (at_size(8 * 192).predict(mosaic, verbose=0)[0].to_coco(1), truth),
            (
                [
                    entry
                    for number, one in enumerate(at_size(192).predict(pictures, 8, verbose=0))
                    for entry in one.to_coco(number)
                ],
                ground_truth(alone),
            ),
        )
    )
    print(f"{in_tiles:.3f} by tiles, {at_once:.3f} at once, {of_pictures:.3f} alone")
    assert in_tiles > at_once - 0.01
    assert in_tiles > of_pictures - 0.03
    check_once(found[found.scores > 0.5])


def check_once(found):
    """No two of a class are the same; the model itself tells them apart by their boxes alone."""
    results = found.to_coco(1)
    no_crowds = [0] * len(found)
    same = found.class_ids[:, None] == found.class_ids
    for kind in ("bbox", "segmentation"):
        shapes = [result[kind] for result in results]
        shapes = np.array(shapes) if kind == "bbox" else shapes
        same &= coco_mask.iou(shapes, shapes, no_crowds) > 0.5
    np.testing.assert_array_equal(same, np.eye(len(found), dtype=bool))
