"""Downloads from a real server on this machine, which misbehaves as each test asks."""

import hashlib
import os
import re

import pytest

from keras_maskrcnn.weights.download import download

CONTENT = bytes(range(256)) * 5000
SHA256 = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cache" / "w.pkl"


@pytest.fixture
def part(path):
    return path.with_name("w.pkl.part")


@pytest.fixture
def url(server):
    server.files["/w.pkl"] = CONTENT
    return server.url("/w.pkl")


@pytest.mark.parametrize(
    "digest", [SHA256, SHA256[:15], f"md5:{hashlib.md5(CONTENT).hexdigest()[:6]}"]
)
def test_whole(url, path, part, digest):
    download(url, path, digest)
    assert path.read_bytes() == CONTENT
    assert not part.exists()


def test_fetched_once(server, url, path):
    download(url, path, SHA256)
    download(url, path, SHA256)
    assert len(server.requests) == 1


def test_broken_off_and_resumed(server, url, path, part):
    server.break_after = 300_000
    with pytest.raises(ConnectionError, match=r"w\.pkl: broken off after 300000 of 1280000 bytes"):
        download(url, path, SHA256)
    assert part.read_bytes() == CONTENT[:300_000]
    assert not path.exists()
    with pytest.raises(ConnectionError, match="broken off after 600000 of 1280000 bytes"):
        download(url, path, SHA256)
    server.break_after = None
    download(url, path, SHA256)
    assert path.read_bytes() == CONTENT
    assert server.requests == [None, "bytes=300000-", "bytes=600000-"]
    assert not part.exists()


def test_a_server_that_ignores_ranges_sends_all_again(server, url, path, part):
    server.knows_ranges = False
    part.parent.mkdir()
    part.write_bytes(CONTENT[:1000])
    download(url, path, SHA256)
    assert path.read_bytes() == CONTENT
    assert server.requests == ["bytes=1000-"]


def test_a_server_that_tells_no_length(server, url, path):
    server.tells_length = False
    download(url, path, SHA256)
    assert path.read_bytes() == CONTENT


def test_all_was_there_but_not_checked(server, url, path, part):
    part.parent.mkdir()
    part.write_bytes(CONTENT)
    download(url, path, SHA256)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("old", [b"x" * 1000, b"x" * (len(CONTENT) + 5)])
def test_a_part_of_another_file_is_thrown_away(url, path, part, old):
    part.parent.mkdir()
    part.write_bytes(old)
    with pytest.raises(ValueError, match="thrown away; try again"):
        download(url, path, SHA256)
    assert not part.exists()
    download(url, path, SHA256)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_wrong_digest(url, path, part, algorithm):
    found = hashlib.new(algorithm, CONTENT).hexdigest()
    message = f"{re.escape(url)}: the {algorithm} of the 1280000 bytes that came is {found}"
    with pytest.raises(ValueError, match=message + ", and should begin with 00ff"):
        download(url, path, f"{algorithm}:00ff")
    assert not path.exists()
    assert not part.exists()


@pytest.mark.parametrize("status", [404, 403, 500])
def test_refused(server, url, path, status):
    server.status = status
    with pytest.raises(
        OSError, match=f"{re.escape(url)}: the server answers {status} .*from_check"
    ):
        download(url, path, SHA256)
    assert not path.parent.exists()


def test_web_page(server, url, path):
    server.content_type = "text/html; charset=utf-8"
    with pytest.raises(ValueError, match="a web page came instead of weights"):
        download(url, path, SHA256)
    assert not path.parent.exists()


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/w.pkl", "http://nowhere.invalid/w.pkl"])
def test_unreachable(url, path):
    with pytest.raises(ConnectionError, match=f"{re.escape(url)} cannot be reached: .*from_check"):
        download(url, path, SHA256)
    assert not path.parent.exists()


def test_read_only_folder(url, read_only_folder):
    path = read_only_folder / "w.pkl"
    with pytest.raises(OSError, match=r"w\.pkl\.part cannot be written: .* KERAS_HOME"):
        download(url, path, SHA256)
    assert not list(read_only_folder.iterdir())


def test_folder_that_cannot_be_made(url, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="cannot be written.*KERAS_HOME"):
        download(url, tmp_path / "file" / "w.pkl", SHA256)


def test_nothing_is_printed_where_nobody_watches(url, path, capsys):
    download(url, path, SHA256)
    assert capsys.readouterr() == ("", "")
    assert os.listdir(path.parent) == ["w.pkl"]
