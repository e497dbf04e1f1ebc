"""Models by a preset: a name whose weights are fetched once, a folder, or `hf://user/name`."""

import functools
import operator
import os
import pathlib
import tempfile
import warnings
from typing import NamedTuple

import keras
from rich.table import Table

from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.weights import hub
from keras_maskrcnn.weights.download import download
from keras_maskrcnn.weights.preset_folder import WEIGHTS, read_config
from keras_maskrcnn.weights.published import PRESETS, Preset
from keras_maskrcnn.weights.transfer import transfer_weights

# Where presets lie that ship with the package, each in a folder of its name.
SHIPPED = pathlib.Path(__file__).parent
# What the weights were trained with and no shape of a layer shows.
NUMERICS = (
    *("stride_in_1x1", "norm_epsilon", "pixel_mean", "pixel_std"),
    *("anchor_style", "roi_aligned", "roi_transform", "roi_aggregation"),
)


class Kept(NamedTuple):
    """A preset on this machine.

    Attributes:
        weights: The file of its weights.
        config: Of the model.
        backbone_only: Whether the weights are those of its backbone alone.
        remedy: What to do where the file is damaged.
    """

    weights: pathlib.Path
    config: MaskRCNNConfig
    backbone_only: bool
    remedy: str


def load_preset(
    model_class: type[keras.Model], name: str | os.PathLike, **overrides
) -> keras.Model:
    """The model of a preset with its weights, fetched and converted if that was not done before.

    What was fetched is kept in `keras_maskrcnn` in Keras' folder (the environment variable
    `KERAS_HOME`, else `~/.keras`). A preset by name needs no network from then on, and
    `"demo_shapes"`, which ships with the package, never does. Of `hf://user/name` the newest
    version is asked for each time; without a network the last one that was fetched is used, and a
    warning says so. No code of a preset is run.

    Args:
        model_class: `MaskRCNN`.
        name: One of `PRESETS` (`keras-maskrcnn info --presets` lists them); or a folder that
            `model.save_to_preset` wrote; or `"hf://user/name"`, such a folder on the Hugging Face
            hub, or on the one whose address the environment variable `HF_ENDPOINT` holds. What is
            private there needs `HF_TOKEN`. A name comes before a folder: write `./demo_shapes`.
        **overrides: Fields of the config to change, and keywords of the model. With another
            `num_classes` than the preset's the last layers of the heads start anew; with more
            `channels` the kernel of the stem is spread over them.

    Raises:
        ValueError: There is no such preset; what was fetched is not what was published or not
            such a model; or a field that was changed does not go with the weights.
        FileNotFoundError: The folder, or the model on the hub, is no preset.
        ConnectionError: The server cannot be reached, or the transfer broke off.
        OSError: The server refuses, or the cache cannot be written.

    Example:
        >>> model = load_preset(MaskRCNN, "demo_shapes")
        >>> model = load_preset(MaskRCNN, "demo_shapes", num_classes=2, class_names=["a", "b"])
    """
    kept = _find(model_class, name)
    model = model_class(kept.config, **_completed(overrides, kept.config))
    _load_kept(model, kept)
    return model


def preset_config(model_class: type[keras.Model], name: str | os.PathLike) -> MaskRCNNConfig:
    """The config of a preset's model, whose weights are fetched if that was not done before.

    Raises:
        ValueError, ConnectionError, OSError: As of `load_preset`.
    """
    return _find(model_class, name).config


def load_preset_weights(model: keras.Model, name: str | os.PathLike) -> None:
    """Loads the weights of a preset into a model, which may have other classes.

    Args:
        model: A `MaskRCNN`. With another number of classes than the preset's the last layers of
            the heads keep their values.
        name: As `load_preset` takes it.

    Raises:
        ValueError: The model's config contradicts the preset's (the fields are named), or as of
            `load_preset`.
        ConnectionError, OSError: As of `load_preset`.

    Example:
        >>> model = MaskRCNN("mask_rcnn_resnet50_fpn", num_classes=3)
        >>> load_preset_weights(model, "mask_rcnn_resnet50_fpn_3x_coco")
    """
    kept = _find(type(model), name)
    ours = model.config
    contradictions = [
        f"{field}: the preset has {getattr(kept.config, field)}, the model {getattr(ours, field)}"
        for field in _differing(kept.config, ours)
        if field in NUMERICS
    ]
    if contradictions:
        lines = "\n  ".join(contradictions)
        raise ValueError(
            f"{name} is of another model:\n  {lines}\nSet these fields as it has them."
        )
    _load_kept(model, kept)


def is_preset(name: str | os.PathLike) -> bool:
    """Whether `load_preset` would look for a preset there: it may still turn out to be none."""
    name = os.fspath(name)
    return name in PRESETS or hub.is_address(name) or os.path.isdir(name)


def known_presets() -> str:
    """What `load_preset` takes, as part of a sentence."""
    return f"{', '.join(PRESETS)}; or a folder of model.save_to_preset, or hf://user/name"


def presets_table() -> Table:
    """The presets as a table to print, 103 columns wide."""
    table = Table(box=None, pad_edge=False)
    for column in ("preset", "box AP", "mask AP", "source", "licence", "digest"):
        table.add_column(column, justify="right" if column.endswith("AP") else "left")
    for name, preset in PRESETS.items():
        aps = ("-" if ap is None else f"{ap:.1f}" for ap in (preset.box_ap, preset.mask_ap))
        table.add_row(name, *aps, preset.source, preset.licence, preset.digest or "-")
    return table


def cache_folder() -> pathlib.Path:
    """Where presets are kept."""
    home = os.environ.get("KERAS_HOME") or pathlib.Path("~", ".keras")
    return pathlib.Path(home).expanduser() / "keras_maskrcnn"


def _find(model_class, name):
    """The preset on this machine, fetched if need be."""
    name = os.fspath(name)
    if not is_preset(name):
        raise ValueError(f"Unknown preset {name!r}. Presets: {known_presets()}.")
    if name not in PRESETS:
        return _folder(hub.fetch(name, cache_folder() / "hub") if hub.is_address(name) else name)
    preset = PRESETS[name]
    if preset.url is None:
        return _folder(SHIPPED / name)
    weights, config_file = cache_folder() / f"{name}.weights.h5", cache_folder() / f"{name}.yaml"
    if not (weights.is_file() and config_file.is_file()):
        _fetch(model_class, preset, weights, config_file)
    config = MaskRCNNConfig.from_yaml(config_file)
    return Kept(weights, config, preset.backbone is not None, "delete it to fetch it again")


def _folder(folder):
    folder = pathlib.Path(folder)
    remedy = f"write {folder} again with model.save_to_preset, or fetch it again"
    return Kept(folder / WEIGHTS, read_config(folder), False, remedy)


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


def _fetch(model_class, preset: Preset, weights, config_file):
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


def _load_kept(model, kept):
    """Loads the weights of a preset into a model, which may have other classes."""
    try:
        load, trained = functools.partial(_load_all, weights=kept.weights), kept.config
        if kept.backbone_only:
            backbone = operator.attrgetter("backbone")
            transfer_weights(model, model.config.num_classes, load, trained.channels, backbone)
            return
        seed = model.sampling_seed.numpy()
        transfer_weights(model, trained.num_classes, load, trained.channels)
        model.sampling_seed.assign(seed)  # a training from a preset samples as its own seed says
    except (ValueError, OSError, KeyError) as error:
        reason = " ".join(str(error).split())[:300]
        changed = ", ".join(_differing(kept.config, model.config)) or "nothing"
        raise ValueError(
            f"{kept.weights} does not go with this model (changed: {changed}): {reason}\nLeave "
            f"out fields that change the layers; if there are none, the file is damaged: "
            f"{kept.remedy}."
        ) from error


def _load_all(model, weights):
    """Loads weights; what the file lacks is an error, though Keras may only warn of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        try:
            keras.saving.load_weights(model, weights)
        except UserWarning as warning:
            raise ValueError(str(warning)) from warning
