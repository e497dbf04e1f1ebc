"""The callback in a real `fit`: who sees the figures, when, and what is printed."""

import csv
import math
import types

import keras
import numpy as np
import pytest

from keras_maskrcnn.evaluation import callbacks
from keras_maskrcnn.evaluation.callbacks import CocoEvaluation
from keras_maskrcnn.evaluation.coco import STATISTICS

DATASET = object()
FIGURES = [f"{kind}_{name}" for kind in ("box", "mask") for name in STATISTICS]


@pytest.fixture
def calls(monkeypatch):
    """Puts a count in the place of the evaluation: 0.1, 0.2 and so on; lists the calls."""
    calls = []

    def figures(evaluations):
        return dict.fromkeys(FIGURES, len(calls) / 10) | {"mask_ap_large": math.nan}

    monkeypatch.setattr(callbacks, "run_coco_eval", lambda *call, **_: calls.append(call))
    monkeypatch.setattr(callbacks, "figures", figures)
    monkeypatch.setattr(callbacks, "match_classes", lambda *_: None)
    return calls


def fit(*more_callbacks, epochs=5, keras_verbose=0, **options):
    """A small model trained with a `CocoEvaluation(**options)` and other callbacks behind it."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    evaluation = CocoEvaluation(DATASET, **({"verbose": False} | options))
    given = [evaluation, *more_callbacks]
    history = model.fit(
        np.ones((4, 2)), np.ones((4, 1)), epochs=epochs, verbose=keras_verbose, callbacks=given
    )
    return model, history.history


def test_history_holds_the_figures_of_each_epoch(calls):
    model, history = fit(batch_size=3)
    assert set(history) == {"loss", *(f"val_{name}" for name in FIGURES)}
    np.testing.assert_allclose(history["val_mask_ap"], [0.1, 0.2, 0.3, 0.4, 0.5])
    assert calls == [(model, DATASET, 3)] * 5


@pytest.mark.parametrize(
    ("every", "expected"),
    [(2, [1, 2, 2, 3, 4]), (3, [1, 1, 2, 2, 3]), (99, [1, 1, 1, 1, 2])],
)
def test_first_every_and_last_epoch(calls, every, expected):
    """Between evaluations the figures of the last one stand."""
    _, history = fit(every=every)
    np.testing.assert_allclose(history["val_mask_ap"], np.array(expected) / 10)


def test_second_fit_starts_anew(calls):
    evaluation = CocoEvaluation(DATASET, every=99, verbose=False)
    evaluation.set_params({"epochs": 5})
    for start in (1, 2):
        evaluation.on_train_begin()
        logs = {}
        evaluation.on_epoch_end(0, logs)
        assert logs["val_box_ap"] == start / 10


def test_others_can_monitor(calls, tmp_path):
    checkpoint = keras.callbacks.ModelCheckpoint(
        tmp_path / "{epoch}-{val_mask_ap:.1f}.keras",
        monitor="val_mask_ap",
        mode="max",
        save_best_only=True,
    )
    log = keras.callbacks.CSVLogger(tmp_path / "log.csv")
    fit(checkpoint, log, every=2)
    saved = sorted(path.name for path in tmp_path.glob("*.keras"))
    assert saved == ["1-0.1.keras", "2-0.2.keras", "4-0.3.keras", "5-0.4.keras"]
    with open(tmp_path / "log.csv") as file:
        values = [float(row["val_box_ap"]) for row in csv.DictReader(file)]
    assert values == [0.1, 0.2, 0.2, 0.3, 0.4]


def test_early_stopping_counts_epochs(calls):
    stop = keras.callbacks.EarlyStopping(monitor="val_mask_ap", mode="max", patience=2)
    _, history = fit(stop, epochs=20, every=99)
    assert len(history["loss"]) == 3


def test_prefix(calls):
    _, history = fit(prefix="test_", epochs=1)
    assert history["test_mask_ap"] == [0.1]
    assert not any(name.startswith("val_") for name in history)


@pytest.mark.parametrize("keras_verbose", [0, 1, 2])
def test_table_is_printed_if_wanted(calls, capsys, keras_verbose):
    fit(epochs=2, keras_verbose=keras_verbose)
    assert "COCO evaluation" not in capsys.readouterr().out
    fit(epochs=2, keras_verbose=keras_verbose, verbose=True)
    printed = capsys.readouterr().out
    assert printed.count("COCO evaluation") == 2
    title = next(line for line in printed.splitlines() if "COCO evaluation" in line)
    assert title.strip() == "COCO evaluation, %"  # on a line of its own


def test_every_must_be_positive():
    with pytest.raises(ValueError, match="every must be at least 1 epoch, got 0"):
        CocoEvaluation(DATASET, every=0)
    with pytest.raises(ValueError, match="tile_size"):
        CocoEvaluation(DATASET, tile_size=1)


def test_other_classes_are_refused_before_training():
    """Not after the first epoch, which may take a day."""
    config = types.SimpleNamespace(num_classes=2, class_names=("cat", "dog"))
    dataset = types.SimpleNamespace(
        class_names=("dog", "eel"), category_ids=(1, 2), source="v.json"
    )
    evaluation = CocoEvaluation(dataset)
    evaluation.set_model(types.SimpleNamespace(config=config))
    with pytest.raises(ValueError, match=r"v.json has classes .* eel.* It lacks .* cat"):
        evaluation.on_train_begin()
