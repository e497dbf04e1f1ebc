"""What a report finds best, as the thresholds of a model."""

import json

import numpy as np
import pytest

from keras_maskrcnn import MaskRCNNConfig
from keras_maskrcnn.evaluation.report.thresholds import class_score_thresholds


def test_they_leave_what_the_report_counts(written, synthetic, stand_in):
    report, folder = written
    names = synthetic.class_names[::-1]
    config = MaskRCNNConfig(num_classes=3, class_names=names)
    by_name = dict(zip(names, class_score_thresholds(folder, config), strict=True))
    paths = [record.path for record in synthetic.records]
    found = stand_in(synthetic).predict(paths, 1, 0, None, 0.0)
    classes = np.concatenate([detections.class_ids for detections in found])
    scores = np.concatenate([detections.scores for detections in found])
    for class_id, name in enumerate(synthetic.class_names):
        row, of_class = report.per_class[name], scores[classes == class_id]
        kept = of_class[of_class > by_name[name]]
        np.testing.assert_array_equal(kept, of_class[of_class >= row["mask_score"]])
        right = row["mask_recall"] * row["objects"]
        assert right / len(kept) == pytest.approx(row["mask_precision"])


@pytest.fixture
def small_report(tmp_path):
    """The folder of a report of "a", of which nothing was found, and "b"."""
    rows = {"a": {"mask_score": None}, "b": {"mask_score": 0.5}}
    content = {"class_names": ["a", "b"], "main": "mask", "per_class": rows}
    (tmp_path / "report.json").write_text(json.dumps(content))
    return tmp_path


@pytest.mark.parametrize(
    ("names", "expected"),
    [((), (0.05, 0.5)), (("N/A", "b", "a"), (0.05, 0.5, 0.05)), (("b", "a"), (0.5, 0.05))],
)
def test_classes_are_matched_by_name(small_report, names, expected):
    config = MaskRCNNConfig(num_classes=len(expected), class_names=names)
    thresholds = class_score_thresholds(small_report, config)
    assert thresholds == pytest.approx(expected)
    assert config.replace(class_score_thresholds=thresholds).class_score_thresholds == thresholds


@pytest.mark.parametrize(
    "fields", [{"num_classes": 3}, {"num_classes": 2, "class_names": ("a", "c")}]
)
def test_a_report_of_other_classes_is_refused(small_report, fields):
    with pytest.raises(ValueError, match="of the classes a, b; the model has num_classes="):
        class_score_thresholds(small_report, MaskRCNNConfig(**fields))


def test_what_is_no_report_of_one_model(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no report.json. Write one: keras-maskrcnn"):
        class_score_thresholds(tmp_path, MaskRCNNConfig())
    (tmp_path / "report.json").write_text('{"runs": []}')
    with pytest.raises(ValueError, match="sets runs side by side"):
        class_score_thresholds(tmp_path, MaskRCNNConfig())
