import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_maskrcnn as km
from keras_maskrcnn.training.backup import Backup
from keras_maskrcnn.training.optimizers import make_optimizer

STEPS, EPOCHS = 4, 3


class Interruption(keras.callbacks.Callback):
    """Stops `fit` after a number of steps, as a kill would."""

    def __init__(self, after):
        super().__init__()
        self.left = after

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
            raise InterruptedError


class Rows(keras.callbacks.Callback):
    """Keeps the logs of each epoch in a list that outlives the callback."""

    def __init__(self, rows):
        super().__init__()
        self.rows = rows

    def on_epoch_end(self, epoch, logs=None):
        self.rows[epoch] = dict(logs)


def pictures(batch):
    """An endless sequence of different batches."""
    x, y = batch

    def shaded(step):
        return {**x, "images": x["images"] * tf.random.stateless_uniform((), [step, 0])}, y

    return tf.data.Dataset.range(STEPS * EPOCHS).map(shaded).repeat()


@pytest.fixture(
    scope="module", params=[None, pytest.param("mixed_float16", marks=pytest.mark.slow)]
)
def model(request, small_config):
    """A model with all that an optimizer can have to remember, of few weights."""
    keras.utils.set_random_seed(1)
    model = km.MaskRCNN(small_config, freeze_at=4, dtype=request.param)
    model.compile(make_optimizer("adamw", 1e-3, gradient_accumulation_steps=2, ema_momentum=0.9))
    model.optimizer.build(model.trainable_weights)
    return model


@pytest.fixture
def start(model):
    """What all variables were at first, and are set to again."""
    values = [variable.numpy() for variable in variables_of(model)]
    yield values
    set_variables(model, values)


def variables_of(model):
    return [*model.weights, *model.optimizer.variables]


def set_variables(model, values):
    for variable, value in zip(variables_of(model), values, strict=True):
        variable.assign(value)


def go_on(model, batch, folder, rows, interrupt_after=None):
    """Fit from the backup, if there is one, to the end."""
    backup = Backup(folder, STEPS, every=3)
    callbacks = [backup, keras.callbacks.SwapEMAWeights(swap_on_epoch=True), Rows(rows)]
    if interrupt_after:
        callbacks.append(Interruption(interrupt_after))
    model.fit(
        pictures(batch).skip(backup.step),
        steps_per_epoch=STEPS,
        epochs=EPOCHS,
        initial_epoch=backup.epoch,
        callbacks=callbacks,
        verbose=0,
        shuffle=False,
    )


@pytest.mark.slow
def test_goes_on_as_if_nothing_had_happened(model, start, batch, tmp_path):
    """Interrupted within an epoch, at its end, and again before the next backup."""
    rows, expected_rows = {}, {}
    go_on(model, batch, tmp_path / "alone", expected_rows)
    expected = [variable.numpy() for variable in variables_of(model)]
    set_variables(model, start)
    for after in (1, 5, 4, 2):
        with pytest.raises(InterruptedError):
            go_on(model, batch, tmp_path / "b", rows, interrupt_after=after)
        set_variables(model, [np.full_like(value, 7) for value in start])  # another process
    go_on(model, batch, tmp_path / "b", rows)
    for variable, value in zip(variables_of(model), expected, strict=True):
        np.testing.assert_array_equal(variable, value, err_msg=variable.path)
    assert rows == expected_rows


def test_a_kill_while_it_is_written_leaves_the_backup_before(
    model, start, batch, tmp_path, monkeypatch
):
    with pytest.raises(InterruptedError):
        go_on(model, batch, tmp_path, {}, interrupt_after=6)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000004.weights.h5"]
    save = keras.Model.save_weights

    def broken_off(self, path, **kwargs):
        save(self, path, **kwargs)
        path.write_bytes(path.read_bytes()[:1000])
        raise InterruptedError

    monkeypatch.setattr(keras.Model, "save_weights", broken_off)
    with pytest.raises(InterruptedError):
        go_on(model, batch, tmp_path, {})
    assert Backup(tmp_path, STEPS).step == 4
    monkeypatch.undo()
    go_on(model, batch, tmp_path, {})
    assert Backup(tmp_path, STEPS).epoch == EPOCHS - 1


def test_counts_its_steps(tmp_path):
    assert (Backup(tmp_path / "none", 4).step, Backup(tmp_path / "none", 4).epoch) == (0, 0)
    (tmp_path / "step-000000011.weights.h5").touch()
    assert (Backup(tmp_path, 4).step, Backup(tmp_path, 4).epoch) == (11, 2)
    with pytest.raises(ValueError, match="at least 1, got 4 and 0"):
        Backup(tmp_path, 4, every=0)
