"""The callbacks in a real `fit`: what is in the logs, and what stops a run."""

import csv
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_maskrcnn as km

ROWS = np.ones((8, 2))


def fit(callbacks, x=ROWS, optimizer="sgd", epochs=2, **compile_options):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(optimizer, "mse", **compile_options)
    return model.fit(
        x,
        np.ones((len(x), 1)),
        batch_size=2,
        epochs=epochs,
        verbose=0,
        shuffle=False,
        callbacks=callbacks,
        validation_data=(np.ones((64, 2)), np.ones((64, 1))),
    ).history


def scalars(folder):
    """The values of each scalar that `keras.callbacks.TensorBoard` wrote, by step."""
    events = [
        tf.compat.v1.Event.FromString(record.numpy())
        for path in folder.rglob("events.*")
        for record in tf.data.TFRecordDataset(str(path))
    ]
    return {
        (value.tag, event.step): float(tf.make_ndarray(value.tensor))
        for event in events
        for value in event.summary.value
        if value.metadata.plugin_data.plugin_name == "scalars"
    }


def test_learning_rate_and_speed_reach_log_and_event_file(tmp_path):
    rates = keras.optimizers.schedules.PiecewiseConstantDecay([3], [0.125, 0.0625])
    history = fit(
        [
            km.callbacks.LearningRate(),
            km.callbacks.ImagesPerSecond(batch_size=2),
            keras.callbacks.CSVLogger(tmp_path / "log.csv"),
            keras.callbacks.TensorBoard(tmp_path),
        ],
        x=np.ones((6, 2)),
        optimizer=keras.optimizers.SGD(rates),
    )
    assert history["learning_rate"] == [0.125, 0.0625]
    assert all(0 < speed < math.inf for speed in history["images_per_second"])
    with open(tmp_path / "log.csv") as file:
        rows = list(csv.DictReader(file))
    written = scalars(tmp_path)
    for epoch, row in enumerate(rows):
        for name in ("learning_rate", "images_per_second"):
            assert float(row[name]) == pytest.approx(history[name][epoch])
            assert written[f"epoch_{name}", epoch] == pytest.approx(history[name][epoch])


def test_images_per_second_counts_training_only(monkeypatch):
    """A clock that goes on by a second each time it is read."""
    ticks = iter(range(1000))
    monkeypatch.setattr("time.perf_counter", lambda: next(ticks))
    speed = km.callbacks.ImagesPerSecond(batch_size=2)
    speed.on_epoch_begin(0)
    for batch in range(4):
        speed.on_train_batch_end(batch)
    logs = {}
    speed.on_epoch_end(0, logs)
    assert logs == {"images_per_second": 8 / 4}


def test_batch_size_must_be_positive():
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        km.callbacks.ImagesPerSecond(0)


def bad_from_row(row):
    x = ROWS.copy()
    x[row:] = np.nan
    return x


def test_nan_guard_lets_numbers_pass():
    assert len(fit([km.callbacks.NaNGuard()])["loss"]) == 2


def test_nan_guard_names_loss_and_batch():
    with pytest.raises(FloatingPointError, match=r"^loss is nan in batch 2 of epoch 0"):
        fit([km.callbacks.NaNGuard()], x=bad_from_row(5))


def test_nan_guard_names_all_batches_of_an_execution():
    with pytest.raises(FloatingPointError, match="in one of batches 2 to 3 of epoch 0"):
        fit([km.callbacks.NaNGuard()], x=bad_from_row(5), steps_per_execution=2)


def test_nan_guard_names_images():
    guard = km.callbacks.NaNGuard(lambda epoch, batch: [f"{epoch}-{batch}-{i}.jpg" for i in "ab"])
    with pytest.raises(FloatingPointError, match="Images: 0-2-a.jpg, 0-2-b.jpg"):
        fit([guard], x=bad_from_row(5))


def test_nan_guard_names_the_part_of_a_mask_rcnn_s_loss(small_config, batch):
    x, y = batch
    model = km.MaskRCNN(small_config)
    model.mask_head.predictor_bias.assign(np.full(3, np.nan))
    model.compile(optimizer=keras.optimizers.SGD(0.0), run_eagerly=True)
    batches = tf.data.Dataset.from_tensors((x, y)).repeat(2)
    with pytest.raises(
        FloatingPointError, match="^mask_loss is nan in batch 0 of epoch 0"
    ) as error:
        model.fit(batches, verbose=0, shuffle=False, callbacks=[km.callbacks.NaNGuard()])
    assert "All losses" not in str(error.value)
