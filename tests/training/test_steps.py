"""What a step does where there is nothing to train, and what it refuses instead of ignoring it."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_maskrcnn as km
from keras_maskrcnn.training import steps


@pytest.fixture(scope="module")
def model(small_config):
    keras.utils.set_random_seed(0)
    model = km.MaskRCNN(small_config)
    model.compile(optimizer=keras.optimizers.SGD(0.01))
    return model


def test_a_model_of_which_nothing_is_trainable_warns_as_keras_does(small_config, batch):
    model = km.MaskRCNN(small_config)
    model.trainable = False
    model.compile(optimizer=keras.optimizers.SGD(0.01, momentum=0.9))
    before = model.get_weights()
    with pytest.warns(UserWarning, match="does not have any trainable weights"):
        history = model.fit(tf.data.Dataset.from_tensors(batch), verbose=0).history
    assert np.isfinite(history["loss"]).all()
    seed = [w.path for w in model.weights].index(model.sampling_seed.path)
    for i, (old, new) in enumerate(zip(before, model.get_weights(), strict=True)):
        if i != seed:
            np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("name", ["loss", "loss_weights", "metrics", "weighted_metrics"])
def test_what_compile_would_ignore_is_refused_by_name(model, name):
    with pytest.raises(ValueError, match=f"Leave out {name}: .*(its own|CocoEvaluation)"):
        model.compile(optimizer="sgd", **{name: ["mse"]})
    if name == "loss":
        with pytest.raises(ValueError, match="Leave out loss: "):
            model.compile("sgd", "mse")


def test_class_weights_are_refused_by_name(model, batch):
    x, y = batch
    with pytest.raises(ValueError, match="Leave out class_weight: all images and classes count"):
        model.fit(tf.data.Dataset.from_tensors(batch), class_weight={0: 2.0}, verbose=0)
    with pytest.raises(ValueError, match="Leave out class_weight"):
        model.train_on_batch(x, y, class_weight={0: 2.0})


def test_sample_weights_are_refused_by_name_wherever_they_come_from(model, batch):
    x, y = batch
    weights = np.ones(2, np.float32)
    weighted = tf.data.Dataset.from_tensors((x, y, weights))
    calls = [
        lambda: model.fit(x, y, sample_weight=weights, verbose=0),
        lambda: model.fit(weighted, verbose=0, shuffle=False),
        lambda: model.evaluate(weighted, verbose=0),
        lambda: model.train_on_batch(x, y, sample_weight=weights),
        lambda: model.test_on_batch(x, y, sample_weight=weights),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="Leave out sample_weight: all images"):
            call()


def test_checked_methods_keep_the_signatures_and_texts_of_keras():
    for name in ("compile", "fit", "train_on_batch"):
        ours, theirs = getattr(km.MaskRCNN, name), getattr(keras.Model, name)
        assert inspect.signature(ours) == inspect.signature(theirs)
        assert ours.__doc__ == theirs.__doc__


@pytest.mark.parametrize(
    ("arguments", "shuffled"),
    [({}, False), ({"shuffle": True}, True), ({"shuffle": False}, False)],
)
def test_a_dataset_is_shuffled_as_its_caller_asks_only(arguments, shuffled):
    def fit(self, x=None, y=None, shuffle=True):
        return shuffle

    ordered = steps.leaving_datasets_in_order(fit)
    dataset = tf.data.Dataset.range(3)
    assert ordered(None, dataset, **arguments) is shuffled
    assert ordered(None, x=dataset, **arguments) is shuffled
    assert ordered(None, np.zeros(3), **arguments) is arguments.get("shuffle", True)


def test_a_class_that_does_not_exist_stops_fit_with_its_name(model, batch):
    x, y = batch
    y = {**y, "classes": np.array([[1, 3], [2, -1]], np.int32)}
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"classes must be 0 to 2.*\[3\]"):
        model.fit(tf.data.Dataset.from_tensors((x, y)), verbose=0, shuffle=False)


@pytest.mark.parametrize("kind", ["h5", "hdf5"])
def test_saving_as_hdf5_is_refused_by_name(model, tmp_path, kind):
    with pytest.raises(ValueError, match=rf"m.{kind}: save the model as .keras, or its weights"):
        model.save(tmp_path / f"m.{kind}")
    assert not list(tmp_path.iterdir())


def test_images_alone_are_trained_on_as_valid_throughout(model, batch):
    x, y = batch
    losses = model.test_on_batch(x["images"], y, return_dict=True)
    assert np.isfinite(list(losses.values())).all()
