"""What the replicas of a `tf.distribute` strategy have to agree on to train as one model.

Keras adds up the gradients of the replicas. So each replica takes its share of the loss of the
global batch: sums over its own images, divided by numbers that count those of all replicas.
Without a strategy every function here returns what it is given.
"""

import tensorflow as tf

Tensors = tf.Tensor | list[tf.Tensor] | dict[str, tf.Tensor]


def num_replicas() -> int:
    """Replicas that train together; 1 without a strategy, and outside of `strategy.run`."""
    context = tf.distribute.get_replica_context()
    return 1 if context is None else context.num_replicas_in_sync


def sum_over_replicas(values: Tensors) -> Tensors:
    """The sums of each tensor over all replicas, differentiable.

    Args:
        values: A tensor, or a list or dict of tensors, of the same shape on each replica.
    """
    if num_replicas() == 1:
        return values
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, values)


def max_over_replicas(value: tf.Tensor) -> tf.Tensor:
    """The largest of a scalar over all replicas."""
    if num_replicas() == 1:
        return value
    return tf.reduce_max(tf.distribute.get_replica_context().all_gather(value[None], axis=0))


def replica_seed(seed: tf.Tensor) -> tf.Tensor:
    """A seed (2,) int32 of this replica's own: the same one for the same seed and replica."""
    if num_replicas() == 1:
        return seed
    replica = tf.distribute.get_replica_context().replica_id_in_sync_group
    return tf.random.experimental.stateless_fold_in(seed, replica)
