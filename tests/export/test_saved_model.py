"""SavedModels of small models: what they hold, what they need, and what they answer."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_maskrcnn as km
from keras_maskrcnn.export import load_saved_model
from keras_maskrcnn.export.endpoints import image_dtype

SIGNATURES = {
    "serving_default": {"images"},
    "serve_sizes": {"images", "image_sizes"},
    "serve_bytes": {"image_bytes"},
}
OUTPUTS = {"boxes", "scores", "classes", "num_detections", "masks"}
CHANGES = {
    "fpn": {},
    "narrow": {"box_head_units": (32,)},
    "c4": {
        "neck": "c4",
        "roi_transform": "roi_pool",
        "anchor_sizes": ((16, 32),),
        "box_head_units": (),
        "mask_head_channels": (),
        "roi_sampling_ratio": 0,
    },
}


@pytest.fixture(scope="module")
def make_model(small_config):
    """A model with random weights and batch norms that do something, finding all it can.

    Its box head is so wide that a file of it is little else but weights.
    """

    def make(dtype=None, **changes):
        keras.utils.set_random_seed(0)
        fields = {"box_score_threshold": 0.0, "box_head_units": (2048, 512), **changes}
        model = km.MaskRCNN(small_config.replace(**fields), dtype=dtype)
        rng = np.random.default_rng(0)
        for weight in model.weights:
            if weight.path.endswith(("moving_mean", "beta")):
                weight.assign(rng.normal(0, 0.1, weight.shape))
            elif weight.path.endswith(("moving_variance", "gamma")):
                weight.assign(rng.uniform(0.5, 1.5, weight.shape))
        return model

    return make


@pytest.fixture(scope="module")
def model(make_model):
    return make_model()


@pytest.fixture(scope="module")
def export(make_model, tmp_path_factory):
    """A function: the folder of a SavedModel, written once for all tests that ask for it."""

    @functools.cache
    def write(changes, policy=None, **options):
        folder = tmp_path_factory.mktemp("exported") / "1"
        make_model(policy, **CHANGES[changes]).export(folder, verbose=False, **options)
        return folder

    return write


@pytest.fixture(scope="module")
def exported(export):
    return export("fpn", pasted_masks=True)


@pytest.fixture(scope="module")
def signatures(exported):
    return tf.saved_model.load(exported).signatures


def pixels(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def assert_same(theirs, ours):
    for name, expected in ours.items():
        atol = 1e-3 if name == "boxes" else 1e-5
        np.testing.assert_allclose(theirs[name], expected, atol=atol, err_msg=name)


def export_and_load(model, folder, **options):
    model.export(folder / "1", verbose=False, **options)
    return tf.saved_model.load(folder / "1").signatures


@pytest.fixture(scope="module")
def half_scores(make_model):
    """A function: the scores of a model of a policy, run eagerly and in a graph, for an image."""

    @functools.cache
    def scores(changes, policy):
        model = make_model(policy, **CHANGES[changes])
        images = tf.constant(pixels(1, 64, 96, 3))
        return model(images)["scores"], tf.function(model)(images)["scores"]

    return scores


def test_a_process_with_tensorflow_alone_answers(bare_tensorflow, c_api, exported, model):
    images = pixels(2, 70, 90, 3)
    ours = model({"images": images})
    for server in (bare_tensorflow, c_api):
        theirs = server(exported, images=images)
        assert set(theirs) == OUTPUTS | {"pasted_masks"}
        assert_same(theirs, ours)


def test_signatures(exported, meta_graph):
    definitions = meta_graph(exported).signature_def
    for name, inputs in SIGNATURES.items():
        assert set(definitions[name].inputs) == inputs
        assert set(definitions[name].outputs) == OUTPUTS | {"pasted_masks"}


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ("fpn", {}),
        ("fpn", {"pasted_masks": True}),
        ("fpn", {"dtype": "bfloat16"}),
        ("c4", {}),
        pytest.param("c4", {"pasted_masks": True}, marks=pytest.mark.slow),
        pytest.param("c4", {"dtype": "bfloat16"}, marks=pytest.mark.slow),
    ],
)
def test_the_graph_is_of_stock_ops(export, meta_graph, stock_ops, changes, options):
    ops = ops_of(meta_graph(export(changes, **options)))
    assert "CombinedNonMaxSuppression" in ops
    assert ops <= stock_ops


def ops_of(meta_graph):
    graph = meta_graph.graph_def
    nodes = [*graph.node, *(node for f in graph.library.function for node in f.node_def)]
    # A node may call a function by its name.
    return {node.op for node in nodes} - {f.signature.name for f in graph.library.function}


@pytest.mark.parametrize("shape", [(1, 64, 64, 3), (3, 50, 131, 3), (2, 1, 1, 3), (1, 200, 40, 3)])
def test_any_size_and_batch_size(signatures, model, shape):
    images = pixels(*shape)
    answer = signatures["serving_default"](images=tf.constant(images))
    assert_same(answer, model({"images": images}))
    assert answer["pasted_masks"].shape == (shape[0], 20, *shape[1:3])


def test_sizes_leave_out_the_padding(signatures, model, batch):
    x, _ = batch
    images = x["images"].astype(np.uint8)
    images[1, 48:] = 77  # what is beyond the sizes counts for nothing
    sizes = tf.constant(x["image_sizes"])
    answer = signatures["serve_sizes"](images=tf.constant(images), image_sizes=sizes)
    assert_same(answer, model({"images": images, "image_sizes": x["image_sizes"]}))


def test_nothing_found(make_model, tmp_path):
    model = make_model()
    model.box_head.classes.bias.assign([-20.0, -20.0, -20.0, 20.0])
    model.config = model.config.replace(box_score_threshold=0.5)
    signatures = export_and_load(model, tmp_path, pasted_masks=True)
    answer = signatures["serving_default"](images=tf.constant(pixels(2, 64, 96, 3)))
    assert answer["num_detections"].numpy().tolist() == [0, 0]
    assert (answer["classes"].numpy() == -1).all()
    for name in ("boxes", "scores", "masks", "pasted_masks"):
        assert not answer[name].numpy().any()


def test_pasted_masks_are_those_of_detections(signatures):
    images = pixels(2, 70, 90, 3)
    answer = signatures["serving_default"](images=tf.constant(images))
    answer = {name: value.numpy() for name, value in answer.items()}
    for i, number in enumerate(answer["num_detections"]):
        found = km.Detections(
            *(answer[name][i, :number] for name in ("boxes", "scores", "classes", "masks")),
            (70, 90),
        )
        assert found.masks.any()
        # A value of a half to the last bit may fall on either side.
        assert (found.masks == answer["pasted_masks"][i, :number]).mean() > 0.99999
        assert not answer["pasted_masks"][i, number:].any()


def test_image_files_come_back_in_their_own_pixels(signatures, model, tmp_path):
    images = [pixels(64, 80, 3), pixels(96, 72, 3, seed=1)]  # one of 64 pixels, one that shrinks
    files = [tf.io.encode_png(image).numpy() for image in images]
    answer = signatures["serve_bytes"](image_bytes=tf.constant(files[:1]))
    (found,) = model.predict([images[0]], verbose=0)
    assert int(answer["num_detections"][0]) == len(found)
    np.testing.assert_allclose(answer["boxes"][0, : len(found)], found.boxes, atol=1e-3)
    np.testing.assert_array_equal(answer["classes"][0, : len(found)], found.class_ids)
    answer = signatures["serve_bytes"](image_bytes=tf.constant(files))
    assert answer["pasted_masks"].shape == (2, 20, 96, 80)
    assert (answer["boxes"].numpy() <= [[[80, 64, 80, 64]], [[72, 96, 72, 96]]]).all()
    assert answer["boxes"].numpy()[1].max() > 80  # and not in those of 64 x 85


def test_weights_are_stored_once_and_in_half_of_it(export, model):
    weights = 4 * sum(int(np.prod(weight.shape)) for weight in model.weights)
    for options, share in (({}, 1.0), ({"dtype": "bfloat16"}, 0.5)):
        folder = export("fpn", **options)
        stored = (folder / "variables/variables.data-00000-of-00001").stat().st_size
        assert stored < 1.01 * share * weights
        assert (folder / "saved_model.pb").stat().st_size < 2e6


def test_all_signatures_read_the_same_variables_and_none_has_a_batch_norm(exported, meta_graph):
    graph = meta_graph(exported).graph_def
    functions = [node for f in graph.library.function for node in f.node_def]
    assert not {"Rsqrt", "FusedBatchNormV3"} & {node.op for node in functions}
    names = [node.name for node in graph.node if node.op == "VarHandleOp"]
    calls = [node for node in graph.node if node.attr["f"].func.name.startswith("__inference_sig")]
    read = [{name for name in node.input if name in names} for node in calls]
    assert len(read) == 3
    assert len(read[0]) > 30
    assert read[0] == read[1] == read[2]


GROUP_NORM = {"head_norm": "group_norm", "fpn_channels": 32, "mask_head_channels": (32,)}


@pytest.mark.parametrize(
    "changes", [{"mask": False}, pytest.param(GROUP_NORM, marks=pytest.mark.slow)]
)
def test_other_heads(make_model, tmp_path, changes):
    model, images = make_model(**changes), pixels(1, 64, 96, 3)
    answer = export_and_load(model, tmp_path)["serving_default"](images=tf.constant(images))
    assert set(answer) == OUTPUTS - (set() if model.config.mask else {"masks"})
    assert_same(answer, model({"images": images}))


@pytest.mark.parametrize(
    ("policy", "dtype"),
    [
        ("mixed_bfloat16", None),
        pytest.param("mixed_float16", None, marks=pytest.mark.slow),
        (None, "bfloat16"),
    ],
)
def test_half_precision(export, half_scores, policy, dtype):
    images = tf.constant(pixels(1, 64, 96, 3))
    changes, options = ("fpn", {"dtype": dtype}) if dtype else ("narrow", {"policy": policy})
    folder = export(changes, **options)
    answer = tf.saved_model.load(folder).signatures["serving_default"](images)
    eager, graph = half_scores(changes, policy or "mixed_bfloat16")
    # One model rounds differently as TensorFlow fuses its operations differently.
    noise = np.abs(eager - graph).max()
    one_rounding = 2.0**-10 if policy == "mixed_float16" else 2.0**-7
    assert np.abs(answer["scores"] - graph).max() <= max(2 * noise, one_rounding)
    boxes = answer["boxes"].numpy()
    assert (boxes != tf.cast(tf.cast(boxes, tf.bfloat16), tf.float32).numpy()).any()
    assert answer["masks"].dtype == tf.float32


def test_exporting_leaves_the_model_as_it_is(make_model, tmp_path, batch):
    model, (x, y) = make_model(), batch
    before, outputs = model.get_weights(), model(x)
    model.export(tmp_path / "1", verbose=False)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert_same(model(x), outputs)
    model.compile(keras.optimizers.SGD(0.001), run_eagerly=True)
    assert np.isfinite(model.train_on_batch(x, y)).all()


def test_the_compiled_op_in_a_graph(compiled_op, make_model, tmp_path, meta_graph):
    model, images = make_model(), pixels(2, 64, 96, 3)
    model.export(tmp_path / "1", roi_align="custom", verbose=False)
    assert "KerasMaskrcnn>RoiAlign" in ops_of(meta_graph(tmp_path / "1"))
    serve = load_saved_model(tmp_path / "1").signatures["serving_default"]
    assert_same(serve(images=tf.constant(images)), model({"images": images}))


def test_requests_that_cannot_be_answered(signatures):
    images = tf.zeros((2, 64, 64, 3), tf.uint8)
    bad = [
        ("serving_default", {"images": images[:0]}, "images must have a batch"),
        ("serving_default", {"images": images[:, :0]}, "images must have a batch"),
        ("serve_sizes", {"image_sizes": [[64, 64]]}, "a row for each"),
        ("serve_sizes", {"image_sizes": [[64, 64], [64, 65]]}, "from 1 to those of images"),
        ("serve_sizes", {"image_sizes": [[64, 64], [0, 64]]}, "from 1 to those of images"),
    ]
    for signature, inputs, message in bad:
        inputs = {"images": images, **inputs}
        inputs = {name: tf.constant(value) for name, value in inputs.items()}
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            signatures[signature](**inputs)


def test_wrong_options(make_model, tmp_path):
    model = make_model(mask=False)
    with pytest.raises(ValueError, match="format must be one of saved_model"):
        model.export(tmp_path / "1", format="pickle")
    for name, format in (("m.onnx", "saved_model"), ("M.TFLITE", "onnx")):
        with pytest.raises(ValueError, match=rf"{name} is a name of .* the format to write is '"):
            model.export(tmp_path / name, format=format)
    with pytest.raises(ValueError, match="roi_align must be one of portable, custom"):
        model.export(tmp_path / "1", roi_align="compiled")
    with pytest.raises(ValueError, match="dtype must be one of float32, bfloat16"):
        model.export(tmp_path / "1", dtype="int8")
    with pytest.raises(ValueError, match="mask=False"):
        model.export(tmp_path / "1", pasted_masks=True)
    assert not (tmp_path / "1").exists()


def test_other_channels_are_sent_as_they_are_stored(make_model, tmp_path):
    model = make_model(channels=4, pixel_range=(0, 65535), box_head_units=(32,))
    signatures = export_and_load(model, tmp_path)
    assert set(signatures) == {"serving_default", "serve_sizes"}  # no op decodes such files
    images = np.random.default_rng(0).integers(0, 2**16, (2, 64, 90, 4), np.uint16)
    assert_same(signatures["serving_default"](images=tf.constant(images)), model(images))


@pytest.mark.parametrize(
    ("pixel_range", "dtype"),
    [((0, 255), "uint8"), ((0, 4095), "uint16"), ((0, 1), "float32"), ((-9, 255), "float32")],
)
def test_type_of_the_pixels_that_are_sent(small_config, pixel_range, dtype):
    assert image_dtype(small_config.replace(channels=1, pixel_range=pixel_range)).name == dtype
