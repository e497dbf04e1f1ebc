"""Detectron's blobs, made of a Detectron2 checkpoint by the names that both publish."""

import pickle
import re

import numpy as np
import pytest

from keras_maskrcnn import MaskRCNN
from keras_maskrcnn.weights import detectron2
from keras_maskrcnn.weights.layout import sources

BRANCHES = {"shortcut": "branch1", "conv1": "branch2a", "conv2": "branch2b", "conv3": "branch2c"}
NAMES = {
    r"backbone\.(?:bottom_up\.)?stem\.conv1": lambda m: "conv1",
    r".*\.res(\d)\.(\d+)\.(\w+)": lambda m: f"res{m[1]}_{m[2]}_{BRANCHES[m[3]]}",
    r"backbone\.fpn_lateral5": lambda m: "fpn_inner_res5_0_sum",
    r"backbone\.fpn_lateral(\d)": lambda m: f"fpn_inner_res{m[1]}_0_sum_lateral",
    r"backbone\.fpn_output(\d)": lambda m: f"fpn_res{m[1]}_0_sum",
    r"proposal_generator\.rpn_head\.conv": lambda m: "conv_rpn",
    r"proposal_generator\.rpn_head\.objectness_logits": lambda m: "rpn_cls_logits",
    r"proposal_generator\.rpn_head\.anchor_deltas": lambda m: "rpn_bbox_pred",
    r"roi_heads\.box_head\.fc1": lambda m: "fc6",
    r"roi_heads\.box_head\.fc2": lambda m: "fc7",
    r"roi_heads\.box_predictor\.(cls_score|bbox_pred)": lambda m: m[1],
    r"roi_heads\.mask_head\.mask_fcn(\d)": lambda m: f"_[mask]_fcn{m[1]}",
    r"roi_heads\.mask_head\.deconv": lambda m: "conv5_mask",
    r"roi_heads\.mask_head\.predictor": lambda m: "mask_fcn_logits",
}
# What Detectron2 computes otherwise with the same weights.
AS_DETECTRON2 = {
    "pixel_mean": (123.675, 116.28, 103.53),
    "anchor_style": "detectron2",
    "roi_aligned": True,
    "roi_sampling_ratio": 0,
}


def blob(layer, neck):
    name = next(make(m) for pattern, make in NAMES.items() if (m := re.fullmatch(pattern, layer)))
    return name + "_fpn2" if neck == "fpn" and "rpn" in name else name


def background_first(name, value):
    if "cls_score" in name:
        return np.concatenate([value[-1:], value[:-1]])
    rows = 4 if "bbox_pred" in name and "rpn" not in name else "mask_fcn_logits" in name
    return np.concatenate([np.full((int(rows), *value.shape[1:]), 7, np.float32), value])


def as_blobs(tensors, neck):
    """The blobs of Detectron that stand for the tensors of Detectron2."""
    blobs = {}
    for name, value in tensors.items():
        layer, weight = name.rsplit(".", 1)
        if not layer.endswith(".norm"):
            name = blob(layer, neck)
            blobs[f"{name}_{weight[0]}"] = background_first(name, value)
        elif weight == "weight":  # an affine map, the statistics in it
            norm = blob(layer.removesuffix(".norm"), neck)
            norm = "res_conv1" if norm == "conv1" else norm
            scale = value / np.sqrt(tensors[f"{layer}.running_var"] + 1e-5)
            shift = tensors[f"{layer}.bias"] - tensors[f"{layer}.running_mean"] * scale
            blobs |= {f"{norm}_bn_s": scale, f"{norm}_bn_b": shift}
    return blobs


def detectron2_tensors(model, draw):
    shapes = {}
    for variable, name, _ in sources(model, detectron2):
        shape = tuple(variable.shape)
        if name.endswith("mask_head.predictor.weight"):
            shape = (*shape, 1, 1)
        elif len(shape) == 4:
            shape = (shape[3], shape[2], *shape[:2])
        shapes[name] = shape[::-1] if len(shape) == 2 else shape
    return draw(shapes)


@pytest.mark.parametrize(("neck", "mask"), [("fpn", True), ("c4", True), ("fpn", False)])
def test_same_detections_as_of_detectron2(tmp_path, small, draw, pixels, neck, mask):
    tensors = detectron2_tensors(MaskRCNN({**small, "neck": neck, "mask": mask}), draw)
    blobs = as_blobs(tensors, neck)
    blobs |= {"conv1_w_momentum": blobs["conv1_w"], "__preserve__/fc1000_w": np.ones((2, 2))}
    (tmp_path / "d2.pkl").write_bytes(pickle.dumps({"model": tensors}))
    (tmp_path / "d1.pkl").write_bytes(pickle.dumps({"blobs": blobs, "cfg": "..."}, protocol=2))
    fewer = {name: small[name] for name in ("rpn_post_nms_top_n_test", "box_score_threshold")}
    expected = MaskRCNN.from_checkpoint(tmp_path / "d2.pkl", **fewer).stages(pixels)
    model = MaskRCNN.from_checkpoint(tmp_path / "d1.pkl", **fewer, **AS_DETECTRON2)
    assert (model.config.neck, model.config.mask) == (neck, mask)
    ours = model.stages(pixels)
    for level, features in expected["features"].items():
        np.testing.assert_allclose(ours["features"][level], features, atol=1e-4)
    np.testing.assert_array_equal(ours["classes"], expected["classes"])
    for part in ("proposals", "boxes", "scores") + ("masks",) * mask:
        np.testing.assert_allclose(ours[part], expected[part], atol=1e-3)


def test_what_detectron_does_otherwise_becomes_the_config(tmp_path, small, draw):
    tensors = detectron2_tensors(MaskRCNN(small), draw)
    (tmp_path / "d1.pkl").write_bytes(pickle.dumps({"blobs": as_blobs(tensors, "fpn")}))
    config = MaskRCNN.from_checkpoint(tmp_path / "d1.pkl").config
    assert (config.anchor_style, config.roi_aligned, config.roi_sampling_ratio) == (
        "detectron",
        False,
        2,
    )
    with pytest.raises(ValueError, match="anchor_style: the checkpoint has detectron"):
        MaskRCNN(small).import_weights(tmp_path / "d1.pkl")


def test_backbone_alone(tmp_path, small, draw):
    tensors = detectron2_tensors(MaskRCNN(small), draw)
    stages = {name: value for name, value in tensors.items() if "bottom_up" in name}
    blobs = {**as_blobs(stages, "fpn"), "conv1_b": np.zeros(8), "fc1000_w": np.zeros((10, 256))}
    (tmp_path / "r.pkl").write_bytes(pickle.dumps(blobs))
    model = MaskRCNN.from_checkpoint(tmp_path / "r.pkl", neck="c4", num_classes=2)
    np.testing.assert_array_equal(
        model.res5.blocks[0].conv2.kernel[1, 2, 3],
        tensors["backbone.bottom_up.res5.0.conv2.weight"][:, 3, 1, 2],
    )
    report = model.import_weights(tmp_path / "r.pkl")
    assert report.ignored == ["conv1_b", "fc1000_w"]
    assert all("rpn" in path or "box" in path or "mask" in path for path in report.unset)


def test_one_mask_for_all_classes_has_no_background_to_drop(tmp_path, small, draw):
    model = MaskRCNN(small, class_agnostic_mask=True)
    blobs = as_blobs(detectron2_tensors(model, draw), "fpn")
    for kind in "wb":
        blobs[f"mask_fcn_logits_{kind}"] = blobs[f"mask_fcn_logits_{kind}"][-1:]
    (tmp_path / "d1.pkl").write_bytes(pickle.dumps({"blobs": blobs}))
    loaded = MaskRCNN.from_checkpoint(tmp_path / "d1.pkl")
    assert loaded.config.class_agnostic_mask
    np.testing.assert_array_equal(loaded.mask_head.predictor_bias, blobs["mask_fcn_logits_b"])
