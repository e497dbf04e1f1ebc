"""An evaluation shared out among the processes of a `tf.distribute` strategy."""

import itertools
import json
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf


class Worker(NamedTuple):
    """The place of this process among those that train together."""

    index: int
    number: int


def this_worker(strategy: tf.distribute.Strategy) -> Worker:
    """The place of this process under a strategy whose processes have as many replicas each.

    Example:
        >>> this_worker(tf.distribute.get_strategy())
        Worker(index=0, number=1)
    """

    def replica_id():
        return tf.distribute.get_replica_context().replica_id_in_sync_group

    here = [int(i) for i in strategy.experimental_local_results(strategy.run(replica_id))]
    return Worker(min(here) // len(here), strategy.num_replicas_in_sync // len(here))


def gather(entries: list[dict[str, Any]], strategy: tf.distribute.Strategy) -> list[dict[str, Any]]:
    """The entries of all workers, those of the first one first.

    Each of them waits here until all have come.

    Args:
        entries: Those of this worker: what JSON can hold.
        strategy: That they train under.

    Example:
        >>> gather([{"image_id": 1}], tf.distribute.get_strategy())
        [{'image_id': 1}]
    """
    if this_worker(strategy).number == 1:
        return entries
    text = json.dumps(entries).encode()
    # Collective operations know no bytes: four of a line, filled up with spaces, are a number.
    text = text.ljust(4 * (len(text) // 4 + 1) - 1) + b"\n"
    numbers = np.frombuffer(text, np.int32)
    parts = itertools.chain([numbers], itertools.repeat(numbers[:0]))  # the first replica's is all
    values = strategy.experimental_distribute_values_from_function(
        lambda replica: tf.constant(next(parts))
    )
    lines = strategy.gather(values, axis=0).numpy().tobytes().splitlines()
    return [entry for line in lines for entry in json.loads(line)]
