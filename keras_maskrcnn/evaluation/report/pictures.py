"""Pictures for the report: what is annotated beside what was found, errors marked by their kind."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from pycocotools.cocoeval import COCOeval

from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.data.drawing import draw_instances
from keras_maskrcnn.data.records import Record, load_image
from keras_maskrcnn.evaluation.report.analysis import Analysis
from keras_maskrcnn.evaluation.report.errors import CORRECT, KINDS
from keras_maskrcnn.evaluation.report.images import missed

LONGEST_SIDE = 720
# Positions in the palette of `data.drawing`: what is right is green.
COLOURS = {CORRECT: 2, **dict(zip(KINDS, (4, 3, 6, 1, 0, 8), strict=True)), "ignored": 9}


class Painter:
    """Draws the images of an evaluation into a folder.

    Args:
        folder: Where the pictures go.
        evaluation: Of `run_coco_eval`.
        analysis: Its numbers.
        class_names: The name of each class.
        records: The record of each image id that is drawn.
        config: Of the model.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        evaluation: COCOeval,
        analysis: Analysis,
        class_names: Sequence[str],
        records: Mapping[int | str, Record],
        config: MaskRCNNConfig,
    ):
        self.folder = folder
        self.found, self.true = evaluation.cocoDt, evaluation.cocoGt
        self.masks = evaluation.params.iouType == "segm"
        self.analysis = analysis
        self.class_names = class_names
        self.records = records
        self.config = config

    def whole(self, position: int, name: str) -> dict[str, str]:
        """Draws an image twice, `annotated` and `found`; gives the files' names.

        What was found is drawn from the score up that serves best. Nothing is drawn of an image
        that cannot be read.
        """
        image, wrong = self.analysis.images[position], self.analysis.wrong[position]
        objects = [
            self._object(image, i, lost)
            for i, lost in enumerate(missed(self.analysis, image, wrong))
        ]
        taken = np.flatnonzero(image.scores >= self.analysis.score)
        detections = [self._detection(image, wrong, i) for i in taken]
        return self._write(image.image_id, name, {"annotated": objects, "found": detections})

    def part(self, position: int, detection: int, name: str) -> dict[str, str]:
        """Draws what is around one detection, `found`; gives the file's name."""
        image, wrong = self.analysis.images[position], self.analysis.wrong[position]
        one = self._detection(image, wrong, detection)
        return self._write(image.image_id, name, {"found": [one]}, around=one[0]["bbox"])

    def _object(self, image, i, lost):
        kind = "missed" if lost else "ignored" if image.crowd[i] else CORRECT
        label = self.class_names[image.true_classes[i]]
        label += ": missed" if lost else ": crowd" if image.crowd[i] else ""
        return self.true.anns[image.annotation_ids[i]], label, COLOURS[kind]

    def _detection(self, image, wrong, i):
        kind = wrong.kinds[i]
        label = f"{self.class_names[image.classes[i]]} {image.scores[i]:.0%}"
        label += "" if kind == CORRECT else f": {kind}"
        return self.found.anns[image.found_ids[i]], label, COLOURS[kind]

    def _write(self, image_id, name, drawings, around=None) -> dict[str, str]:
        try:
            picture = load_image(self.records[image_id], self.config)
        except (ValueError, OSError):
            return {}
        window = _window(picture, around)
        files = {}
        for what, entries in drawings.items():
            files[what] = f"{self.folder.name}/{name}_{what}.jpg"
            drawn = cv2.cvtColor(self._drawn(picture, entries, window), cv2.COLOR_RGB2BGR)
            path = self.folder / f"{name}_{what}.jpg"
            if not cv2.imwrite(str(path), drawn, [cv2.IMWRITE_JPEG_QUALITY, 85]):
                raise OSError(f"{path}: the picture cannot be written there.")
        return files

    def _drawn(self, picture, entries, window):
        """The window of a picture, shrunk or enlarged, with objects on it."""
        left, top, right, bottom = window
        scale = LONGEST_SIDE / max(right - left, bottom - top)
        size = round((right - left) * scale), round((bottom - top) * scale)
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        shown = cv2.resize(picture[top:bottom, left:right], size, interpolation=how)
        boxes = np.array([e["bbox"] for e, _, _ in entries], float).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        boxes = (boxes - [left, top, left, top]) * scale
        labels, colours = [e[1] for e in entries], [e[2] for e in entries]
        masks = None
        if self.masks:
            masks = np.zeros((len(entries), *shown.shape[:2]), bool)
            for mask, (entry, _, _) in zip(masks, entries, strict=True):
                whole = self.true.annToMask(entry)
                mask[:] = cv2.resize(whole[top:bottom, left:right], size, interpolation=how) > 0
        return draw_instances(shown, boxes, colours, masks, labels)


def _window(picture, box) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what is shown: all, or a box with as much around it."""
    height, width = picture.shape[:2]
    if box is None:
        return 0, 0, width, height
    x, y, w, h = box
    reach = max(w, h, 32)
    left, top = max(0, int(x + w / 2 - reach)), max(0, int(y + h / 2 - reach))
    return left, top, min(width, int(left + 2 * reach)), min(height, int(top + 2 * reach))


def picture_facts(record: Record | None, image_id: Any) -> dict[str, Any]:
    """What the report says of an image: its id, and its file's name."""
    name = pathlib.PurePath(record.path).name if record else ""
    return {"image_id": image_id, "file": name}
