"""Find small objects in a large image, by tiles.

    python examples/aerial.py --output runs/aerial
    python examples/aerial.py --output runs/aerial_trained --steps 240

Stands in for aerial pictures: draws a large image of many small shapes, which the model that ships
with the package learned, writes it as a tiled TIFF with annotations, and finds the shapes: at
once, so that the image is shrunk to the size that the network sees; and by tiles. With `--steps`
the model first trains on crops of eight other such images, at the scale of the tiles.
"""

import argparse
import json
import pathlib

import keras
import numpy as np
import tifffile
from pycocotools import mask as coco_mask
from rich.console import Console

import keras_maskrcnn as km
from keras_maskrcnn.data.shapes import CLASS_NAMES, draw_picture
from keras_maskrcnn.evaluation.coco import results_table
from keras_maskrcnn.ops.runs import mask_runs, runs_rle

PICTURE = 192  # the side that the shapes' own pictures have
# Objects are up to half as large as a picture, so that a tile's overlap holds them.
TILE_SIZE = 384
TILES = {"tile_size": TILE_SIZE, "tile_overlap": 0.25, "batch_size": 2}
BATCH_SIZE, LEARNING_RATE = 8, 3e-4


def main(arguments: list[str] | None = None) -> None:
    """Draw, perhaps train, find and show, as the command line says."""
    args = parse(arguments)
    keras.utils.set_random_seed(0)
    model = km.MaskRCNN.from_preset("demo_shapes")
    if args.steps:
        train = draw_dataset(args.output / "train", BATCH_SIZE, args.pictures, seed=1)
        train_on_crops(model, train, args.steps)
    dataset = draw_dataset(args.output / "test", 1, args.pictures, seed=0)
    at_once = km.evaluate(model, dataset, verbose=0)
    model = at_scale(model)
    in_tiles = km.evaluate(model, dataset, verbose=0, **TILES)
    for title, results in (("At once:", at_once), ("By tiles:", in_tiles)):
        Console().print(title, results_table(results), sep="\n", highlight=False)

    path = dataset.records[0].path
    (found,) = model.predict(path, verbose=0, **TILES)
    found = found[found.scores > 0.5]
    found.save(args.output / "found.jpg", path)
    found.save(args.output / "found.json")
    print(f"{len(found)} objects: {args.output / 'found.jpg'} and found.json")


def draw_dataset(
    folder: pathlib.Path, images: int, pictures: int, seed: int
) -> km.data.CocoDataset:
    """Tiled TIFFs, each of `pictures` x `pictures` pictures of shapes, and what is in them."""
    folder.mkdir(parents=True, exist_ok=True)
    side = pictures * PICTURE
    categories = [{"id": i, "name": name} for i, name in enumerate(CLASS_NAMES, start=1)]
    content = {"images": [], "annotations": [], "categories": categories}
    for image_id in range(1, images + 1):
        image, annotations = draw_image(pictures, [seed, image_id])
        name = f"{image_id}.tif"
        options = {"photometric": "rgb", "tile": (256, 256), "compression": "zlib"}
        tifffile.imwrite(folder / name, image, **options)
        content["images"].append({"id": image_id, "file_name": name, "width": side, "height": side})
        for annotation in annotations:
            ids = {"id": len(content["annotations"]) + 1, "image_id": image_id, "iscrowd": 0}
            content["annotations"].append({**ids, **annotation})
    (folder / "annotations.json").write_text(json.dumps(content), encoding="utf-8")
    return km.data.CocoDataset(folder / "annotations.json", folder)


def draw_image(pictures: int, seed: list[int]) -> tuple[np.ndarray, list[dict]]:
    """An image of pictures side by side, and COCO's annotations of the shapes in it."""
    side = pictures * PICTURE
    image, annotations = np.zeros((side, side, 3), np.uint8), []
    for number in range(pictures**2):
        top, left = (PICTURE * place for place in divmod(number, pictures))
        picture, class_ids, masks = draw_picture(np.random.default_rng([*seed, number]), PICTURE)
        image[top : top + PICTURE, left : left + PICTURE] = picture
        for class_id, mask in zip(class_ids, masks, strict=True):
            rle = runs_rle(mask_runs(mask, (top, left)), side, side)
            where = {"segmentation": rle, "bbox": coco_mask.toBbox(rle).tolist()}
            annotations.append({"category_id": class_id + 1, **where, "area": int(mask.sum())})
    return image, annotations


def train_on_crops(model: km.MaskRCNN, dataset: km.data.CocoDataset, steps: int) -> None:
    """Train on parts of the images, as large as the pictures that the model learned on."""
    rate = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, steps)
    model.compile(keras.optimizers.AdamW(rate, weight_decay=0.05))
    batches = dataset.batches(model.config, BATCH_SIZE, training=True, crop_size=PICTURE)
    model.fit(batches.repeat(), steps_per_epoch=steps)


def at_scale(model: km.MaskRCNN) -> km.MaskRCNN:
    """The same model, which looks at a tile as it is and finds as many objects as a tile has."""
    more = (TILE_SIZE // PICTURE) ** 2
    c = model.config
    same = km.MaskRCNN(
        c.replace(
            image_min_size=TILE_SIZE,
            image_max_size=TILE_SIZE,
            rpn_pre_nms_top_n_test=more * c.rpn_pre_nms_top_n_test,
            rpn_post_nms_top_n_test=more * c.rpn_post_nms_top_n_test,
            box_detections_per_image=more * c.box_detections_per_image,
        )
    )
    same.set_weights(model.get_weights())
    return same


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("runs/aerial"))
    parser.add_argument("--pictures", type=int, default=8, help="along the side of an image")
    parser.add_argument("--steps", type=int, default=0, help="to train on crops of other images")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
