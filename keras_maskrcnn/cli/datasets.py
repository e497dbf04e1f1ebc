"""The verbs of the command line that look at datasets: `inspect-dataset`, `convert-dataset`."""

import argparse
import pathlib
import sys

import numpy as np


def inspect_dataset(args: argparse.Namespace) -> int:
    """Print what is in a dataset, list what is broken, and draw a sheet of its pictures."""
    import cv2
    from rich.console import Console
    from rich.progress import track

    from keras_maskrcnn.data import inspection

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
    for table in _tables(dataset, inspection.figures(dataset)):
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
    print(f"contact sheet: {sheet}")
    return 0


def convert_dataset(args: argparse.Namespace) -> int:
    """Write a dataset in another format and say what that cannot hold."""
    from keras_maskrcnn.data.formats import convert

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
    table = _table("Classes", "class", "objects", "share", "images")
    table.add_column("", no_wrap=True)
    numbers = figures.class_objects
    for class_id in np.argsort(-numbers, kind="stable")[: np.count_nonzero(numbers)]:
        number = int(numbers[class_id])
        bar = "█" * round(width * number / numbers.max()) or "▏"
        share = f"{number / figures.objects:.1%}"
        images = str(figures.class_images[class_id])
        table.add_row(dataset.class_names[class_id], str(number), share, images, bar)
    absent = [dataset.class_names[i] for i in np.flatnonzero(numbers == 0)]
    if absent:
        table.caption = f"{len(absent)} without an object: {', '.join(absent)}"
        table.caption_justify = "left"
    return table


def _table(title, first, *columns):
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    table.add_column(first)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _spread(values):
    low, middle, high = np.percentile(values, [0, 50, 100])
    return f"{low:.0f} to {high:.0f}, median {middle:.0f}"
