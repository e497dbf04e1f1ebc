"""A server in Python that has TensorFlow and nothing else: runs a request on a SavedModel.

    python bare_tensorflow.py SAVED_MODEL SIGNATURE REQUEST.npz ANSWER.npz

Keras cannot be imported there either.
"""

import sys

import numpy as np

sys.modules |= dict.fromkeys(("keras", "keras_maskrcnn"))  # an import of None fails
import tensorflow as tf  # noqa: E402


def main(model, signature, request, answer):
    serve = tf.saved_model.load(model).signatures[signature]
    inputs = np.load(request, allow_pickle=True).items()
    np.savez(answer, **serve(**{name: tf.constant(value) for name, value in inputs}))


if __name__ == "__main__":
    main(*sys.argv[1:])
