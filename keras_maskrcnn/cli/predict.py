"""The verbs of long lists of pictures: `predict --input-list`, `merge-results`."""

import argparse
import os
import pathlib
import sys
from collections.abc import Iterator

from keras_maskrcnn.cli.options import positive_int

PICTURES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `predict` for long lists."""
    group = parser.add_argument_group(
        "long lists",
        "No pictures are drawn; --output is the results file, which must end in .json. The same "
        "command goes on with a run that was killed. Files that cannot be read are listed beside "
        "the results, in *.errors.jsonl.",
    )
    group.add_argument(
        "--input-list",
        metavar="PATH",
        help="a text file with the path of a picture a line; - for standard input; or a folder, "
        "whose pictures are looked for in its subfolders too",
    )
    group.add_argument(
        "--shard",
        type=shard,
        default=(1, 1),
        metavar="K/N",
        help="look only at the lines number K, K + N, K + 2N and so on; K is from 1 to N "
        "(default: 1/1, all)",
    )
    group.add_argument(
        "--batch-size",
        type=positive_int,
        default=1,
        metavar="N",
        help="pictures at a time (default: 1)",
    )


def shard(text: str) -> tuple[int, int]:
    """`3/16` as (3, 16), or an error that argparse shows."""
    index, slash, count = text.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise argparse.ArgumentTypeError(f"must be K/N with K from 1 to N, got {text}")
    return int(index), int(count)


def predict_list(args: argparse.Namespace, model) -> int:
    """Find the objects of the files of a list; write them as one JSON file."""
    from rich.console import Console

    from keras_maskrcnn.prediction.file_lists import predict_files

    output = args.output or "results.json"
    with _progress_bar(Console(stderr=True)) as bar:
        task = bar.add_task("predict", total=_count(args.input_list, args.shard), failures=0)
        done = predict_files(
            model,
            read_list(args.input_list),
            output,
            shard=args.shard,
            batch_size=args.batch_size,
            score_threshold=args.score_threshold,
            on_progress=lambda p: bar.update(task, completed=p.inputs, failures=p.failures),
        )
    looked_at = done.inputs - done.failures
    print(f"{done.results} objects in {looked_at} of {done.inputs} pictures: {output}")
    if done.failures:
        errors = pathlib.Path(output).with_suffix(".errors.jsonl")
        print(f"keras-maskrcnn: passed over {done.failures}: {errors}", file=sys.stderr)
    return 1 if done.failures else 0


def merge_results(args: argparse.Namespace) -> int:
    """Join the results of shards into one file."""
    from keras_maskrcnn.prediction import results_file

    count = results_file.merge_results(args.results, args.output)
    print(f"{count} objects of {len(args.results)} files: {args.output}")
    return 0


def check_list(args: argparse.Namespace) -> None:
    """Raises what is wrong with the options before a model is loaded for them."""
    if args.images:
        raise ValueError(f"Give pictures or --input-list, not both; got {args.images[0]} too.")
    if args.input_list != "-" and not os.path.exists(args.input_list):
        raise FileNotFoundError(f"There is no list of pictures {args.input_list}.")


def read_list(source: str) -> Iterator[str]:
    """The lines of a file or of standard input (`-`), or the pictures below a folder, by name."""
    if os.path.isdir(source):
        yield from _walk(source)
        return
    # Standard input stays open: it is not ours.
    file = sys.stdin.fileno() if source == "-" else source
    with open(
        file, encoding="utf-8", errors="surrogateescape", newline="\n", closefd=source != "-"
    ) as lines:
        for line in lines:
            yield line.rstrip("\r\n")


def _walk(folder):
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            if name.lower().endswith(PICTURES):
                yield os.path.join(parent, name)


def _count(source, shard):
    """The number of lines of a file that belong to the shard; None where counting is dear."""
    if not os.path.isfile(source):
        return None
    with open(source, "rb") as lines:
        total = sum(1 for _ in lines)
    index, count = shard
    return len(range(index, total + 1, count))


def _progress_bar(console):
    from rich import progress

    return progress.Progress(
        *progress.Progress.get_default_columns(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[failures]} passed over"),
        console=console,
        disable=not sys.stderr.isatty(),
    )
