"""`predict --as`: the objects of pictures as annotations, for people to correct."""

import argparse
import pathlib
import sys
from collections.abc import Sequence

from keras_maskrcnn.cli import options
from keras_maskrcnn.cli.loading import load_model

FORMATS = ("coco", "cvat", "labelme", "via", "yolo")


def predict_annotations(args: argparse.Namespace, files: Sequence[pathlib.Path]) -> int:
    """Find the objects of pictures; write them as annotations beside copies of the pictures."""
    from rich.progress import track

    from keras_maskrcnn.data import convert
    from keras_maskrcnn.prediction.annotations import annotate

    model, failures = load_model(args), []

    def found():
        for file in track(files, "predict", disable=not sys.stderr.isatty()):
            try:
                (detections,) = model.predict(
                    [str(file)], args.batch_size, verbose=0, **options.given_tiles(args)
                )
            except (ValueError, OSError) as error:
                failures.append(f"{file}: {' '.join(str(error).split())}")
            else:
                yield file, detections[detections.scores >= args.score_threshold]

    dataset = annotate(found(), model.config)
    output = args.output or "predictions"
    losses = convert(dataset, args.annotations, output)
    objects = sum(len(record.instances) for record in dataset.records)
    done = f"{len(dataset)} of {len(files)} pictures"
    print(f"{objects} objects in {done} as {args.annotations}: {output}/")
    for what, number in losses.items():
        print(f"keras-maskrcnn: not held by {args.annotations}: {number} {what}", file=sys.stderr)
    for failure in failures:
        print(f"keras-maskrcnn: passed over {failure}", file=sys.stderr)
    return 1 if failures else 0
