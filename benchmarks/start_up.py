"""How long `import keras_maskrcnn` takes beyond `import tensorflow`, and the first prediction.

    python benchmarks/start_up.py

The first prediction: R50-FPN built, traced, and run on an image of 800x1216; 2 threads.
"""

import argparse
import statistics
import subprocess
import sys

FIRST_PREDICTION = """
import numpy as np, tensorflow as tf
import keras_maskrcnn as km
tf.config.threading.set_intra_op_parallelism_threads(2)
start = time.perf_counter()
model = km.MaskRCNN("mask_rcnn_resnet50_fpn", num_classes=80)
model.predict([np.zeros((800, 1216, 3), np.uint8)], verbose=0)
"""


def seconds(code, runs):
    """Median over processes of what `code` takes, from its own `start` on if it sets one."""
    program = (
        f"import time\nstart = time.perf_counter()\n{code}\nprint(time.perf_counter() - start)"
    )
    times = [
        float(
            subprocess.run(
                [sys.executable, "-c", program], check=True, capture_output=True, text=True
            ).stdout.split()[-1]
        )
        for _ in range(runs)
    ]
    return statistics.median(times)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    alone = seconds("import tensorflow", args.runs)
    together = seconds("import keras_maskrcnn", args.runs)
    print(f"import tensorflow {alone:.2f} s, keras_maskrcnn {together - alone:+.2f} s")
    print(f"first prediction {seconds(FIRST_PREDICTION, args.runs):.1f} s")


if __name__ == "__main__":
    main()
