import sys

import numpy as np
import pytest

from keras_maskrcnn import Detections
from keras_maskrcnn.prediction.tracking import Tracker


def found(*lefts, scores=None):
    boxes = [[left, 10, left + 20, 30] for left in lefts]
    scores = np.full(len(boxes), 0.9) if scores is None else scores
    return Detections(boxes, scores, np.zeros(len(boxes)), None, (100, 400))


def test_numbers_last_whatever_the_order_and_whatever_is_hidden():
    tracker = Tracker(fps=30)
    assert tracker.update(found(0, 300)).track_ids.tolist() == [-1, -1]
    first, second = tracker.update(found(4, 296)).track_ids.tolist()
    assert {first, second} == {1, 2}
    assert tracker.update(found(292, 8)).track_ids.tolist() == [second, first]
    assert tracker.update(found(288)).track_ids.tolist() == [second]
    assert tracker.update(found()).track_ids.tolist() == []
    assert tracker.update(found(280, 20)).track_ids.tolist() == [second, first]


def test_a_low_score_goes_on_with_an_object_and_begins_none():
    tracker = Tracker(fps=30)
    tracker.update(found(0))
    tracker.update(found(2))
    ids = [tracker.update(found(4 + i, 200, scores=[0.3, 0.3])).track_ids for i in range(3)]
    assert np.array(ids).tolist() == [[1, -1]] * 3


def test_each_video_counts_from_one():
    one, other = Tracker(fps=30), Tracker(fps=30)
    for tracker in (one, other, one, other):
        tracker.update(found(0))
    assert one.update(found(0)).track_ids == other.update(found(0)).track_ids == [1]


@pytest.mark.parametrize("library", ["supervision", "trackers"])
def test_what_is_missing_is_named(library, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'maskrcnn-keras\[video\]'"):
        Tracker(fps=30)
