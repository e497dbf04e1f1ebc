"""The Beam pipeline on its direct runner gives what `predict --input-list` gives."""

import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
import tensorflow as tf

import keras_maskrcnn as km
from keras_maskrcnn.prediction.file_lists import predict_files
from keras_maskrcnn.prediction.results_file import merge_results

EXAMPLE = os.path.join(os.path.dirname(__file__), "..", "..", "examples", "beam_predict.py")


@pytest.fixture(scope="module")
def beam_module():
    """The module of Beam; CI must have it, it is an extra elsewhere."""
    try:
        import apache_beam  # noqa: F401
    except ImportError:
        message = "needs pip install 'maskrcnn-keras[beam]'"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(message)
    from keras_maskrcnn.export import beam

    return beam


@pytest.fixture(scope="module")
def model(served):
    return served[0]


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    """A SavedModel with the signature `serve_bytes`, which takes images of the model's own size."""
    module, folder = tf.Module(), tmp_path_factory.mktemp("serving")
    module.model = km.MaskRCNN(model.config, roi_implementation="portable")
    module.model.set_weights(model.get_weights())
    (folder / "class_names.txt").write_text("\n".join(model.config.class_names))
    module.class_names = tf.saved_model.Asset(str(folder / "class_names.txt"))

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string)])
    def serve_bytes(image_bytes):
        images = tf.map_fn(
            lambda data: tf.io.decode_image(data, channels=3, expand_animations=False),
            image_bytes,
            fn_output_signature=tf.TensorSpec((None, None, 3), tf.uint8),
        )
        return module.model({"images": images}, training=False)

    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(module, folder / "1", {"serve_bytes": serve_bytes}, options)
    return folder / "1"


@pytest.fixture(scope="module")
def listed(tmp_path_factory):
    """A list of twelve pictures of one size; the second is empty, the fifth missing."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    paths = [folder / f"{i}.png" for i in range(12)]
    for path in paths:
        cv2.imwrite(str(path), rng.integers(0, 256, (64, 80, 3), np.uint8))
    paths[1].write_bytes(b"")
    paths[4].unlink()
    (folder / "files.txt").write_text("".join(f"{path}\n" for path in paths))
    return folder / "files.txt"


@pytest.mark.slow
def test_the_example_gives_what_predict_gives(beam_module, exported, listed, model, tmp_path):
    options = ["--model", exported, "--input-list", listed, "--score-threshold", "0"]
    program = [sys.executable, EXAMPLE, *options, "--output", tmp_path / "out" / "results"]
    subprocess.run([str(part) for part in program], check=True)
    results = sorted((tmp_path / "out").glob("results-*.jsonl"))
    count = merge_results(results, tmp_path / "beam.json")
    predict_files(model, listed.read_text().split(), tmp_path / "ours.json", score_threshold=0.0)
    found, expected = (json.loads((tmp_path / f"{n}.json").read_text()) for n in ("beam", "ours"))
    assert count == len(found) == len(expected) > 10
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.pop("bbox"), other.pop("bbox"), atol=1e-3)
        np.testing.assert_allclose(one.pop("score"), other.pop("score"), atol=1e-5)
        assert one == other
    failures = sorted((tmp_path / "out").glob("results.errors-*.jsonl"))
    lines = [line for path in failures for line in path.read_text().splitlines()]
    assert sorted(json.loads(line)["image_id"] for line in lines) == [2, 5]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda data: data[:-700], "Invalid JPEG data"),  # only decoding shows it
        (lambda data: b"", "not an image"),
        (lambda data: b"no picture", "not an image"),
    ],
)
def test_one_bad_file_does_not_fail_its_batch(spoil, reason, beam_module, exported):
    handler = beam_module.ServeBytes(str(exported), batch_size=3)
    served = handler.load_model()
    rng = np.random.default_rng(1)
    pictures = rng.integers(0, 256, (2, 64, 80, 3), np.uint8)
    good = [cv2.imencode(".jpg", picture)[1].tobytes() for picture in pictures]
    one, broken, two = handler.run_inference([good[0], spoil(good[0]), good[1]], served)
    assert reason in broken
    assert "\n" not in broken
    for found, data in ((one, good[0]), (two, good[1])):
        assert found.image_size == (64, 80)
        assert set(found.class_names) <= {"cat", "dog", "sheep"}
        alone = handler.run_inference([data], served)[0]
        np.testing.assert_allclose(found.scores, alone.scores, atol=1e-5)


def test_lines_are_numbered_and_empty_ones_count(beam_module, tmp_path):
    (tmp_path / "list.txt").write_bytes(b"a.jpg\r\n\nc.jpg")
    lines = list(beam_module._read_lines(str(tmp_path / "list.txt")))
    assert lines == [(1, "a.jpg"), (3, "c.jpg")]
