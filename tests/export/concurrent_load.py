"""Loads a SavedModel as a server would and sends it requests from several threads at once.

    python concurrent_load.py SAVED_MODEL SIGNATURE...

The requests of a signature are the arrays of `SIGNATURE.npz`, each its only input. Each is answered
alone first, and then 200 of them by 4 threads. `SIGNATURE.json` gets how many answers differ, and
the memory in MiB after each tenth of the requests.
"""

import concurrent.futures
import ctypes
import gc
import json
import os
import pathlib
import sys

import numpy as np
import tensorflow as tf

NUMBER, THREADS = 200, 4


def resident_mib():
    """What the process holds, without what the allocator keeps for reuse."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main(model, *signatures):
    loaded = tf.saved_model.load(model)
    for signature in signatures:
        requests = list(np.load(f"{signature}.npz").values())
        report = put_under_load(loaded.signatures[signature], requests)
        pathlib.Path(f"{signature}.json").write_text(json.dumps(report))


def put_under_load(serve, images):
    """How many answers differ from those given alone, and the memory as it goes on."""

    def answer(index):
        outputs = serve(tf.constant(images[index % len(images)]))
        return {name: value.numpy() for name, value in outputs.items()}

    alone = [answer(i) for i in range(len(images))]
    different, memory = 0, []
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        for first in range(0, NUMBER, NUMBER // 10):
            indices = range(first, first + NUMBER // 10)
            for i, outputs in zip(indices, pool.map(answer, indices), strict=True):
                expected = alone[i % len(images)]
                different += not all(
                    np.allclose(outputs[name], expected[name], atol=1e-4) for name in expected
                )
            memory.append(resident_mib())
    return {"different": different, "memory": memory}


if __name__ == "__main__":
    main(*sys.argv[1:])
