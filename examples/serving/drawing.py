"""What the clients share: from TensorFlow Serving's answer for a photo to a picture."""

import argparse
import pathlib

import numpy as np

from keras_maskrcnn.data.images import read_image
from keras_maskrcnn.prediction.predict import to_detections


def arguments(description: str, url: str) -> argparse.Namespace:
    """The options of a client."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photo", type=pathlib.Path)
    parser.add_argument("picture", type=pathlib.Path, help="where to draw: .jpg or .png")
    parser.add_argument("--url", default=url, help="default: %(default)s")
    parser.add_argument("--model", default="mask_rcnn", help="default: %(default)s")
    parser.add_argument("--label", help="a version of the model, e.g. canary; else the newest")
    parser.add_argument("--classes", type=pathlib.Path, help="class_names.txt of the export")
    parser.add_argument("--score-threshold", type=float, default=0.5, metavar="X")
    return parser.parse_args()


def draw(answer: dict[str, np.ndarray], args: argparse.Namespace) -> None:
    """Draws the objects of an answer for one photo and says what they are.

    Args:
        answer: The outputs of `serve_bytes`, each with a batch of one.
        args: What `arguments` returns.
    """
    photo = read_image(args.photo)
    sizes = np.array([photo.shape[:2]])  # boxes are in the photo's own pixels
    names = args.classes.read_text(encoding="utf-8").splitlines() if args.classes else ()
    outputs = {**answer, "image_sizes": sizes, "original_sizes": sizes}
    detections = to_detections(outputs, names)[0]
    detections = detections[detections.scores >= args.score_threshold]
    detections.save(args.picture, photo)
    print(f"{detections}\ndrawn in {args.picture}")
