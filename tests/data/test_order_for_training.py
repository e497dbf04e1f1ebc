"""That the order in which the pipeline takes pictures is no harm to what is learned."""

import json

import cv2
import keras
import numpy as np
import pytest
from pycocotools import mask as coco_mask

import keras_maskrcnn as km
from keras_maskrcnn.data import pipeline


def two_kinds(folder, count, seed):
    """Bright discs on dark, upright pictures; dark squares on coloured ones that lie."""
    rng = np.random.default_rng(seed)
    folder.mkdir()
    images, annotations = [], []
    for number in range(1, count + 1):
        upright = number % 2 == 0
        height, width = (96, 64) if upright else (64, 96)
        background, colour = ((12, 12, 12), 200) if upright else ((230, 130, 190), 40)
        picture = np.full((height, width, 3), background, np.uint8)
        picture = cv2.add(picture, rng.integers(0, 12, picture.shape, np.uint8))
        for _ in range(3):
            radius = int(rng.integers(7, 14))
            x, y = (int(rng.integers(radius, side - radius)) for side in (width, height))
            mask = np.zeros((height, width), np.uint8)
            if upright:
                cv2.circle(mask, (x, y), radius, 1, -1)
            else:
                mask[y - radius : y + radius, x - radius : x + radius] = 1
            picture[mask > 0] = colour
            rle = coco_mask.encode(np.asfortranarray(mask))
            box = coco_mask.toBbox(rle).tolist()
            segmentation = {"size": [height, width], "counts": rle["counts"].decode()}
            annotation = {"bbox": box, "segmentation": segmentation, "category_id": 1}
            annotations.append({"id": len(annotations), "image_id": number, **annotation})
        name = f"{number}.png"
        cv2.imwrite(str(folder / name), picture)
        images.append({"id": number, "file_name": name, "height": height, "width": width})
    content = {"images": images, "annotations": annotations}
    content["categories"] = [{"id": 1, "name": "thing"}]
    (folder / "a.json").write_text(json.dumps(content), encoding="utf-8")
    return km.data.CocoDataset(folder / "a.json", folder)


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["batch_norm", "group_norm"])
def test_two_kinds_of_pictures_are_learned_as_if_in_any_order(
    tmp_path, small_config, monkeypatch, norm
):
    train, val = two_kinds(tmp_path / "train", 64, 0), two_kinds(tmp_path / "val", 16, 1)
    wider = {"backbone_width": 32, "fpn_channels": 32, "mask_head_channels": (32,)}
    widths = wider if norm == "group_norm" else {}  # which has 32 groups
    config = small_config.replace(norm=norm, num_classes=1, class_names=["thing"], **widths)
    keras.utils.set_random_seed(0)
    model = km.MaskRCNN(config)
    model.compile(optimizer=keras.optimizers.AdamW(2e-3, global_clipnorm=5.0))
    model.optimizer.build(model.trainable_variables)
    variables = [*model.variables, *model.optimizer.variables]
    start, losses = [variable.numpy() for variable in variables], {}
    for order in ("as the pipeline chooses", "any"):
        if order == "any":  # from the same start, in the graph that has been built
            monkeypatch.setattr(pipeline, "order_for_training", lambda items, *_: items)
            for variable, value in zip(variables, start, strict=True):
                variable.assign(value)
        batches = train.batches(config, batch_size=4, training=True, seed=0).repeat()
        model.fit(batches, epochs=1, steps_per_epoch=160, verbose=0, shuffle=False)
        # As at inference: with the moving averages, not with the statistics of the batch.
        parts = [model.training_losses(*batch, training=False) for batch in val.batches(config)]
        losses[order] = np.mean([sum(part.values()) for part in parts])
    chosen, any_order = losses.values()
    assert chosen < 1.25 * any_order, losses
    assert any_order < 1.5, losses  # it has learned
