"""The tables of speed in the README, measured in one go.

    python benchmarks/table.py --peer ../peer/bin/python

First R50-FPN against torchvision, turn by turn (`speed.py` measures one of these), then the other
architectures against R50-FPN. Operations are those of convolutions and matrix products, two for
each product that is added. Takes about ten minutes; nothing else should run beside it. RoIAlign,
the input pipeline and learning have commands of their own: `roi_align.py`, `input_pipeline.py` and
`learning.py`.
"""

import argparse
import math

import cv2
from parity import GOLDENS, Golden
from speed import compare
from tensorflow.python.framework import op_callbacks

WORKS = {
    "photo of 1275x800 to full-size masks, float32": ("inference", "float32"),
    "the same in bfloat16, torchvision too": ("inference", "bfloat16"),
    "training step, one photo at 800 px": ("train", "float32"),
}
ARCHITECTURES = {
    "R50-FPN": "detectron2_mask_rcnn_r50_fpn",
    "R50-C4": "detectron2_mask_rcnn_r50_c4",
    "R101-FPN": "detectron2_mask_rcnn_r101_fpn",
    "X101-FPN": "detectron2_mask_rcnn_x101_fpn",
}


def operations(golden):
    """The number of operations of a photo."""
    model = Golden(GOLDENS, golden).model()
    photo = cv2.imread(str(GOLDENS / "images/crowd_800.png"))[None]
    total = 0

    def count(op_type, inputs, attributes, outputs, op_name=None, graph=None):
        nonlocal total
        if op_type == "Conv2D":
            total += 2 * math.prod(outputs[0].shape) * math.prod(inputs[1].shape[:3])
        elif op_type == "Conv2DBackpropInput":  # a transposed convolution
            total += 2 * math.prod(inputs[2].shape) * math.prod(inputs[1].shape[:3])
        elif op_type == "MatMul":
            total += 2 * math.prod(inputs[0].shape) * outputs[0].shape[-1]

    op_callbacks.add_op_callback(count)
    try:
        model({"images": photo})
    finally:
        op_callbacks.remove_op_callback(count)
    return total


def print_ratios(peer, turns):
    print("| work | torchvision | this package | ratio | peak memory, MiB |")
    print("| --- | --- | --- | --- | --- |")
    for name, (work, dtype) in WORKS.items():
        figures = compare(work, dtype, peer=peer, turns=turns)
        (theirs, their_peak), (ours, peak) = figures["torchvision"], figures["keras_maskrcnn"]
        print(
            f"| {name} | {theirs:.2f} s | {ours:.2f} s | {ours / theirs:.2f} "
            f"| {peak:.0f} for {their_peak:.0f} |",
            flush=True,
        )


def print_architectures(turns):
    print("| architecture | seconds | to R50-FPN | 10^9 operations | to R50-FPN |")
    print("| --- | --- | --- | --- | --- |")
    first = None
    for name, golden in ARCHITECTURES.items():
        ((seconds, _),) = compare("inference", golden=golden, turns=turns).values()
        number = operations(golden)
        first = first or (seconds, number)
        print(
            f"| {name} | {seconds:.2f} | {seconds / first[0]:.2f} "
            f"| {number / 1e9:.0f} | {number / first[1]:.2f} |",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer", required=True, help="a Python with torchvision")
    parser.add_argument("--turns", type=int, default=3)
    args = parser.parse_args()
    print_ratios(args.peer, args.turns)
    print_architectures(1)


if __name__ == "__main__":
    main()
