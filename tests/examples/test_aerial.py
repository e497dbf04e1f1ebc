"""The example on an image of four pictures, with two steps of training."""

import json

import cv2
import pytest


@pytest.mark.slow
def test_trains_on_crops_and_finds_by_tiles(load_example, tmp_path, capsys):
    load_example("aerial").main(["--pictures", "3", "--steps", "2", "--output", str(tmp_path)])
    said = capsys.readouterr().out
    assert said.index("At once:") < said.index("By tiles:")
    assert cv2.imread(str(tmp_path / "found.jpg")).shape == (576, 576, 3)
    assert len(json.loads((tmp_path / "found.json").read_text())) > 5
