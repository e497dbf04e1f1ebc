"""`evaluate` and `report`: what a model does well and what not."""

import argparse
import pathlib

from keras_maskrcnn.cli import options
from keras_maskrcnn.cli.loading import load_model
from keras_maskrcnn.config import NO_CLASS

EXAMPLES = """\
examples:
  keras-maskrcnn evaluate --run runs/mine --data test.json --images photos/
  keras-maskrcnn evaluate --model m.keras --data test.json --images photos/ --json ap.json
  keras-maskrcnn evaluate --model mask_rcnn_resnet50_fpn_3x_coco --data val2017.json \\
      --images val2017/
"""
REPORT_EXAMPLES = """\
examples:
  keras-maskrcnn report --run runs/mine --data test.json --images photos/
  keras-maskrcnn report --model m.keras --data test.json --images photos/ --output report/
  keras-maskrcnn report runs/mine runs/another --output compared/

Runs alone are set side by side, with their training curves: each has the report that train wrote.
"""
USAGE = "(--model FILE | --run DIR) --data PATH [--images DIR] [options]"


def add_verbs(verbs) -> None:
    """Adds `evaluate` and `report`."""
    parser = options.add_verb(
        verbs,
        "evaluate",
        evaluate,
        usage=USAGE,
        summary="Print the COCO results of a model on annotated pictures.",
        examples=EXAMPLES,
    )
    parser.add_argument("--json", metavar="FILE", help="write the results there too")
    parser.add_argument("--report", metavar="DIR", help="write a report there too; see report")
    _add_options(parser, data_required=True)
    parser = options.add_verb(
        verbs,
        "report",
        report,
        usage=f"{USAGE}\n       keras-maskrcnn report RUN [RUN ...] [--output DIR]",
        summary="Write a page on what a model does well and what not: by class, confusion, kinds "
        "of error, the pictures with most errors.",
        examples=REPORT_EXAMPLES,
    )
    parser.add_argument("runs", metavar="RUN", nargs="*", help="run folders to set side by side")
    parser.add_argument(
        "--output",
        metavar="DIR",
        help="where to; an earlier report is written over (default: report/ in the run folder, or "
        "here)",
    )
    _add_options(parser, data_required=False)


def _add_options(parser, data_required):
    options.add_model(parser)
    group = parser.add_argument_group("data", options.DATA_FORMATS)
    options.add_data(group, "", "annotations", required=data_required)
    parser.add_argument(
        "--batch-size", type=options.positive_int, default=1, metavar="N", help="default: 1"
    )
    options.add_tiles(parser)
    options.add_changes(parser)


def evaluate(args: argparse.Namespace) -> int:
    """Print the COCO results of a model on annotated pictures."""
    from keras_maskrcnn.cli.run_folder import write_results
    from keras_maskrcnn.evaluation.coco import figures

    evaluations = _evaluate(args, args.report)
    if args.json:
        write_results(figures(evaluations), args.json)
        print(f"results: {args.json}")
    return 0


def report(args: argparse.Namespace) -> int:
    """Write a page on what a model does well and what not."""
    folder = pathlib.Path(args.run or "", "report") if args.output is None else args.output
    if not args.runs:
        if not hasattr(args, "data"):
            raise ValueError("Give --data and a model, or run folders to set side by side.")
        _evaluate(args, folder)
        return 0
    if args.model or args.run or hasattr(args, "data"):
        raise ValueError(
            f"{', '.join(args.runs)} are set side by side by the reports that train wrote: leave "
            "out --model, --run and --data, or the run folders."
        )
    from keras_maskrcnn.evaluation.report.runs import compare_runs

    compare_runs(args.runs, folder)
    print(f"report: {pathlib.Path(folder, 'index.html')}")
    return 0


def _evaluate(args, report_folder):
    """Evaluates, prints the table, and writes a report if there is a folder for it."""
    from rich.console import Console

    from keras_maskrcnn.evaluation.coco import figures, results_table, run_coco_eval
    from keras_maskrcnn.evaluation.report.build import prepare_folder, write_report

    tiles = options.given_tiles(args)
    model = load_model(args)
    dataset = _open(args.data, getattr(args, "images", None), model.config.class_names)
    if report_folder is not None:
        prepare_folder(report_folder)
    evaluations = run_coco_eval(model, dataset, args.batch_size, verbose=1, **tiles)
    Console().print(results_table(figures(evaluations)))
    if dataset.problems:
        print(dataset.problem_report())
    if report_folder is not None:
        write_report(evaluations, dataset, report_folder, model.config)
        print(f"report: {pathlib.Path(report_folder, 'index.html')}")
    return evaluations


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
