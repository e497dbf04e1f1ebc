"""A server in Python that has TensorFlow and nothing else: runs requests on a SavedModel.

    python bare_tensorflow.py SAVED_MODEL

Reads a line of JSON for each request, `{"signature": ..., "request": NPZ, "answer": NPZ}`, and says
when the answer is written. Keras cannot be imported there either.
"""

import json
import sys

import numpy as np

sys.modules |= dict.fromkeys(("keras", "keras_maskrcnn"))  # an import of None fails
import tensorflow as tf  # noqa: E402


def main(model):
    loaded = tf.saved_model.load(model)
    for line in sys.stdin:
        request = json.loads(line)
        serve = loaded.signatures[request["signature"]]
        inputs = np.load(request["request"], allow_pickle=True).items()
        answer = serve(**{name: tf.constant(value) for name, value in inputs})
        np.savez(request["answer"], **answer)
        print("answered", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
