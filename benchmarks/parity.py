"""Compares every stage of a model with what the reference computed of the same weights and images.

    python benchmarks/parity.py                              # every golden in ../shared/goldens
    python benchmarks/parity.py detectron2_mask_rcnn_r50_c4  # some of them

    # published weights on photos of yours; the first line in an environment with the reference
    python benchmarks/parity_reference.py maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth photos/ recorded/
    python benchmarks/parity.py --goldens recorded/

Prints a row a model and exits with 1 if one is not the same model: on every image, 0.99 of the
detections found at a box IoU of 0.99, scores and logits within 1e-4, 0.999 of the mask cells on
the same side of 0.5, features within 1e-5 of the largest, and 0.99 of the proposals within 0.01
pixels.
"""

import argparse
import json
import pathlib
import sys
import tempfile
from typing import NamedTuple

import cv2
import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.table import Table

from keras_maskrcnn import MaskRCNN

GOLDENS = pathlib.Path(__file__).resolve().parents[2] / "shared/goldens"
PARTS = ("boxes", "scores", "classes", "masks")


class Agreement(NamedTuple):
    """How far ours is from the reference on one image, or on the worst of several."""

    features: float  # largest difference, as a share of the largest value of the level
    proposals: float  # share of them of which one of ours is within 0.01 pixels
    logits: float  # largest difference of a proposal's logit of the same rank; 0 if not recorded
    found: float  # share of the detections found
    score: float  # largest difference of a score
    mask_cells: float  # share of the mask cells on the same side of 0.5

    def excess(self) -> dict[str, float]:
        """For each stage, the deviation as a multiple of the admitted one: up to 1 is the same."""
        return {
            "features": self.features / 1e-5,
            "proposals": max(_missing(self.proposals, 0.01), self.logits / 1e-4),
            "detections": max(_missing(self.found, 0.01), self.score / 1e-4),
            "masks": _missing(self.mask_cells, 0.001),
        }


def _missing(share, admitted):
    return round((1 - share) / admitted, 6)  # 0.99 in binary is not quite 1 - 0.01


class Golden:
    """What a reference computed, as `goldens/README.md` and `parity_reference.py` lay it down."""

    def __init__(self, folder: pathlib.Path, name: str):
        self.folder, self.name = folder, name
        self.entry = json.loads((folder / f"{name}.json").read_text())
        self.expected = np.load(folder / f"{name}.npz")
        self.images = list(self.entry["stages"])
        # torchvision's classes count from 1, since 0 is the background.
        self.first_class = 1 if name.startswith("torchvision") else 0

    def model(self, **overrides) -> MaskRCNN:
        """The model with the weights that the reference had."""
        proposals = self.entry.get("rpn", {}).get("POST_NMS_TOPK_TEST", 1000)
        overrides = {"rpn_post_nms_top_n_test": proposals, **overrides}
        if "weights" in self.entry:
            return MaskRCNN.from_checkpoint(self.entry["weights"], **overrides)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / ("m.pkl" if self.first_class == 0 else "m.pth")
            self.draw(path)
            return MaskRCNN.from_checkpoint(path, **overrides)

    def draw(self, path: pathlib.Path) -> None:
        """Writes the seeded weights as a checkpoint file in the reference's own format."""
        sys.path.insert(0, str(self.folder))
        import seeded_weights

        seeded_weights.main(self.name, str(path))

    def compare(self, model: MaskRCNN, image: str) -> Agreement:
        """Runs `model` on an image and compares every stage; further channels are copies."""
        pixels = cv2.imread(str(self.folder / "images" / f"{image}.png"))[:, :, ::-1]
        pixels = pixels[..., np.arange(model.config.channels) % 3]
        ours = model.stages({"images": tf.constant(pixels[None].astype(np.float32))})
        ours = tf.nest.map_structure(lambda value: value.numpy()[0], ours)
        proposals = self.expected[f"{image}/proposals/boxes"]
        # Not in order: where one proposal is missing, all behind it move up.
        distances = np.abs(ours["proposals"][None] - proposals[:, None]).max(axis=2)
        near = (distances.min(axis=1) < 0.01).mean()
        logits = self.expected[f"{image}/proposals/logits"]
        logits = np.abs(ours["proposal_logits"][: len(logits)] - logits).max(initial=0.0)
        features = self._features(ours["features"], image)
        return Agreement(features, near, logits, *self.compare_detections(ours, image))

    def _features(self, features, image):
        errors = []
        stages = self.entry["stages"][image]
        for (_, ours), (level, entry) in zip(features.items(), stages.items(), strict=True):
            down, right, channel = entry["sample_stride_hwc"]
            if list(ours.shape) != entry["shape_nhwc"][1:]:
                raise ValueError(f"{level} is {ours.shape}, the reference {entry['shape_nhwc']}.")
            theirs = self.expected[f"{image}/features/{level}"]
            difference = np.abs(ours[::down, ::right, ::channel] - theirs).max()
            errors.append(difference / np.abs(theirs).max())
        return max(errors)

    def compare_detections(self, ours, image: str) -> tuple[float, float, float]:
        """Shares found and of mask cells, and score difference, of `ours` (D, ...) on an image."""
        sys.path.insert(0, str(GOLDENS))
        from compare import agreement

        theirs = {part: self.expected[f"{image}/detections/{part}"] for part in PARTS}
        theirs["classes"] = theirs["classes"] - self.first_class
        ours = {part: ours[part][: ours["num_detections"]] for part in PARTS}
        result = agreement(ours, theirs, box_iou=0.99)
        return result["found"], result["score"], result["mask_cells"]


def worst(results: list[Agreement]) -> Agreement:
    """The worst figure of each kind."""
    features, proposals, logits, found, score, cells = zip(*results, strict=True)
    return Agreement(max(features), min(proposals), max(logits), min(found), max(score), min(cells))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", help="names of goldens (default: all)")
    parser.add_argument("--goldens", type=pathlib.Path, default=GOLDENS, metavar="DIR")
    parser.add_argument("--images", nargs="+", metavar="NAME", help="only these (default: all)")
    args = parser.parse_args()
    names = args.models or sorted(
        path.stem for path in args.goldens.glob("*.npz") if path.with_suffix(".json").is_file()
    )
    table = Table()
    for column in ("model", "images", "found", "score", "mask cells", "worst stage"):
        table.add_column(column)
    same = True
    for name in names:
        golden = Golden(args.goldens, name)
        images = [image for image in golden.images if image in (args.images or golden.images)]
        model = golden.model()
        result = worst([golden.compare(model, image) for image in images])
        excess = result.excess()
        stage = max(excess, key=excess.get)
        same &= excess[stage] <= 1
        figures = (f"{result.found:.3f}", f"{result.score:.1e}", f"{result.mask_cells:.5f}")
        of_admitted = f"{stage}: {excess[stage]:.2f} of what is admitted"
        table.add_row(name, str(len(images)), *figures, of_admitted)
    Console(width=130).print(table)
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
