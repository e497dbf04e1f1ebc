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

import keras_maskrcnn as km

SIDE, TIFF_TILE, PICTURE = 30_000, 512, 1_536
MOST_MEMORY = 1.5  # GB
# Of a process of its own: the tests' has had other models in memory.
PREDICT = """
import json, resource, sys
import keras_maskrcnn as km
model = km.MaskRCNN.from_preset("demo_shapes")
found, = model.predict(sys.argv[1], tile_size=1536, tile_overlap=0.5, batch_size=4, verbose=0)
found = found[found.scores > 0.5]
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
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
