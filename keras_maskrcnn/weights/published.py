"""The presets by name: where published weights lie, and what their publisher says of them."""

from typing import Any, NamedTuple

from keras_maskrcnn.weights.coco_classes import CONTIGUOUS_NAMES, NAMES_BY_ID

# torchvision's ImageNet models see pixels divided by their standard deviation.
TORCHVISION_FIELDS = {"stride_in_1x1": False, "pixel_std": (58.395, 57.12, 57.375)}


class Preset(NamedTuple):
    """Where published weights lie, and what their publisher says of them.

    Attributes:
        source: Who published them.
        url: The file; None where they ship with this package.
        digest: What the file's name says of its digest, as `download` takes it; None likewise.
        licence: Of the weights.
        box_ap: COCO val2017, in percent; None for a backbone that was trained on ImageNet. Of
            those that ship with this package, of the pictures that their card names.
        mask_ap: The same of masks.
        class_names: Of the classes that the model tells apart; where they ship with this package,
            the preset's config has them.
        backbone: The config of the model around the backbone, where the file holds only one.
    """

    source: str
    url: str | None
    digest: str | None
    licence: str
    box_ap: float | None = None
    mask_ap: float | None = None
    class_names: tuple[str, ...] = ()
    backbone: dict[str, Any] | None = None


def _detectron2(path, box_ap, mask_ap):
    """A model of Detectron2's MODEL_ZOO.md, which says that file names end in the MD5's digits."""
    return Preset(
        source="Detectron2",
        url=f"https://dl.fbaipublicfiles.com/detectron2/COCO-InstanceSegmentation/{path}",
        digest=f"md5:{path[-10:-4]}",
        licence="CC BY-SA 3.0",
        box_ap=box_ap,
        mask_ap=mask_ap,
        class_names=CONTIGUOUS_NAMES,
    )


def _torchvision(file, **fields):
    """A model of torchvision, whose file names end in the first digits of the SHA-256."""
    return Preset(
        source="torchvision",
        url=f"https://download.pytorch.org/models/{file}",
        digest=f"sha256:{file[-12:-4]}",
        licence="BSD-3-Clause",
        **fields,
    )


def _torchvision_backbone(file):
    fields = {"backbone": file.split("-")[0], **TORCHVISION_FIELDS}
    return _torchvision(file, backbone=fields)


PRESETS = {
    "demo_shapes": Preset(
        "this package", url=None, digest=None, licence="Apache-2.0", box_ap=53.1, mask_ap=49.5
    ),
    "mask_rcnn_resnet50_c4_1x_coco": _detectron2(
        "mask_rcnn_R_50_C4_1x/137259246/model_final_9243eb.pkl", 36.8, 32.2
    ),
    "mask_rcnn_resnet50_c4_3x_coco": _detectron2(
        "mask_rcnn_R_50_C4_3x/137849525/model_final_4ce675.pkl", 39.8, 34.4
    ),
    "mask_rcnn_resnet101_c4_3x_coco": _detectron2(
        "mask_rcnn_R_101_C4_3x/138363239/model_final_a2914c.pkl", 42.6, 36.7
    ),
    "mask_rcnn_resnet50_fpn_1x_coco": _detectron2(
        "mask_rcnn_R_50_FPN_1x/137260431/model_final_a54504.pkl", 38.6, 35.2
    ),
    "mask_rcnn_resnet50_fpn_3x_coco": _detectron2(
        "mask_rcnn_R_50_FPN_3x/137849600/model_final_f10217.pkl", 41.0, 37.2
    ),
    "mask_rcnn_resnet101_fpn_3x_coco": _detectron2(
        "mask_rcnn_R_101_FPN_3x/138205316/model_final_a3ec72.pkl", 42.9, 38.6
    ),
    "mask_rcnn_resnext101_32x8d_fpn_3x_coco": _detectron2(
        "mask_rcnn_X_101_32x8d_FPN_3x/139653917/model_final_2d9806.pkl", 44.3, 39.5
    ),
    "mask_rcnn_resnet50_fpn_torchvision_coco": _torchvision(
        "maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth",
        box_ap=37.9,
        mask_ap=34.6,
        class_names=NAMES_BY_ID,
    ),
    "mask_rcnn_resnet50_fpn_v2_torchvision_coco": _torchvision(
        "maskrcnn_resnet50_fpn_v2_coco-73cbd019.pth",
        box_ap=47.4,
        mask_ap=41.8,
        class_names=NAMES_BY_ID,
    ),
    "mask_rcnn_resnet50_fpn_imagenet": _torchvision_backbone("resnet50-11ad3fa6.pth"),
    "mask_rcnn_resnet101_fpn_imagenet": _torchvision_backbone("resnet101-cd907fc2.pth"),
    "mask_rcnn_resnext50_32x4d_fpn_imagenet": _torchvision_backbone("resnext50_32x4d-1a0047aa.pth"),
    "mask_rcnn_resnext101_32x8d_fpn_imagenet": _torchvision_backbone(
        "resnext101_32x8d-110c445d.pth"
    ),
}
