"""Presets, fetched from a server on this machine as small checkpoints of Detectron2's layout."""

import hashlib
import os
import pickle
import re

import keras
import numpy as np
import pytest

from keras_maskrcnn import MaskRCNN, MaskRCNNConfig, evaluate
from keras_maskrcnn.data import shapes
from keras_maskrcnn.weights import detectron2, presets
from keras_maskrcnn.weights.layout import sources

PRESETS_FIGURES = re.compile(r"^\| (?:box|mask) \| ([\d.]+) \|", re.MULTILINE)  # of a card
NAME = "tiny_coco"
FILE = "/mask_rcnn/model_final.pkl"
SMALL = {
    "backbone": "resnet14",
    "backbone_width": 8,
    "fpn_channels": 16,
    "box_head_units": (16,),
    "mask_head_channels": (16,),
    "mask_deconv_channels": 16,
    "num_classes": 3,
}


class Attack:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return open, (self.trace, "w")


def draw_tensors():
    """Random tensors with the names and the layouts of Detectron2."""
    rng = np.random.default_rng(0)
    tensors = {}
    for variable, name, _ in sources(MaskRCNN("mask_rcnn_resnet50_fpn", **SMALL), detectron2):
        shape = tuple(variable.shape)
        if name.endswith("mask_head.predictor.weight"):
            shape = (*shape, 1, 1)
        elif len(shape) == 4:
            shape = (shape[3], shape[2], *shape[:2])
        elif len(shape) == 2:
            shape = shape[::-1]
        draw = rng.uniform(0.5, 1.0, shape) if "running_var" in name else rng.normal(size=shape)
        tensors[name] = (0.3 * draw).astype(np.float32)
    return tensors


@pytest.fixture(scope="module")
def tensors():
    return draw_tensors()


@pytest.fixture(scope="module")
def checkpoint(tensors):
    return pickle.dumps({"model": tensors})


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    return tmp_path / "keras_maskrcnn"


@pytest.fixture
def publish(server, cache, monkeypatch):
    """A function that puts a file on the server and makes it the preset `NAME`."""

    def publish(content, **fields):
        server.files[FILE] = content
        digest = f"sha256:{hashlib.sha256(content).hexdigest()[:8]}"
        fields = {"digest": digest, "class_names": ("cat", "dog", "sheep"), **fields}
        preset = presets.Preset("test", server.url(FILE), licence="none", **fields)
        monkeypatch.setitem(presets.PRESETS, NAME, preset)

    return publish


def files_of(folder):
    return sorted(os.listdir(folder)) if folder.is_dir() else []


def assert_same_weights(model, other):
    for ours, theirs in zip(model.trainable_weights, other.trainable_weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_fetched_converted_and_then_offline(server, cache, publish, checkpoint, tmp_path):
    publish(checkpoint)
    model = MaskRCNN.from_preset(NAME)
    (tmp_path / "m.pkl").write_bytes(checkpoint)
    assert_same_weights(model, MaskRCNN.from_checkpoint(tmp_path / "m.pkl"))
    assert model.config.class_names == ("cat", "dog", "sheep")
    assert files_of(cache) == [f"{NAME}.weights.h5", f"{NAME}.yaml"]

    server.status = 503
    assert_same_weights(MaskRCNN.from_preset(NAME), model)
    assert len(server.requests) == 1


def test_the_cache_may_be_read_only(cache, publish, checkpoint):
    publish(checkpoint)
    MaskRCNN.from_preset(NAME)
    for path in [*cache.iterdir(), cache]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = {path.name: path.stat().st_mtime_ns for path in cache.iterdir()}
    MaskRCNN.from_preset(NAME, num_classes=2)
    assert {path.name: path.stat().st_mtime_ns for path in cache.iterdir()} == before
    cache.chmod(0o755)


def test_a_cache_that_cannot_be_written(publish, checkpoint, read_only_folder, monkeypatch):
    publish(checkpoint)
    monkeypatch.setenv("KERAS_HOME", str(read_only_folder))
    with pytest.raises(OSError, match="cannot be written.*KERAS_HOME"):
        MaskRCNN.from_preset(NAME)


def test_other_classes_get_new_last_layers(publish, checkpoint):
    publish(checkpoint)
    whole = MaskRCNN.from_preset(NAME)
    model = MaskRCNN.from_preset(NAME, num_classes=5)
    assert (model.config.num_classes, model.config.class_names) == (5, ())
    new = 0
    for ours, theirs in zip(model.trainable_weights, whole.trainable_weights, strict=True):
        if ours.shape == theirs.shape:
            np.testing.assert_array_equal(ours, theirs)
        else:
            new += 1
    assert new == 6
    names = ("a", "b")
    assert MaskRCNN.from_preset(NAME, num_classes=2, class_names=names).config.class_names == names


@pytest.mark.parametrize("fields", [{}, {"backbone": SMALL, "class_names": ()}])
def test_more_channels_have_the_kernel_spread_over_them(publish, checkpoint, fields):
    publish(checkpoint, **fields)
    whole = MaskRCNN.from_preset(NAME)
    with pytest.warns(UserWarning, match="for 3 channels, the model has 6: the stem's kernel"):
        model = MaskRCNN.from_preset(NAME, channels=6, pixel_range=(0, 4095))
    kernel = whole.backbone.stem.kernel.numpy()
    expected = np.concatenate([kernel, kernel], axis=2) / 2
    np.testing.assert_array_equal(model.backbone.stem.kernel, expected)
    rest = zip(model.backbone.weights[1:], whole.backbone.weights[1:], strict=True)
    for ours, theirs in rest:
        np.testing.assert_array_equal(ours, theirs)


def test_fields_that_keep_the_layers_may_change(publish, checkpoint, batch):
    publish(checkpoint)
    model = MaskRCNN.from_preset(NAME, mask=False, norm="batch_norm", dtype="mixed_bfloat16")
    whole = MaskRCNN.from_preset(NAME)
    assert "masks" not in model(batch[0])
    parts = [[m.backbone.stages[1][0], m.fpn, m.rpn_head, m.box_head] for m in (model, whole)]
    for ours, theirs in zip(*parts, strict=True):
        expected = {variable.path.split("/", 1)[1]: variable for variable in theirs.weights}
        for variable in ours.weights:
            np.testing.assert_array_equal(variable, expected[variable.path.split("/", 1)[1]])


def test_the_seed_is_the_users(publish, checkpoint):
    publish(checkpoint)
    MaskRCNN.from_preset(NAME)
    seeds = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        seeds.append(MaskRCNN.from_preset(NAME).sampling_seed.numpy().tolist())
    assert seeds[0] == seeds[1] != seeds[2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fpn_channels": 32}, r"does not go with this model \(changed: fpn_channels\)"),
        ({"backbone": "resnet26"}, r"does not go with this model \(changed: backbone\)"),
        ({"neck": "c4"}, "neck: the weights of this preset are for 'fpn'"),
        ({"num_clases": 3}, "did you mean 'num_classes'"),
        ({"num_classes": 0}, "num_classes must be at least 1"),
    ],
)
def test_fields_that_do_not_go_with_the_weights(publish, checkpoint, change, message):
    publish(checkpoint)
    with pytest.raises(ValueError, match=message):
        MaskRCNN.from_preset(NAME, **change)


def test_unknown_name():
    message = "Unknown preset 'r50'. Presets: .*; or a folder .*, or hf://user/name"
    with pytest.raises(ValueError, match=message):
        MaskRCNN.from_preset("r50")


def test_broken_off_and_resumed(server, cache, publish, checkpoint):
    publish(checkpoint)
    server.break_after = len(checkpoint) // 2
    with pytest.raises(ConnectionError, match="broken off"):
        MaskRCNN.from_preset(NAME)
    assert files_of(cache) == ["model_final.pkl.part"]
    server.break_after = None
    MaskRCNN.from_preset(NAME)
    assert server.requests == [None, f"bytes={len(checkpoint) // 2}-"]
    assert files_of(cache) == [f"{NAME}.weights.h5", f"{NAME}.yaml"]


def test_missing_and_wrong_digest_leave_nothing(server, cache, publish, checkpoint):
    publish(checkpoint, digest="md5:000000")
    with pytest.raises(ValueError, match="the md5 of the .* should begin with 000000"):
        MaskRCNN.from_preset(NAME)
    server.files.clear()
    with pytest.raises(OSError, match="answers 404"):
        MaskRCNN.from_preset(NAME)
    assert files_of(cache) == []


def malformed(kind, tensors, trace):
    tensors = dict(tensors)
    if kind == "other model":
        tensors = {"conv1.weight": np.zeros((8, 3, 7, 7))}
    elif kind == "wrong shape":
        tensors["backbone.fpn_output3.bias"] = np.zeros(17, np.float32)
    elif kind == "tensor missing":
        del tensors["backbone.fpn_output3.bias"]
    elif kind == "code":
        tensors["backbone.fpn_output3.bias"] = Attack(trace)
    elif kind == "web page":
        return b"<!DOCTYPE html><html><body>Sign in</body></html>"
    content = pickle.dumps({"model": tensors})
    return content[: len(content) // 2] if kind == "truncated" else content


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("truncated", "not a pickle of weights"),
        ("other model", "not a checkpoint of a model"),
        ("wrong shape", r"fpn_output3.bias is \(17,\)"),
        ("tensor missing", "fpn_output3.bias is missing"),
        ("code", "only numpy arrays and plain containers are admitted"),
        ("web page", "a web page, not weights"),
    ],
)
def test_malformed_files_leave_nothing(server, cache, publish, tensors, tmp_path, kind, message):
    trace = tmp_path / "trace"
    publish(malformed(kind, tensors, str(trace)))
    with pytest.raises(ValueError, match=f"(?s){FILE} cannot be used: .*{message}"):
        MaskRCNN.from_preset(NAME)
    assert files_of(cache) == []
    assert not trace.exists()


def test_damaged_cache_is_named(cache, publish, checkpoint):
    publish(checkpoint)
    MaskRCNN.from_preset(NAME)
    weights = cache / f"{NAME}.weights.h5"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(ValueError, match=f"(?s){NAME}.weights.h5 .*delete it to fetch it again"):
        MaskRCNN.from_preset(NAME)
    weights.unlink()
    MaskRCNN.from_preset(NAME)


def test_a_backbone_gets_fresh_heads(publish, checkpoint, tensors):
    publish(checkpoint, backbone={**SMALL, "image_min_size": 640}, class_names=())
    model = MaskRCNN.from_preset(NAME, num_classes=7)
    other = MaskRCNN.from_preset(NAME, num_classes=7)
    assert (model.config.num_classes, model.config.image_min_size) == (7, 640)
    for ours, theirs in zip(model.backbone.weights, other.backbone.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    stem = tensors["backbone.bottom_up.stem.conv1.weight"]  # (out, BGR, h, w)
    np.testing.assert_array_equal(model.backbone.stem.kernel[2, 5, 0], stem[:, 2, 2, 5])
    kernels = [m.box_head.classes.kernel.numpy() for m in (model, other)]
    assert np.abs(kernels[0] - kernels[1]).max() > 0


@pytest.mark.parametrize("name", [name for name in presets.PRESETS if name != "demo_shapes"])
def test_every_preset_says_what_it_is(name):
    preset = presets.PRESETS[name]
    algorithm, digits = preset.digest.split(":")
    assert preset.url.endswith(f"{digits}.pkl" if algorithm == "md5" else f"-{digits}.pth")
    assert len(digits) == {"md5": 6, "sha256": 8}[algorithm]
    if preset.backbone is None:
        assert 0 < preset.mask_ap < preset.box_ap < 100
        assert len(preset.class_names) == {"Detectron2": 80, "torchvision": 90}[preset.source]
        assert name.endswith("_coco")
    else:
        assert name == f"mask_rcnn_{preset.backbone['backbone']}_fpn_imagenet"


def test_the_embedded_weights_need_no_network_and_no_cache(cache, monkeypatch, tmp_path):
    def refuse(*_, **__):
        raise AssertionError("no network")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    model = MaskRCNN.from_preset("demo_shapes")
    assert not cache.exists()
    assert model.config.class_names == shapes.CLASS_NAMES
    assert model.config.replace(class_names=()) == MaskRCNNConfig.from_name("demo_shapes")
    folder = presets.SHIPPED / "demo_shapes"
    assert (folder / "model.weights.h5").stat().st_size <= 6_000_000
    found = PRESETS_FIGURES.findall((folder / "README.md").read_text())
    preset = presets.PRESETS["demo_shapes"]
    assert [float(ap) for ap in found] == [preset.box_ap, preset.mask_ap]


def test_the_embedded_weights_find_shapes(tmp_path):
    """Boxes of the right class, on pictures that they were not trained on."""
    model = MaskRCNN.from_preset("demo_shapes")
    dataset = shapes.generate(tmp_path, 12, seed=3)
    results = evaluate(model, dataset, batch_size=6, verbose=0)
    preset = presets.PRESETS["demo_shapes"]
    assert abs(100 * results["mask_ap"] - preset.mask_ap) < 12  # of 12 pictures, not of 200


def test_the_embedded_weights_are_a_start_for_other_classes():
    whole = MaskRCNN.from_preset("demo_shapes")
    model = MaskRCNN.from_preset("demo_shapes", num_classes=2, class_names=("a", "b"), freeze_at=3)
    assert model.config.class_names == ("a", "b")
    for ours, theirs in zip(model.backbone.weights, whole.backbone.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_coco_names():
    contiguous = presets.PRESETS["mask_rcnn_resnet50_fpn_3x_coco"].class_names
    by_id = presets.PRESETS["mask_rcnn_resnet50_fpn_torchvision_coco"].class_names
    assert (contiguous[0], contiguous[11], contiguous[79]) == ("person", "stop sign", "toothbrush")
    assert (by_id[0], by_id[12], by_id[89]) == ("person", "stop sign", "toothbrush")
    missing = [i + 1 for i, name in enumerate(by_id) if name == "N/A"]
    assert missing == [12, 26, 29, 30, 45, 66, 68, 69, 71, 83]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "golden"),
    [
        ("mask_rcnn_resnet50_c4_3x_coco", "detectron2_mask_rcnn_r50_c4"),
        ("mask_rcnn_resnext101_32x8d_fpn_3x_coco", "detectron2_mask_rcnn_x101_fpn"),
        ("mask_rcnn_resnet50_fpn_torchvision_coco", "torchvision_mask_rcnn_r50_fpn"),
        ("mask_rcnn_resnet50_fpn_v2_torchvision_coco", "torchvision_mask_rcnn_r50_fpn_v2"),
    ],
)
def test_presets_of_every_source(server, cache, shared, monkeypatch, tmp_path, name, golden):
    """The preset as it stands, but for its address: the file has the published layout."""
    if golden.startswith("torchvision"):
        pytest.importorskip("torch")
    monkeypatch.syspath_prepend(str(shared / "goldens"))
    import seeded_weights

    path = tmp_path / os.path.basename(presets.PRESETS[name].url)
    seeded_weights.main(golden, str(path))
    content = path.read_bytes()
    server.files[f"/{path.name}"] = content
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    preset = presets.PRESETS[name]._replace(url=server.url(f"/{path.name}"), digest=digest)
    monkeypatch.setitem(presets.PRESETS, name, preset)
    model = MaskRCNN.from_preset(name)
    assert len(model.config.class_names) == model.config.num_classes
    assert_same_weights(model, MaskRCNN.from_checkpoint(path))
    few = MaskRCNN.from_preset(name, num_classes=3)
    assert few.config.num_classes == 3
    np.testing.assert_array_equal(few.backbone.stem.kernel, model.backbone.stem.kernel)
