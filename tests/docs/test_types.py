"""What a type checker says to somebody who uses the package: nothing."""

import pathlib
import re

import mypy.api
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Of the other libraries only NumPy has types.
OPTIONS = (
    *("--strict", "--follow-imports=silent", "--no-incremental"),
    *("--allow-subclassing-any", "--disable-error-code=import-untyped"),
)
BESIDE_THE_README = """
from typing import assert_type

import numpy as np

config = km.MaskRCNNConfig(backbone="resnet14", num_classes=3).replace(num_classes=4)
assert_type(config, km.MaskRCNNConfig)
assert_type(config.to_yaml("config.yaml"), str)
fresh = km.MaskRCNN(config, dtype="mixed_bfloat16", box_score_threshold=0.2)
read = km.MaskRCNN.from_checkpoint("model_final_f10217.pkl", num_classes=3)
assert_type(read, km.MaskRCNN)
ignored, unset = fresh.import_weights("model_final_f10217.pkl")
assert_type(ignored, list[str])

assert_type(km.evaluate(model, val, max_images=3), dict[str, float])
(found,) = model.predict("a.jpg", augment=True)
assert_type(found, km.Detections)
assert_type(found.class_names, list[str])
sure = found[found.scores > 0.7]
assert_type(sure, km.Detections)
assert_type(sure.plot("a.jpg"), np.ndarray)
sure.save("found.png", "a.jpg")
entries = found[:3].to_coco(1, val.category_ids) + found[0].to_coco("b")

dataset = km.data.open_dataset("annotated/", class_names=["cat", "dog"])
assert_type(dataset, km.data.Dataset)
assert_type(km.data.convert(dataset, "voc", "as_voc/"), dict[str, int])
assert_type(dataset.problem_report(), str)
augment = km.data.Augmentation(horizontal_flip=0.5, short_side=(640, 800))
batches = dataset.batches(config, batch_size=2, training=True, augmentation=augment)
records = km.data.write_tfrecords(dataset, "records")
assert_type(records, km.data.TFRecordDataset)
masks = km.data.crop_masks(np.zeros((1, 8, 8)), np.zeros((1, 4)))
shapes = km.data.shapes.generate("shapes", 4, scene=km.data.shapes.Scene(number=(1, 3)))
evaluation = km.callbacks.CocoEvaluation(val, every=2)
others = [km.callbacks.NaNGuard(), km.callbacks.DetectionSummaries("logs", evaluation)]
backup = km.callbacks.Backup("backup", steps_per_epoch=3)
model.export("serving/1", dtype="bfloat16")
model.save_to_preset("mine/", {"box_ap": 0.4}, licence="mit")
model.save("m.keras")
losses = model.training_losses({"images": np.zeros((1, 8, 8, 3))}, {})
"""


@pytest.mark.slow
def test_the_readmes_lines_and_the_public_names_have_types(tmp_path):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = "\n".join(re.findall(r"^```python\n(.*?)^```", readme, re.DOTALL | re.MULTILINE))
    program = tmp_path / "program.py"
    program.write_text(lines + BESIDE_THE_README, encoding="utf-8")
    said, errors, code = mypy.api.run([*OPTIONS, str(program)])
    assert code == 0, said + errors
