"""`evaluate`: COCO's figures of a model."""

import argparse

from keras_maskrcnn.cli import options
from keras_maskrcnn.cli.loading import load_model
from keras_maskrcnn.config import FIELDS_AFTER_TRAINING, NO_CLASS

EXAMPLES = """\
examples:
  keras-maskrcnn evaluate --run runs/mine --data test.json --images photos/
  keras-maskrcnn evaluate --model m.keras --data test.json --images photos/ --json ap.json
  keras-maskrcnn evaluate --model mask_rcnn_resnet50_fpn_3x_coco --data val2017.json \\
      --images val2017/
"""


def add_verb(verbs) -> None:
    """Adds `evaluate`."""
    parser = options.add_verb(
        verbs,
        "evaluate",
        evaluate,
        usage="(--model FILE | --run DIR) --data PATH [--images DIR] [options]",
        summary="Print the COCO results of a model on annotated pictures.",
        examples=EXAMPLES,
    )
    options.add_model(parser)
    options.add_data(parser.add_argument_group("data", options.DATA_FORMATS), "", "annotations")
    parser.add_argument(
        "--batch-size", type=options.positive_int, default=1, metavar="N", help="default: 1"
    )
    options.add_tiles(parser)
    parser.add_argument("--json", metavar="FILE", help="write the results there too")
    options.add_fields(parser, FIELDS_AFTER_TRAINING, defaults=None)


def evaluate(args: argparse.Namespace) -> int:
    """Print the COCO results of a model on annotated pictures."""
    from rich.console import Console

    import keras_maskrcnn as km
    from keras_maskrcnn.cli.run_folder import write_results
    from keras_maskrcnn.evaluation.coco import results_table

    tiles = options.given_tiles(args)
    model = load_model(args)
    dataset = _open(args.data, getattr(args, "images", None), model.config.class_names)
    results = km.evaluate(model, dataset, batch_size=args.batch_size, verbose=1, **tiles)
    Console().print(results_table(results))
    if dataset.problems:
        print(dataset.problem_report())
    if args.json:
        write_results(results, args.json)
        print(f"results: {args.json}")
    return 0


def _open(data, images, class_names):
    """The dataset with the model's classes, also those that it has no object of."""
    from keras_maskrcnn.data import open_dataset
    from keras_maskrcnn.data.problems import listed

    dataset = open_dataset(data, images)
    names = tuple(name for name in class_names if name != NO_CLASS)
    if not names or names == dataset.class_names:
        return dataset
    unknown = [name for name in dataset.class_names if name not in names]
    if unknown:
        raise ValueError(
            f"{data} has classes that the model does not know: {listed(unknown)}. Take "
            f"them out of the annotations; the model's are {', '.join(names)}."
        )
    return open_dataset(data, images, names)
