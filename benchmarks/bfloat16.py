"""What a model finds when it computes in bfloat16, against the same weights in float32.

    python benchmarks/overfit_real.py --output runs/overfit.keras
    python benchmarks/bfloat16.py runs/overfit.keras

The model of `overfit_real.py`, on the real photos that it has learned: AP in both precisions, and
of the objects that float32 is sure of (score 0.5 or more) the share that bfloat16 finds too, of the
same class and with a mask of IoU 0.9 or more.
"""

import argparse
import tempfile

import keras
import numpy as np
from overfit_real import first_photos
from pycocotools import mask as coco_mask

import keras_maskrcnn as km

SURE, SAME = 0.5, 0.9


def agreement(expected, found):
    """Of each sure object the largest IoU with one found of its class, and the score's change."""
    objects, candidates = expected.to_coco(0), found.to_coco(0)
    overlaps = coco_mask.iou(
        [candidate["segmentation"] for candidate in candidates],
        [thing["segmentation"] for thing in objects],
        [0] * len(objects),
    )
    results = []
    for i, thing in enumerate(objects):
        if thing["score"] < SURE:
            continue
        same_class = found.class_ids == expected.class_ids[i]
        best = np.argmax(np.where(same_class, overlaps[:, i], -1.0))
        overlap = overlaps[best, i] if same_class[best] else 0.0
        results.append((overlap, abs(candidates[best]["score"] - thing["score"])))
    return results


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="a .keras file")
    args = parser.parse_args()
    model = keras.models.load_model(args.model)
    half = km.MaskRCNN(model.config, dtype="mixed_bfloat16")
    half.set_weights(model.get_weights())
    with tempfile.TemporaryDirectory() as folder:
        photos = first_photos(8, folder)
    paths = [record.path for record in photos.records]
    pairs = zip(model.predict(paths, verbose=0), half.predict(paths, verbose=0), strict=True)
    results = np.array([result for pair in pairs for result in agreement(*pair)])
    if not len(results):
        raise SystemExit(f"{args.model} finds no object with a score of {SURE}: train it longer.")
    same = results[:, 0] >= SAME
    overlap, difference = results[same].mean(axis=0)
    print(f"{len(results)} sure objects, {same.mean():.3f} of them found; in the mean of those")
    print(f"the IoU of the masks is {overlap:.3f}, and the score differs by {difference:.4f}")
    for name, each in (("float32", model), ("bfloat16", half)):
        figures = km.evaluate(each, photos, verbose=0)
        print(f"{name:<10}box AP {figures['box_ap']:.3f}, mask AP {figures['mask_ap']:.3f}")


if __name__ == "__main__":
    main()
