"""The configuration of a model: one flat, frozen, validated dataclass, and its YAML form."""

import dataclasses
import difflib
import importlib.resources
import math
import pathlib
import typing
from collections.abc import Sequence

import yaml

BACKBONES = (
    "resnet14",
    "resnet26",
    "resnet50",
    "resnet101",
    "resnext50_32x4d",
    "resnext101_32x8d",
)
NECKS = ("fpn",)
NORMS = ("frozen_batch_norm", "batch_norm", "group_norm")
ROI_AGGREGATIONS = ("average", "max")

Floats = tuple[float, ...]
Ints = tuple[int, ...]
FPN_LEVELS = ("p2", "p3", "p4", "p5", "p6")


@dataclasses.dataclass(frozen=True)
class MaskRCNNConfig:
    """Everything that determines a Mask R-CNN and how it is trained.

    The defaults are those of Detectron2's `mask_rcnn_R_50_FPN` baselines, which reproduce the
    table of the paper. The names are those that torchvision's users know.

    Args:
        backbone: One of `BACKBONES`. `resnet14` and `resnet26` are bottleneck ResNets with one
            and two blocks a stage, for small data and tests.
        neck: `"fpn"`: a Feature Pyramid Network on stages 2 to 5.
        num_classes: Number of object classes, background not counted.
        class_names: The names of the classes, in the order of their ids; empty if unknown.
        mask: Whether there is a mask branch; without it the model is Faster R-CNN.
        norm: `"frozen_batch_norm"` (an affine map that never trains), `"batch_norm"` or
            `"group_norm"` (32 groups). Applies to the backbone; `group_norm` also to the FPN and
            the heads' convolutions, as in Detectron2's GN baselines.
        freeze_at: Stages of the backbone that never train: 0 none, 1 the stem, 2 the stem and
            stage 2, and so on to 5.
        backbone_width: Channels of the stem, and of the bottleneck of stage 2. Stage i has
            `backbone_width * 2**i` output channels; 64 in the published models.
        stride_in_1x1: Whether a block strides in its first 1x1 convolution (the Caffe2 weights)
            or in the 3x3 one (torchvision).
        fpn_channels: Channels of every level of the pyramid.
        pixel_mean: Mean of the pixels, RGB, 0..255.
        pixel_std: What the pixels are divided by, RGB.
        image_min_size: Length of the short side after resizing, in pixels.
        image_max_size: Longest side allowed after resizing, in pixels.
        anchor_sizes: For each level p2..p6, the anchor sizes (square root of the area), pixels.
        anchor_aspect_ratios: Height over width of the anchors, the same on each level.
        rpn_pre_nms_top_n_train: Proposals kept a level before suppression, in training.
        rpn_pre_nms_top_n_test: The same at inference.
        rpn_post_nms_top_n_train: Proposals kept an image after suppression, in training.
        rpn_post_nms_top_n_test: The same at inference.
        rpn_nms_threshold: IoU above which the lower-scored of two proposals is dropped.
        rpn_fg_iou_threshold: IoU from which an anchor is foreground.
        rpn_bg_iou_threshold: IoU below which an anchor is background.
        rpn_batch_size_per_image: Anchors sampled an image for the RPN's losses.
        rpn_positive_fraction: Largest share of foreground among them.
        rpn_smooth_l1_beta: Where the RPN's box loss turns from square to linear; 0 is L1.
        box_pool_size: Side of the RoI features of the box head.
        box_head_units: Widths of the box head's fully connected layers.
        box_score_threshold: Detections must score more than this.
        box_nms_threshold: IoU above which the lower-scored of two detections of one class is
            dropped.
        box_detections_per_image: Largest number of detections an image.
        box_fg_iou_threshold: IoU with a ground-truth box from which a proposal is foreground.
        box_batch_size_per_image: Proposals sampled an image for the heads' losses.
        box_positive_fraction: Largest share of foreground among them.
        box_regression_weights: Factors of (dx, dy, dw, dh) in the box head's deltas.
        box_smooth_l1_beta: Where the box loss turns from square to linear; 0 is L1.
        roi_sampling_ratio: Samples a bin in each direction; 0 is ceil(RoI size / bins).
        roi_aligned: Whether RoIAlign shifts by half a pixel (Detectron2) or not (torchvision).
        roi_aggregation: `"average"` or `"max"` of a bin's samples.
        mask_pool_size: Side of the RoI features of the mask head; masks are twice as large.
        mask_head_channels: Channels of the mask head's 3x3 convolutions.
        mask_deconv_channels: Channels of its transposed convolution.
        max_gt_boxes: Ground-truth boxes an image in a batch; more are dropped at random.
        gt_mask_size: Side of the ground-truth masks in a batch, cut out in their boxes.

    Raises:
        ValueError: A field has an impossible value, or two fields contradict each other.

    Example:
        >>> config = MaskRCNNConfig(backbone="resnet14", num_classes=3, norm="batch_norm")
        >>> MaskRCNNConfig.from_yaml(config.to_yaml()) == config
        True
    """

    backbone: str = "resnet50"
    neck: str = "fpn"
    num_classes: int = 80
    class_names: tuple[str, ...] = ()
    mask: bool = True
    norm: str = "frozen_batch_norm"
    freeze_at: int = 2
    backbone_width: int = 64
    stride_in_1x1: bool = True
    fpn_channels: int = 256
    pixel_mean: Floats = (123.675, 116.28, 103.53)
    pixel_std: Floats = (1.0, 1.0, 1.0)
    image_min_size: int = 800
    image_max_size: int = 1333
    anchor_sizes: tuple[Floats, ...] = ((32.0,), (64.0,), (128.0,), (256.0,), (512.0,))
    anchor_aspect_ratios: Floats = (0.5, 1.0, 2.0)
    rpn_pre_nms_top_n_train: int = 2000
    rpn_pre_nms_top_n_test: int = 1000
    rpn_post_nms_top_n_train: int = 1000
    rpn_post_nms_top_n_test: int = 1000
    rpn_nms_threshold: float = 0.7
    rpn_fg_iou_threshold: float = 0.7
    rpn_bg_iou_threshold: float = 0.3
    rpn_batch_size_per_image: int = 256
    rpn_positive_fraction: float = 0.5
    rpn_smooth_l1_beta: float = 0.0
    box_pool_size: int = 7
    box_head_units: Ints = (1024, 1024)
    box_score_threshold: float = 0.05
    box_nms_threshold: float = 0.5
    box_detections_per_image: int = 100
    box_fg_iou_threshold: float = 0.5
    box_batch_size_per_image: int = 512
    box_positive_fraction: float = 0.25
    box_regression_weights: Floats = (10.0, 10.0, 5.0, 5.0)
    box_smooth_l1_beta: float = 0.0
    roi_sampling_ratio: int = 0
    roi_aligned: bool = True
    roi_aggregation: str = "average"
    mask_pool_size: int = 14
    mask_head_channels: Ints = (256, 256, 256, 256)
    mask_deconv_channels: int = 256
    max_gt_boxes: int = 100
    gt_mask_size: int = 112

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = _convert(field.name, getattr(self, field.name), field.type)
            object.__setattr__(self, field.name, value)
        _check_values(self)
        _check_agreement(self)

    @property
    def levels(self) -> tuple[str, ...]:
        """Names of the feature maps that the RPN runs on, finest first."""
        return FPN_LEVELS

    @property
    def size_divisor(self) -> int:
        """The height and width of a batch are padded to a multiple of this."""
        return 32

    @classmethod
    def from_dict(cls, values: dict[str, typing.Any], source: str = "config") -> "MaskRCNNConfig":
        """A config from `values`; unknown names are errors that say what was probably meant.

        Args:
            values: Field names and values; what is missing takes its default.
            source: Named in errors, e.g. the file that the values come from.

        Raises:
            ValueError: An unknown field, or a bad value.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        for name in values:
            if name not in names:
                close = difflib.get_close_matches(str(name), names, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"fields are {', '.join(names)}."
                raise ValueError(f"{source}: unknown field {name!r}; {hint}")
        try:
            return cls(**values)
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from error

    @classmethod
    def from_yaml(cls, text_or_path: str | pathlib.Path) -> "MaskRCNNConfig":
        """A config from YAML text, or from a file (a `pathlib.Path` or a name in `.yaml`/`.yml`).

        Raises:
            ValueError: Not YAML, not a mapping, an unknown field, or a bad value.
            FileNotFoundError: There is no such file.
        """
        text, source = str(text_or_path), "config"
        if isinstance(text_or_path, pathlib.Path) or text.endswith((".yaml", ".yml")):
            source = text
            text = pathlib.Path(text).read_text(encoding="utf-8")
        try:
            values = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ValueError(f"{source}: not YAML: {error}") from error
        if not isinstance(values, dict):
            raise ValueError(f"{source}: expected 'field: value' lines, found {values!r}.")
        return cls.from_dict(values, source)

    @classmethod
    def from_name(cls, name: str) -> "MaskRCNNConfig":
        """A shipped config by its name, e.g. `"mask_rcnn_resnet50_fpn"`.

        Raises:
            ValueError: No such config; the error lists those there are.
        """
        if name not in shipped_configs():
            known = ", ".join(shipped_configs())
            raise ValueError(f"Unknown config {name!r}. Shipped configs: {known}.")
        text = (_configs_folder() / f"{name}.yaml").read_text(encoding="utf-8")
        return cls.from_dict(yaml.safe_load(text), f"{name}.yaml")

    def to_dict(self) -> dict[str, typing.Any]:
        """The fields as plain lists, numbers and strings: what JSON and YAML can hold."""
        return {field.name: _plain(getattr(self, field.name)) for field in dataclasses.fields(self)}

    def to_yaml(self, path: str | pathlib.Path | None = None) -> str:
        """The config as YAML text, written to `path` too if one is given."""
        text = yaml.safe_dump(self.to_dict(), sort_keys=False, default_flow_style=None)
        if path is not None:
            pathlib.Path(path).write_text(text, encoding="utf-8")
        return text

    def replace(self, **changes: typing.Any) -> "MaskRCNNConfig":
        """A copy with some fields changed, checked again."""
        return MaskRCNNConfig.from_dict({**self.to_dict(), **changes})


def shipped_configs() -> list[str]:
    """Names of the configs that come with the package."""
    return sorted(
        path.name.removesuffix(".yaml")
        for path in _configs_folder().iterdir()
        if path.name.endswith(".yaml")
    )


def _configs_folder():
    installed = importlib.resources.files("keras_maskrcnn") / "configs"
    return installed if installed.is_dir() else pathlib.Path(__file__).parent.parent / "configs"


def _plain(value):
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _convert(name, value, kind):
    """`value` as the type that the field declares, where nothing is lost by it."""
    if typing.get_origin(kind) is tuple:
        item_kind = typing.get_args(kind)[0]
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise ValueError(f"{name} must be a list, got {value!r}.")
        return tuple(_convert(f"{name}[{i}]", item, item_kind) for i, item in enumerate(value))
    whole = isinstance(value, int) and not isinstance(value, bool)
    if kind is float and (whole or isinstance(value, float)) and math.isfinite(value):
        return float(value)
    if isinstance(value, kind) and (kind is not int or whole) and kind is not float:
        return value
    raise ValueError(f"{name} must be {_describe(kind)}, got {value!r}.")


def _describe(kind):
    return {int: "a whole number", float: "a finite number", bool: "true or false"}.get(
        kind, "text"
    )


def _check_values(config):
    choices = {
        "backbone": BACKBONES,
        "neck": NECKS,
        "norm": NORMS,
        "roi_aggregation": ROI_AGGREGATIONS,
    }
    for name, allowed in choices.items():
        if getattr(config, name) not in allowed:
            raise ValueError(
                f"{name} must be one of {', '.join(allowed)}, got {getattr(config, name)!r}."
            )
    smallest = {
        name: 1 for name, kind in typing.get_type_hints(MaskRCNNConfig).items() if kind is int
    }
    smallest |= {"freeze_at": 0, "roi_sampling_ratio": 0}
    smallest |= {"rpn_smooth_l1_beta": 0.0, "box_smooth_l1_beta": 0.0}
    for name, low in smallest.items():
        if getattr(config, name) < low:
            raise ValueError(f"{name} must be at least {low}, got {getattr(config, name)}.")
    if config.freeze_at > 5:
        raise ValueError(f"freeze_at must be at most 5, got {config.freeze_at}.")
    for name in typing.get_type_hints(MaskRCNNConfig):
        value = getattr(config, name)
        if name.endswith(("_threshold", "_fraction")) and not 0 <= value <= 1:
            raise ValueError(f"{name} must be within 0..1, got {value}.")
    for name in (
        "anchor_aspect_ratios",
        "box_regression_weights",
        "pixel_std",
        "box_head_units",
        "mask_head_channels",
    ):
        values = getattr(config, name)
        if not values or min(values) <= 0:
            raise ValueError(f"{name} needs values above 0, got {list(values)}.")
    for name, length in (("pixel_mean", 3), ("pixel_std", 3), ("box_regression_weights", 4)):
        if len(getattr(config, name)) != length:
            raise ValueError(f"{name} needs {length} values, got {len(getattr(config, name))}.")


def _check_agreement(config):
    """Fields that are each possible but contradict each other."""
    if config.rpn_bg_iou_threshold > config.rpn_fg_iou_threshold:
        raise ValueError(
            f"rpn_bg_iou_threshold ({config.rpn_bg_iou_threshold}) must not exceed "
            f"rpn_fg_iou_threshold ({config.rpn_fg_iou_threshold})."
        )
    if config.image_min_size > config.image_max_size:
        raise ValueError(
            f"image_min_size ({config.image_min_size}) must not exceed "
            f"image_max_size ({config.image_max_size})."
        )
    if config.class_names and len(config.class_names) != config.num_classes:
        raise ValueError(
            f"class_names has {len(config.class_names)} names for num_classes={config.num_classes}."
        )
    if len(config.anchor_sizes) != len(config.levels):
        raise ValueError(
            f"anchor_sizes needs one list a level ({', '.join(config.levels)}), "
            f"got {len(config.anchor_sizes)}."
        )
    counts = {len(sizes) for sizes in config.anchor_sizes}
    if len(counts) != 1 or min(min(sizes, default=0.0) for sizes in config.anchor_sizes) <= 0:
        raise ValueError(
            "anchor_sizes needs the same number of sizes above 0 on each level, "
            f"got {_plain(config.anchor_sizes)}."
        )
    if config.norm == "group_norm" and (config.backbone_width % 32 or config.fpn_channels % 32):
        raise ValueError(
            "norm='group_norm' has 32 groups: backbone_width "
            f"({config.backbone_width}) and fpn_channels ({config.fpn_channels}) must be "
            "multiples of 32."
        )
    if config.backbone_width % 32 and config.backbone.startswith("resnext"):
        raise ValueError(
            f"{config.backbone} has 32 groups: backbone_width must be a multiple of 32, "
            f"got {config.backbone_width}."
        )
