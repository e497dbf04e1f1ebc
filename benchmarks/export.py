"""What freezing and folding do to an exported model: size, time to load, time of a call, memory.

    python benchmarks/export.py
    python benchmarks/export.py --golden detectron2_mask_rcnn_r50_c4 --image crowd_320 --runs 3

"plain" is the model's own graph with its variables, as Keras exports it, with one signature. The
others are `model.export` with its three signatures, of which one is called. Each is loaded in a
process of its own that has TensorFlow alone; the calls of all of them take turns, so that a busy
machine slows all of them down alike. The time of the first call includes TensorFlow's own
optimisation of the graph. Weights and picture are those of a golden (`parity.py`).
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

import keras
import parity
import tensorflow as tf
from rich.console import Console
from rich.table import Table

from keras_maskrcnn import MaskRCNN
from keras_maskrcnn.ops import compiled_roi_align

EXPORTS = {
    "frozen": {},
    "frozen, bfloat16": {"dtype": "bfloat16"},
    "frozen, compiled RoIAlign": {"roi_align": "custom"},
}
SERVER = """
import json, re, sys, time
import tensorflow as tf
folder, library, picture = sys.argv[1:]
if library:
    tf.load_op_library(library)
def timed(function):
    start = time.perf_counter()
    result = function()
    return result, time.perf_counter() - start
model, load = timed(lambda: tf.saved_model.load(folder))
serve = model.signatures["serving_default"]
images = tf.io.decode_png(tf.io.read_file(picture), channels=3)[None]
call = lambda: serve(images=images)["boxes"].numpy()
print(json.dumps({"load": load, "first": timed(call)[1]}), flush=True)
for _ in sys.stdin:
    seconds = timed(call)[1]
    memory = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
    print(json.dumps({"call": seconds, "memory": memory}), flush=True)
"""


def export_plain(model, folder):
    """As Keras exports any model."""
    config = model.config.replace(roi_implementation="portable")
    served = MaskRCNN(config)
    served.set_weights(model.get_weights())
    archive = keras.export.ExportArchive()
    archive.track(served)
    archive.add_endpoint(
        name="serving_default",
        fn=lambda images: served({"images": images}, training=False),
        input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8, name="images")],
    )
    archive.write_out(str(folder), verbose=False)


class Server:
    """A process that serves an exported model."""

    def __init__(self, folder, library, picture):
        self.size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        command = [sys.executable, "-c", SERVER, str(folder), library, str(picture)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.start = json.loads(self.process.stdout.readline())
        self.calls = []

    def call(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        self.memory = answer["memory"]
        self.calls.append(answer["call"])

    def figures(self):
        self.process.stdin.close()
        self.process.wait()
        calls = statistics.median(self.calls)
        return self.size / 1e6, self.start["load"], self.start["first"], calls, self.memory


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--golden", default="detectron2_mask_rcnn_r50_fpn", metavar="NAME")
    parser.add_argument("--image", default="crowd_800", metavar="NAME")
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    golden = parity.Golden(parity.GOLDENS, args.golden)
    model, picture = golden.model(), parity.GOLDENS / "images" / f"{args.image}.png"
    with tempfile.TemporaryDirectory() as temporary:
        folders = {name: pathlib.Path(temporary) / str(i) for i, name in enumerate(EXPORTS)}
        for name, folder in folders.items():
            model.export(folder, verbose=False, **EXPORTS[name])
        folders = {"plain": pathlib.Path(temporary) / "plain", **folders}
        export_plain(model, folders["plain"])
        servers = {}
        for name, folder in folders.items():
            library = str(compiled_roi_align.LIBRARY) if "compiled" in name else ""
            servers[name] = Server(folder, library, picture)
        for _ in range(args.runs):
            for server in servers.values():
                server.call()
        print_table({name: server.figures() for name, server in servers.items()})


def print_table(figures):
    """Each figure, and its ratio to that of the first row."""
    table = Table()
    for column in ("export", "MB", "load s", "first call s", "call s", "peak MiB"):
        table.add_column(column, justify="left" if column == "export" else "right")
    plain = next(iter(figures.values()))
    for name, row in figures.items():
        cells = [f"{value:.4g} ({value / of:.2f})" for value, of in zip(row, plain, strict=True)]
        table.add_row(name, *cells)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
