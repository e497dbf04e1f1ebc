"""Servers and runtimes that have no part of the package, and models exported for them."""

import json
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

import keras_maskrcnn as km
from keras_maskrcnn.batch import RGB
from keras_maskrcnn.export.endpoints import image_dtype

HERE = pathlib.Path(__file__).resolve().parent
BENCHMARKS = HERE.parents[1] / "benchmarks"
OF_NECK = dict.fromkeys(("anchor_sizes", "box_head_units", "box_pool_size", "mask_head_channels"))
KINDS = {
    "fpn": {"roi_sampling_ratio": 0, "class_score_thresholds": (0.1, 0.3, 0.1)},
    "c4": {"neck": "c4", **OF_NECK},
    "group_norm": {
        "norm": "group_norm",
        "backbone_width": 32,
        "fpn_channels": 32,
        "box_head_channels": (32,),
        "mask_head_channels": (32,),
        "roi_sampling_ratio": 0,
        "roi_aligned": False,
    },
    "faster_resnext": {
        "backbone": "resnext50_32x4d",
        "backbone_width": 16,
        "stride_in_1x1": False,
        "mask": False,
        "anchor_style": "torchvision",
        "roi_aligned": False,
        "channels": 4,
        "pixel_range": (0, 65535),
    },
}
BACKBONES = ("resnet50", "resnet101", "resnext50_32x4d", "resnext101_32x8d")


@pytest.fixture(scope="session")
def meta_graph():
    """The only MetaGraphDef of a SavedModel."""

    def read(folder):
        model = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
        (graph,) = model.meta_graphs
        return graph

    return read


class Server:
    """A script that answers requests, a line of JSON each, in a process of its own."""

    def __init__(self, folder, script, *arguments):
        self.folder, self.script = folder, script
        command = [sys.executable, str(HERE / script), *map(str, arguments)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, cwd="/", **pipes)

    def ask(self, arrays, **request):
        """The arrays by name that the script answers a request with."""
        files = {name: str(self.folder / f"{name}.npz") for name in ("request", "answer")}
        np.savez(files["request"], **arrays)
        self.process.stdin.write(json.dumps({**request, **files}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.script} ended with {self.process.wait()}")
        if line != "answered\n":
            raise RuntimeError(json.loads(line))
        return dict(np.load(files["answer"]))

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


@pytest.fixture(scope="module")
def start_server(tmp_path_factory):
    """A function: the server of a script and its arguments, started once.

    Those of one SavedModel are kept: each holds gigabytes.
    """
    servers = {}

    def start(*command):
        model = next(part for part in command if isinstance(part, pathlib.Path))
        for other in [known for known in servers if model not in known]:
            servers.pop(other).close()
        if command not in servers:
            servers[command] = Server(tmp_path_factory.mktemp("server"), *command)
        return servers[command]

    yield start
    for server in servers.values():
        server.close()


@pytest.fixture
def bare_tensorflow(start_server):
    """Answers a request in a process that has TensorFlow alone."""

    def run(folder, signature="serving_default", **inputs):
        server = start_server("bare_tensorflow.py", folder)
        return server.ask(inputs, signature=signature)

    return run


@pytest.fixture
def c_api(start_server, meta_graph):
    """Answers a request through TensorFlow's C API, in a process that imports no TensorFlow."""

    def run(folder, signature="serving_default", ops=(), **inputs):
        definition = meta_graph(folder).signature_def[signature]
        names = {
            part: {name: info.name for name, info in getattr(definition, part).items()}
            for part in ("inputs", "outputs")
        }
        return start_server("c_api.py", "run", folder, *ops).ask(inputs, **names)

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
    scope="session",
    params=[
        "detectron2_mask_rcnn_r50_fpn",
        pytest.param("detectron2_mask_rcnn_r50_c4", marks=pytest.mark.slow),
    ],
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
    run_script("export_golden.py", golden.folder, golden.name, folder)
    return golden, folder


def _model(config, **overrides):
    keras.utils.set_random_seed(0)
    # Pixels of 0..255 would blow activations up, and with them the rounding of either runtime.
    fields = {"pixel_std": (58.0, 57.0, 57.0), "box_score_threshold": 0.1, **overrides}
    model = km.MaskRCNN(config, **fields)
    # Of a hundred random layers each would blow them up too.
    for block in (block for stage in model.backbone.stages for block in stage):
        block.conv3.norm.gamma.assign(0.2 * tf.ones_like(block.conv3.norm.gamma))
    return model


@pytest.fixture(
    scope="module",
    params=[
        "fpn",
        "c4",
        pytest.param("group_norm", marks=pytest.mark.slow),
        pytest.param("faster_resnext", marks=pytest.mark.slow),
    ],
)
def model_of_each_kind(small_config, request):
    """Small models, drawn from a seed: what differs between architectures is in one of them."""
    return _model(small_config, **KINDS[request.param])


@pytest.fixture(params=[f"{backbone}_{neck}" for backbone in BACKBONES for neck in ("fpn", "c4")])
def model_of_each_architecture(small_config, request):
    """The eight, narrow."""
    backbone, neck = request.param.rsplit("_", 1)
    # 32 groups of one channel are the narrowest ResNeXt.
    width = 16 if backbone == "resnext50_32x4d" else 8
    of_neck = {"neck": "c4", **OF_NECK} if neck == "c4" else {}
    return _model(small_config, backbone=backbone, backbone_width=width, **of_neck)


@pytest.fixture(scope="module")
def small_model(small_config):
    """A function: a small model with some fields of the config changed."""
    return lambda **overrides: _model(small_config, **overrides)


@pytest.fixture
def make_batch():
    """A function: noise (B, H, W, channels), and sizes, which leave out some of it."""

    def make(number, height, width, config=RGB):
        shape, dtype = (number, height, width, config.channels), image_dtype(config).as_numpy_dtype
        images = np.random.default_rng(0).integers(0, config.pixel_range[1], shape, dtype, True)
        left_out = np.arange(2 * number).reshape(number, 2) % 5
        sizes = np.array([[height, width]]) - left_out
        return {"images": images, "image_sizes": sizes.astype(np.int32)}

    return make


@pytest.fixture
def assert_same():
    """A function: the model's own outputs and the runtime's agree, and something was found."""

    def check(model, x, theirs, found=True):
        ours = model(x)
        assert set(theirs) == set(ours)
        assert (ours["num_detections"].numpy() > 0).all() == found
        for name, value in ours.items():
            assert theirs[name].dtype == value.dtype.as_numpy_dtype
            tolerance = 1e-2 if name == "boxes" else 1e-4
            np.testing.assert_allclose(theirs[name], value, atol=tolerance, err_msg=name)

    return check
