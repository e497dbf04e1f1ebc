"""The configuration of a model: one flat, frozen, validated dataclass, and its YAML form."""

import dataclasses
import difflib
import importlib.resources
import math
import pathlib
import typing

import yaml

from keras_maskrcnn.config_checks import check_agreement, check_values, convert

BACKBONES = (
    *("resnet14", "resnet26", "resnet50", "resnet101"),
    *("resnext50_32x4d", "resnext101_32x8d"),
)
NECKS = ("fpn", "c4", "c5")
NORMS = ("frozen_batch_norm", "batch_norm", "group_norm")
HEAD_NORMS = ("none", "batch_norm", "group_norm")
RESIZE_STYLES = ("detectron2", "torchvision")
ANCHOR_STYLES = (*RESIZE_STYLES, "detectron")
MASK_TARGET_STYLES = RESIZE_STYLES
MASK_LOSSES = ("sigmoid", "softmax")
ROI_AGGREGATIONS = ("average", "max")
ROI_TRANSFORMS = ("roi_align", "roi_pool")
ROI_IMPLEMENTATIONS = ("auto", "compiled", "portable")
CHOICES = {
    "backbone": BACKBONES,
    "neck": NECKS,
    "norm": NORMS,
    "head_norm": HEAD_NORMS,
    "resize_style": RESIZE_STYLES,
    "anchor_style": ANCHOR_STYLES,
    "mask_target_style": MASK_TARGET_STYLES,
    "mask_loss": MASK_LOSSES,
    "roi_aggregation": ROI_AGGREGATIONS,
    "roi_transform": ROI_TRANSFORMS,
    "roi_implementation": ROI_IMPLEMENTATIONS,
}

NO_CLASS = "N/A"  # torchvision's name of class ids that are of no category
Floats = tuple[float, ...]
Ints = tuple[int, ...]
# What Detectron2's baselines of FPN and C4 differ in; C5 has the proposals of C4 and FPN's heads.
_CONV_HEADS = {
    "box_pool_size": 7,
    "box_head_units": (1024, 1024),
    "mask_head_channels": (256, 256, 256, 256),
}
_ONE_LEVEL = {
    "anchor_sizes": ((32, 64, 128, 256, 512),),
    "rpn_pre_nms_top_n_train": 12000,
    "rpn_pre_nms_top_n_test": 6000,
    "rpn_post_nms_top_n_train": 2000,
}
NECK_DEFAULTS: dict[str, dict[str, typing.Any]] = {
    "fpn": {
        "anchor_sizes": ((32,), (64,), (128,), (256,), (512,)),
        "rpn_pre_nms_top_n_train": 2000,
        "rpn_pre_nms_top_n_test": 1000,
        "rpn_post_nms_top_n_train": 1000,
        **_CONV_HEADS,
    },
    "c4": {**_ONE_LEVEL, "box_pool_size": 14, "box_head_units": (), "mask_head_channels": ()},
    "c5": {**_ONE_LEVEL, **_CONV_HEADS},
}
# What can change when the weights are there: all else is what they were trained for.
FIELDS_AFTER_TRAINING = (
    "image_min_size",
    "image_max_size",
    "rpn_pre_nms_top_n_test",
    "rpn_post_nms_top_n_test",
    "rpn_min_size",
    "rpn_nms_threshold",
    "box_score_threshold",
    "class_score_thresholds",
    "box_min_size",
    "box_nms_threshold",
    "box_detections_per_image",
    "roi_implementation",
)
OF_NECK: typing.Any = None  # the default is that of the neck


@dataclasses.dataclass(frozen=True)
class MaskRCNNConfig:
    """Everything that determines a Mask R-CNN and how it is trained.

    The defaults are those of Detectron2's `mask_rcnn_R_50_FPN` and, for the neck `"c4"`,
    `mask_rcnn_R_50_C4` baselines, which reproduce the table of the paper. The names are those
    that torchvision's users know.

    Args:
        backbone: One of `BACKBONES`. `resnet14` and `resnet26` are bottleneck ResNets with one
            and two blocks a stage, for small data and tests.
        neck: `"fpn"`: a Feature Pyramid Network on stages 2 to 5. `"c4"`: proposals and regions
            come from stage 4, and stage 5 is the head that box and mask branch share. `"c5"`:
            they come from stage 5, at stride 32, and the heads are those of the FPN (the paper's
            table 2d).
        num_classes: Number of object classes, background not counted.
        class_names: The names of the classes, in the order of their ids; empty if unknown.
        mask: Whether there is a mask branch; without it the model is Faster R-CNN.
        norm: `"frozen_batch_norm"` (an affine map that never trains), `"batch_norm"` or
            `"group_norm"` (32 groups), of the backbone.
        norm_epsilon: What every norm adds to a variance.
        head_norm: `"none"`, `"batch_norm"` or `"group_norm"`, of the FPN and the convolutions of
            box and mask head; unless given, `"group_norm"` where the backbone has it.
        freeze_at: Stages of the backbone that never train: 0 none, 1 the stem, 2 the stem and
            stage 2, and so on to 5.
        backbone_width: Channels of the stem, and of the bottleneck of stage 2. Stage i has
            `backbone_width * 2**i` output channels; 64 in the published models.
        stride_in_1x1: Whether a block strides in its first 1x1 convolution (the Caffe2 weights)
            or in the 3x3 one (torchvision).
        fpn_channels: Channels of every level of the pyramid.
        channels: Of the images, 1 to 16: 3 is RGB. One or two are repeated to the three that the
            backbone then begins with.
        pixel_range: The lowest and the highest value that pixels can have, as they are stored and
            given: [0, 65535] of 16 bits, [0, 1] of reflectances. Unless these are [0, 255] of 3
            channels, images are read as they are stored; see `data.stored`.
        pixel_mean: Mean of the pixels, on a scale where `pixel_range` is 0..255: of RGB, or of each
            channel. Of RGB, the first further channel has that of R, the next that of G, and so on.
        pixel_std: What the pixels are divided by, likewise.
        image_min_size: Length of the short side after resizing, in pixels.
        image_max_size: Longest side allowed after resizing, in pixels.
        resize_style: `"detectron2"` or `"torchvision"` (bilinear, sides rounded down); see
            `data.images`.
        anchor_sizes: For each level p2..p6, or for res4 or res5 alone, the anchor sizes (square
            root of the area), pixels.
        anchor_aspect_ratios: Height over width of the anchors, the same on each level.
        anchor_style: `"detectron2"`, `"torchvision"` (corners rounded to whole pixels) or
            `"detectron"` (rounded, and centred on the middle of a cell); see `rpn.anchors`.
        rpn_conv_depth: 3x3 convolutions in the RPN's head.
        rpn_pre_nms_top_n_train: Proposals kept a level before suppression, in training.
        rpn_pre_nms_top_n_test: Proposals kept a level before suppression, at inference.
        rpn_post_nms_top_n_train: Proposals kept an image after suppression, in training.
        rpn_post_nms_top_n_test: Proposals kept an image after suppression, at inference.
        rpn_min_size: Proposals with a side below this, in pixels, are dropped.
        rpn_nms_threshold: IoU above which the lower-scored of two proposals is dropped.
        rpn_fg_iou_threshold: IoU from which an anchor is foreground.
        rpn_bg_iou_threshold: IoU below which an anchor is background.
        rpn_batch_size_per_image: Anchors sampled an image for the RPN's losses.
        rpn_positive_fraction: Largest share of foreground among them.
        rpn_smooth_l1_beta: Where the RPN's box loss turns from square to linear; 0 is L1.
        box_pool_size: Side of the RoI features of the box head.
        box_head_channels: Channels of 3x3 convolutions in the box head.
        box_head_units: Widths of the box head's fully connected layers after them. With none, as
            in C4, the mean over a region is classified.
        box_score_threshold: Detections must score more than this.
        class_score_thresholds: The same of each class, in the order of their ids; if empty,
            `box_score_threshold` is that of all. A report finds them: see
            `evaluation.report.thresholds`.
        box_min_size: Detections with a side below this, in pixels, are dropped.
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
        roi_transform: `"roi_align"`, or `"roi_pool"` as in Fast R-CNN, for which the three fields
            above mean nothing.
        roi_implementation: `"compiled"`, `"portable"` (stock TensorFlow ops, the same numbers), or
            `"auto"`: compiled where it is built.
        mask_pool_size: Side of the RoI features of the mask head; masks are twice as large, with
            C4 as large.
        mask_head_channels: Channels of the mask head's 3x3 convolutions; none in C4.
        mask_deconv_channels: Channels of its transposed convolution.
        mask_target_style: `"detectron2"` (0 or 1) or `"torchvision"` (half a pixel off, as its
            features, and between 0 and 1 at an outline); see `training.targets.mask_targets`.
        mask_loss: `"sigmoid"`: a mask for each class, each alone. `"softmax"`: the classes and the
            background compete for each pixel; see `training.losses.softmax_mask_loss`.
        class_agnostic_mask: Whether there is one mask for whatever class a region has.
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
    norm_epsilon: float = 1e-5
    head_norm: str = OF_NECK
    freeze_at: int = 2
    backbone_width: int = 64
    stride_in_1x1: bool = True
    fpn_channels: int = 256
    channels: int = 3
    pixel_range: Floats = (0.0, 255.0)
    pixel_mean: Floats = (123.675, 116.28, 103.53)
    pixel_std: Floats = (1.0, 1.0, 1.0)
    image_min_size: int = 800
    image_max_size: int = 1333
    resize_style: str = "detectron2"
    anchor_sizes: tuple[Floats, ...] = OF_NECK
    anchor_aspect_ratios: Floats = (0.5, 1.0, 2.0)
    anchor_style: str = "detectron2"
    rpn_conv_depth: int = 1
    rpn_pre_nms_top_n_train: int = OF_NECK
    rpn_pre_nms_top_n_test: int = OF_NECK
    rpn_post_nms_top_n_train: int = OF_NECK
    rpn_post_nms_top_n_test: int = 1000
    rpn_min_size: float = 0.0
    rpn_nms_threshold: float = 0.7
    rpn_fg_iou_threshold: float = 0.7
    rpn_bg_iou_threshold: float = 0.3
    rpn_batch_size_per_image: int = 256
    rpn_positive_fraction: float = 0.5
    rpn_smooth_l1_beta: float = 0.0
    box_pool_size: int = OF_NECK
    box_head_channels: Ints = ()
    box_head_units: Ints = OF_NECK
    box_score_threshold: float = 0.05
    class_score_thresholds: Floats = ()
    box_min_size: float = 0.0
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
    roi_transform: str = "roi_align"
    roi_implementation: str = "auto"
    mask_pool_size: int = 14
    mask_head_channels: Ints = OF_NECK
    mask_deconv_channels: int = 256
    mask_target_style: str = "detectron2"
    mask_loss: str = "sigmoid"
    class_agnostic_mask: bool = False
    max_gt_boxes: int = 100
    gt_mask_size: int = 112

    def __post_init__(self):
        defaults = self._dependent_defaults()
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is None:
                value = defaults.get(field.name)
            object.__setattr__(self, field.name, convert(field.name, value, field.type))
        check_values(self, CHOICES)
        check_agreement(self)

    def _dependent_defaults(self):
        """The defaults that depend on the neck or the norm."""
        of_neck = NECK_DEFAULTS.get(str(self.neck), NECK_DEFAULTS["fpn"])
        return {"head_norm": "group_norm" if self.norm == "group_norm" else "none", **of_neck}

    @property
    def is_rgb(self) -> bool:
        """Whether images are RGB of 8 bits, which any picture file can be read as."""
        return self.channels == 3 and self.pixel_range == (0.0, 255.0)

    @property
    def stem_channels(self) -> int:
        """Channels that the backbone begins with."""
        return max(self.channels, 3)

    @property
    def levels(self) -> tuple[str, ...]:
        """Names of the feature maps that the RPN runs on, finest first."""
        levels = {"fpn": ("p2", "p3", "p4", "p5", "p6"), "c4": ("res4",), "c5": ("res5",)}
        return levels[self.neck]

    @property
    def roi_levels(self) -> tuple[str, ...]:
        """Names of those that regions are cut out of."""
        return tuple(level for level in self.levels if level != "p6")

    @property
    def feature_channels(self) -> int:
        """Channels of each of them."""
        width = self.backbone_width
        return {"fpn": self.fpn_channels, "c4": 16 * width, "c5": 32 * width}[self.neck]

    @property
    def size_divisor(self) -> int:
        """The height and width of a batch are padded to a multiple of this."""
        return 32 if self.neck == "fpn" else 1

    @property
    def trains_batch_norms(self) -> bool:
        """Whether a norm uses the statistics of the batch in training."""
        in_backbone = self.norm == "batch_norm" and self.freeze_at < 5
        return in_backbone or self.head_norm == "batch_norm"

    @property
    def mask_size(self) -> int:
        """Side of the masks that come out, in cells; stage 5 halves the region before."""
        size = self.mask_pool_size
        return 2 * math.ceil(size / 2) if self.neck == "c4" else 2 * size

    @property
    def mask_channels(self) -> int:
        """Masks of each region: one, or one a class; in a softmax one of the background too."""
        if self.class_agnostic_mask:
            return 1
        return self.num_classes + (self.mask_loss == "softmax")

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

    @classmethod
    def from_name_or_file(cls, name_or_file: str) -> "MaskRCNNConfig":
        """A shipped config by its name, or one from a `.yaml` file.

        Raises:
            ValueError: There is no such config, or the file holds none.
            FileNotFoundError: There is no such file.
        """
        is_file = name_or_file.endswith((".yaml", ".yml"))
        return cls.from_yaml(name_or_file) if is_file else cls.from_name(name_or_file)

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
        """A copy with some fields changed, checked again.

        Fields that had the default of the old neck or norm have that of the new one. Where the
        classes change, `class_score_thresholds`, which were those of the old ones, become empty.
        """
        kept = self.to_dict()
        for name, default in self._dependent_defaults().items():
            if getattr(self, name) == default:
                kept[name] = None
        classes = ("num_classes", "class_names")
        if any(_plain(changes.get(name, kept[name])) != kept[name] for name in classes):
            kept["class_score_thresholds"] = []
        return MaskRCNNConfig.from_dict({**kept, **changes})


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
