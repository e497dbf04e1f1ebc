"""What the processes of a strategy found, joined; two real ones are in `training`."""

import tensorflow as tf

from keras_maskrcnn.evaluation.workers import Worker, gather, this_worker


def test_what_workers_found_is_joined():
    """In four processes of two replicas, of which this is the third."""

    class Strategy:
        num_replicas_in_sync = 8

        def run(self, function):
            return [4, 5]

        def experimental_local_results(self, values):
            return values

        def experimental_distribute_values_from_function(self, function):
            return [function(None) for _ in range(2)]

        def gather(self, values, axis):
            assert axis == 0
            return tf.concat(values * 2, axis)  # as if another had found the same

    assert this_worker(Strategy()) == Worker(2, 4)
    for entries in ([], [{"image_id": "é\n", "score": 0.1}, {"bbox": [1.5, 2.0]}]):
        assert gather(entries, Strategy()) == entries * 2
