import json
import pathlib

import pytest

import keras_maskrcnn as km
from keras_maskrcnn.data.formats import tfrecord


@pytest.fixture
def small(tmp_path):
    return km.data.shapes.generate(tmp_path / "shapes", 6, size=64, seed=1)


@pytest.fixture
def folder(small, tmp_path):
    tfrecord.write_shards(small, tmp_path / "records", shards=2, mask_size=28)
    return tmp_path / "records"


def test_what_was_written_is_read(small, folder):
    contents = tfrecord.read(folder)
    assert contents.class_names == small.class_names
    assert tuple(contents.category_ids) == small.category_ids
    assert contents.annotations == sum(len(record.instances) for record in small.records)
    assert contents.problems == []
    assert len(contents.records) == 6
    for _ in range(2):  # read anew each time
        for record, original in zip(contents.records, small.records, strict=True):
            assert (record.image_id, record.path) == (original.image_id, original.path)
            assert [i.box for i in record.instances] == [i.box for i in original.instances]
    assert contents.records[4].image_id == small.records[4].image_id
    assert [record.image_id for record in contents.records[1:5:2]] == [2, 4]


def test_broken_records_go_to_the_problems(folder):
    contents = tfrecord.read(folder)
    path = pathlib.Path(list(contents.records.shards)[1])
    path.write_bytes(path.read_bytes()[:20])
    assert len(list(contents.records)) == 3
    assert [problem.lost for problem in contents.problems] == ["image"] * 3
    assert contents.problems[0].where == f"{path}: record 0"
    assert "it is left out" in contents.problems[0].what


def test_refusals(small, folder, tmp_path):
    with pytest.raises(ValueError, match=r"records: TFRecords hold the images .* leave out photos"):
        tfrecord.read(folder, "photos")
    with pytest.raises(ValueError, match="expected are star: TFRecords keep the classes"):
        tfrecord.read(folder, class_names=["star"])
    with pytest.raises(ValueError, match="leave out link_images"):
        tfrecord.write(small, tmp_path / "other", True)
    for record in small.records[:2]:
        pathlib.Path(record.path).write_bytes(b"")
    del small.records[2:]
    with pytest.raises(ValueError, match="(?s)none of its 2 images is usable.*is empty"):
        tfrecord.write(small, tmp_path / "other", False)
    assert tfrecord.recognise(tmp_path / "other", None) is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("class_names", "star"),
        ("class_names", ["star", 7]),
        ("category_ids", [1, None]),
        ("mask_size", 0),
        ("mask_size", "28"),
        ("shards", ["a.tfrecord"]),
        ("shards", {"a.tfrecord": 3}),
        ("shards", {"a.tfrecord": {"images": -1, "annotations": 0}}),
        ("source", None),
        ("problems", [["a.jpg", "broken"]]),
        ("problems", [["a.jpg", "broken", "all"]]),
    ],
)
def test_a_broken_index(folder, key, value):
    path = folder / tfrecord.INDEX
    index = json.loads(path.read_text())
    path.write_text(json.dumps({**index, key: value}))
    with pytest.raises(ValueError, match=f"index.json: not an index that .* wrote: {key} is "):
        tfrecord.read(folder)
    path.write_text(json.dumps({**index, "category_ids": [1]}))
    with pytest.raises(ValueError, match="a number in category_ids for each of class_names"):
        tfrecord.read(folder)
