"""COCO's figures of synthetic results as large as val2017's, beside pycocotools itself.

    python benchmarks/evaluation.py --images 500

Each picture has 7.2 objects of 80 classes on average, one of a hundred of them a crowd, and 100
detections: objects that were moved a little, and ellipses elsewhere. Time and memory are those of
loading the results and evaluating boxes and masks, each in a process of its own.
"""

import argparse
import contextlib
import io
import json
import resource
import subprocess
import sys
import time

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from keras_maskrcnn.evaluation.coco import evaluate_results

HEIGHT, WIDTH, CLASSES, OBJECTS, DETECTIONS = 480, 640, 80, 7.2, 100
ANGLES = np.linspace(0, 2 * np.pi, 24, endpoint=False)


def ellipses(boxes):
    """Compressed RLEs of the ellipses in boxes (N, 4), xywh."""
    centres, halves = boxes[:, :2] + boxes[:, 2:] / 2, boxes[:, 2:] / 2
    outlines = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)
    polygons = (centres[:, None] + halves[:, None] * outlines).reshape(len(boxes), -1)
    return coco_mask.frPyObjects(polygons.tolist(), HEIGHT, WIDTH)


def random_boxes(rng, number):
    sizes = np.exp(rng.uniform(np.log(8), np.log(240), (number, 2)))
    return np.hstack([rng.uniform(0, 1, (number, 2)) * ([WIDTH, HEIGHT] - sizes), sizes])


def detect(rng, boxes, classes):
    """Boxes, classes and scores of what is found in a picture with these objects."""
    number = DETECTIONS // 2 if len(boxes) else 0
    chosen = rng.integers(0, max(len(boxes), 1), number)
    moved = boxes[chosen] * rng.normal(1, 0.03, (number, 4))
    found = np.vstack([moved, random_boxes(rng, DETECTIONS - number)])
    others = rng.integers(0, CLASSES, DETECTIONS)
    same = np.arange(DETECTIONS) < number
    same &= rng.uniform(size=DETECTIONS) < 0.8
    of = np.concatenate([classes[chosen], others[number:]])
    scores = np.round(rng.uniform(0.05, 1, DETECTIONS) * np.where(same, 1.0, 0.6), 3)
    return found, np.where(same, of, others), scores


def entries(image_id, boxes, classes):
    for box, class_id, rle in zip(boxes.tolist(), classes.tolist(), ellipses(boxes), strict=True):
        yield {
            "image_id": image_id,
            "category_id": class_id + 1,
            "bbox": box,
            "segmentation": {"size": rle["size"], "counts": rle["counts"].decode()},
        }


def synthetic(images, seed=0):
    """The annotations, a `COCO`, and results of so many images."""
    rng = np.random.default_rng(seed)
    annotations, results = [], []
    for image_id in range(1, images + 1):
        number = rng.poisson(OBJECTS)
        boxes, classes = random_boxes(rng, number), rng.zipf(1.3, number) % CLASSES
        for entry in entries(image_id, boxes, classes) if number else ():
            area = float(coco_mask.area(entry["segmentation"]))
            more = {"area": area, "iscrowd": int(rng.uniform() < 0.01)}
            annotations.append({**entry, **more, "id": len(annotations) + 1})
        found, found_classes, scores = detect(rng, boxes, classes)
        for entry, score in zip(entries(image_id, found, found_classes), scores, strict=True):
            results.append({**entry, "score": float(score)})
    truth = COCO()
    truth.dataset = {
        "images": [{"id": i, "height": HEIGHT, "width": WIDTH} for i in range(1, images + 1)],
        "categories": [{"id": i, "name": f"class {i}"} for i in range(1, CLASSES + 1)],
        "annotations": annotations,
    }
    truth.createIndex()
    return truth, results


def by_pycocotools(results, truth):
    """Its own figures, those of `evaluate_results`."""
    figures = {}
    for kind, iou_type, left_out in (("box", "bbox", "segmentation"), ("mask", "segm", "bbox")):
        entries = [{k: v for k, v in result.items() if k != left_out} for result in results]
        evaluation = COCOeval(truth, truth.loadRes(entries), iou_type)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        names = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", None, None, "ar")
        values = zip(names, evaluation.stats, strict=False)
        figures |= {f"{kind}_{name}": float(value) for name, value in values if name}
    return figures


def measure(what, images):
    """Prints the figures, the seconds and the memory, in GiB, of one of the two."""
    evaluate = {"pycocotools": by_pycocotools, "keras_maskrcnn": evaluate_results}[what]
    with contextlib.redirect_stdout(io.StringIO()):
        truth, results = synthetic(images)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.perf_counter()
        figures = evaluate(results, truth)
        seconds = time.perf_counter() - start
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20
    print(json.dumps({"figures": figures, "seconds": seconds, "memory": grown}))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--only", choices=("pycocotools", "keras_maskrcnn"), help="measure this")
    args = parser.parse_args()
    if args.only:
        measure(args.only, args.images)
        return
    measured = {}
    for what in ("pycocotools", "keras_maskrcnn"):
        command = [sys.executable, __file__, "--images", str(args.images), "--only", what]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        measured[what] = json.loads(out.splitlines()[-1])
        one = measured[what]
        print(f"{what}: {one['seconds']:.1f} s, memory grows by {one['memory']:.2f} GiB")
    theirs, ours = (one["figures"] for one in measured.values())
    furthest = max(abs(ours[name] - value) for name, value in theirs.items())
    ratio = measured["keras_maskrcnn"]["seconds"] / measured["pycocotools"]["seconds"]
    print(f"{ratio:.2f} of its time; figures differ by {furthest:.1e} at most; {ours}")


if __name__ == "__main__":
    main()
