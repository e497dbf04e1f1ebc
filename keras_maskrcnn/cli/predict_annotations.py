"""`predict --as`: the objects of pictures as annotations, for people to correct."""

import argparse
import pathlib
import sys
from collections.abc import Sequence

from keras_maskrcnn.cli.loading import load_model
from keras_maskrcnn.cli.pictures import find_in_files, say_failures

FORMATS = ("coco", "cvat", "labelme", "via", "yolo")


def predict_annotations(args: argparse.Namespace, files: Sequence[pathlib.Path]) -> int:
    """Find the objects of pictures; write them as annotations beside copies of the pictures."""
    from keras_maskrcnn.cli.run_folder import check_new
    from keras_maskrcnn.data import convert
    from keras_maskrcnn.prediction.annotations import annotate

    output = pathlib.Path(args.output or "predictions")
    check_new(output)
    model, failures = load_model(args), []
    found = find_in_files(model, files, args, failures)
    dataset = annotate(((file, objects) for _, file, objects in found), model.config)
    losses = convert(dataset, args.annotations, output)
    objects = sum(len(record.instances) for record in dataset.records)
    done = f"{len(dataset)} of {len(files)} pictures"
    print(f"{objects} objects in {done} as {args.annotations}: {output}/")
    for what, number in losses.items():
        print(f"keras-maskrcnn: not held by {args.annotations}: {number} {what}", file=sys.stderr)
    return say_failures(failures)
