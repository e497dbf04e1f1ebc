"""Files fetched over HTTP: resumed where they broke off, checked before they count."""

import hashlib
import http.client
import pathlib
import urllib.error
import urllib.request
from typing import BinaryIO

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
    "model.import_weights."
)


def download(url: str, path: pathlib.Path, digest: str) -> None:
    """Fetches `url` into `path`, unless it lies there.

    Until its digest has been checked the file is called `<path>.part`; the next call goes on with
    it where the server can send the rest, and from the start where it cannot.

    Args:
        url: An HTTP address.
        path: The file to write; its folder is made if need be.
        digest: `"<algorithm>:<hex digits>"` of the whole file, as `hashlib` names the algorithm;
            only the first digits if no more are known.

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
    _receive(url, part)
    _check_digest(part, digest, url)
    part.replace(path)


def _receive(url, part):
    """Brings `part` to its full length."""
    start = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and start:
            return  # nothing lies beyond what is here; the digest tells whether that is all of it
        answer = f"{error.code} {error.reason}"
        raise OSError(f"{url}: the server answers {answer}. {OTHERWISE}") from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise ConnectionError(f"{url} cannot be reached: {reason}. {OTHERWISE}") from error
    with response:
        if response.headers.get_content_type() == "text/html":
            raise ValueError(
                f"{url}: a web page came instead of weights; a proxy or a login page may stand "
                f"between. {OTHERWISE}"
            )
        ignores_range = response.status != http.HTTPStatus.PARTIAL_CONTENT
        _write(response, part, 0 if ignores_range else start, url)


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
    with part.open("rb") as file:
        found = hashlib.file_digest(
            file, lambda: hashlib.new(algorithm, usedforsecurity=False)
        ).hexdigest()
    if not found.startswith(expected):
        size = part.stat().st_size
        part.unlink()
        raise ValueError(
            f"{url}: the {algorithm} of the {size} bytes that came is {found}, and should begin "
            f"with {expected}. They were thrown away; try again, and if it stays so, the file is "
            f"no longer the one that was published. {OTHERWISE}"
        )
