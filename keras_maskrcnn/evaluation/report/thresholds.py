"""The scores from which a report finds each class best, as a model takes them."""

import json
import os
import pathlib

import numpy as np

from keras_maskrcnn.config import NO_CLASS, MaskRCNNConfig


def class_score_thresholds(
    report_folder: str | os.PathLike, config: MaskRCNNConfig
) -> tuple[float, ...]:
    """The config's field of this name: of each class the score from which its F1 is the best.

    Detections must score more than a threshold. So it is the float32 number before the score that
    the report gives: of masks where there are masks, at IoU 0.5.

    Args:
        report_folder: That of `report`, or `report/` in that of a training run, with its
            `report.json`.
        config: Of the model that takes them. Its classes are the report's, in any order: they are
            matched by name, or by their order where it has no `class_names`.

    Returns:
        A threshold for each class; `box_score_threshold` for one that the report has no score of,
        since nothing right was found of it.

    Raises:
        FileNotFoundError: The folder holds no `report.json`.
        ValueError: The report is of other classes, or of runs side by side.

    Example:
        >>> numbers = report(model, val, "report/", verbose=0)
        >>> thresholds = class_score_thresholds("report/", model.config)
        >>> surer = MaskRCNN(model.config.replace(class_score_thresholds=thresholds))
        >>> surer.set_weights(model.get_weights())
    """
    path = pathlib.Path(report_folder) / "report.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"{report_folder} holds no report.json. Write one: keras-maskrcnn report --output "
            f"{report_folder} ..."
        )
    content = json.loads(path.read_text(encoding="utf-8"))
    if "per_class" not in content:
        raise ValueError(f"{path} sets runs side by side: name the report of one of them.")
    names = config.class_names or tuple(content["class_names"])
    unknown = set(names) ^ set(content["class_names"])
    if unknown - {NO_CLASS} or len(names) != config.num_classes:
        raise ValueError(
            f"{path} is of the classes {', '.join(content['class_names'])}; the model has "
            f"num_classes={config.num_classes}: {', '.join(names)}. Write a report of this model."
        )
    figure = f"{content['main']}_score"
    scores = [content["per_class"].get(name, {}).get(figure) for name in names]
    return tuple(config.box_score_threshold if s is None else _before(s) for s in scores)


def _before(score):
    return float(np.nextafter(np.float32(score), np.float32(0)))
