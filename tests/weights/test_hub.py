"""Presets on a hub that stands on this machine and speaks as the Hugging Face hub does."""

import base64
import contextlib
import hashlib
import http.server
import json
import os
import re
import subprocess
import sys
import threading

import numpy as np
import pytest

import keras_maskrcnn as km
from keras_maskrcnn.weights import hub as hub_module
from keras_maskrcnn.weights.hub import upload_preset

URI = "hf://me/mine"
TOKEN = "hf_secret"


class Hub(http.server.ThreadingHTTPServer):
    """Repositories by `user/name`: their commits, each the files by name."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories = {}
        self.large = {}  # contents by SHA-256, which another address serves
        self.private = False
        self.broken_at = None  # bytes of a large file after which the connection is cut
        self.status = None  # to answer whatever is asked
        self.requests = []  # method, path and Range of each
        self.tokens_at_large = []

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def address_of_large(self):
        """Another host, as clients see it."""
        return f"http://localhost:{self.server_port}/large"

    def commit(self, repository, files):
        """Adds files to a repository; what is large is `.h5`."""
        commits = self.repositories.setdefault(repository, [])
        files = {**(commits[-1][1] if commits else {}), **files}
        commits.append((hashlib.sha1(repr(files).encode()).hexdigest(), files))
        self.large |= {sha256(c): c for name, c in files.items() if name.endswith(".h5")}
        return commits[-1][0]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server, (path, *_) = self.server, self.path.split("?")
        server.requests.append((self.command, path, self.headers.get("Range")))
        token = self.headers.get("Authorization")
        if server.status:
            self.answer(server.status)
        elif match := re.fullmatch("/large/(.*)", path):
            server.tokens_at_large.append(token)
            self.answer_large(server.large[match[1]])
        elif server.private and token != f"Bearer {TOKEN}":
            self.answer(401)
        elif match := re.fullmatch(r"/api/models/(\w+/\w+)(?:/revision/main)?", path):
            self.answer_info(match[1])
        elif match := re.fullmatch(r"/api/models/(\w+/\w+)/tree/(\w+)", path):
            files = self.files(match[1], match[2])
            self.answer(200, [{"type": "file", **tree_entry(*item)} for item in files.items()])
        elif match := re.fullmatch(r"/(\w+/\w+)/resolve/(\w+)/(.+)", path):
            self.answer_file(match[2], self.files(match[1], match[2]).get(match[3]), match[3])
        else:
            self.answer(404)

    do_HEAD = do_GET

    def do_POST(self):
        server, (path, *_) = self.server, self.path.split("?")
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.answer(401)
        elif path == "/api/repos/create":
            asked = json.loads(content)
            name = f"{asked.get('organization', 'me')}/{asked['name']}"
            server.repositories.setdefault(name, [])
            self.answer(200, {"url": f"{server.address}/{name}", "name": name})
        elif path == "/api/validate-yaml":
            self.answer(200, {"errors": [], "warnings": []})
        elif re.fullmatch(r"/api/models/\w+/\w+/preupload/main", path):
            paths = [file["path"] for file in json.loads(content)["files"]]
            modes = {p: "lfs" if p.endswith(".h5") else "regular" for p in paths}
            files = [{"path": p, "uploadMode": m, "shouldIgnore": False} for p, m in modes.items()]
            self.answer(200, {"files": files})
        elif re.fullmatch(r"/\w+/\w+\.git/info/lfs/objects/batch", path):
            objects = [
                {**o, "actions": {"upload": {"href": f"{server.address_of_large}/{o['oid']}"}}}
                for o in json.loads(content)["objects"]
            ]
            self.answer(200, {"transfer": "basic", "objects": objects})
        elif match := re.fullmatch(r"/api/models/(\w+/\w+)/commit/main", path):
            lines = [json.loads(line) for line in content.splitlines()]
            version = server.commit(match[1], dict(filter(None, map(self.committed, lines))))
            url = f"{server.address}/{match[1]}/commit/{version}"
            self.answer(200, {"commitUrl": url, "commitOid": version})
        else:
            self.answer(404)

    def do_PUT(self):
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.large[self.path.rsplit("/", 1)[1]] = content
        self.answer(200, {})

    def committed(self, line):
        value = line["value"]
        if line["key"] == "file":
            return value["path"], base64.b64decode(value["content"])
        return (value["path"], self.server.large[value["oid"]]) if "oid" in value else None

    def files(self, repository, version):
        return dict(self.server.repositories.get(repository, [])).get(version, {})

    def answer_info(self, repository):
        if not self.server.repositories.get(repository):
            return self.answer(404)
        version, files = self.server.repositories[repository][-1]
        siblings = [sibling(*item) for item in files.items()]
        info = {"id": repository, "sha": version, "siblings": siblings, "private": False}
        return self.answer(200, {"_id": "0", "tags": [], "downloads": 0, "likes": 0, **info})

    def answer_file(self, version, content, name):
        if content is None:
            return self.answer(404)
        headers = {"X-Repo-Commit": version, "ETag": f'"{blob_id(content)}"'}
        if not name.endswith(".h5"):
            return self.answer(200, content, headers)
        digest = sha256(content)
        headers |= {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(content))}
        return self.answer(
            302, b"", {**headers, "Location": f"{self.server.address_of_large}/{digest}"}
        )

    def answer_large(self, content):
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        content = content[int(match[1]) if match else 0 :]
        if self.server.broken_at is not None:
            self.close_connection = True
        self.answer(206 if match else 200, content, cut=self.server.broken_at)

    def answer(self, status, content=b"", headers=None, cut=None):
        if isinstance(content, dict | list):
            content, headers = json.dumps(content).encode(), {"Content-Type": "application/json"}
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[:cut])

    def log_message(self, *_):
        pass


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def blob_id(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def sibling(name, content):
    entry = {"rfilename": name, "size": len(content), "blobId": blob_id(content)}
    large = {"lfs": {"sha256": sha256(content), "size": len(content), "pointerSize": 130}}
    return {**entry, **(large if name.endswith(".h5") else {})}


def tree_entry(name, content):
    entry = {"path": name, "size": len(content), "oid": blob_id(content)}
    large = {"lfs": {"oid": sha256(content), "size": len(content), "pointerSize": 130}}
    return {**entry, **(large if name.endswith(".h5") else {})}


@contextlib.contextmanager
def running(server):
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with running(Hub()) as server:
        monkeypatch.setenv("HF_ENDPOINT", f"{server.address}/")
        yield server


@pytest.fixture(scope="module")
def model(small_config):
    return km.MaskRCNN(small_config)


@pytest.fixture(scope="module")
def preset(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("presets") / "mine"
    model.save_to_preset(folder, licence="mit")
    return folder


@pytest.fixture
def files(preset):
    return {path.name: path.read_bytes() for path in preset.iterdir()}


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "home/keras_maskrcnn/hub/me/mine"


def kept(cache):
    return sorted(str(path.relative_to(cache)) for path in cache.rglob("*") if path.is_file())


def test_fetched_once_a_version(hub, model, files, cache):
    version = hub.commit("me/mine", files)
    fetched = km.MaskRCNN.from_preset(URI)
    assert fetched.config == model.config
    for ours, theirs in zip(fetched.trainable_weights, model.trainable_weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert kept(cache) == [f"{version}/config.json", f"{version}/model.weights.h5"]
    hub.requests.clear()
    km.MaskRCNN.from_preset(URI, num_classes=5)
    assert hub.requests == [("GET", "/api/models/me/mine", None)]

    changed = json.loads(files["config.json"])
    changed["config"]["config"]["class_names"] = ["a", "b", "c"]
    hub.commit("me/mine", {"config.json": json.dumps(changed).encode()})
    assert km.MaskRCNN.from_preset(URI).config.class_names == ("a", "b", "c")
    assert len(kept(cache)) == 4


def test_without_a_network_the_last_version_is_used(hub, model, files, monkeypatch):
    hub.commit("me/mine", files)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(ConnectionError, match="cannot be reached"):
        km.MaskRCNN.from_preset(URI)
    monkeypatch.setenv("HF_ENDPOINT", hub.address)
    km.MaskRCNN.from_preset(URI)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    with pytest.warns(UserWarning, match="cannot be reached.* fetched before, is used"):
        assert km.MaskRCNN.from_preset(URI).config == model.config


def test_broken_off_and_resumed(hub, files, cache):
    version = hub.commit("me/mine", files)
    hub.broken_at = 5000
    with pytest.raises(ConnectionError, match=r"model\.weights\.h5: broken off after 5000 of"):
        km.MaskRCNN.from_preset(URI)
    assert kept(cache) == [f"{version}/model.weights.h5.part"]
    hub.broken_at = None
    km.MaskRCNN.from_preset(URI)
    ranges = [asked for _, path, asked in hub.requests if path.startswith("/large")]
    assert ranges == [None, "bytes=5000-"]
    assert kept(cache) == [f"{version}/config.json", f"{version}/model.weights.h5"]


@pytest.mark.parametrize("name", ["config.json", "model.weights.h5"])
def test_what_is_not_what_the_hub_says_is_thrown_away(hub, files, cache, name, monkeypatch):
    hub.commit("me/mine", files)
    wrong = files[name].replace(b"e", b"f")
    if name == "model.weights.h5":
        hub.large[sha256(files[name])] = wrong
    else:
        monkeypatch.setattr(f"{__name__}.blob_id", lambda _: "0" * 40)
    with pytest.raises(ValueError, match=f"{name}: the .* should begin with .* thrown away"):
        km.MaskRCNN.from_preset(URI)
    assert not any(path.endswith(name) or path.endswith(".part") for path in kept(cache))


def test_no_such_model(hub):
    message = f"{hub.address} shows no model hf://me/mine. If it is private, .* HF_TOKEN"
    with pytest.raises(FileNotFoundError, match=message):
        km.MaskRCNN.from_preset(URI)


def test_a_hub_that_fails(hub, files):
    hub.commit("me/mine", files)
    hub.status = 503
    with pytest.raises(ConnectionError, match="answers 503"):
        km.MaskRCNN.from_preset(URI)
    hub.status = None
    km.MaskRCNN.from_preset(URI)
    hub.status = 503
    with pytest.warns(UserWarning, match="answers 503.* fetched before, is used"):
        km.MaskRCNN.from_preset(URI)


def test_private(hub, files, monkeypatch):
    hub.commit("me/mine", files)
    hub.private = True
    with pytest.raises(FileNotFoundError, match="HF_TOKEN"):
        km.MaskRCNN.from_preset(URI)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    km.MaskRCNN.from_preset(URI)
    assert hub.tokens_at_large == [None]  # another address, which it is no business of


@pytest.mark.parametrize("name", ["config.json", "model.weights.h5"])
def test_a_model_that_is_no_preset(hub, files, name):
    del files[name]
    hub.commit("me/mine", files)
    with pytest.raises(FileNotFoundError, match=f"{URI} has no {name}: it is no preset"):
        km.MaskRCNN.from_preset(URI)


@pytest.mark.parametrize("answer", [{}, [], {"sha": "../up", "siblings": []}])
def test_what_is_no_hub(hub, monkeypatch, answer):
    monkeypatch.setattr(Handler, "answer_info", lambda self, _: self.answer(200, answer))
    with pytest.raises(ValueError, match="the answer is not that of a hub"):
        km.MaskRCNN.from_preset(URI)


@pytest.mark.parametrize("uri", ["hf://mine", "hf://", "hf://a/b/c", "hf://../b", "hf://a/.b"])
def test_addresses_that_are_none(uri, preset):
    with pytest.raises(ValueError, match=f"{uri!r} is no model on the hub: expected hf://user/"):
        km.MaskRCNN.from_preset(uri)
    with pytest.raises(ValueError, match="is no model on the hub"):
        upload_preset(uri, preset)


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # huggingface_hub's own
def test_uploaded_and_fetched(hub, model, preset, files, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    (preset / "notes.txt").write_text("mine alone")
    km.upload_preset(URI, preset)
    (_, uploaded), *_ = hub.repositories["me/mine"]
    assert uploaded == files
    fetched = km.MaskRCNN.from_preset(URI)
    for ours, theirs in zip(fetched.trainable_weights, model.trainable_weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_what_cannot_be_uploaded(hub, preset, tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="has no config.json: it is no preset"):
        upload_preset(URI, tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"pip install 'maskrcnn-keras\[hub\]'"):
        upload_preset(URI, preset)


LOAD = """
import keras, numpy as np, sys
import keras_maskrcnn as km
model = keras.models.load_model("hf://me/mine")
print(type(model).__name__, float(model.backbone.stem.kernel[0, 0, 0, 0]))
"""


@pytest.mark.slow
def test_keras_loads_it_too(hub, model, files):
    """Keras asks huggingface_hub, which reads the hub's address when it is imported."""
    hub.commit("me/mine", {**files, ".gitattributes": b"*.h5 filter=lfs\n"})
    environment = {**os.environ, "HF_HUB_DISABLE_XET": "1", "HF_ENDPOINT": hub.address}
    run = subprocess.run(
        [sys.executable, "-c", LOAD], env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    kernel = float(model.backbone.stem.kernel[0, 0, 0, 0])
    assert run.stdout.split() == ["MaskRCNN", str(kernel)]


def test_the_public_name():
    assert km.upload_preset is hub_module.upload_preset
