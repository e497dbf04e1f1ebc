"""Where the tools that export COCO's format put its file, and where the images: all there are.

| tool         | file                           | images                          |
| ------------ | ------------------------------ | ------------------------------- |
| this package | annotations.json               | images/                         |
| Label Studio | result.json                    | images/                         |
| FiftyOne     | labels.json                    | data/                           |
| Roboflow     | train/_annotations.coco.json   | train/                          |
| CVAT         | annotations/instances_a.json   | images/ or images/a/            |
| COCO         | annotations/instances_a.json   | a/                              |
"""

import os
import pathlib
from collections import Counter
from collections.abc import Iterable, Iterator

NAMES = ("annotations.json", "result.json", "labels.json", "_annotations.coco.json")
SPLITS = ("train", "valid", "val", "validation", "test")
SUBSETS, SUBSET_PREFIX = "annotations", "instances_"


def annotation_files(folder: pathlib.Path) -> list[pathlib.Path]:
    """The files in a folder that have the name of one of COCO's.

    Those of its own, else one a subset in `annotations/`, else those of its splits, `train/` say.
    """
    own = [folder / name for name in NAMES]
    subsets = sorted((folder / SUBSETS).glob(f"{SUBSET_PREFIX}*.json"))
    splits = [folder / split / name for split in SPLITS for name in NAMES]
    levels = ([f for f in level if f.is_file()] for level in (own, subsets, splits))
    return next(filter(None, levels), [])


def image_folders(file: pathlib.Path) -> list[pathlib.Path]:
    """The folders that may hold the images of an annotation file, in the order to look."""
    folder = file.parent
    folders = [folder / "images", folder / "data", folder]
    if folder.name == SUBSETS:
        root, subset = folder.parent, file.stem.removeprefix(SUBSET_PREFIX)
        folders = [root / "images" / subset, root / subset, root / "images", *folders]
    return [folder for folder in folders if folder.is_dir()]


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
