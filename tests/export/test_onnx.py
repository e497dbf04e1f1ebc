"""The ONNX file, run by ONNX Runtime, against the model itself."""

import json
import sys

import onnx
import onnxruntime
import pytest

import keras_maskrcnn as km

BATCHES = ((1, 64, 96), (3, 70, 91), (2, 96, 64))


@pytest.fixture(scope="module", autouse=True)
def failing_optimizers():
    """An optimiser of tf2onnx that fails is an error here, for which no copy is kept before each.

    Where it would be a warning, those copies take half of the time.
    """
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("TF2ONNX_CATCH_ERRORS", "FALSE")
        yield


@pytest.fixture
def run(tmp_path):
    """A function: the outputs by name of an exported model for some batches."""

    def of_batches(model, batches):
        model.export(tmp_path / "m.onnx", format="onnx")
        return answers(tmp_path / "m.onnx", batches)

    return of_batches


def answers(path, batches):
    session = onnxruntime.InferenceSession(path)
    names = [output.name for output in session.get_outputs()]
    return [dict(zip(names, session.run(None, x), strict=True)) for x in batches]


def test_same_detections_at_any_size_and_batch_size(
    model_of_each_kind, run, make_batch, assert_same
):
    batches = [make_batch(*shape, model_of_each_kind.config) for shape in BATCHES]
    for x, theirs in zip(batches, run(model_of_each_kind, batches), strict=True):
        assert_same(model_of_each_kind, x, theirs)


@pytest.mark.slow
def test_every_architecture(model_of_each_architecture, run, make_batch, assert_same):
    x = make_batch(2, 70, 91)
    (theirs,) = run(model_of_each_architecture, [x])
    assert_same(model_of_each_architecture, x, theirs)


@pytest.fixture(scope="module")
def sure_of_nothing(small_model, tmp_path_factory):
    """A model that finds nothing, and its file."""
    model, path = small_model(box_score_threshold=0.999), tmp_path_factory.mktemp("onnx") / "m.onnx"
    model.export(path, format="onnx")
    return model, path


def test_images_in_which_nothing_is_found(sure_of_nothing, make_batch, assert_same):
    model, path = sure_of_nothing
    batches = [make_batch(*shape) for shape in BATCHES[:2]]
    for x, theirs in zip(batches, answers(path, batches), strict=True):
        assert not theirs["num_detections"].any()
        assert_same(model, x, theirs, found=False)


def test_file_is_of_standard_operators(sure_of_nothing):
    model, path = sure_of_nothing
    written = onnx.load(path)
    onnx.checker.check_model(written, full_check=True)
    assert {node.domain for node in written.graph.node} == {""}
    operators = [node.op_type for node in written.graph.node]
    assert operators.count("RoiAlign") == 8  # four levels, for boxes and for masks
    assert operators.count("NonMaxSuppression") == 2
    assert not {"Loop", "Scan", "If"} & set(operators)
    (standard,) = (opset for opset in written.opset_import if opset.domain == "")
    assert standard.version == 18
    (entry,) = (entry for entry in written.metadata_props if entry.key == "config")
    assert km.MaskRCNNConfig.from_dict(json.loads(entry.value)) == model.config


def test_inputs_and_outputs(sure_of_nothing):
    session = onnxruntime.InferenceSession(sure_of_nothing[1])
    assert {i.name: (i.type, i.shape) for i in session.get_inputs()} == {
        "images": ("tensor(uint8)", ["batch", "height", "width", 3]),
        "image_sizes": ("tensor(int32)", ["batch", 2]),
    }
    assert {o.name: (o.type, o.shape) for o in session.get_outputs()} == {
        "boxes": ("tensor(float)", ["batch", 20, 4]),
        "scores": ("tensor(float)", ["batch", 20]),
        "classes": ("tensor(int32)", ["batch", 20]),
        "num_detections": ("tensor(int32)", ["batch"]),
        "masks": ("tensor(float)", ["batch", 20, 28, 28]),
    }


@pytest.mark.parametrize("field", [{"roi_transform": "roi_pool"}, {"roi_aggregation": "max"}])
def test_what_has_no_operator(small_model, tmp_path, field):
    with pytest.raises(ValueError, match="roi_transform='roi_align'"):
        small_model(**field).export(tmp_path / "m.onnx", format="onnx")


def test_missing_package_is_named(small_model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(ImportError, match=r"tf2onnx is missing: pip install .*\[onnx\]"):
        small_model().export(tmp_path / "m.onnx", format="onnx")


def test_unknown_format(small_model, tmp_path):
    with pytest.raises(ValueError, match="one of saved_model, onnx, litert, got 'coreml'"):
        small_model().export(tmp_path / "m", format="coreml")
