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

import pathlib

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
