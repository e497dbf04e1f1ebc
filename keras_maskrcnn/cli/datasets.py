"""`inspect-dataset` and `convert-dataset`: looking at a dataset, and writing it anew."""

import argparse
import pathlib
import sys

from keras_maskrcnn.cli import options
from keras_maskrcnn.config import MaskRCNNConfig

TARGETS = ("coco", "labelme", "via", "voc", "yolo", "cvat", "mask-png", "tfrecord")
INSPECT_EXAMPLES = """\
examples:
  keras-maskrcnn inspect-dataset train.json --images photos/
  keras-maskrcnn inspect-dataset annotated/ --output inspection/
  keras-maskrcnn inspect-dataset annotated/ --strict && keras-maskrcnn train ...
  keras-maskrcnn inspect-dataset PennFudanPed/PedMasks --images PennFudanPed/PNGImages

The output folder gets contact_sheet.png, and problems.txt if there are any.
"""
CONVERT_EXAMPLES = """\
examples:
  keras-maskrcnn convert-dataset annotated/ --to coco --output as_coco/
  keras-maskrcnn convert-dataset balloon/train/via_region_data.json --to labelme --output train/
  keras-maskrcnn convert-dataset VOC2012 --to coco --output voc_as_coco/ --link-images

What the format cannot hold (overlaps and crowds in PNGs, say) is counted and said.
"""


def add_verbs(verbs) -> None:
    """Adds `inspect-dataset` and `convert-dataset`."""
    parser = options.add_verb(
        verbs,
        "inspect-dataset",
        inspect_dataset,
        usage="PATH [options]",
        summary="Print what is in a dataset, list what is broken, draw a sheet of its pictures.",
        examples=INSPECT_EXAMPLES,
    )
    _add_dataset(parser)
    parser.add_argument(
        "--output",
        metavar="DIR",
        default="inspection",
        help="for contact_sheet.png and problems.txt (default: %(default)s)",
    )
    parser.add_argument(
        "--pictures",
        type=options.positive_int,
        default=24,
        metavar="N",
        help="on the contact sheet (default: %(default)s)",
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="exit with 1 where anything is doubtful: a problem is listed, or something is there "
        "that training would not learn",
    )
    parser = options.add_verb(
        verbs,
        "convert-dataset",
        convert_dataset,
        usage="PATH --to FORMAT --output DIR [options]",
        summary="Write a dataset in another format, its pictures along.",
        examples=CONVERT_EXAMPLES,
    )
    _add_dataset(parser)
    parser.add_argument("--to", choices=TARGETS, required=True, help=", ".join(TARGETS))
    parser.add_argument("--output", metavar="DIR", required=True, help="new or empty")
    parser.add_argument(
        "--link-images", action="store_true", help="symbolic links to the pictures, not copies"
    )


def _add_dataset(parser):
    parser.add_argument("data", metavar="PATH", help=options.DATA_FORMATS)
    parser.add_argument("--images", metavar="DIR", help="folder of the pictures")
    parser.add_argument(
        "--class-attribute",
        metavar="NAME",
        help="of a VIA file, the region attribute that holds the class (default: the only one); "
        "'*' if the class is the attribute's own name",
    )


def inspect_dataset(args: argparse.Namespace) -> int:
    """Print what is in a dataset, list what is doubtful, and draw a sheet of its pictures."""
    import cv2
    from rich.console import Console
    from rich.progress import track

    from keras_maskrcnn.data import inspection
    from keras_maskrcnn.data.problems import nothing_to_train_on

    dataset = _open(args)
    dataset.max_broken = 1.0  # the broken ones are what is to be found
    decoded = inspection.check_files(dataset)
    quiet = not sys.stderr.isatty()
    for _ in track(decoded, "decode", total=len(dataset), disable=quiet):
        pass
    output = pathlib.Path(args.output)
    output.mkdir(parents=True, exist_ok=True)
    console = Console()
    console.print(dataset.source, highlight=False, markup=False, soft_wrap=True)
    figures = inspection.figures(dataset)
    for table in _tables(dataset, figures):
        console.print(table)
    sheet = output / "contact_sheet.png"
    picture = inspection.contact_sheet(dataset, args.pictures)
    if not cv2.imwrite(str(sheet), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
        raise OSError(f"Cannot write {sheet}.")
    if dataset.problems:
        report = dataset.problem_report(most=len(dataset.problems))
        (output / "problems.txt").write_text(report + "\n", encoding="utf-8")
        console.print(dataset.problem_report(), highlight=False, markup=False, soft_wrap=True)
        print(f"all problems: {output / 'problems.txt'}")
    remarks = inspection.remarks(dataset, figures, MaskRCNNConfig())
    nothing = nothing_to_train_on(dataset.source, dataset.records)
    remarks += [nothing] if nothing else []
    for remark in remarks:
        print(f"doubtful: {remark}")
    print(f"contact sheet: {sheet}")
    return int(args.strict and bool(dataset.problems or remarks))


def convert_dataset(args: argparse.Namespace) -> int:
    """Write a dataset in another format and say what that cannot hold."""
    from keras_maskrcnn.data.formats.convert import convert

    dataset = _open(args)
    losses = convert(dataset, args.to, args.output, link_images=args.link_images)
    objects = sum(len(record.instances) for record in dataset.records)
    print(f"{len(dataset)} images and {objects} objects as {args.to}: {args.output}")
    for what, number in losses.items():
        print(f"  not held by {args.to}: {number} {what}")
    if dataset.problems:
        print(dataset.problem_report())
    return 0


def _open(args):
    from keras_maskrcnn.data import open_dataset

    return open_dataset(args.data, args.images, class_attribute=args.class_attribute)


def _tables(dataset, figures):
    yield _overview(dataset, figures)
    yield _sizes(figures)
    if figures.objects:
        yield _objects(figures)
        yield _classes(dataset, figures)


def _overview(dataset, figures):
    table = _table("Dataset", "", "number")
    for kind, (lost, total) in dataset.broken().items():
        table.add_row(f"{kind}s", str(total))
        table.add_row("  of them broken", f"{lost}", style="bold red" if lost else None)
    for name, number in (
        ("objects", figures.objects),
        ("images without an object", figures.empty_images),
        ("crowds", figures.crowds),
        ("objects without a mask", figures.without_mask),
        ("classes", len(dataset.class_names)),
    ):
        table.add_row(name, str(number))
    if figures.objects:
        table.add_row("objects an image", _spread(figures.objects_per_image))
    return table


def _sizes(figures, most=8):
    table = _table("Image sizes", "width x height", "images", "share")
    for (width, height), number in list(figures.image_sizes.items())[:most]:
        table.add_row(f"{width} x {height}", str(number), f"{number / figures.images:.0%}")
    others = sum(list(figures.image_sizes.values())[most:])
    if others:
        kinds = len(figures.image_sizes) - most
        table.add_row(f"{kinds} others", str(others), f"{others / figures.images:.0%}")
    return table


def _objects(figures):
    from keras_maskrcnn.data.inspection import MEDIUM, SMALL

    areas = figures.object_areas
    small, large = int((areas < SMALL).sum()), int((areas >= MEDIUM).sum())
    table = _table("Object sizes", "", "objects", "share")
    for name, number in (
        ("small: area below 32 x 32 pixels", small),
        ("medium", len(areas) - small - large),
        ("large: 96 x 96 and above", large),
    ):
        table.add_row(name, str(number), f"{number / len(areas):.0%}")
    table.add_row("square root of the area", _spread((areas**0.5).round().astype(int)), "")
    return table


def _classes(dataset, figures, width=24):
    import numpy as np

    table = _table("Classes", "class", "objects", "share", "images")
    table.add_column("", no_wrap=True)
    numbers = figures.class_objects
    for class_id in np.argsort(-numbers, kind="stable")[: np.count_nonzero(numbers)]:
        number = int(numbers[class_id])
        bar = "█" * round(width * number / numbers.max()) or "▏"
        share = f"{number / figures.objects:.1%}"
        images = str(figures.class_images[class_id])
        table.add_row(dataset.class_names[class_id], str(number), share, images, bar)
    return table


def _table(title, first, *columns):
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    table.add_column(first)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _spread(values):
    import numpy as np

    low, middle, high = np.percentile(values, [0, 50, 100])
    return f"{low:.0f} to {high:.0f}, median {middle:.0f}"
