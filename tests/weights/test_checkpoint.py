"""Detectron2's layout, drawn for a small model from the names that the importer asks for."""

import pickle

import numpy as np
import pytest

from keras_maskrcnn import MaskRCNN, MaskRCNNConfig
from keras_maskrcnn.weights import detectron2
from keras_maskrcnn.weights.layout import sources

SMALL = {
    "norm": "frozen_batch_norm",
    "backbone": "resnet14",
    "backbone_width": 8,
    "fpn_channels": 16,
    "box_head_units": (32, 32),
    "mask_head_channels": (16, 16),
    "mask_deconv_channels": 16,
    "num_classes": 3,
}


def detectron2_tensors(model, seed=0):
    """Random tensors with the names and the layouts of Detectron2."""
    rng = np.random.default_rng(seed)
    tensors = {}
    for variable, name, _ in sources(model, detectron2):
        shape = tuple(variable.shape)
        if name.endswith("mask_head.predictor.weight"):
            shape = (*shape, 1, 1)
        elif len(shape) == 4:
            shape = (shape[3], shape[2], *shape[:2])
        elif len(shape) == 2:
            shape = shape[::-1]
        tensors[name] = rng.normal(size=shape).astype(np.float32)
    return tensors


def write(path, tensors):
    path.write_bytes(pickle.dumps({"model": tensors, "__author__": "test"}))
    return path


@pytest.fixture(scope="module")
def model():
    return MaskRCNN("mask_rcnn_resnet50_fpn", **SMALL)


@pytest.fixture
def tensors(model):
    return detectron2_tensors(model)


def test_config_is_read_from_the_file(tmp_path, tensors):
    tensors["pixel_mean"] = np.zeros((3, 1, 1), np.float32)
    tensors["proposal_generator.anchor_generator.cell_anchors.0"] = np.zeros((3, 4), np.float32)
    loaded = MaskRCNN.from_checkpoint(write(tmp_path / "m.pkl", tensors))
    fields = loaded.config.to_dict()
    for name, value in SMALL.items():
        assert fields[name] == (list(value) if isinstance(value, tuple) else value)


def test_the_precision_is_a_keyword(tmp_path, tensors):
    path = write(tmp_path / "m.pkl", tensors)
    loaded = MaskRCNN.from_checkpoint(path, dtype="mixed_bfloat16", name="half")
    assert (loaded.compute_dtype, loaded.name) == ("bfloat16", "half")
    expected = MaskRCNN.from_checkpoint(path).get_weights()
    for weight, value in zip(loaded.weights, expected, strict=True):
        if weight.dtype == "float32":
            np.testing.assert_array_equal(weight, value)


def test_layouts(tmp_path, model, tensors):
    model.import_weights(write(tmp_path / "m.pkl", tensors))
    stem = tensors["backbone.bottom_up.stem.conv1.weight"]  # (out, BGR, h, w)
    np.testing.assert_array_equal(model.backbone.stem.kernel[2, 5, 0], stem[:, 2, 2, 5])
    conv = tensors["backbone.fpn_output3.weight"]
    np.testing.assert_array_equal(model.fpn.output_convs[1].kernel[0, 2, 5], conv[:, 5, 0, 2])
    fc1 = tensors["roi_heads.box_head.fc1.weight"].reshape(32, 16, 7, 7)
    ours = np.reshape(model.box_head.fully_connected[0].kernel, (7, 7, 16, 32))
    np.testing.assert_array_equal(ours[3, 4, 5], fc1[:, 5, 3, 4])
    deconv = tensors["roi_heads.mask_head.deconv.weight"]  # (in, out, h, w)
    np.testing.assert_array_equal(model.mask_head.deconv.kernel[1, 0, 3], deconv[:, 3, 1, 0])
    variance = tensors["backbone.bottom_up.res4.0.conv2.norm.running_var"]
    norm = model.backbone.stages[2][0].conv2.norm
    np.testing.assert_array_equal(norm.moving_variance, variance)


def test_every_variable_is_set(tmp_path, model, tensors):
    model.import_weights(write(tmp_path / "m.pkl", tensors))
    found = sources(model, detectron2)
    set_paths = {source.variable.path for source in found}
    seed = model.sampling_seed.path
    assert set_paths == {weight.path for weight in model.weights} - {seed}
    assert len(found) == len(tensors)


def test_faster_rcnn(tmp_path):
    model = MaskRCNN("mask_rcnn_resnet50_fpn", **{**SMALL, "mask": False})
    path = write(tmp_path / "faster.pkl", detectron2_tensors(model))
    loaded = MaskRCNN.from_checkpoint(path, mask_head_channels=SMALL["mask_head_channels"])
    assert not loaded.config.mask


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_classes": 5}, "num_classes: the checkpoint has 3, the model 5"),
        ({"backbone": "resnet26"}, "backbone: the checkpoint has resnet14, the model resnet26"),
        ({"fpn_channels": 32}, "fpn_channels: the checkpoint has 16, the model 32"),
        ({"mask": False}, "mask: the checkpoint has True, the model False"),
    ],
)
def test_another_architecture_is_refused(tmp_path, tensors, change, message):
    other = MaskRCNN("mask_rcnn_resnet50_fpn", **{**SMALL, **change})
    before = other.backbone.stem.kernel.numpy()
    with pytest.raises(ValueError, match=message):
        other.import_weights(write(tmp_path / "m.pkl", tensors))
    np.testing.assert_array_equal(other.backbone.stem.kernel, before)


def test_missing_left_over_and_misshapen_tensors_are_named(tmp_path, model, tensors):
    del tensors["backbone.fpn_output3.bias"]
    tensors["backbone.extra.weight"] = np.zeros(3, np.float32)
    tensors["proposal_generator.rpn_head.conv.bias"] = np.zeros(17, np.float32)
    before = [weight.numpy() for weight in model.weights]
    with pytest.raises(ValueError, match="does not fit this model") as error:
        model.import_weights(write(tmp_path / "m.pkl", tensors))
    for part in ("fpn_output3.bias is missing", "extra.weight has no place", r"conv.bias is (17,)"):
        assert part in str(error.value)
    for old, weight in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(old, weight)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "other.pkl"
    path.write_bytes(pickle.dumps({"model": {"conv1.weight": np.zeros((8, 3, 7, 7))}}))
    with pytest.raises(ValueError, match="not a checkpoint of a model of this package.*conv1"):
        MaskRCNN.from_checkpoint(path)
    path.write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(ValueError, match="not a checkpoint of a model"):
        MaskRCNN.from_checkpoint(path)


GROUP_NORM = {
    **SMALL,
    "norm": "group_norm",
    "backbone_width": 32,
    "fpn_channels": 32,
    "stride_in_1x1": False,
    "box_head_channels": (32, 32, 32, 32),
    "box_head_units": (32,),
    "mask_head_channels": (32, 32),
}


def test_group_norm_in_backbone_pyramid_and_heads(tmp_path):
    model = MaskRCNN("mask_rcnn_resnet50_fpn", **GROUP_NORM)
    tensors = detectron2_tensors(model)
    assert "backbone.fpn_lateral3.norm.weight" in tensors
    assert "roi_heads.box_head.conv4.norm.bias" in tensors
    assert "roi_heads.mask_head.mask_fcn2.norm.weight" in tensors
    assert "roi_heads.box_head.conv4.bias" not in tensors
    loaded = MaskRCNN.from_checkpoint(write(tmp_path / "gn.pkl", tensors))
    assert loaded.config == model.config
    gamma = loaded.box_head.convs[3].norm.gamma
    np.testing.assert_array_equal(gamma, tensors["roi_heads.box_head.conv4.norm.weight"])


@pytest.mark.parametrize("mask", [True, False])
def test_c4(tmp_path, mask):
    fields = {name: value for name, value in SMALL.items() if "head" not in name}
    model = MaskRCNN(MaskRCNNConfig(neck="c4", mask=mask, **fields))
    tensors = detectron2_tensors(model)
    assert "roi_heads.res5.0.conv2.norm.running_mean" in tensors
    assert ("roi_heads.mask_head.deconv.weight" in tensors) == mask
    loaded = MaskRCNN.from_checkpoint(write(tmp_path / "c4.pkl", tensors))
    assert (loaded.config.neck, loaded.config.mask) == ("c4", mask)
    kernel = loaded.res5.blocks[0].conv2.kernel
    np.testing.assert_array_equal(
        kernel[0, 2, 5], tensors["roi_heads.res5.0.conv2.weight"][:, 5, 0, 2]
    )
    with pytest.raises(ValueError, match="neck: the checkpoint has c4, the model fpn"):
        MaskRCNN("mask_rcnn_resnet50_fpn", **SMALL).import_weights(tmp_path / "c4.pkl")


def test_overrides_of_another_shape_name_the_first_mismatches(tmp_path, tensors):
    path = write(tmp_path / "m.pkl", tensors)
    with pytest.raises(ValueError, match=r"fc1.weight is \(32, 784\).*is \(784, 64\)"):
        MaskRCNN.from_checkpoint(path, box_head_units=(64, 32))
    assert MaskRCNN.from_checkpoint(path, roi_sampling_ratio=2).config.roi_sampling_ratio == 2


def test_other_classes_start_the_last_layers_anew(tmp_path, model, tensors):
    loaded = MaskRCNN.from_checkpoint(write(tmp_path / "m.pkl", tensors), num_classes=7)
    model.import_weights(tmp_path / "m.pkl")
    assert loaded.config.num_classes == 7
    changed = {
        ours.path.split("/", 1)[1]
        for ours, theirs in zip(loaded.weights, model.weights, strict=True)
        if ours.shape != theirs.shape or np.any(ours.numpy() != theirs.numpy())
    }
    assert changed == {"sampling_seed"} | {
        f"{part}/{weight}" for part in ("classes", "deltas") for weight in ("kernel", "bias")
    } | {"predictor_kernel", "predictor_bias"}


def test_values_that_are_no_numbers_are_named(tmp_path, model, tensors):
    tensors["backbone.fpn_output3.bias"][3] = np.nan
    with pytest.raises(ValueError, match="fpn_output3.bias holds values that are NaN"):
        model.import_weights(write(tmp_path / "m.pkl", tensors))


def test_detectron2_s_own_pth_files_are_read_too(tmp_path, model, tensors):
    torch = pytest.importorskip("torch")
    content = {name: torch.from_numpy(value) for name, value in tensors.items()}
    torch.save({"model": content, "iteration": 9}, tmp_path / "model_final.pth")
    report = model.import_weights(tmp_path / "model_final.pth")
    assert report == ([], [])


def test_one_mask_for_all_classes(tmp_path, tensors):
    head = "roi_heads.mask_head.predictor"
    for name in (f"{head}.weight", f"{head}.bias"):
        tensors[name] = tensors[name][:1]
    path = write(tmp_path / "agnostic.pkl", tensors)
    loaded = MaskRCNN.from_checkpoint(path)
    assert loaded.config.class_agnostic_mask
    np.testing.assert_array_equal(loaded.mask_head.predictor_bias, tensors[f"{head}.bias"])
    message = "class_agnostic_mask: the checkpoint has True, the model False"
    with pytest.raises(ValueError, match=message):
        MaskRCNN("mask_rcnn_resnet50_fpn", **SMALL).import_weights(path)


def test_masks_of_a_softmax_are_not_those_of_a_checkpoint(tmp_path, tensors):
    path = write(tmp_path / "m.pkl", tensors)
    model = MaskRCNN("mask_rcnn_resnet50_fpn", **SMALL, mask_loss="softmax")
    with pytest.raises(ValueError, match="mask_loss: the checkpoint has sigmoid, the model soft"):
        model.import_weights(path)
    with pytest.raises(ValueError, match=r"predictor.weight is \(3, 16, 1, 1\)"):
        MaskRCNN.from_checkpoint(path, mask_loss="softmax")
