"""Which files are the images: those that an annotation file names, and those of a folder."""

import os
import pathlib
from collections import Counter
from collections.abc import Iterable, Iterator

SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jp2", ".png", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".gif")
    + (".pbm", ".pgm", ".ppm", ".pnm", ".avif", ".hdr", ".exr", ".mpo", ".npy")
)


class ImageFinder:
    """Finds image files by their names in an annotation file.

    A name may be written on Windows, and begin with folders that are no longer there: they are
    left out, as many as it takes, if no other image of the file is meant then.

    Args:
        folders: Where to look, in this order.
        names: All the names in the annotation file.
    """

    def __init__(self, folders: Iterable[str | os.PathLike], names: Iterable[str]):
        self._folders = tuple(map(os.fspath, folders))
        self._meant = Counter(end for name in set(names) for end in _ends(name))

    def find(self, name: str) -> str | None:
        """The path of the image file, None if there is none."""
        for depth, end in enumerate(_ends(name)):
            if depth == 0 or self._meant[end] == 1:
                for folder in self._folders:
                    path = os.path.join(folder, end)
                    if os.path.isfile(path):
                        return path
        return None

    def describe(self, name: str) -> str:
        """Where an image file that is not there was looked for."""
        path = os.path.join(self._folders[0] if self._folders else "", name)
        others = ", ".join(self._folders[1:])
        return f"{path}, nor in {others}" if others else path


def _ends(name: str) -> Iterator[str]:
    """A path, the same without its first folder, and so on to the name of the file."""
    end = name.replace("\\", "/")
    yield end
    while "/" in end:
        end = end.split("/", 1)[1]
        yield end


def files_by_stem(folder: pathlib.Path) -> dict[str, list[str]]:
    """The paths of the images of a folder, by their names without suffix, sorted.

    Raises:
        FileNotFoundError: There is no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder}.")
    with os.scandir(folder) as entries:
        names = sorted(e.name for e in entries if is_picture(e.name) and not e.is_dir())
    files: dict[str, list[str]] = {}
    for name in names:
        files.setdefault(pathlib.PurePath(name).stem, []).append(os.path.join(folder, name))
    return files


def only_file(files: list[str]) -> str:
    """The path of the one file that there is of a stem.

    Raises:
        ValueError: There are several.
    """
    if len(files) > 1:
        raise ValueError(
            f"{' and '.join(files)} have one name but for the suffix, so that it is not clear "
            "which is meant: rename all but one, and what belongs to them"
        )
    return files[0]


def is_picture(name: str) -> bool:
    """Whether a file of a folder is one of its images, by its name.

    Not hidden files, nor what systems and editors leave there: `Thumbs.db`, `notes.txt`.
    """
    suffix = pathlib.PurePath(name).suffix.lower()
    return not name.startswith(".") and (not suffix or suffix in SUFFIXES)
