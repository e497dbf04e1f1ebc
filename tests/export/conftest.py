"""Servers that have no part of the package, and models that were exported for them."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from tensorflow.core.protobuf import saved_model_pb2

HERE = pathlib.Path(__file__).resolve().parent
BENCHMARKS = HERE.parents[1] / "benchmarks"


@pytest.fixture
def meta_graph():
    """The only MetaGraphDef of a SavedModel."""

    def read(folder):
        model = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
        (graph,) = model.meta_graphs
        return graph

    return read


@pytest.fixture
def bare_tensorflow(tmp_path):
    """Answers a request in a process that has TensorFlow alone."""

    def run(folder, signature="serving_default", **inputs):
        request, answer = tmp_path / "request.npz", tmp_path / "answer.npz"
        np.savez(request, **inputs)
        run_script("bare_tensorflow.py", folder, signature, request, answer)
        return dict(np.load(answer))

    return run


@pytest.fixture
def c_api(tmp_path, meta_graph):
    """Answers a request through TensorFlow's C API, in a process that imports no TensorFlow."""

    def run(folder, signature="serving_default", ops=(), **inputs):
        request, answer = tmp_path / "request.npz", tmp_path / "answer.npz"
        np.savez(request, **inputs)
        definition = meta_graph(folder).signature_def[signature]
        names = {
            part: {name: info.name for name, info in getattr(definition, part).items()}
            for part in ("inputs", "outputs")
        }
        (tmp_path / "names.json").write_text(json.dumps(names))
        run_script("c_api.py", "run", folder, request, tmp_path / "names.json", answer, *ops)
        return dict(np.load(answer))

    return run


def run_script(name, *arguments):
    command = [sys.executable, str(HERE / name), *map(str, arguments)]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])


@pytest.fixture(scope="session")
def stock_ops(tmp_path_factory):
    """The operations that TensorFlow Serving can run.

    It links TensorFlow's own kernels, so they are what TensorFlow's library registers in a process
    without Python. PyFunc and its kin are registered there but call back into Python, and names
    with an underscore, oneDNN's _Mkl* among them, are written by graph optimisers for a device at
    hand and belong in no file.
    """
    from tensorflow.core.framework import op_def_pb2

    file = tmp_path_factory.mktemp("ops") / "ops.pb"
    run_script("c_api.py", "ops", file)
    names = {op.name for op in op_def_pb2.OpList.FromString(file.read_bytes()).op}
    return {name for name in names if "PyFunc" not in name and not name.startswith("_")}


@pytest.fixture(
    scope="session", params=["detectron2_mask_rcnn_r50_fpn", "detectron2_mask_rcnn_r50_c4"]
)
def exported_golden(shared, request, tmp_path_factory):
    """A golden, and the SavedModel of its seeded weights; images of 320 pixels keep their size."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import parity
    finally:
        sys.path.remove(str(BENCHMARKS))
    golden = parity.Golden(shared / "goldens", request.param)
    folder = tmp_path_factory.mktemp(request.param) / "1"
    golden.model(image_min_size=320, image_max_size=640).export(folder, verbose=False)
    return golden, folder
