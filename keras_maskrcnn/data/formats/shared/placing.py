"""What the writers of the formats share: where the images go, and the objects to write."""

import os
import pathlib
import shutil
from collections import Counter
from collections.abc import Collection, Iterator, Sequence

import numpy as np

from keras_maskrcnn.data.masks import decode_mask
from keras_maskrcnn.data.records import Instance, Record


def place_images(
    records: Sequence[Record], folder: pathlib.Path, link: bool
) -> Iterator[tuple[Record, str]]:
    """Brings the image files into one folder, and yields each record with its file's name there.

    No two names have the same stem, so that a file of another suffix can stand for each.

    Args:
        records: Whose images they are.
        folder: Made if it is missing.
        link: Whether symbolic links are made instead of copies; images that are no files are
            written all the same.
    """
    folder.mkdir(parents=True, exist_ok=True)
    taken: set[str] = set()
    for record in records:
        path = pathlib.Path(record.path)
        stem, number = path.stem, 1
        while stem in taken:
            number += 1
            stem = f"{path.stem}-{number}"
        taken.add(stem)
        name = stem + path.suffix
        if record.encoded is not None:
            (folder / name).write_bytes(record.encoded)
        elif link:
            os.symlink(path.resolve(), folder / name)
        else:
            shutil.copyfile(path, folder / name)
        yield record, name


def check_class_names(
    class_names: Sequence[str], target: str, reserved: Collection[str] = ()
) -> None:
    """Refuses classes that would be others, or none, when they are read again.

    Args:
        class_names: Those to write.
        target: What is written, for the message.
        reserved: What the format means something else by.

    Raises:
        ValueError: A name is empty or reserved, or has line breaks or blanks around it.
    """
    for name in class_names:
        if name in reserved or name.strip() != name or len(name.splitlines()) != 1:
            raise ValueError(
                f"The class {name!r} would not be read again from {target}: give it another name."
            )


def without_crowds(record: Record, losses: Counter) -> Iterator[tuple[int, Instance]]:
    """The objects of a record and their numbers, from 1; crowds are counted and passed over."""
    for number, instance in enumerate(record.instances, 1):
        if instance.crowd:
            losses["crowds, left out"] += 1
        else:
            yield number, instance


def full_mask(instance: Instance, record: Record, losses: Counter) -> np.ndarray | None:
    """The mask (H, W) bool of an object; None, counted, if it is broken or empty."""
    try:
        mask = decode_mask(instance.segmentation, record.height, record.width).astype(bool)
    except ValueError:
        losses["objects whose mask cannot be decoded, left out"] += 1
        return None
    if not mask.any():
        losses["objects whose mask is empty, left out"] += 1
        return None
    return mask
