"""Files fetched over HTTP: resumed where they broke off, checked before they count."""

import hashlib
import http.client
import json
import pathlib
import urllib.error
import urllib.request
from typing import Any, BinaryIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

TIMEOUT = 30  # seconds without a byte
CHUNK = 1 << 18
OTHERWISE = (
    "You can get the file some other way and give it to MaskRCNN.from_checkpoint or "
    "model.import_weights, or the folder of a preset to MaskRCNN.from_preset."
)


def download(url: str, path: pathlib.Path, digest: str, token: str | None = None) -> None:
    """Fetches `url` into `path`, unless it lies there.

    Until its digest has been checked the file is called `<path>.part`; the next call goes on with
    it where the server can send the rest, and from the start where it cannot.

    Args:
        url: An HTTP address.
        path: The file to write; its folder is made if need be.
        digest: `"<algorithm>:<hex digits>"` of the whole file, as `hashlib` names the algorithm;
            only the first digits if no more are known. The algorithm `git` is git's own of a
            file.
        token: A secret that the server asks for; it is not sent on where that redirects.

    Raises:
        ConnectionError: The server cannot be reached, or the transfer broke off.
        ValueError: What came is a web page, or has another digest; nothing of it is kept.
        OSError: The server refuses (e.g. 404), or the folder cannot be written.

    Example:
        >>> url = "https://download.pytorch.org/models/resnet50-11ad3fa6.pth"
        >>> download(url, pathlib.Path("resnet50.pth"), "sha256:11ad3fa6")
    """
    if path.is_file():
        return
    part = path.with_name(f"{path.name}.part")
    _receive(url, part, token)
    _check_digest(part, digest, url)
    part.replace(path)


def fetch_json(url: str, token: str | None = None) -> Any:
    """What a server answers in JSON.

    Args:
        url: An HTTP address.
        token: As of `download`.

    Raises:
        ConnectionError, ValueError, OSError: As of `download`; or it is not JSON.
    """
    try:
        with _request(url, token) as response:
            return json.load(response)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{url}: the answer is not JSON: {error}.") from error
    except http.client.HTTPException as error:
        raise ConnectionError(f"{url}: broken off: {error}.") from error


def _receive(url, part, token):
    """Brings `part` to its full length."""
    start = part.stat().st_size if part.is_file() else 0
    try:
        response = _request(url, token, {"Range": f"bytes={start}-"} if start else {})
    except OSError as error:
        code = getattr(error.__cause__, "code", None)
        if code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and start:
            return  # nothing lies beyond what is here; the digest tells whether that is all of it
        raise
    with response:
        ignores_range = response.status != http.HTTPStatus.PARTIAL_CONTENT
        _write(response, part, 0 if ignores_range else start, url)


def _request(url, token, headers=None):
    """The server's answer, which is no web page."""
    request = urllib.request.Request(url, headers=headers or {})
    if token:
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        answer = f"{error.code} {error.reason}"
        raise OSError(f"{url}: the server answers {answer}. {OTHERWISE}") from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise ConnectionError(f"{url} cannot be reached: {reason}. {OTHERWISE}") from error
    if response.headers.get_content_type() == "text/html":
        response.close()
        raise ValueError(
            f"{url}: a web page came instead of weights; a proxy or a login page may stand "
            f"between. {OTHERWISE}"
        )
    return response


def _write(response, part, start, url):
    """Appends what comes to the first `start` bytes of `part`."""
    length = response.headers.get("Content-Length")
    total = start + int(length) if length else None
    with _open(part, "ab" if start else "wb") as file, _progress() as progress:
        task = progress.add_task(part.stem, total=total, completed=start)
        try:
            while chunk := response.read(CHUNK):
                file.write(chunk)
                progress.advance(task, len(chunk))
            if total is not None and file.tell() < total:
                raise ConnectionError("the server closed the connection")
        except (OSError, http.client.HTTPException) as error:
            of_total = "" if total is None else f" of {total}"
            raise ConnectionError(
                f"{url}: broken off after {file.tell()}{of_total} bytes: {error}. "
                f"Try again: it goes on from there ({part})."
            ) from error


def _open(part, mode) -> BinaryIO:
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        return part.open(mode)
    except OSError as error:
        raise OSError(
            f"{part} cannot be written: {error.strerror}. Make its folder writable, or set the "
            "environment variable KERAS_HOME to one that is."
        ) from error


def _progress():
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_interactive,
    )


def _check_digest(part, digest, url):
    algorithm, expected = digest.split(":")
    size = part.stat().st_size
    with part.open("rb") as file:
        found = hashlib.file_digest(file, lambda: _hash(algorithm, size)).hexdigest()
    if not found.startswith(expected):
        part.unlink()
        raise ValueError(
            f"{url}: the {algorithm} of the {size} bytes that came is {found}, and should begin "
            f"with {expected}. They were thrown away; try again, and if it stays so, the file is "
            f"no longer the one that was published. {OTHERWISE}"
        )


def _hash(algorithm, size):
    if algorithm == "git":
        return hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
    return hashlib.new(algorithm, usedforsecurity=False)
