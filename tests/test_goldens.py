"""Every stage of every architecture against what the references computed, and training steps."""

import gc
import json
import pathlib
import sys

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
from pycocotools import mask as coco_mask

from keras_maskrcnn.weights import detectron2
from keras_maskrcnn.weights.layout import sources

BENCHMARKS = pathlib.Path(__file__).resolve().parents[1] / "benchmarks"
SHALLOW = [f"detectron2_mask_rcnn_{name}" for name in ("r50_fpn", "r50_c4", "x50_fpn", "x50_c4")]
SHALLOW += ["torchvision_mask_rcnn_r50_fpn", "torchvision_mask_rcnn_r50_fpn_v2"]
DEEP = [f"detectron2_mask_rcnn_{name}" for name in ("r101_fpn", "r101_c4", "x101_fpn", "x101_c4")]
LOSSES = {
    "rpn_objectness_loss": "loss_rpn_cls",
    "rpn_box_loss": "loss_rpn_loc",
    "box_class_loss": "loss_cls",
    "box_loss": "loss_box_reg",
    "mask_loss": "loss_mask",
}


@pytest.fixture(scope="module")
def golden(shared):
    """The golden of a name, as `benchmarks/parity.py` compares it."""
    sys.path.insert(0, str(BENCHMARKS))
    import parity

    yield lambda name: parity.Golden(shared / "goldens", name)
    sys.path.remove(str(BENCHMARKS))


@pytest.fixture(autouse=True)
def released():
    """What a test made is freed after it: models are full of circles, and of 200 MB here."""
    yield
    gc.collect()


def assert_same_model(golden, images, **overrides):
    model = golden.model(**overrides)
    for image in images:
        agreement = golden.compare(model, image)
        assert max(agreement.excess().values()) <= 1, (image, agreement)


# R50-FPN is that of the two tests below.
@pytest.mark.parametrize(
    "name",
    [
        SHALLOW[1],
        *(pytest.param(name, marks=pytest.mark.slow) for name in SHALLOW[2:]),
    ],
)
def test_inference(golden, name):
    if name.startswith("torchvision"):
        pytest.importorskip("torch")
    assert_same_model(golden(name), ["crowd_320", "kitchen_320"])


def test_inference_with_the_portable_roi_align(golden):
    images = ["crowd_320", "kitchen_320"]
    assert_same_model(golden(SHALLOW[0]), images, roi_implementation="portable")


def test_inference_with_the_compiled_roi_align(golden, compiled_op):
    images = ["crowd_320", "kitchen_320"]
    assert_same_model(golden(SHALLOW[0]), images, roi_implementation="compiled")


@pytest.mark.slow
def test_inference_with_rgb_copied_to_six_channels(golden):
    with pytest.warns(UserWarning, match="for 3 channels, the model has 6: the stem's kernel"):
        model = golden(SHALLOW[0]).model(channels=6)
    agreement = golden(SHALLOW[0]).compare(model, "kitchen_320")
    assert max(agreement.excess().values()) <= 1, agreement


@pytest.mark.slow
@pytest.mark.parametrize("name", DEEP)
def test_inference_of_deep_models(golden, name):
    assert_same_model(golden(name), golden(name).images)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SHALLOW if "c4" not in name])
def test_inference_at_800_pixels(golden, name):
    if name.startswith("torchvision"):
        pytest.importorskip("torch")
    assert_same_model(golden(name), ["crowd_800"])


def read(goldens, name):
    return cv2.imread(str(goldens / "images" / name))[:, :, ::-1].astype(np.float32)


@pytest.fixture(
    scope="module",
    params=[
        "detectron2_mask_rcnn_r50_fpn",
        pytest.param("detectron2_mask_rcnn_r50_c4", marks=pytest.mark.slow),
    ],
)
def training_step(golden, request):
    """The reference's step; ours: losses, gradient by reference name, targets."""
    golden = golden(request.param)
    expected = json.loads((golden.folder / f"{golden.name}_train.json").read_text())
    model = golden.model(
        rpn_batch_size_per_image=1_000_000,
        box_batch_size_per_image=2048,
        rpn_post_nms_top_n_train=expected["settings"]["RPN.POST_NMS_TOPK_TRAIN"],
    )
    x, y = training_batch(golden.folder, expected["batch"])

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            losses = model.training_losses(x, y)
            total = tf.add_n(list(losses.values()))
        return losses, [tf.norm(g) for g in tape.gradient(total, model.trainable_weights)]

    losses, norms = step()
    names = {source.variable.path: source.name for source in sources(model, detectron2)}
    gradients = {
        names[variable.path]: float(norm)
        for variable, norm in zip(model.trainable_weights, norms, strict=True)
    }
    return expected, {name: float(loss) for name, loss in losses.items()}, gradients, model, x, y


def training_batch(goldens, entries):
    pictures = [read(goldens, entry["image"]) for entry in entries]
    height, width = np.max([picture.shape[:2] for picture in pictures], axis=0)
    most = max(len(entry["classes"]) for entry in entries)
    images = np.zeros((len(entries), height, width, 3), np.float32)
    boxes = np.zeros((len(entries), most, 4), np.float32)
    classes = np.full((len(entries), most), -1, np.int32)
    masks = np.zeros((len(entries), most, 112, 112), np.uint8)
    for i, (picture, entry) in enumerate(zip(pictures, entries, strict=True)):
        images[i, : picture.shape[0], : picture.shape[1]] = picture
        number = len(entry["classes"])
        boxes[i, :number], classes[i, :number] = entry["boxes_xyxy"], entry["classes"]
        for j, polygons in enumerate(entry["polygons"]):
            masks[i, j] = rasterize(polygons, boxes[i, j])
    sizes = np.array([picture.shape[:2] for picture in pictures], np.int32)
    y = {"boxes": boxes, "classes": classes, "masks": masks}
    return {"images": images, "image_sizes": sizes}, y


def rasterize(polygons, box, size=112):
    scale = size / (box[2:] - box[:2])
    scaled = [
        ((np.reshape(polygon, (-1, 2)) - box[:2]) * scale).ravel().tolist() for polygon in polygons
    ]
    return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(scaled, size, size)))


def test_training_losses(training_step):
    expected, losses, *_ = training_step
    assert losses.keys() == LOSSES.keys()
    for ours, theirs in LOSSES.items():
        tolerance = 0.02 if ours == "mask_loss" else 0.001
        assert losses[ours] == pytest.approx(expected["losses"][theirs], rel=tolerance)


def test_training_gradients(training_step):
    expected, _, gradients, *_ = training_step
    assert gradients.keys() == expected["gradient_norms"].keys()
    for name, norm in expected["gradient_norms"].items():
        tolerance = 0.05 if "mask_head" in name else 0.01
        assert gradients[name] == pytest.approx(norm, rel=tolerance), name
    assert not set(expected["frozen"]) & gradients.keys()


def test_training_counts(training_step):
    """Foreground and background of both stages, averaged over the images as Detectron2 does."""
    from keras_maskrcnn.training.targets import anchor_targets, proposal_targets

    expected, _, _, model, x, y = training_step
    features = model.extract_features(tf.constant(x["images"]), x["image_sizes"])
    logits, deltas, anchors = model.run_rpn(features)
    gt_boxes, gt_classes = tf.constant(y["boxes"]), tf.constant(y["classes"])
    seed = tf.constant([0, 0])
    sample = anchor_targets(
        tf.concat(anchors, 0), gt_boxes, gt_classes >= 0, model.config, seed
    ).sample
    proposals, _, number = model.proposals["train"](logits, deltas, anchors, x["image_sizes"])
    regions = proposal_targets(proposals, number, gt_boxes, gt_classes, model.config, seed)
    counts = {
        "rpn/num_pos_anchors": sample.foreground,
        "rpn/num_neg_anchors": sample.valid & ~sample.foreground,
        "roi_head/num_fg_samples": regions.foreground,
        "roi_head/num_bg_samples": regions.valid & ~regions.foreground,
    }
    for name, chosen in counts.items():
        assert np.sum(chosen) / 2 == expected["counts"][name], name


def five_steps(golden):
    """The losses of five steps on one photo, 128 pixels high.

    Eagerly: of a model that was trained in a graph TensorFlow keeps the variables after it is gone.
    """
    keras.utils.set_random_seed(0)
    model = golden.model(
        rpn_pre_nms_top_n_train=500, rpn_post_nms_top_n_train=50, box_batch_size_per_image=32
    )
    optimizer = keras.optimizers.SGD(0.002, momentum=0.9, clipnorm=10.0)
    model.compile(optimizer=optimizer, run_eagerly=True)
    file = golden.folder / "detectron2_mask_rcnn_r50_fpn_train.json"
    x, y = training_batch(golden.folder, json.loads(file.read_text())["batch"][:1])
    scale = 128 / x["images"].shape[1]
    image = cv2.resize(x["images"][0], None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    y["boxes"] *= scale
    x = {"images": image[None]}
    return [model.train_on_batch(x, y, return_dict=True)["loss"] for _ in range(5)]


@pytest.mark.slow
@pytest.mark.parametrize("name", [*SHALLOW[:4], *DEEP])
def test_every_architecture_learns(golden, name):
    losses = five_steps(golden(name))
    assert np.isfinite(losses).all()
    assert max(losses[-2:]) < losses[0]
