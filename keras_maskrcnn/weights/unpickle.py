"""Reads a pickle that holds arrays and plain containers, and runs nothing that it asks for."""

import os
import pickle
from typing import Any

# What numpy's own pickles name, under both of its module layouts, and containers.
ALLOWED = {
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy._core.numeric", "_frombuffer"),
    ("numpy.core.numeric", "_frombuffer"),
    ("collections", "OrderedDict"),
    ("_codecs", "encode"),  # bytes in pickles of protocol 2
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module, name):
        if (module, name) in ALLOWED:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(
            f"it names {module}.{name}, and only numpy arrays and plain containers are admitted"
        )


def load_pickle(path: str | os.PathLike) -> Any:
    """The content of a pickle file of numpy arrays, lists, dicts, strings and numbers.

    Raises:
        ValueError: The file is no pickle, is cut off, or wants to run code; it is refused before
            anything of it has run.
        FileNotFoundError: There is no such file.
    """
    with open(path, "rb") as file:
        try:
            # Detectron's files were written by Python 2, whose strings are latin-1 bytes.
            return _ArrayUnpickler(file, encoding="latin1").load()
        except Exception as error:
            raise ValueError(
                f"{os.fspath(path)}: not a pickle of weights: {error}. Nothing of it was run."
            ) from error
