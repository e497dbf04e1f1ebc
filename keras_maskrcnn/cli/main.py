"""The command line: `keras-maskrcnn VERB`; the verbs of datasets are in `cli_data`, those of
long lists in `cli_predict`.

TensorFlow takes seconds to import, so only the verbs import it and `--help` answers at once.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import re
import sys
from collections.abc import Sequence

from keras_maskrcnn.cli import datasets as cli_data
from keras_maskrcnn.cli import parser as cli_parser
from keras_maskrcnn.cli import predict as cli_predict
from keras_maskrcnn.cli.predict import PICTURES
from keras_maskrcnn.config import MaskRCNNConfig, shipped_configs


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 done, 1 done in part, 2 not done.

    Args:
        argv: The arguments after the program's name; those of the process if None.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    args = cli_parser.build().parse_args(argv)
    verbs = {
        "train": train,
        "evaluate": evaluate,
        "predict": predict,
        "merge-results": cli_predict.merge_results,
        "inspect-dataset": cli_data.inspect_dataset,
        "convert-dataset": cli_data.convert_dataset,
        "export": export,
        "build-ops": build_ops,
        "info": info,
    }
    try:
        return verbs[args.verb](args)
    except (ValueError, OSError, RuntimeError) as error:
        if args.debug:
            raise
        print(f"keras-maskrcnn: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("keras-maskrcnn: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        message = _pipeline_error(error)
        if args.debug or message is None:
            raise
        print(f"keras-maskrcnn: error: {message}", file=sys.stderr)
        return 2


def train(args: argparse.Namespace) -> int:
    """Train a model on annotated pictures; everything goes to a run folder."""
    from keras_maskrcnn.cli import training_run

    training_run.train(args, _config(args.config, _overrides(args)))
    return 0


def evaluate(args: argparse.Namespace) -> int:
    """Print the COCO results of a model on annotated pictures."""
    from rich.console import Console

    import keras_maskrcnn as km
    from keras_maskrcnn.cli.training_run import write_results
    from keras_maskrcnn.evaluation.coco import results_table

    model = _load(args)
    names = model.config.class_names or None
    dataset = km.data.open_dataset(args.annotations, args.images, names)
    results = km.evaluate(model, dataset, batch_size=args.batch_size, verbose=1)
    Console().print(results_table(results))
    if dataset.problems:
        print(dataset.problem_report())
    if args.json:
        write_results(results, args.json)
        print(f"results: {args.json}")
    return 0


def predict(args: argparse.Namespace) -> int:
    """Find the objects of pictures; write the pictures with them drawn, and a JSON file."""
    from rich.progress import track

    if args.input_list:
        cli_predict.check_list(args)
        return cli_predict.predict_list(args, _load(args))
    files = _pictures(args.images)
    model = _load(args)
    output = pathlib.Path(args.output or "predictions")
    output.mkdir(parents=True, exist_ok=True)
    results, failures, drawn = [], [], set()
    for image_id, file in enumerate(track(files, "predict", disable=not sys.stderr.isatty()), 1):
        try:
            found = model.predict([str(file)], verbose=0)[0]
            found = found[found.scores >= args.score_threshold]
            found.save(output / _free_name(file, drawn), str(file))
        except (ValueError, OSError) as error:
            failures.append(f"{file}: {' '.join(str(error).split())}")
            continue
        for name, entry in zip(found.class_names, found.to_coco(image_id), strict=True):
            results.append({**entry, "category_name": name, "file_name": str(file)})
    (output / "results.json").write_text(json.dumps(results) + "\n", encoding="utf-8")
    done = len(files) - len(failures)
    print(f"{len(results)} objects in {done} of {len(files)} pictures: {output}/")
    for failure in failures:
        print(f"keras-maskrcnn: passed over {failure}", file=sys.stderr)
    return 1 if failures else 0


def export(args: argparse.Namespace) -> int:
    """Write a model for TensorFlow Serving, or for whatever else loads it."""
    names = {name for options in cli_parser.EXPORT_OPTIONS.values() for name in options}
    given = {name: value for name in names if (value := getattr(args, name)) is not None}
    for name in given.keys() - set(cli_parser.EXPORT_OPTIONS[args.format]):
        raise ValueError(f"--{name.replace('_', '-')} has no meaning for --format {args.format}.")
    _load(args).export(args.output, format=args.format, **given)
    return 0


def build_ops(args: argparse.Namespace) -> int:
    """Compile RoIAlign for the TensorFlow that is installed."""
    from keras_maskrcnn.ops import build

    print(f"built {build.build(cuda=not args.no_cuda)}")
    return 0


def info(args: argparse.Namespace) -> int:
    """Print versions, devices and shipped configs, or one config as YAML, or the presets."""
    if args.model or args.run:
        print(_load(args).config.to_yaml(), end="")
    elif args.config:
        print(_config(args.config, {}).to_yaml(), end="")
    elif args.presets:
        _print_presets()
    else:
        _print_installation()
    return 0


def _pipeline_error(error):
    """What the input pipeline said when it stopped: TensorFlow wraps it in tracebacks."""
    import tensorflow as tf

    found = re.search(r"ValueError: (.*?)\n+Traceback", str(error), re.DOTALL)
    return found[1] if found and isinstance(error, tf.errors.InvalidArgumentError) else None


def _print_installation():
    import keras
    import tensorflow as tf
    from rich.console import Console
    from rich.table import Table

    import keras_maskrcnn
    from keras_maskrcnn.ops import compiled_roi_align

    devices = [
        tf.config.experimental.get_device_details(device).get("device_name", "CPU")
        for device in tf.config.list_physical_devices()
    ]
    console = Console()
    for name, value in (
        ("keras_maskrcnn", keras_maskrcnn.__version__),
        ("TensorFlow", tf.__version__),
        ("Keras", keras.__version__),
        ("devices", ", ".join(devices)),
        ("RoIAlign", compiled_roi_align.load().description),
    ):
        console.print(f"{name:<15} {value}", highlight=False, soft_wrap=True)
    table = Table(title="Shipped configs")
    for column in ("config", "backbone", "neck", "norm", "classes", "masks"):
        table.add_column(column, no_wrap=column == "config")
    for name in shipped_configs():
        config = MaskRCNNConfig.from_name(name)
        masks = "yes" if config.mask else "no"
        values = (config.backbone, config.neck, config.norm, str(config.num_classes), masks)
        table.add_row(name, *values)
    console.print(table)


def _print_presets():
    from rich.console import Console

    from keras_maskrcnn.weights.presets import presets_table

    console = Console(width=110)  # 80, which a pipe counts as, would cut off names and digests
    console.print(presets_table(), highlight=False)
    console.print("AP on COCO val2017 as published, in percent; a dash is an ImageNet backbone.")


def _config(name_or_file, overrides):
    is_file = name_or_file.endswith((".yaml", ".yml"))
    read = MaskRCNNConfig.from_yaml if is_file else MaskRCNNConfig.from_name
    return read(name_or_file).replace(**overrides)


def _overrides(args):
    names = [field.name for field in dataclasses.fields(MaskRCNNConfig)]
    return {name: value for name, value in vars(args).items() if name in names}


def _load(args):
    """The model of `--model` or `--run`, with the config's fields that were given changed."""
    import keras

    import keras_maskrcnn as km

    path = _run_model(pathlib.Path(args.run)) if args.run else pathlib.Path(args.model)
    if not path.is_file():
        raise FileNotFoundError(f"There is no model file {path}.")
    if path.suffix in (".pkl", ".pth"):
        model = km.MaskRCNN.from_checkpoint(path)
    elif path.suffix == ".keras":
        model = keras.models.load_model(path)
    else:
        raise ValueError(
            f"{path} is not a model: expected a .keras file or a .pkl or .pth checkpoint."
        )
    overrides = _overrides(args)
    if not overrides:
        return model
    changed = km.MaskRCNN(model.config.replace(**overrides))
    changed.set_weights(model.get_weights())
    return changed


def _run_model(run):
    for name in ("best.keras", "last.keras"):
        if (run / name).is_file():
            return run / name
    raise FileNotFoundError(f"{run} holds neither best.keras nor last.keras: is it a run folder?")


def _pictures(names):
    """The files named, folders replaced by the pictures in them."""
    if not names:
        raise ValueError("Give pictures, folders of pictures, or a list with --input-list.")
    files = []
    for path in map(pathlib.Path, names):
        inside = sorted(path.iterdir()) if path.is_dir() else [path]
        found = [file for file in inside if file == path or file.suffix.lower() in PICTURES]
        if not found:
            raise ValueError(f"Folder {path} holds no pictures ({' '.join(PICTURES)}).")
        files += found
    return files


def _free_name(file, taken):
    """`<stem>.png`, or with a number where another folder's picture has that name already."""
    name, number = f"{file.stem}.png", 1
    while name in taken:
        number += 1
        name = f"{file.stem}-{number}.png"
    taken.add(name)
    return name
