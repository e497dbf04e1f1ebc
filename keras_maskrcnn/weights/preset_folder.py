"""A folder that holds a model for others: its config, its weights and a card that describes them.

The files are those of a `.keras` file, unpacked, so that Keras takes them from a hub too.
"""

import importlib.metadata
import json
import math
import os
import pathlib

import keras
import yaml

from keras_maskrcnn.config import MaskRCNNConfig

CONFIG, WEIGHTS, METADATA, CARD = "config.json", "model.weights.h5", "metadata.json", "README.md"
CARD_TEXT = """\
---
{header}---

# {title}

{description}
Mask R-CNN ({backbone}, {neck}) of {num_classes} classes: {class_names}.

{figures}

```python
import keras_maskrcnn as km  # pip install maskrcnn-keras

model = km.MaskRCNN.from_preset("...")  # this folder, or hf://user/name
for detections in model.predict(["photo.jpg"]):
    print(detections.boxes, detections.scores, detections.class_names)
```

Licence of the weights: {licence}.
"""


def save_to_preset(
    model: keras.Model,
    folder: str | os.PathLike,
    results: dict[str, float] | None = None,
    licence: str | None = None,
    description: str = "",
) -> None:
    """Writes a model into a folder that `from_preset` takes, here or from a hub.

    It holds `config.json`, `model.weights.h5`, `metadata.json` and the model card `README.md`.
    Files of these names are overwritten. A model in half precision (`dtype="float16"`) writes
    weights of half the size, which a model of any precision can load.

    Keras' own door is open too, for who has the package `huggingface_hub`: after
    `import keras_maskrcnn`, `keras.models.load_model("hf://user/name")` loads what `upload_preset`
    uploaded, with its classes, in the precision that the model had.

    Args:
        model: A `MaskRCNN`; an optimizer's state is not written.
        folder: Made if it is missing.
        results: Figures of `km.evaluate`, for the card.
        licence: Of the weights, for the card, as the hub names licences: `"apache-2.0"`.
        description: Of the model, for the card: Markdown.

    Raises:
        OSError: The folder cannot be written.

    Example:
        >>> model.save_to_preset("mine/", km.evaluate(model, val, verbose=0), licence="mit")
        >>> model = MaskRCNN.from_preset("mine/")
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    copy = type(model).from_config(model.get_config())  # without an optimizer's state
    copy.set_weights(model.get_weights())
    versions = {"keras_version": keras.__version__, "maskrcnn_keras_version": _version()}
    for name, content in (
        (CONFIG, json.dumps(keras.saving.serialize_keras_object(copy), indent=1)),
        (METADATA, json.dumps(versions, indent=1)),
        (CARD, _card(folder, model.config, results, licence, description)),
    ):
        (folder / name).write_text(content, encoding="utf-8")
    copy.save_weights(folder / WEIGHTS)


def read_config(folder: pathlib.Path) -> MaskRCNNConfig:
    """The config of the model in a preset's folder, whose weights are there too.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: It is of no `MaskRCNN`, or a field of its config is wrong.
    """
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder} has no {name}: it is no preset, as model.save_to_preset writes them."
            )
    path = folder / CONFIG
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not JSON: {error}.") from error
    fields = content.get("config") if isinstance(content, dict) else None
    if not isinstance(fields, dict) or not isinstance(fields.get("config"), dict):
        found = content.get("class_name") if isinstance(content, dict) else content
        raise ValueError(f"{path} is not of a MaskRCNN, but of {str(found)[:100]!r}.")
    return MaskRCNNConfig.from_dict(fields["config"], str(path))


def _version():
    return importlib.metadata.version("maskrcnn-keras")


def _card(folder, config, results, licence, description):
    header = {
        "library_name": "keras",
        "pipeline_tag": "image-segmentation",
        "tags": ["keras-maskrcnn", "mask-rcnn", "instance-segmentation"],
    }
    if licence:
        header["license"] = licence
    return CARD_TEXT.format(
        header=yaml.safe_dump(header),
        title=folder.resolve().name,
        description=f"{description.strip()}\n" if description else "",
        backbone=config.backbone,
        neck=config.neck.upper(),
        num_classes=config.num_classes,
        class_names=", ".join(config.class_names) or "their names are not known",
        figures=_figures(results) if results else "How well it does was not measured.",
        licence=licence or "not stated",
    )


def _figures(results):
    lines = ["| % | AP | AP50 | AP75 |", "| --- | --- | --- | --- |"]
    for kind in ("box", "mask"):
        values = [results.get(f"{kind}_{name}", math.nan) for name in ("ap", "ap50", "ap75")]
        if f"{kind}_ap" in results:
            cells = ("-" if math.isnan(value) else f"{100 * value:.1f}" for value in values)
            lines.append(f"| {kind} | {' | '.join(cells)} |")
    return "\n".join(lines)
