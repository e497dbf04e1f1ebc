"""Reads PyTorch's files, which needs PyTorch itself."""

import os
from typing import Any


def load_torch(path: str | os.PathLike) -> Any:
    """The content of a `.pth` file with its tensors as arrays; nothing of it is run.

    Raises:
        ImportError: PyTorch is not installed.
        ValueError: The file is cut off, holds other things than tensors, or wants to run code.
    """
    path = os.fspath(path)
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            f"{path} is a PyTorch file; to read it, install the extra: "
            "pip install 'maskrcnn-keras[torch]'"
        ) from error

    def as_arrays(value):
        if isinstance(value, torch.Tensor):
            value = value.detach()
            return (value.float() if value.is_floating_point() else value).cpu().numpy()
        if isinstance(value, dict):
            return {key: as_arrays(item) for key, item in value.items()}
        return value

    try:
        return as_arrays(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise ValueError(
            f"{path}: not a readable PyTorch file of weights: {reason} Nothing of it was run."
        ) from error
