"""A server with one SavedModel, which `export.py` starts and asks.

    python export_server.py python|c SAVED_MODEL PICTURE.png [OPS.so]

Prints JSON: what loading took, then, for each line of standard input, what a call took, and the
peak memory. A line is JSON, `{"signature": ..., "inputs": {name: tensor}, "outputs": {...}}`. `c`
goes through TensorFlow's C API, in a process that imports no TensorFlow; the client is the tests'.
"""

import json
import pathlib
import re
import sys
import time

import numpy as np

TESTS = pathlib.Path(__file__).resolve().parents[1] / "tests/export"


def python_server(folder, ops):
    """A function of a request and its arrays, through `tf.saved_model.load`."""
    import tensorflow as tf

    for library in ops:
        tf.load_op_library(library)
    model = tf.saved_model.load(folder)

    def run(request, arrays):
        inputs = {name: tf.constant(value) for name, value in arrays.items()}
        outputs = model.signatures[request["signature"]](**inputs)
        return {name: value.numpy() for name, value in outputs.items()}

    return run


def c_server(folder, ops):
    """The same through the C API."""
    sys.path.insert(0, str(TESTS))
    import c_api

    session = c_api.Session(folder, *ops)

    def run(request, arrays):
        feeds = {request["inputs"][name]: value for name, value in arrays.items()}
        return session.run(feeds, request["outputs"])

    return run


def peak_mib():
    """The most memory that this process had resident."""
    status = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024


def main(api, folder, picture, *ops):
    import cv2

    images = np.ascontiguousarray(cv2.imread(picture)[None, :, :, ::-1])
    file = np.empty(1, object)
    file[0] = pathlib.Path(picture).read_bytes()
    sizes = np.array([images.shape[1:3]], np.int32)
    requests = {
        "serving_default": {"images": images},
        "serve_sizes": {"images": images, "image_sizes": sizes},
        "serve_bytes": {"image_bytes": file},
    }
    start = time.perf_counter()
    run = {"python": python_server, "c": c_server}[api](folder, ops)
    print(json.dumps({"load": time.perf_counter() - start}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        start = time.perf_counter()
        run(request, requests[request["signature"]])
        seconds = time.perf_counter() - start
        print(json.dumps({"seconds": seconds, "memory": peak_mib()}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
