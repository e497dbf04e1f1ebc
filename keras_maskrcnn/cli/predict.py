"""`predict` and `merge-results`: the objects of pictures, of a few or of millions."""

import argparse
import json
import math
import os
import pathlib
import sys
from collections.abc import Iterator

from keras_maskrcnn.cli import options
from keras_maskrcnn.cli.loading import load_model
from keras_maskrcnn.cli.pictures import (
    PICTURES,
    find_in_files,
    least_score,
    picture_files,
    say_failures,
)
from keras_maskrcnn.cli.predict_annotations import FORMATS, predict_annotations
from keras_maskrcnn.cli.predict_video import free_name, is_video, predict_videos

MOST_DRAWN = 2**27  # pixels of a picture that is drawn: it is in memory at once
EXAMPLES = """\
examples:
  keras-maskrcnn predict --run runs/mine photos/
  keras-maskrcnn predict --model m.keras --score-threshold 0.7 --output found/ a.jpg b.png
  keras-maskrcnn predict --model mask_rcnn_resnet50_fpn_3x_coco photo.jpg
  keras-maskrcnn predict --model m.keras --tile-size 1024 --batch-size 4 large.png
  keras-maskrcnn predict --model m.keras --track --batch-size 4 in.mp4
  # to be corrected in LabelMe
  keras-maskrcnn predict --model m.keras --as labelme --output to_correct/ photos/
  # millions of files; the same line again goes on with a run that was killed
  keras-maskrcnn predict --model m.keras --input-list files.txt --output results.json
  # the third of sixteen machines
  keras-maskrcnn predict --model m.keras --input-list files.txt --shard 3/16 \\
      --output results-03.json

The pictures and results.json (COCO's results format, with file names) go to the output folder.
A video becomes NAME.mp4 there, with its sound where the program ffmpeg is, and NAME.jsonl: an
object a line, as in results.json; image_id is the frame's number, from 1, time is in seconds.
Of a list, image_id is the number of the line, from 1, in every shard. A run that was killed loses
a second of work, or a batch; delete results.json.state and results.json.part to begin anew.
The exit code is 1 if some of the files or frames could not be read; the others are done.
"""
MERGE_EXAMPLES = """\
examples:
  keras-maskrcnn merge-results results-*.json --output results.json
  cat results-*.errors.jsonl > results.errors.jsonl

The objects are in the order of the list.
"""


def add_verbs(verbs) -> None:
    """Adds `predict` and `merge-results`."""
    parser = options.add_verb(
        verbs,
        "predict",
        predict,
        usage="(--model FILE | --run DIR) (PICTURE... | VIDEO... | --input-list PATH) [options]",
        summary="Find the objects of pictures or videos; write these with them drawn, and a JSON "
        "file.",
        examples=EXAMPLES,
    )
    options.add_model(parser)
    _add_picture_options(parser)
    options.add_tiles(parser)
    _add_list_options(parser)
    options.add_changes(parser)

    parser = options.add_verb(
        verbs,
        "merge-results",
        merge_results,
        usage="RESULTS... --output FILE",
        summary="Join the results of the shards of a long list into one file.",
        examples=MERGE_EXAMPLES,
    )
    parser.add_argument("results", metavar="RESULTS", nargs="+", help="what the shards wrote")
    parser.add_argument("--output", metavar="FILE", required=True)


def _add_picture_options(parser):
    parser.add_argument(
        "images",
        metavar="PICTURE|VIDEO",
        nargs="*",
        help="picture files, or folders of pictures; or video files, addresses of streams, or "
        "numbers of cameras",
    )
    parser.add_argument(
        "--output",
        metavar="DIR|FILE",
        help="a folder (default: predictions), or with --input-list a file (default: results.json)",
    )
    parser.add_argument(
        "--score-threshold",
        type=float,
        metavar="X",
        help="keep objects that score at least this (default: 0.5; 0 where the model has "
        "class_score_thresholds, which then decide alone)",
    )
    parser.add_argument(
        "--track",
        action="store_true",
        help="follow the objects of a video: each has a number that lasts",
    )
    parser.add_argument(
        "--as",
        dest="annotations",
        choices=FORMATS,
        help="write the objects as annotations that tools open, for people to correct, beside "
        "copies of the pictures; --output is a new folder",
    )


def _add_list_options(parser):
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
        type=options.positive_int,
        default=1,
        metavar="N",
        help="pictures, frames, or squares of --tile-size, at a time (default: 1)",
    )


def predict(args: argparse.Namespace) -> int:
    """Find the objects of pictures or videos; write these with them drawn, and a JSON file."""
    options.given_tiles(args)
    if args.track and not any(map(is_video, args.images)):
        raise ValueError("--track is for videos: it follows objects from frame to frame.")
    if args.annotations:
        if args.input_list or any(map(is_video, args.images)):
            raise ValueError("--as is for pictures and folders of them, not for videos and lists.")
        return predict_annotations(args, picture_files(args.images))
    if args.input_list:
        _check_list(args)
        return _predict_list(args, load_model(args))
    if any(map(is_video, args.images)):
        return predict_videos(args)
    return _predict_pictures(args, picture_files(args.images), load_model(args))


def _predict_pictures(args, files, model):
    output = pathlib.Path(args.output or "predictions")
    output.mkdir(parents=True, exist_ok=True)
    results, failures, drawn = [], [], set()
    for image_id, file, found in find_in_files(model, files, args, failures):
        _draw(found, file, output / f"{free_name(file.stem, drawn)}.png", model.config)
        for name, entry in zip(found.class_names, found.to_coco(image_id), strict=True):
            results.append({**entry, "category_name": name, "file_name": str(file)})
    (output / "results.json").write_text(json.dumps(results) + "\n", encoding="utf-8")
    done = len(files) - len(failures)
    print(f"{len(results)} objects in {done} of {len(files)} pictures: {output}/")
    return say_failures(failures)


def _draw(found, file, path, config):
    """Draws what was found; a picture that only its windows could be read of is not, and said."""
    from keras_maskrcnn.data.stored import decode_to_show, read_bytes

    if math.prod(found.image_size) > MOST_DRAWN:
        print(f"keras-maskrcnn: not drawn, for its size: {file}", file=sys.stderr)
        return
    try:
        picture = decode_to_show(read_bytes(file), str(file), config)
    except ValueError as error:
        print(f"keras-maskrcnn: not drawn: {error}", file=sys.stderr)
        return
    found.save(path, picture)


def _predict_list(args, model):
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
            score_threshold=least_score(args, model),
            **options.given_tiles(args),
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


def _check_list(args):
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


def shard(text: str) -> tuple[int, int]:
    """`3/16` as (3, 16), or an error that argparse shows."""
    index, slash, count = text.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise argparse.ArgumentTypeError(f"must be K/N with K from 1 to N, got {text}")
    return int(index), int(count)
