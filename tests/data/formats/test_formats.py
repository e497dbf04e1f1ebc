"""What all formats have in common."""

import inspect
import pathlib
import tempfile

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_maskrcnn as km
from keras_maskrcnn.data.formats import FORMATS, via
from keras_maskrcnn.data.formats.convert import WRITERS
from keras_maskrcnn.data.records import Contents, Instance, Record

# Words that the formats look for.
MARKS = ("images", "regions", "shapes", "imagePath", "_via_settings", "fileref", "annotations")


def parameters(verb):
    return {name: p.default for name, p in inspect.signature(verb).parameters.items()}


@pytest.mark.parametrize("module", FORMATS, ids=lambda module: module.NAME)
def test_the_verbs_are_the_same(module):
    empty = inspect.Parameter.empty
    assert parameters(module.recognise) == {"path": empty, "images": empty}
    expected = {"path": empty, "images": None, "class_names": None}
    if module is via:
        expected["class_attribute"] = None
    assert parameters(module.read) == expected
    if module.NAME in WRITERS:
        write = parameters(module.write)
        assert write == {"dataset": empty, "folder": empty, "link_images": empty}
    assert module.LAYOUT.isprintable()


def test_the_names_differ():
    assert len({module.NAME for module in FORMATS}) == len(FORMATS)


@st.composite
def datasets(draw, folder):
    """One or two images of up to three squares, of classes whose names may mislead."""
    names = draw(st.lists(st.sampled_from(MARKS), min_size=1, max_size=3, unique=True))
    records = []
    for number in range(draw(st.integers(1, 2))):
        path = folder / f"{draw(st.sampled_from(MARKS))}{number}.png"
        cv2.imwrite(str(path), np.full((16, 24, 3), 90, np.uint8))
        instances = []
        for left in (2, 9, 16)[: draw(st.integers(0, 3))]:
            box = (float(left), 3.0, left + 6.0, 9.0)
            outline = [box[0], box[1], box[2], box[1], box[2], box[3], box[0], box[3]]
            class_id = draw(st.integers(0, len(names) - 1))
            instances.append(Instance(box, class_id, [outline], area=36.0))
        records.append(Record(number + 1, str(path), 16, 24, tuple(instances)))
    return km.data.Dataset(folder, Contents(records, names))


@given(st.data())
@settings(max_examples=15, deadline=None)
def test_each_recognises_what_it_wrote_and_nothing_else(data):
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        dataset = data.draw(datasets(folder))
        for module in (module for module in FORMATS if module.NAME in WRITERS):
            path = folder / "written" / module.NAME
            path.mkdir(parents=True)
            module.write(dataset, path, False)
            known = {other.NAME for other in FORMATS if other.recognise(path, None) is not None}
            assert known == {module.NAME}
            contents = module.read(module.recognise(path, None))
            assert list(contents.problems) == []
            objects = sorted(len(record.instances) for record in contents.records)
            assert objects == sorted(len(record.instances) for record in dataset.records)


@pytest.mark.parametrize("module", FORMATS, ids=lambda module: module.NAME)
def test_no_format_knows_an_empty_folder_or_another_file(module, tmp_path):
    assert module.recognise(tmp_path, None) is None
    for name in ("a.json", "a.txt", "a.png"):
        (tmp_path / name).write_text("{}")
        assert module.recognise(tmp_path / name, None) is None
