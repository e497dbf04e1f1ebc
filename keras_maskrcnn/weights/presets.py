"""Published weights by name: fetched once, checked, converted, kept in Keras' cache."""

import os
import pathlib
import tempfile
from typing import Any, NamedTuple

import keras
from rich.table import Table

from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.weights.coco_classes import CONTIGUOUS_NAMES, NAMES_BY_ID
from keras_maskrcnn.weights.download import download
from keras_maskrcnn.weights.transfer import transfer_weights

# What the weights were trained with and no shape of a layer shows.
NUMERICS = (
    *("stride_in_1x1", "norm_epsilon", "pixel_mean", "pixel_std"),
    *("anchor_style", "roi_aligned", "roi_transform", "roi_aggregation"),
)
# torchvision's ImageNet models see pixels divided by their standard deviation.
TORCHVISION_FIELDS = {"stride_in_1x1": False, "pixel_std": (58.395, 57.12, 57.375)}


class Preset(NamedTuple):
    """Where published weights lie, and what their publisher says of them.

    Attributes:
        source: Who published them.
        url: The file.
        digest: What the file's name says of its digest, as `download` takes it.
        licence: Of the weights.
        box_ap: COCO val2017, in percent; None for a backbone that was trained on ImageNet.
        mask_ap: The same of masks.
        class_names: Of the classes that the model tells apart.
        backbone: The config of the model around the backbone, where the file holds only one.
    """

    source: str
    url: str
    digest: str
    licence: str
    box_ap: float | None = None
    mask_ap: float | None = None
    class_names: tuple[str, ...] = ()
    backbone: dict[str, Any] | None = None


def load_preset(model_class: type[keras.Model], name: str, **overrides) -> keras.Model:
    """The model of a preset with its weights, fetched and converted if that was not done before.

    The converted weights and their config are kept in `keras_maskrcnn` in Keras' folder
    (the environment variable `KERAS_HOME`, else `~/.keras`); from then on no network is needed.

    Args:
        model_class: `MaskRCNN`.
        name: One of `PRESETS`.
        **overrides: Fields of the config to change, and keywords of the model. With another
            `num_classes` than the preset's the last layers of the heads start anew.

    Raises:
        ValueError: There is no such preset; what was fetched is not what was published or not
            such a model; or a field that was changed does not go with the weights.
        ConnectionError: The server cannot be reached, or the transfer broke off.
        OSError: The server refuses, or the cache cannot be written.

    Example:
        >>> model = load_preset(MaskRCNN, "mask_rcnn_resnet50_fpn_3x_coco", num_classes=3)
    """
    config = preset_config(model_class, name)
    model = model_class(config, **_completed(overrides, config))
    _load_kept(model, name, config)
    return model


def preset_config(model_class: type[keras.Model], name: str) -> MaskRCNNConfig:
    """The config of a preset's model, whose weights are fetched if that was not done before.

    Raises:
        ValueError, ConnectionError, OSError: As of `load_preset`.
    """
    if name not in PRESETS:
        raise ValueError(f"Unknown preset {name!r}. Presets: {', '.join(PRESETS)}.")
    weights, config_file = _kept_files(name)
    if not (weights.is_file() and config_file.is_file()):
        _fetch(model_class, PRESETS[name], weights, config_file)
    return MaskRCNNConfig.from_yaml(config_file)


def load_preset_weights(model: keras.Model, name: str) -> None:
    """Loads the weights of a preset into a model, which may have other classes.

    Args:
        model: A `MaskRCNN`. With another number of classes than the preset's the last layers of
            the heads keep their values.
        name: One of `PRESETS`.

    Raises:
        ValueError: The model's config contradicts the preset's (the fields are named), or as of
            `load_preset`.
        ConnectionError, OSError: As of `load_preset`.

    Example:
        >>> model = MaskRCNN("mask_rcnn_resnet50_fpn", num_classes=3)
        >>> load_preset_weights(model, "mask_rcnn_resnet50_fpn_3x_coco")
    """
    config = preset_config(type(model), name)
    ours = model.config
    contradictions = [
        f"{field}: the preset has {getattr(config, field)}, the model {getattr(ours, field)}"
        for field in _differing(config, ours)
        if field in NUMERICS
    ]
    if contradictions:
        lines = "\n  ".join(contradictions)
        raise ValueError(
            f"{name} is of another model:\n  {lines}\nSet these fields as it has them."
        )
    _load_kept(model, name, config)


def presets_table() -> Table:
    """The presets as a table to print, 103 columns wide."""
    table = Table(box=None, pad_edge=False)
    for column in ("preset", "box AP", "mask AP", "source", "licence", "digest"):
        table.add_column(column, justify="right" if column.endswith("AP") else "left")
    for name, preset in PRESETS.items():
        aps = ("-" if ap is None else f"{ap:.1f}" for ap in (preset.box_ap, preset.mask_ap))
        table.add_row(name, *aps, preset.source, preset.licence, preset.digest)
    return table


def cache_folder() -> pathlib.Path:
    """Where presets are kept."""
    home = os.environ.get("KERAS_HOME") or pathlib.Path("~", ".keras")
    return pathlib.Path(home).expanduser() / "keras_maskrcnn"


def _kept_files(name):
    """The converted weights of a preset and its config."""
    return cache_folder() / f"{name}.weights.h5", cache_folder() / f"{name}.yaml"


def _differing(config, other):
    """The fields that two configs do not agree on, the classes apart."""
    theirs, classes = other.to_dict(), ("num_classes", "class_names")
    return [
        name
        for name, value in config.to_dict().items()
        if name not in classes and value != theirs[name]
    ]


def _completed(overrides, config):
    """The fields to change, checked as far as loading the weights would not notice."""
    if overrides.get("neck", config.neck) != config.neck:
        raise ValueError(f"neck: the weights of this preset are for {config.neck!r}.")
    if overrides.get("num_classes", config.num_classes) != config.num_classes:
        return {"class_names": (), **overrides}
    return overrides


def _fetch(model_class, preset, weights, config_file):
    """Makes `weights` and `config_file` from the published file, which is not kept."""
    folder = weights.parent
    checkpoint = folder / preset.url.rsplit("/", 1)[1]
    download(preset.url, checkpoint, preset.digest)
    try:
        model = _read(model_class, preset, checkpoint)
        config = model.config.replace(class_names=preset.class_names)
    except ValueError as error:
        checkpoint.unlink()
        raise ValueError(f"{preset.url} cannot be used: {error}") from error
    config.to_yaml(config_file)
    # Under its final name the file is always whole, whenever this is interrupted.
    with tempfile.TemporaryDirectory(dir=folder) as unfinished:
        converted = pathlib.Path(unfinished) / weights.name
        keras.saving.save_weights(_stored_part(model, preset), converted)
        converted.replace(weights)
    checkpoint.unlink(missing_ok=True)


def _read(model_class, preset, checkpoint):
    if preset.backbone is None:
        return model_class.from_checkpoint(checkpoint)
    model = model_class(MaskRCNNConfig(**preset.backbone))
    model.import_weights(checkpoint)
    return model


def _stored_part(model, preset):
    """What the file determines: what is drawn at random around a backbone is not kept."""
    return model if preset.backbone is None else model.backbone


def _load_kept(model, name, config):
    """Loads the weights that are kept of a preset, whose config is given."""
    weights, _ = _kept_files(name)
    try:
        if PRESETS[name].backbone is not None:
            keras.saving.load_weights(model.backbone, weights)
            return
        seed = model.sampling_seed.numpy()
        transfer_weights(model, config.num_classes, lambda source: source.load_weights(weights))
        model.sampling_seed.assign(seed)  # a training from a preset samples as its own seed says
    except (ValueError, OSError, KeyError) as error:
        reason = " ".join(str(error).split())[:300]
        changed = ", ".join(_differing(config, model.config)) or "nothing"
        raise ValueError(
            f"{weights} does not go with this model (changed: {changed}): {reason}\nLeave out "
            "fields that change the layers; if there are none, the file is damaged: delete it to "
            "fetch it again."
        ) from error


def _detectron2(path, box_ap, mask_ap):
    """A model of Detectron2's MODEL_ZOO.md, which says that file names end in the MD5's digits."""
    return Preset(
        source="Detectron2",
        url=f"https://dl.fbaipublicfiles.com/detectron2/COCO-InstanceSegmentation/{path}",
        digest=f"md5:{path[-10:-4]}",
        licence="CC BY-SA 3.0",
        box_ap=box_ap,
        mask_ap=mask_ap,
        class_names=CONTIGUOUS_NAMES,
    )


def _torchvision(file, **fields):
    """A model of torchvision, whose file names end in the first digits of the SHA-256."""
    return Preset(
        source="torchvision",
        url=f"https://download.pytorch.org/models/{file}",
        digest=f"sha256:{file[-12:-4]}",
        licence="BSD-3-Clause",
        **fields,
    )


def _torchvision_backbone(file):
    fields = {"backbone": file.split("-")[0], **TORCHVISION_FIELDS}
    return _torchvision(file, backbone=fields)


PRESETS = {
    "mask_rcnn_resnet50_c4_1x_coco": _detectron2(
        "mask_rcnn_R_50_C4_1x/137259246/model_final_9243eb.pkl", 36.8, 32.2
    ),
    "mask_rcnn_resnet50_c4_3x_coco": _detectron2(
        "mask_rcnn_R_50_C4_3x/137849525/model_final_4ce675.pkl", 39.8, 34.4
    ),
    "mask_rcnn_resnet101_c4_3x_coco": _detectron2(
        "mask_rcnn_R_101_C4_3x/138363239/model_final_a2914c.pkl", 42.6, 36.7
    ),
    "mask_rcnn_resnet50_fpn_1x_coco": _detectron2(
        "mask_rcnn_R_50_FPN_1x/137260431/model_final_a54504.pkl", 38.6, 35.2
    ),
    "mask_rcnn_resnet50_fpn_3x_coco": _detectron2(
        "mask_rcnn_R_50_FPN_3x/137849600/model_final_f10217.pkl", 41.0, 37.2
    ),
    "mask_rcnn_resnet101_fpn_3x_coco": _detectron2(
        "mask_rcnn_R_101_FPN_3x/138205316/model_final_a3ec72.pkl", 42.9, 38.6
    ),
    "mask_rcnn_resnext101_32x8d_fpn_3x_coco": _detectron2(
        "mask_rcnn_X_101_32x8d_FPN_3x/139653917/model_final_2d9806.pkl", 44.3, 39.5
    ),
    "mask_rcnn_resnet50_fpn_torchvision_coco": _torchvision(
        "maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth",
        box_ap=37.9,
        mask_ap=34.6,
        class_names=NAMES_BY_ID,
    ),
    "mask_rcnn_resnet50_fpn_v2_torchvision_coco": _torchvision(
        "maskrcnn_resnet50_fpn_v2_coco-73cbd019.pth",
        box_ap=47.4,
        mask_ap=41.8,
        class_names=NAMES_BY_ID,
    ),
    "mask_rcnn_resnet50_fpn_imagenet": _torchvision_backbone("resnet50-11ad3fa6.pth"),
    "mask_rcnn_resnet101_fpn_imagenet": _torchvision_backbone("resnet101-cd907fc2.pth"),
    "mask_rcnn_resnext50_32x4d_fpn_imagenet": _torchvision_backbone("resnext50_32x4d-1a0047aa.pth"),
    "mask_rcnn_resnext101_32x8d_fpn_imagenet": _torchvision_backbone(
        "resnext101_32x8d-110c445d.pth"
    ),
}
