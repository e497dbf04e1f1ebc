"""The model that the command line names."""

import argparse
import pathlib

from keras_maskrcnn.cli.options import given_fields


def load_model(args: argparse.Namespace):
    """The model of `--model` or `--run`, with the config's fields that were given changed.

    Raises:
        ValueError: No model is named, or what is named is none; or the report that thresholds are
            taken from is of another model.
        FileNotFoundError: There is no such file.
    """
    import keras_maskrcnn as km
    from keras_maskrcnn.weights.presets import known_presets

    if args.run is None and args.model is None:
        raise ValueError(
            "Give a model: --run and a run folder, or --model and a file (.keras, .pkl, .pth) or "
            f"a preset: {known_presets()}."
        )
    model = _read(_run_model(pathlib.Path(args.run)) if args.run else args.model)
    fields = _changes(args, model.config)
    if not fields:
        return model
    changed = km.MaskRCNN(model.config.replace(**fields), dtype=model.dtype_policy)
    changed.set_weights(model.get_weights())
    return changed


def _changes(args, config):
    fields = given_fields(args)
    if not hasattr(args, "thresholds_from"):
        return fields
    if "class_score_thresholds" in fields:
        raise ValueError("Give --class-score-thresholds or --thresholds-from, not both.")
    from keras_maskrcnn.evaluation.report.thresholds import class_score_thresholds

    changed = config.replace(**fields)
    return {
        **fields,
        "class_score_thresholds": class_score_thresholds(args.thresholds_from, changed),
    }


def _read(name):
    import keras

    import keras_maskrcnn as km
    from keras_maskrcnn.weights.presets import is_preset, known_presets

    path = pathlib.Path(name)
    if not path.is_file():
        if is_preset(name):
            return km.MaskRCNN.from_preset(name)
        raise FileNotFoundError(
            f"There is no model file {name}, and no preset of this name. Presets: "
            f"{known_presets()}."
        )
    if path.suffix in (".pkl", ".pth"):
        return km.MaskRCNN.from_checkpoint(path)
    if path.suffix == ".keras":
        return keras.models.load_model(path)
    raise ValueError(f"{path} is not a model: expected a .keras file or a .pkl or .pth checkpoint.")


def _run_model(run):
    for name in ("best.keras", "last.keras"):
        if (run / name).is_file():
            return run / name
    raise FileNotFoundError(f"{run} holds neither best.keras nor last.keras: is it a run folder?")
