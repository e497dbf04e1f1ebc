"""Presets on the Hugging Face hub: `hf://user/name`.

Fetching needs nothing but HTTP. The environment variables are the hub's own: `HF_ENDPOINT`, the
address of another hub, and `HF_TOKEN`, for what is private.
"""

import os
import pathlib
import re
import warnings

from keras_maskrcnn.weights.download import download, fetch_json
from keras_maskrcnn.weights.preset_folder import CARD, CONFIG, METADATA, WEIGHTS, read_config

PREFIX = "hf://"
ENDPOINT = "https://huggingface.co"
NOT_SHOWN = (401, 403, 404)  # what the hub answers where there is nothing, or nothing to be seen


def fetch(uri: str, cache: pathlib.Path) -> pathlib.Path:
    """The folder of the newest version of a preset, fetched unless that was done before.

    Where the hub does not answer it is the version that was fetched last, and a warning says so.

    Args:
        uri: `"hf://user/name"`.
        cache: Where versions are kept: `<cache>/user/name/<version>`.

    Raises:
        ValueError: No such address, or what came is not what the hub says it is.
        FileNotFoundError: The hub has no such model, or no preset in it.
        ConnectionError: The hub cannot be reached or fails, or the transfer broke off.
        OSError: The hub refuses, or the cache cannot be written.
    """
    repository = repository_of(uri)
    kept = cache / repository
    try:
        version, files = _newest(uri, repository)
    except ConnectionError as error:
        folders = [path.parent for path in kept.glob(f"*/{CONFIG}")]
        if not folders:
            raise
        folder = max(folders, key=lambda folder: (folder / CONFIG).stat().st_mtime)
        warnings.warn(f"{error} {folder}, fetched before, is used.", stacklevel=2)
        return folder
    # The config comes last: a folder that has it is whole.
    for name in (WEIGHTS, CONFIG):
        if name not in files:
            raise FileNotFoundError(
                f"{uri} has no {name}: it is no preset, as model.save_to_preset writes them."
            )
        url = f"{_endpoint()}/{repository}/resolve/{version}/{name}"
        download(url, kept / version / name, files[name], _token())
    return kept / version


def upload_preset(uri: str, folder: str | os.PathLike) -> None:
    """Uploads a preset to the Hugging Face hub, for `MaskRCNN.from_preset(uri)`.

    Needs the extra `[hub]`, and to be logged in: `hf auth login`, or the environment variable
    `HF_TOKEN`. The repository is made if there is none.

    Args:
        uri: `"hf://user/name"`.
        folder: As `model.save_to_preset` wrote it.

    Raises:
        ValueError: No such address, or the folder is not of a `MaskRCNN`.
        FileNotFoundError: The folder is no preset.
        ImportError: The package `huggingface_hub` is missing.

    Example:
        >>> model.save_to_preset("mine/")
        >>> upload_preset("hf://me/mine", "mine/")
    """
    repository = repository_of(uri)
    read_config(pathlib.Path(folder))
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise ImportError(
            "Uploading needs huggingface_hub: pip install 'maskrcnn-keras[hub]'."
        ) from error
    api = HfApi(endpoint=_endpoint(), library_name="maskrcnn-keras")
    api.create_repo(repository, exist_ok=True)
    files = [CONFIG, WEIGHTS, METADATA, CARD]
    api.upload_folder(repo_id=repository, folder_path=folder, allow_patterns=files)


def is_address(name: str) -> bool:
    """Whether a name is meant as an address on the hub."""
    return name.startswith(PREFIX)


def repository_of(uri: str) -> str:
    """The `user/name` of an address.

    Raises:
        ValueError: It is none.

    Example:
        >>> repository_of("hf://me/mine")
        'me/mine'
    """
    match = re.fullmatch(PREFIX + r"(\w[\w.-]*/\w[\w.-]*)", uri, re.ASCII)
    if not match:
        raise ValueError(f"{uri!r} is no model on the hub: expected hf://user/name.")
    return match[1]


def _newest(uri, repository):
    """The newest version of a model, and the digests of its files by name."""
    url = f"{_endpoint()}/api/models/{repository}?blobs=true"
    try:
        content = fetch_json(url, _token())
    except OSError as error:
        status = getattr(error.__cause__, "code", 0)  # of an answer, if there was one
        if status in NOT_SHOWN:
            raise FileNotFoundError(
                f"{_endpoint()} shows no model {uri}. If it is private, set the environment "
                "variable HF_TOKEN."
            ) from error
        if status >= 500:
            raise ConnectionError(str(error)) from error
        raise
    try:
        version = re.fullmatch(r"[0-9a-f]+", content["sha"])[0]
        return version, {file["rfilename"]: _digest(file) for file in content["siblings"]}
    except (KeyError, TypeError) as error:
        raise ValueError(f"{url}: the answer is not that of a hub: {str(content)[:200]}") from error


def _digest(file):
    """Large files are known by their SHA-256, small ones as git knows them."""
    lfs = file.get("lfs")
    return f"sha256:{lfs['sha256']}" if lfs else f"git:{file['blobId']}"


def _endpoint():
    return os.environ.get("HF_ENDPOINT", ENDPOINT).rstrip("/")


def _token():
    return os.environ.get("HF_TOKEN")
