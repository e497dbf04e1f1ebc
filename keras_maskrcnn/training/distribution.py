"""What Keras' own training loop lacks for `tf.distribute` strategies (keras issue 20585)."""

import contextlib
import itertools
from collections.abc import Callable, Iterator

import keras
import tensorflow as tf


def build_optimizer(model: keras.Model) -> None:
    """Makes the optimizer's variables under the model's strategy, before the first step.

    Keras would find out what to build from a first batch, taken apart over the replicas, and
    fails where it is in several processes. All other variables of a `MaskRCNN` exist already.
    """
    optimizer = model.optimizer
    if optimizer is not None and not optimizer.built:
        with model.distribute_strategy.scope():
            optimizer.build(model.trainable_variables)


def make_train_function(model: keras.Model, force: bool = False) -> None:
    """As `keras.Model.make_train_function`; of several replicas it is `function_over_replicas`."""
    if model.distribute_strategy.num_replicas_in_sync == 1:
        keras.Model.make_train_function(model, force)
    elif model.train_function is None or force:
        model.train_function = function_over_replicas(model, model.train_step)


def make_test_function(model: keras.Model, force: bool = False) -> None:
    """As `keras.Model.make_test_function`; of several replicas it is `function_over_replicas`."""
    if model.distribute_strategy.num_replicas_in_sync == 1:
        keras.Model.make_test_function(model, force)
    elif model.test_function is None or force:
        model.test_function = function_over_replicas(model, model.test_step)


def function_over_replicas(model: keras.Model, step: Callable) -> Callable:
    """What `fit` calls with its iterator: `steps_per_execution` steps on all replicas.

    Keras' own takes the mean of the logs over axis 0 where replicas lie in several processes, and
    its loop over steps in the graph fails for steps that communicate.

    Args:
        model: A compiled model that was made under a strategy.
        step: From a replica's batch to logs, scalars that are the same on each replica.
    """
    strategy = model.distribute_strategy

    def run(data):
        logs = strategy.run(step, args=(data,))
        return {name: strategy.experimental_local_results(log)[0] for name, log in logs.items()}

    if not model.run_eagerly:
        run = tf.function(run, reduce_retracing=True)

    def function(iterator):
        logs = None
        for data in itertools.islice(iterator, model.steps_per_execution):
            logs = run(data)
        if logs is None:
            raise StopIteration
        return logs

    return function


@contextlib.contextmanager
def one_replica(model: keras.Model) -> Iterator[None]:
    """Runs the model on one replica of this process, whatever strategy it trains under."""
    strategy, model._distribute_strategy = model._distribute_strategy, None
    try:
        yield
    finally:
        model._distribute_strategy = strategy
