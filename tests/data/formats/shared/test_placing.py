"""The names of classes on the way through a format."""

import re

import PIL.Image
import pytest

from keras_maskrcnn.data import Dataset, open_dataset
from keras_maskrcnn.data.formats.convert import WRITERS, convert
from keras_maskrcnn.data.records import Contents, Instance, Record

SWALLOWED = ("background", "_background_", "__ignore__", "ignore", "void", "0", "cat")
UNREADABLE = ("", " ", " cat", "cat\n", "cat\ndog", "cat\u2028dog")


def with_classes(folder, names):
    """One image of an object of each class."""
    PIL.Image.new("RGB", (12 * len(names), 20)).save(folder / "a.png")
    instances = []
    for class_id in range(len(names)):
        box = (12.0 * class_id, 2.0, 12.0 * class_id + 10, 16.0)
        polygon = [box[0], box[1], box[2], box[1], box[2], box[3], box[0], box[3]]
        instances.append(Instance(box, class_id, [polygon], area=140.0))
    record = Record(1, str(folder / "a.png"), 20, 12 * len(names), tuple(instances))
    return Dataset(folder, Contents([record], names))


def classes_by_place(dataset):
    instances = dataset.records[0].instances
    return {round(i.box[0], 3): dataset.class_names[i.class_id] for i in instances}


@pytest.mark.parametrize("target", [name for name in WRITERS if name != "mask-png"])
@pytest.mark.parametrize("name", SWALLOWED + UNREADABLE)
@pytest.mark.parametrize("place", [0, 1])
def test_no_class_moves_or_is_swallowed(tmp_path, target, name, place):
    names = ["person", "dog"]
    names.insert(place, name)
    dataset = with_classes(tmp_path, names)
    refused = UNREADABLE if target != "tfrecord" else ()
    if name in refused or (target == "labelme" and name in ("_background_", "__ignore__")):
        with pytest.raises(
            ValueError, match=f"The class {re.escape(repr(name))} would not be read"
        ):
            convert(dataset, target, tmp_path / "out")
        return
    convert(dataset, target, tmp_path / "out")
    written = open_dataset(tmp_path / "out")
    assert classes_by_place(written) == classes_by_place(dataset)
    assert written.problems == []
