"""torchvision's files: what config they imply, classifiers as backbones, old names."""

import numpy as np
import pytest

from keras_maskrcnn import MaskRCNN
from keras_maskrcnn.config import BACKBONES
from keras_maskrcnn.weights import torchvision
from keras_maskrcnn.weights.checkpoint import Checkpoint
from keras_maskrcnn.weights.layout import sources

torch = pytest.importorskip("torch")
BLOCKS = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}
BLOCKS |= {"resnext50_32x4d": (3, 4, 6, 3), "resnext101_32x8d": (3, 4, 23, 3)}
NORM = ("weight", "bias", "running_mean", "running_var")


def tensors_of(model, draw):
    shapes = {}
    for variable, name, _ in sources(model, torchvision):
        shape = tuple(variable.shape)
        if name.endswith("mask_fcn_logits.weight"):
            shape = (shape[0] + 1, shape[1], 1, 1)
        elif "mask_fcn_logits" in name:
            shape = (shape[0] + 1,)
        elif len(shape) == 4:
            shape = (shape[3], shape[2], *shape[:2])
        elif "bbox_pred" in name and "rpn" not in name:
            shape = (shape[-1] + 4, *shape[:-1])
        elif len(shape) == 2:
            shape = shape[::-1]
        shapes[name] = shape
    return draw(shapes)


def save(tensors, path, **kwargs):
    torch.save({name: torch.from_numpy(value) for name, value in tensors.items()}, path, **kwargs)
    return path


def classifier(tensors):
    """The names of a classifier, with the last layer that a detector has no use for."""
    body = {
        name.removeprefix("backbone.body."): value
        for name, value in tensors.items()
        if name.startswith("backbone.body.")
    }
    return {**body, "fc.weight": np.ones((10, 256)), "bn1.num_batches_tracked": np.array(3)}


def test_version_1_by_its_old_names_and_format(tmp_path, small, draw, pixels):
    """As they are published: the first format of PyTorch, before the convolutions were lists."""
    tensors = tensors_of(MaskRCNN(small), draw)
    old = {}
    for name, value in tensors.items():
        for block in ("inner", "layer"):
            name = name.replace(f"{block}_blocks", f"#{block}_blocks")
        if "#" in name:
            name = name.replace("#", "").replace(".0.weight", ".weight").replace(".0.bias", ".bias")
            if name.count(".") == 3 or "blocks.weight" in name or "blocks.bias" in name:
                name = name.replace("blocks.", "blocks.0.")
        name = name.replace("rpn.head.conv.0.0", "rpn.head.conv")
        for i in range(4):
            name = name.replace(f"mask_head.{i}.0.", f"mask_head.mask_fcn{i + 1}.")
        old[name] = value
    assert "rpn.head.conv.weight" in old
    assert "roi_heads.mask_head.mask_fcn4.bias" in old
    save(old, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    save(tensors, tmp_path / "new.pth")
    models = [MaskRCNN.from_checkpoint(tmp_path / name) for name in ("old.pth", "new.pth")]
    for a, b in zip(models[0].weights, models[1].weights, strict=True):
        if a.name != "sampling_seed":
            np.testing.assert_array_equal(a, b)
    config = models[0].config
    assert (config.norm, config.norm_epsilon, config.anchor_style) == (
        "frozen_batch_norm",
        0.0,
        "torchvision",
    )
    assert config.num_classes == small["num_classes"]


@pytest.mark.parametrize("neck", ["fpn", "c4"])
def test_a_classifier_is_a_backbone(tmp_path, small, draw, pixels, neck):
    tensors = tensors_of(MaskRCNN(small), draw)
    save(classifier(tensors), tmp_path / "resnet.pth")
    detector = MaskRCNN.from_checkpoint(save(tensors, tmp_path / "m.pth"), norm_epsilon=1e-5)
    model = MaskRCNN.from_checkpoint(tmp_path / "resnet.pth", neck=neck, num_classes=2)
    expected, ours = detector.backbone(pixels), model.backbone(pixels)
    np.testing.assert_allclose(ours["res4"], expected["res4"], rtol=1e-5)
    blocks = model.res5.blocks if neck == "c4" else model.backbone.stages[-1]
    np.testing.assert_array_equal(
        blocks[0].conv1.kernel, detector.backbone.stages[-1][0].conv1.kernel
    )
    report = model.import_weights(tmp_path / "resnet.pth")
    assert {name.split(".")[-2] for name in report.ignored} == {"fc", "bn1"}
    assert any("box_head" in path for path in report.unset)
    assert not any("stem" in path or "res4" in path for path in report.unset)


@pytest.mark.parametrize("backbone", BLOCKS)
def test_the_four_backbones_are_told_apart(backbone):
    groups, per_group = (32, int(backbone[-2])) if "x" in backbone else (1, 64)
    tensors = {"backbone.body.conv1.weight": np.zeros((64, 3, 7, 7))}
    tensors["backbone.body.bn1.running_mean"] = np.zeros(64)
    for stage, blocks in enumerate(BLOCKS[backbone], start=1):
        width = groups * per_group * 2 ** (stage - 1)
        for block in range(blocks):
            prefix = f"backbone.body.layer{stage}.{block}"
            tensors[f"{prefix}.conv1.weight"] = np.broadcast_to(0.0, (width, 64, 1, 1))
            tensors[f"{prefix}.conv2.weight"] = np.broadcast_to(0.0, (width, width // groups, 3, 3))
    assert Checkpoint("x.pth", torchvision, tensors).config()["backbone"] == backbone
    assert backbone in BACKBONES
