"""The demo, on so few pictures that it is quick."""

import csv
import json

import cv2
import keras
import pytest

import keras_maskrcnn as km


@pytest.fixture(scope="module")
def demo(load_example):
    return load_example("demo")


def test_it_says_what_it_will_do(demo):
    for name in (*km.data.shapes.CLASS_NAMES, *demo.NEW):
        assert name in demo.PLAN


def test_the_classes_are_new(demo):
    assert not set(demo.NEW) & set(km.MaskRCNN.from_preset("demo_shapes").config.class_names)


def test_the_time_left_is_that_of_the_first_steps(demo, monkeypatch, capsys):
    seconds = iter([100.0, 130.0])
    monkeypatch.setattr(demo.time, "perf_counter", lambda: next(seconds))
    left = demo.TimeLeft(steps=80)
    for batch in range(40):
        left.on_train_batch_end(batch)
    said = " ".join(capsys.readouterr().out.split())
    # 15 steps in 30 s, and 60 to come.
    assert "A step takes 2.00 s: about 2.0 minutes to train" in said


def test_pictures_of_its_parts_differ(demo, tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "FOLDER", tmp_path)
    parts = [demo.generate(part, demo.NEW, 1) for part in ("train", "val", "monitor", "known")]
    assert len({part.records[0].read_image().tobytes() for part in parts}) == 4


@pytest.mark.slow
def test_the_whole_way(demo, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "demo"
    small = {"TRAIN_IMAGES": 48, "MONITOR_IMAGES": 3, "VAL_IMAGES": 6, "PICTURES": 3}
    for name, value in {**small, "FOLDER": folder, "EPOCHS": 2, "WARMUP_STEPS": 2}.items():
        monkeypatch.setattr(demo, name, value)
    monkeypatch.setattr(demo.TimeLeft, "last", 8)
    demo.main()
    out = capsys.readouterr().out
    for said in ("A step takes", "epoch 2: box AP", "The exported model found", "6 pictures that"):
        assert said in out
    assert cv2.imread(str(folder / "known/grid.png")).shape == (392, 3 * 776, 3)
    assert len(list((folder / "pictures").glob("[0-9]*.png"))) == 3
    assert json.loads((folder / "results.json").read_text()).keys() >= {"box_ap", "mask_ap"}
    assert (folder / "report/index.html").is_file()
    with open(folder / "log.csv") as file:
        assert {"val_box_ap", "mask_loss"} <= next(csv.DictReader(file)).keys()
    model = keras.models.load_model(folder / "m.keras")
    assert model.config.class_names == demo.NEW
    assert km.MaskRCNN.from_preset(folder / "preset").config == model.config
