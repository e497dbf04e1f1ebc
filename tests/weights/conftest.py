"""Small checkpoints of random tensors, a web server on this machine, and a read-only folder."""

import http.server
import os
import re
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest

NOBODY = 65534


class Server(http.server.ThreadingHTTPServer):
    """Serves `files` by path, as well or as badly as its attributes say."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {}
        self.requests = []  # the Range header of each, or None
        self.break_after = None  # bytes of an answer after which the connection is cut
        self.knows_ranges = True
        self.tells_length = True
        self.status = 200
        self.content_type = "application/octet-stream"

    def url(self, path):
        return f"http://127.0.0.1:{self.server_port}{path}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.requests.append(self.headers.get("Range"))
        if server.status != 200 or self.path not in server.files:
            self.send_error(404 if server.status == 200 else server.status)
            return
        content = server.files[self.path]
        start = self._start() if server.knows_ranges else None
        if start is not None and start >= len(content):
            self.send_error(416)
            return
        self.send_response(200 if start is None else 206)
        self.send_header("Content-Type", server.content_type)
        content = content[start or 0 :]
        if server.tells_length:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: server.break_after])

    def _start(self):
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        return int(match[1]) if match else None

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def read_only_folder():
    """Root may write anywhere, so a test that runs as root is someone else while it lasts."""
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o555)
        if user == 0:
            os.seteuid(NOBODY)
        try:
            yield folder
        finally:
            os.seteuid(user)
            folder.chmod(0o755)


SMALL = {
    "backbone": "resnet14",
    "backbone_width": 8,
    "fpn_channels": 16,
    "mask_deconv_channels": 16,
    "num_classes": 3,
    "rpn_post_nms_top_n_test": 20,
    "box_score_threshold": 0.0,
}


@pytest.fixture
def small():
    """Fields of a small model."""
    return dict(SMALL)


@pytest.fixture
def draw():
    """A function from names and shapes to tensors that a deep model can bear."""

    def tensor(rng, name, shape):
        if name.endswith(("running_var", "moving_variance")):
            value = rng.uniform(0.8, 1.2, shape)
        elif len(shape) == 1:
            value = rng.normal(1.0 if name.endswith(("norm.weight", "gamma")) else 0.0, 0.1, shape)
        else:
            gain = 0.02 if "stem" in name else 0.1 if "deltas" in name or "bbox" in name else 1.0
            value = rng.normal(0.0, gain / np.sqrt(np.prod(shape[1:])), shape)
        return value.astype(np.float32)

    def tensors(shapes, seed=0):
        rng = np.random.default_rng(seed)
        return {name: tensor(rng, name, shape) for name, shape in shapes.items()}

    return tensors


@pytest.fixture
def pixels():
    """One image (1, 64, 96, 3) of noise."""
    return np.random.default_rng(1).uniform(0, 255, (1, 64, 96, 3)).astype(np.float32)
