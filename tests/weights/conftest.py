"""A web server on this machine, and a folder that cannot be written."""

import http.server
import os
import re
import tempfile
import threading
from pathlib import Path

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
