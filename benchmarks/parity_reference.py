"""Records what torchvision or Detectron2 computes of photos, for `parity.py` to compare with.

    python benchmarks/parity_reference.py maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth photos/ recorded/
    python benchmarks/parity_reference.py model_final_f10217.pkl photos/ recorded/ \\
        --detectron2-config COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml
    python benchmarks/parity.py --goldens recorded/

Runs in the environment of the reference, with torch, OpenCV and either of them; TensorFlow and this
package are not needed. Photos are resized to a short side of `--min-size` and stored as PNG, so
that both sides see the same pixels.
"""

import argparse
import json
import pathlib

import cv2
import numpy as np
import torch

GRID = (16, 16, 16)  # about as many rows, columns and channels of a level are stored


class TorchvisionReference:
    """Mask R-CNN of torchvision, stage by stage."""

    prefix = "torchvision"

    def __init__(self, weights):
        from torchvision.models import detection

        state = torch.load(weights, map_location="cpu", weights_only=True)
        second = any(name.startswith("roi_heads.box_head.5.") for name in state)
        make = detection.maskrcnn_resnet50_fpn_v2 if second else detection.maskrcnn_resnet50_fpn
        classes = len(state["roi_heads.box_predictor.cls_score.weight"])
        frozen = "backbone.body.bn1.num_batches_tracked" not in state
        self.model = make(weights=None, weights_backbone=None, num_classes=classes).eval()
        if frozen:
            state |= {
                name: torch.tensor(0)
                for name in self.model.state_dict()
                if name.endswith("num_batches_tracked")
            }
            for module in self.model.modules():
                if isinstance(module, torch.nn.BatchNorm2d):
                    module.eps = 0.0
        self.model.load_state_dict(state)

    def __call__(self, image):
        pixels = torch.from_numpy(image[:, :, ::-1].transpose(2, 0, 1) / np.float32(255))
        model = self.model
        model.transform.min_size = (min(image.shape[:2]),)
        model.transform.max_size = max(image.shape[:2])
        images, _ = model.transform([pixels])
        features = model.backbone(images.tensors)
        proposals, _ = model.rpn(images, features)
        found, _ = model.roi_heads(features, proposals, images.image_sizes)
        parts = {"boxes": "boxes", "scores": "scores", "classes": "labels"}
        detections = {ours: found[0][theirs] for ours, theirs in parts.items()}
        detections["masks"] = found[0]["masks"][:, 0]
        return features, proposals[0], torch.zeros(0), detections


class Detectron2Reference:
    """A model of Detectron2's zoo, stage by stage."""

    prefix = "detectron2"

    def __init__(self, weights, config):
        from detectron2 import model_zoo
        from detectron2.checkpoint import DetectionCheckpointer
        from detectron2.modeling import build_model

        cfg = model_zoo.get_config(config)
        cfg.MODEL.DEVICE = "cpu"
        self.model = build_model(cfg).eval()
        DetectionCheckpointer(self.model).load(str(weights))

    def __call__(self, image):
        pixels = torch.from_numpy(image.transpose(2, 0, 1).astype(np.float32))
        images = self.model.preprocess_image([{"image": pixels}])
        features = self.model.backbone(images.tensor)
        proposals, _ = self.model.proposal_generator(images, features)
        found, _ = self.model.roi_heads(images, features, proposals)
        parts = {"boxes": found[0].pred_boxes.tensor, "scores": found[0].scores}
        parts |= {"classes": found[0].pred_classes, "masks": found[0].pred_masks[:, 0]}
        return features, proposals[0].proposal_boxes.tensor, proposals[0].objectness_logits, parts


def record(reference, name, image, arrays, stages):
    """Adds all stages of one image to `arrays` and where they were thinned to `stages`."""
    with torch.no_grad():
        features, proposals, logits, detections = reference(image)
    stages[name] = {}
    for level, values in features.items():
        values = values.permute(0, 2, 3, 1).numpy()
        steps = [max(1, side // most) for side, most in zip(values.shape[1:], GRID, strict=True)]
        down, right, channel = steps
        stages[name][level] = {"shape_nhwc": list(values.shape), "sample_stride_hwc": steps}
        arrays[f"{name}/features/{level}"] = values[0, ::down, ::right, ::channel]
    arrays[f"{name}/proposals/boxes"] = proposals.numpy()
    arrays[f"{name}/proposals/logits"] = logits.numpy()
    for part, values in detections.items():
        arrays[f"{name}/detections/{part}"] = values.numpy()


def read(path, min_size):
    """A photo (H, W, 3) BGR, its short side `min_size` pixels."""
    image = cv2.imread(str(path))
    if image is None:
        raise SystemExit(f"{path} is no picture.")
    scale = min_size / min(image.shape[:2])
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", type=pathlib.Path)
    parser.add_argument("photos", type=pathlib.Path, help="a folder")
    parser.add_argument("output", type=pathlib.Path, help="a folder, made if it is not there")
    parser.add_argument("--min-size", type=int, default=800, metavar="N", help="default: 800")
    parser.add_argument("--detectron2-config", metavar="NAME", help="of Detectron2's model zoo")
    args = parser.parse_args()
    if args.detectron2_config:
        reference = Detectron2Reference(args.weights, args.detectron2_config)
    else:
        reference = TorchvisionReference(args.weights)
    (args.output / "images").mkdir(parents=True, exist_ok=True)
    arrays, stages = {}, {}
    for path in sorted(args.photos.iterdir()):
        if path.suffix.lower() in (".jpg", ".jpeg", ".png"):
            image = read(path, args.min_size)
            cv2.imwrite(str(args.output / "images" / f"{path.stem}.png"), image)
            record(reference, path.stem, image, arrays, stages)
            print(path)
    name = f"{reference.prefix}_{args.weights.stem}"
    entry = {"weights": str(args.weights.resolve()), "stages": stages}
    (args.output / f"{name}.json").write_text(json.dumps(entry, indent=1))
    np.savez(args.output / f"{name}.npz", **arrays)


if __name__ == "__main__":
    main()
