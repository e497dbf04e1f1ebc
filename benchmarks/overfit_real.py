"""Trains on 8 photos of COCO from random weights and evaluates on the same 8.

    python benchmarks/overfit_real.py

A model whose targets, resizing or masks are off cannot reach a high AP even on pictures that it
has seen. Reaches mask AP of at least 0.50. The photos are those of `../shared/data/coco_tiny`.
"""

import argparse
import json
import pathlib
import tempfile
import time

import keras

import keras_maskrcnn as km
from keras_maskrcnn.training.schedules import WarmupMultiStep

DATA = pathlib.Path(__file__).resolve().parents[2] / "shared/data/coco_tiny"


def first_photos(number, folder):
    """An annotation file of the first photos that have two to eight objects, none a crowd."""
    content = json.loads((DATA / "annotations/instances_train2017.json").read_text())
    objects = {image["id"]: [] for image in content["images"]}
    for annotation in content["annotations"]:
        objects[annotation["image_id"]].append(annotation)
    chosen = [
        image_id
        for image_id, annotations in objects.items()
        if 2 <= len(annotations) <= 8 and not any(a["iscrowd"] for a in annotations)
    ][:number]
    content["images"] = [image for image in content["images"] if image["id"] in chosen]
    content["annotations"] = [a for image_id in chosen for a in objects[image_id]]
    path = pathlib.Path(folder) / "photos.json"
    path.write_text(json.dumps(content))
    return km.data.CocoDataset(path, DATA / "train2017")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=int, default=8)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--side", type=int, default=320, help="longest side of an image, pixels")
    parser.add_argument("--output", type=pathlib.Path, help="a .keras file for the model")
    args = parser.parse_args()
    keras.utils.set_random_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        photos = first_photos(args.photos, folder)
    model = km.MaskRCNN(
        "demo_shapes",
        num_classes=len(photos.class_names),
        class_names=photos.class_names,
        image_min_size=args.side * 3 // 4,
        image_max_size=args.side,
    )
    schedule = WarmupMultiStep(1e-3, warmup_steps=50, milestones=[args.steps * 4 // 5])
    model.compile(optimizer=keras.optimizers.AdamW(schedule, weight_decay=0.01, clipnorm=10.0))
    batches = photos.batches(model.config, batch_size=4, training=True, seed=0).repeat()
    start = time.perf_counter()
    model.fit(batches, steps_per_epoch=args.steps // 8, epochs=8, verbose=2)
    seconds = time.perf_counter() - start
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        model.save(args.output)
    results = km.evaluate(model, photos, verbose=0)
    print(json.dumps({"seconds": round(seconds), **{k: round(v, 4) for k, v in results.items()}}))


if __name__ == "__main__":
    main()
