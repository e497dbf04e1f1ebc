"""What an exported model costs a server: size, time to load, time of a call, memory.

    python benchmarks/export.py
    python benchmarks/export.py --golden detectron2_mask_rcnn_r50_c4 --image crowd_320 --runs 3
    python benchmarks/export.py --rows exported --before serving/1    # a SavedModel of yours beside

"network" is the model itself in this process, without what `predict` does before and after.
"plain" is its graph as Keras exports it, with one signature and batch norms not folded. The others
are `model.export`. Each is loaded in a process of its own that has TensorFlow alone, in Python or
through the C API; the calls of all of them take turns, so that a busy machine slows all of them
down alike. The time of the first call includes TensorFlow's own optimisation of the graph. "all"
is the peak once every signature was called. Weights and picture are those of a golden
(`parity.py`).
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import keras
import parity
import tensorflow as tf
from rich.console import Console
from rich.table import Table
from tensorflow.core.protobuf import saved_model_pb2

from keras_maskrcnn import MaskRCNN
from keras_maskrcnn.ops import compiled_roi_align

EXPORTS = {
    "exported": {},
    "bfloat16": {"dtype": "bfloat16"},
    "compiled RoIAlign": {"roi_align": "custom"},
}
ROWS = ("plain", *EXPORTS)
SERVER = pathlib.Path(__file__).with_name("export_server.py")


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


class Network:
    """The model in this process."""

    def __init__(self, model, picture):
        self.calls, self._run = [], tf.function(lambda images: model({"images": images}))
        self._images = tf.cast(tf.io.decode_png(tf.io.read_file(str(picture)))[None], tf.float32)
        self.first = self._seconds()

    def _seconds(self):
        start = time.perf_counter()
        self._run(self._images)["boxes"].numpy()
        return time.perf_counter() - start

    def call(self):
        self.calls.append(self._seconds())

    def figures(self):
        nan = float("nan")
        return nan, nan, self.first, statistics.median(self.calls), nan, nan


class Server:
    """A process that serves an exported model."""

    def __init__(self, api, folder, library, picture):
        self.size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        self.signatures, self.calls = tensor_names(folder), []
        command = [sys.executable, SERVER, api, folder, picture, *library]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(list(map(str, command)), **pipes)
        self.load = json.loads(self.process.stdout.readline())["load"]
        self.first = self._ask("serving_default")["seconds"]

    def _ask(self, signature):
        request = {"signature": signature, **self.signatures[signature]}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def call(self):
        answer = self._ask("serving_default")
        self.memory = answer["memory"]
        self.calls.append(answer["seconds"])

    def figures(self):
        most = max(self._ask(signature)["memory"] for signature in self.signatures)
        self.process.stdin.close()
        self.process.wait()
        calls = statistics.median(self.calls)
        return self.size / 1e6, self.load, self.first, calls, self.memory, most


def tensor_names(folder):
    """For each signature of a SavedModel the tensors of its inputs and outputs, by their names."""
    model = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    return {
        name: {
            part: {key: info.name for key, info in getattr(signature, part).items()}
            for part in ("inputs", "outputs")
        }
        for name, signature in model.meta_graphs[0].signature_def.items()
        if not name.startswith("__")
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--golden", default="detectron2_mask_rcnn_r50_fpn", metavar="NAME")
    parser.add_argument("--image", default="crowd_800", metavar="NAME")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--rows", nargs="+", default=ROWS, choices=ROWS)
    parser.add_argument("--before", type=pathlib.Path, metavar="DIR")
    args = parser.parse_args()
    model = parity.Golden(parity.GOLDENS, args.golden).model()
    picture = parity.GOLDENS / "images" / f"{args.image}.png"
    with tempfile.TemporaryDirectory() as temporary:
        folders = write_all(model, pathlib.Path(temporary), args.rows)
        if args.before:
            folders["before"] = args.before
        sides = {"network": Network(model, picture)}
        for name, folder in folders.items():
            library = [compiled_roi_align.LIBRARY] if "compiled" in name else []
            sides[name] = Server("python", folder, library, picture)
        for name in ("exported", "before"):
            if name in folders:
                sides[f"{name}, C API"] = Server("c", folders[name], [], picture)
        for _ in range(args.runs):
            for side in sides.values():
                side.call()
        print_table({name: side.figures() for name, side in sides.items()})


def write_all(model, folder, rows):
    """The SavedModels by name."""
    folders = {row: folder / str(i) for i, row in enumerate(rows)}
    for row, path in folders.items():
        if row == "plain":
            export_plain(model, path)
        else:
            model.export(path, verbose=False, **EXPORTS[row])
    return folders


def print_table(figures):
    """Each figure; of the calls, also the ratio to the network's."""
    table = Table()
    columns = ("export", "MB", "load s", "first call s", "call s", "to network", "peak MiB", "all")
    for column in columns:
        table.add_column(column, justify="left" if column == "export" else "right")
    network = figures["network"][3]
    for name, (size, load, first, call, *peaks) in figures.items():
        row = (size, load, first, call, call / network, *peaks)
        table.add_row(name, *("" if value != value else f"{value:.4g}" for value in row))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
