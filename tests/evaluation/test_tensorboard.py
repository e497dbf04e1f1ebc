"""What TensorBoard finds in the event file after an evaluation."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.plugins.pr_curve import metadata

import keras_maskrcnn as km
from keras_maskrcnn.evaluation.tensorboard import write_precision_curve


def summaries(folder):
    """`{(tag, step): value}` of all event files under a folder."""
    events = [
        tf.compat.v1.Event.FromString(record.numpy())
        for path in folder.rglob("events.*")
        for record in tf.data.TFRecordDataset(str(path))
    ]
    return {(value.tag, event.step): value for event in events for value in event.summary.value}


def test_curve_as_the_plugin_reads_it(tmp_path):
    with tf.summary.create_file_writer(str(tmp_path)).as_default(step=3):
        write_precision_curve("box/cat", np.array([1.0, 0.8, 0.5, 0.0]))
    value = summaries(tmp_path)["box/cat", 3]
    assert value.metadata.plugin_data.plugin_name == metadata.PLUGIN_NAME
    assert metadata.parse_plugin_metadata(value.metadata.plugin_data.content).num_thresholds == 4
    true, false, _, missed, precision, recall = tf.make_ndarray(value.tensor)
    np.testing.assert_allclose(recall, [1, 2 / 3, 1 / 3, 0], rtol=1e-6)
    np.testing.assert_allclose(precision, [0, 0.5, 0.8, 1], rtol=1e-6)
    np.testing.assert_allclose(true + missed, 1)
    np.testing.assert_allclose(precision * (true + false), [0, *true[1:]], rtol=1e-6)


@pytest.fixture(scope="module")
def trained(small_config, tmp_path_factory):
    """A run of three epochs, evaluated after the first and the last; its folder and data."""
    folder = tmp_path_factory.mktemp("run")
    val = km.data.shapes.generate(folder / "data", 3, size=64)
    model = km.MaskRCNN(small_config, num_classes=6, class_names=())
    model.compile(optimizer=keras.optimizers.SGD(0.001), run_eagerly=True)
    evaluation = km.callbacks.CocoEvaluation(val, every=9, verbose=False)
    model.fit(
        val.batches(model.config, batch_size=3, training=True),
        epochs=3,
        verbose=0,
        shuffle=False,
        callbacks=[
            evaluation,
            keras.callbacks.TensorBoard(folder / "logs"),
            km.callbacks.DetectionSummaries(folder / "logs", evaluation, 2, score_threshold=0.0),
        ],
    )
    return folder / "logs", val, evaluation


def test_pictures_of_what_is_annotated_beside_what_is_found(trained):
    logs, _, _ = trained
    written = {
        key: value
        for key, value in summaries(logs / "validation").items()
        if value.metadata.plugin_data.plugin_name == "images"
    }
    assert written.keys() == {(f"pictures/00000{i}.jpg", step) for i in range(2) for step in (0, 2)}
    for value in written.values():
        width, height, png = tf.make_ndarray(value.tensor)
        assert (int(width), int(height)) == (128, 64)
        assert tf.io.decode_png(png).shape == (64, 128, 3)


def test_curves_of_each_class_and_their_mean(trained):
    logs, val, _ = trained
    classes = {
        val.class_names[instance.class_id]
        for record in val.records
        for instance in record.instances
    }
    written = summaries(logs / "validation")
    for kind in ("box", "mask"):
        curves = [tf.make_ndarray(written[f"{kind}/{name}", 2].tensor) for name in classes]
        mean = tf.make_ndarray(written[f"{kind}/all classes", 2].tensor)
        np.testing.assert_allclose(mean[4], np.mean(curves, axis=0)[4], atol=1e-6)


def test_area_under_the_mean_curve_is_ap50(trained):
    logs, _, evaluation = trained
    for kind in ("box", "mask"):
        mean = tf.make_ndarray(summaries(logs / "validation")[f"{kind}/all classes", 2].tensor)
        assert mean[4].mean() == pytest.approx(evaluation.figures[f"val_{kind}_ap50"], abs=1e-6)


def test_scalars_of_the_evaluation(trained):
    logs, _, evaluation = trained
    written = summaries(logs)
    value = float(tf.make_ndarray(written["epoch_mask_ap", 2].tensor))
    assert value == pytest.approx(evaluation.figures["val_mask_ap"])
