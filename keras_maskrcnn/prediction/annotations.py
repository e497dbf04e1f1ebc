"""What a model finds as annotations, for people to correct in the tools that they draw with."""

import glob
import os
import pathlib
from collections import Counter
from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from keras_maskrcnn.config import NO_CLASS, MaskRCNNConfig
from keras_maskrcnn.data.dataset import Dataset
from keras_maskrcnn.data.formats import labelme
from keras_maskrcnn.data.formats.shared.finding import is_picture
from keras_maskrcnn.data.masks import decode_mask
from keras_maskrcnn.data.outlines import trace_outlines
from keras_maskrcnn.data.records import Contents, Instance, Record
from keras_maskrcnn.detections import Detections

# A corner that is moved is one that a person must not drag: few points, as long as they are right.
TOLERANCES = (2.0, 1.0, 0.5)  # pixels
LABELME = ".labelme.json"
LEAST_IOU = 0.97  # of a simplified outline with the mask that was found


def annotate(
    found: Iterable[tuple[str | os.PathLike, Detections]], config: MaskRCNNConfig
) -> Dataset:
    """Detections as a dataset, for `km.data.convert` to write.

    Masks become polygons of few points, each with an IoU of at least 0.97 with the mask that was
    found. An object without a mask has its box alone.

    Args:
        found: The path of each image and what was found in it.
        config: Of the model, whose classes they are.

    Raises:
        ValueError: There is no image.

    Example:
        >>> model = km.MaskRCNN.from_preset("demo_shapes")
        >>> paths = ["a.jpg", "b.png"]
        >>> found = zip(paths, model.predict(paths, verbose=0))
        >>> losses = km.data.convert(annotate(found, model.config), "labelme", "to_correct/")
    """
    names = config.class_names or [str(class_id) for class_id in range(config.num_classes)]
    kept = [name for name in names if name != NO_CLASS]
    records, number = [], 0
    for image_id, (path, detections) in enumerate(found, 1):
        instances = []
        for index, class_id in enumerate(detections.class_ids.tolist()):
            if names[class_id] != NO_CLASS:
                number += 1
                of_kept = kept.index(names[class_id])
                instances.append(make_instance(detections, index, of_kept, number))
        records.append(Record(image_id, os.fspath(path), *detections.image_size, tuple(instances)))
    return Dataset("what was found", Contents(records, kept))


def make_instance(detections: Detections, index: int, class_id: int, number: int) -> Instance:
    """One detection as an annotated object.

    Args:
        detections: Of an image.
        index: Which one.
        class_id: Its class in the annotations.
        number: Its id in the annotations.
    """
    box, outlines, area = tuple(detections.boxes[index].tolist()), None, 0
    if detections.has_masks:
        part, (top, left) = detections.mask_part(index)
        area = int(part.sum())
        if area:
            outlines = [
                (np.reshape(outline, (-1, 2)) + (left, top)).ravel().tolist()
                for outline in simplified_outlines(part)
            ]
    return Instance(box, class_id, outlines, area=float(area), annotation_id=number)


def save_labelme(
    detections: Detections, path: pathlib.Path, image: str | os.PathLike | None
) -> None:
    """Writes the file with which LabelMe opens an image; see `Detections.save`."""
    if image is None:
        name = path.name[: -len(LABELME)]
        beside = [
            p for p in sorted(path.parent.glob(f"{glob.escape(name)}.*")) if is_picture(p.name)
        ]
        if len(beside) != 1:
            raise ValueError(
                f"{path}: it names its image: give the path of the image; beside the file are "
                f"{len(beside)} pictures {name}.*"
            )
        (image,) = beside
    if not isinstance(image, str | os.PathLike):
        raise ValueError(f"{path}: it names its image: give the path of the image, not its pixels.")
    class_ids = detections.class_ids.tolist()
    instances = [make_instance(detections, i, c, i + 1) for i, c in enumerate(class_ids)]
    record = Record(1, os.fspath(image), *detections.image_size, tuple(instances))
    names = dict(zip(class_ids, detections.class_names, strict=True))
    relative = os.path.relpath(image, path.parent).replace(os.sep, "/")
    labelme.write_file(path, record, relative, names, Counter())


def simplified_outlines(mask: np.ndarray) -> Sequence[list[float]]:
    """Polygons of few points around the parts of a mask (h, w), as near to it as `LEAST_IOU` says.

    Example:
        >>> len(simplified_outlines(np.ones((40, 40), bool))[0]) // 2
        4
    """
    exact = trace_outlines(mask)
    for tolerance in TOLERANCES:
        simple = [_simplify(outline, tolerance) for outline in exact]
        if min(map(len, simple)) >= 6 and _iou(simple, mask) >= LEAST_IOU:
            return simple
    return exact


def _simplify(outline, tolerance):
    points = np.reshape(outline, (-1, 1, 2)).astype(np.float32)
    return cv2.approxPolyDP(points, tolerance, closed=True).ravel().tolist()


def _iou(outlines, mask):
    drawn = decode_mask(outlines, *mask.shape) > 0
    return (drawn & mask).sum() / (drawn | mask).sum()
