import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_maskrcnn as km

LOSSES = {"rpn_objectness_loss", "rpn_box_loss", "box_class_loss", "box_loss", "mask_loss"}


@pytest.fixture
def model(small_config):
    keras.utils.set_random_seed(0)
    return km.MaskRCNN(small_config, box_score_threshold=0.0)


def repeated(batch):
    return tf.data.Dataset.from_tensors(batch).repeat(4)


def test_outputs(model, batch):
    x, _ = batch
    outputs = model(x)
    shapes = {name: (value.dtype.name, tuple(value.shape)) for name, value in outputs.items()}
    assert shapes == {
        "boxes": ("float32", (2, 20, 4)),
        "scores": ("float32", (2, 20)),
        "classes": ("int32", (2, 20)),
        "num_detections": ("int32", (2,)),
        "masks": ("float32", (2, 20, 28, 28)),
    }
    number = outputs["num_detections"].numpy()
    assert (number > 0).all()
    for i, (height, width) in enumerate(x["image_sizes"]):
        boxes, classes = outputs["boxes"][i].numpy(), outputs["classes"][i].numpy()
        assert (boxes >= 0).all()
        assert (boxes <= [width, height, width, height]).all()
        assert set(classes[: number[i]]) <= {0, 1, 2}
        assert (classes[number[i] :] == -1).all()
        assert np.all(np.diff(outputs["scores"][i]) <= 0)
    masks = outputs["masks"].numpy()
    assert (masks >= 0).all()
    assert (masks <= 1).all()


def test_stages_hold_the_outputs_and_what_lies_before(model, batch):
    x, _ = batch
    stages = model.stages(x)
    sizes = {level: features.shape[1:3] for level, features in stages["features"].items()}
    assert sizes == {"p2": (16, 24), "p3": (8, 12), "p4": (4, 6), "p5": (2, 3), "p6": (1, 2)}
    assert stages["proposals"].shape == (2, 50, 4)
    assert stages["proposal_logits"].shape == (2, 50)
    for name, value in model(x).items():
        np.testing.assert_array_equal(stages[name], value)


def test_any_size_and_one_trace_for_all(model):
    traces = []

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3))])
    def run(images):
        traces.append(1)
        return model(images)["boxes"]

    for shape in ((1, 33, 65, 3), (2, 64, 64, 3), (1, 1, 1, 3)):
        assert run(tf.zeros(shape)).shape == (shape[0], 20, 4)
    assert len(traces) == 1


def test_faster_rcnn(small_config, batch):
    x, y = batch
    model = km.MaskRCNN(small_config, mask=False)
    assert "masks" not in model(x)
    losses = model.training_losses(x, {name: y[name] for name in ("boxes", "classes")})
    assert set(losses) == LOSSES - {"mask_loss"}


def test_fit_reports_each_loss_and_learns(model, batch):
    model.compile(optimizer=keras.optimizers.AdamW(2e-3))
    history = model.fit(
        repeated(batch), epochs=10, verbose=0, shuffle=False, validation_data=repeated(batch)
    )
    assert set(history.history) == {"loss", *LOSSES, "val_loss"} | {
        f"val_{name}" for name in LOSSES
    }
    loss = history.history["loss"]
    assert loss[-1] < 0.5 * loss[0]
    last = {name: values[-1] for name, values in history.history.items()}
    assert last["loss"] == pytest.approx(sum(last[name] for name in LOSSES), rel=1e-4)
    assert set(model.evaluate(repeated(batch), return_dict=True, verbose=0)) == {"loss", *LOSSES}


def test_gradients_are_dense(model, batch):
    """Of slices Keras' Adam takes the squares before it sums those of one row."""
    with tf.GradientTape() as tape:
        total = tf.add_n([*model.training_losses(*batch).values()])
    gradients = tape.gradient(total, model.trainable_weights)
    sliced = [
        weight.path
        for weight, gradient in zip(model.trainable_weights, gradients, strict=True)
        if isinstance(gradient, tf.IndexedSlices)
    ]
    assert sliced == []


WIDE = {"backbone_width": 32, "fpn_channels": 32, "mask_head_channels": (32,)}


@pytest.mark.parametrize(
    ("norm", "widths"),
    [
        ("frozen_batch_norm", {}),
        ("group_norm", WIDE),  # which has 32 groups
    ],
)
@pytest.mark.slow
def test_other_norms_train(small_config, batch, norm, widths):
    keras.utils.set_random_seed(0)
    model = km.MaskRCNN(small_config, norm=norm, **widths)
    model.compile(optimizer=keras.optimizers.AdamW(2e-3))
    loss = model.fit(repeated(batch), epochs=12, verbose=0, shuffle=False).history["loss"]
    assert loss[-1] < 0.7 * loss[0]


def test_image_without_objects_trains_as_background(model, batch):
    x, y = batch
    y = {**y, "classes": np.full_like(y["classes"], -1)}
    losses = {name: float(value) for name, value in model.training_losses(x, y).items()}
    assert losses["rpn_objectness_loss"] > 0
    assert losses["box_class_loss"] > 0
    assert losses["rpn_box_loss"] == losses["box_loss"] == losses["mask_loss"] == 0


def test_same_seed_same_losses(small_config, batch):
    runs = []
    for _ in range(2):
        keras.utils.set_random_seed(3)
        model = km.MaskRCNN(small_config)
        model.compile(optimizer=keras.optimizers.SGD(0.01, momentum=0.9), run_eagerly=True)
        runs.append(model.fit(repeated(batch), verbose=0, shuffle=False).history)
    assert runs[0] == runs[1]


def test_save_and_load_in_another_process_is_bit_equal(model, batch, tmp_path):
    model.compile(optimizer=keras.optimizers.AdamW(1e-3), run_eagerly=True)
    model.train_on_batch(*batch)
    model.save(tmp_path / "m.keras")
    np.save(tmp_path / "images.npy", batch[0]["images"])
    script = (
        "import keras, keras_maskrcnn, numpy as np; "
        "model = keras.models.load_model('m.keras'); "
        "np.savez('out.npz', **model({'images': np.load('images.npy')}))"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    theirs = np.load(tmp_path / "out.npz")
    for name, value in model({"images": batch[0]["images"]}).items():
        np.testing.assert_array_equal(theirs[name], value)


@pytest.mark.slow
def test_loaded_model_goes_on_training(model, batch, tmp_path):
    model.compile(optimizer=keras.optimizers.AdamW(1e-3))
    model.fit(repeated(batch), verbose=0, shuffle=False)
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    assert loaded.config == model.config
    step = [m.train_on_batch(*batch, return_dict=True) for m in (model, loaded)]
    assert step[0] == step[1]


def test_save_and_load_weights(model, small_config, batch, tmp_path):
    model.save_weights(tmp_path / "m.weights.h5")
    other = km.MaskRCNN(small_config, box_score_threshold=0.0)
    other.load_weights(tmp_path / "m.weights.h5")
    np.testing.assert_array_equal(other(batch[0])["scores"], model(batch[0])["scores"])


def test_frozen_stages_stay(small_config, batch):
    model = km.MaskRCNN(small_config, freeze_at=3)
    model.compile(optimizer=keras.optimizers.SGD(0.01), run_eagerly=True)
    before = {weight.path: weight.numpy() for weight in model.backbone.weights}
    model.train_on_batch(*batch)
    moved = {w.path for w in model.backbone.weights if np.any(w.numpy() != before[w.path])}
    assert not [path for path in moved if any(part in path for part in ("stem", "res2", "res3"))]
    assert any("res5" in path for path in moved)


@pytest.mark.slow
def test_mixed_precision_trains(small_config, batch):
    keras.utils.set_random_seed(0)
    model = km.MaskRCNN(small_config, dtype="mixed_bfloat16")
    model.compile(optimizer=keras.optimizers.AdamW(2e-3))
    loss = model.fit(repeated(batch), epochs=8, verbose=0, shuffle=False).history["loss"]
    assert loss[-1] < 0.6 * loss[0]
    assert model(batch[0])["boxes"].dtype == tf.float32


def test_mixed_precision_normalises_in_float32(small_config, batch):
    model = km.MaskRCNN(small_config, dtype="mixed_bfloat16")
    seen = []
    normalize = model.extract_features
    model.extract_features = lambda images, *rest: seen.append(images) or normalize(images, *rest)
    model(batch[0])
    np.testing.assert_array_equal(seen[0], batch[0]["images"])


def test_run_eagerly_and_train_on_batch(model, batch):
    model.compile(optimizer=keras.optimizers.SGD(0.01), run_eagerly=True)
    logs = model.train_on_batch(*batch, return_dict=True)
    assert set(logs) == {"loss", *LOSSES}
    assert np.isfinite(list(logs.values())).all()


def test_config_round_trip(model):
    copy = km.MaskRCNN.from_config(model.get_config())
    assert copy.config == model.config
    assert [w.shape for w in copy.weights] == [w.shape for w in model.weights]


def test_construction_from_name_yaml_and_overrides(small_config, tmp_path):
    path = tmp_path / "small.yaml"
    small_config.to_yaml(path)
    assert km.MaskRCNN(path).config == small_config
    assert km.MaskRCNN(str(path), num_classes=3, mask=False).config.mask is False
    with pytest.raises(ValueError, match="Unknown config 'resnet50'.*mask_rcnn_resnet50_fpn"):
        km.MaskRCNN("resnet50")
    with pytest.raises(ValueError, match="unknown field 'num_clases'; did you mean 'num_classes'"):
        km.MaskRCNN(small_config, num_clases=4)


def test_summary(model, capsys):
    model.summary()
    assert "box_head" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ({"pictures": np.zeros((1, 8, 8, 3))}, "no 'images'"),
        (np.zeros((8, 8, 3), np.float32), r"images must be \(B, H, W, 3\)"),
        (np.zeros((1, 8, 8, 1), np.float32), r"images must be \(B, H, W, 3\)"),
        (np.full((1, 8, 8, 3), np.nan, np.float32), "NaN or infinite, the first at"),
    ],
)
def test_wrong_calls(model, x, message):
    with pytest.raises(ValueError, match=message):
        model(x)


def one_level(small_config, neck):
    fields = small_config.to_dict()
    for name in ("anchor_sizes", "box_pool_size", "box_head_units", "mask_head_channels"):
        fields.pop(name)
    keras.utils.set_random_seed(0)
    return km.MaskRCNN({**fields, "neck": neck}, box_score_threshold=0.0)


@pytest.fixture
def c4(small_config):
    """The small model with stage 5 as its head."""
    return one_level(small_config, "c4")


def test_c4_has_one_level_and_masks_of_14_cells(c4, batch):
    x, _ = batch
    stages = c4.stages({"images": x["images"][:, :50, :77], "image_sizes": [[50, 77], [48, 77]]})
    assert {name: value.shape for name, value in stages["features"].items()} == {
        "res4": (2, 4, 5, 128)  # 50 / 16 and 77 / 16 rounded up: not padded
    }
    assert stages["masks"].shape == (2, 20, 14, 14)
    assert (stages["num_detections"].numpy() > 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("mask", [True, False])
def test_c4_learns_and_saves(c4, batch, tmp_path, mask):
    keras.utils.set_random_seed(0)
    model = km.MaskRCNN(c4.config, mask=mask)
    model.compile(optimizer=keras.optimizers.AdamW(2e-3))
    loss = model.fit(repeated(batch), epochs=8, verbose=0, shuffle=False).history["loss"]
    assert loss[-1] < 0.6 * loss[0]
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(loaded(batch[0])["scores"], model(batch[0])["scores"])


def test_both_branches_of_c4_share_stage_5(c4, batch):
    x, y = batch
    with tf.GradientTape(persistent=True) as tape:
        losses = c4.training_losses(x, y)
    for name in ("box_class_loss", "mask_loss"):
        assert tape.gradient(losses[name], c4.res5.blocks[0].conv1.kernel.value) is not None


def test_heads_with_batch_norm_train_and_keep_statistics(small_config, batch):
    """The structure of torchvision's second version, small."""
    model = km.MaskRCNN(
        small_config, head_norm="batch_norm", box_head_channels=(16,), rpn_conv_depth=2
    )
    before = {weight.path: weight.numpy() for weight in model.non_trainable_weights}
    model.compile(optimizer=keras.optimizers.SGD(0.001), run_eagerly=True)
    model.train_on_batch(*batch)
    moved = [w.path for w in model.non_trainable_weights if np.any(w.numpy() != before[w.path])]
    for head in ("fpn", "box_head", "mask_head"):
        assert any(head in path for path in moved), head


@pytest.mark.parametrize("transform", ["roi_align", "roi_pool"])
def test_c5_cuts_regions_out_of_stage_5_at_stride_32(small_config, batch, transform):
    fields = {"box_head_units": [32], "mask_head_channels": [16], "roi_transform": transform}
    model = km.MaskRCNN(one_level(small_config, "c5").config, **fields)
    assert model.mask_pooling.strides == (32,)
    x, _ = batch
    stages = model.stages({"images": x["images"][:, :50, :77], "image_sizes": [[50, 77], [48, 77]]})
    assert {name: value.shape for name, value in stages["features"].items()} == {
        "res5": (2, 2, 3, 256)
    }
    assert stages["masks"].shape == (2, 20, 28, 28)
    ramp = tf.tile(tf.range(4.0)[None, None, :, None], (1, 4, 1, 1))  # of 128 pixels
    cut = model.mask_pooling([ramp], tf.constant([[[34.0, 34.0, 90.0, 90.0]]]))[0, 0, :, :, 0]
    # At x pixels the aligned map is x / 32 - 0.5; pooling sees the whole cells 1 to 3.
    bins = 34 + (np.arange(14) + 0.5) * 56 / 14
    expected = bins / 32 - 0.5 if transform == "roi_align" else [1] * 4 + [2] * 5 + [3] * 5
    np.testing.assert_allclose(cut[7], expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [
        {"mask_loss": "softmax"},
        {"class_agnostic_mask": True},
        {"neck": "c5", "anchor_sizes": [[8, 16, 32, 64, 128]]},
    ],
)
def test_variants_of_the_paper_learn_and_save(small_config, batch, tmp_path, fields):
    keras.utils.set_random_seed(0)
    model = km.MaskRCNN(small_config, box_score_threshold=0.0, **fields)
    batch[1]["masks"][:] = np.arange(28) < 14  # left halves
    model.compile(optimizer=keras.optimizers.AdamW(2e-3))
    history = model.fit(repeated(batch), epochs=12, verbose=0, shuffle=False).history
    assert history["mask_loss"][-1] < 0.6 * history["mask_loss"][0]
    assert history["loss"][-1] < 0.6 * history["loss"][0]
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    assert loaded.config == model.config
    masks = model(batch[0])["masks"].numpy()
    assert 0 < masks.max() <= 1
    np.testing.assert_array_equal(loaded(batch[0])["masks"], masks)


def test_a_class_agnostic_mask_is_the_same_whatever_the_class(small_config, batch):
    model = km.MaskRCNN(small_config, class_agnostic_mask=True)
    features = model.extract_features(batch[0]["images"], batch[0]["image_sizes"])
    boxes = tf.constant([[[4.0, 6.0, 40.0, 50.0]] * 3] * 2)
    masks = model.run_mask_branch(features, boxes, tf.constant([[0, 1, 2]] * 2)).numpy()
    np.testing.assert_array_equal(masks[:, :1].repeat(3, axis=1), masks)


@pytest.mark.parametrize("channels", [1, 4])
def test_other_channels_train_and_save(deep_shapes, deep_config, tmp_path, channels):
    config = deep_config(channels)
    model = km.MaskRCNN(config)
    model.compile(optimizer=keras.optimizers.SGD(0.01), run_eagerly=True)
    before = model.backbone.stem.kernel.numpy()
    batches = deep_shapes(channels, ".npy").batches(config, batch_size=2, training=True)
    assert np.isfinite(model.train_on_batch(*next(iter(batches)))).all()
    assert np.abs(model.backbone.stem.kernel - before).max(axis=(0, 1, 3)).all()
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras", compile=False)
    assert loaded.config == config
    np.testing.assert_array_equal(loaded.backbone.stem.kernel, model.backbone.stem.kernel)


def test_wrong_channels_are_named(small_config):
    model = km.MaskRCNN(small_config, channels=4)
    with pytest.raises(ValueError, match=r"images must be \(B, H, W, 4\), 4 channels, 0..255"):
        model({"images": np.zeros((1, 64, 64, 3), np.float32)})
