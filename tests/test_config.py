"""The config: its checks, its errors, and the way to YAML and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_maskrcnn.config import BACKBONES, NORMS, MaskRCNNConfig, shipped_configs

positive = st.integers(1, 5000)
fraction = st.floats(0, 1)
size = st.floats(1, 2000)


@st.composite
def configs(draw):
    shortest = draw(st.integers(1, 2000))
    names = draw(st.lists(st.text(min_size=1, max_size=8), max_size=4))
    low, high = sorted((draw(fraction), draw(fraction)))
    sizes_per_level = draw(st.integers(1, 3))
    level = st.lists(size, min_size=sizes_per_level, max_size=sizes_per_level)
    channels = draw(st.integers(1, 16))
    of_pixels = draw(st.sampled_from([3, channels]))
    return MaskRCNNConfig(
        backbone=draw(st.sampled_from(BACKBONES)),
        norm=draw(st.sampled_from(NORMS)),
        num_classes=len(names) or draw(positive),
        class_names=names,
        mask=draw(st.booleans()),
        freeze_at=draw(st.integers(0, 5)),
        backbone_width=32 * draw(st.integers(1, 8)),
        fpn_channels=32 * draw(st.integers(1, 16)),
        channels=channels,
        pixel_range=draw(st.sampled_from([(0, 255), (0, 65535), (-1.5, 0.25)])),
        pixel_mean=draw(st.lists(st.floats(-300, 300), min_size=of_pixels, max_size=of_pixels)),
        image_min_size=shortest,
        image_max_size=shortest + draw(st.integers(0, 2000)),
        anchor_sizes=draw(st.lists(level, min_size=5, max_size=5)),
        rpn_bg_iou_threshold=low,
        rpn_fg_iou_threshold=high,
        box_head_units=draw(st.lists(positive, min_size=1, max_size=3)),
        box_score_threshold=draw(fraction),
        roi_sampling_ratio=draw(st.integers(0, 4)),
    )


@given(configs())
def test_yaml_round_trip(config):
    assert MaskRCNNConfig.from_yaml(config.to_yaml()) == config
    assert MaskRCNNConfig.from_dict(config.to_dict()) == config


def test_yaml_file_round_trip(tmp_path):
    config = MaskRCNNConfig(num_classes=2, class_names=["Käfer", "yes"])
    text = config.to_yaml(tmp_path / "c.yaml")
    assert (tmp_path / "c.yaml").read_text(encoding="utf-8") == text
    assert MaskRCNNConfig.from_yaml(tmp_path / "c.yaml") == config
    assert MaskRCNNConfig.from_yaml(str(tmp_path / "c.yaml")) == config


def test_shipped_configs_are_valid():
    assert "mask_rcnn_resnet50_fpn" in shipped_configs()
    for name in shipped_configs():
        MaskRCNNConfig.from_name(name)


def test_defaults_are_those_of_the_published_model():
    assert MaskRCNNConfig.from_name("mask_rcnn_resnet50_fpn") == MaskRCNNConfig()


def test_lists_and_whole_numbers_become_what_the_field_declares():
    config = MaskRCNNConfig(anchor_sizes=[[16], [32], [64], [128], [256]], pixel_std=[1, 2, 3])
    assert config.anchor_sizes[0] == (16.0,)
    assert config.pixel_std == (1.0, 2.0, 3.0)
    hash(config)


def test_replace_checks_again():
    config = MaskRCNNConfig().replace(image_min_size=640)
    assert config.image_min_size == 640
    with pytest.raises(ValueError, match="image_min_size"):
        config.replace(image_min_size=2000)


def test_config_is_frozen():
    with pytest.raises(AttributeError):
        MaskRCNNConfig().num_classes = 3


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("num_clases", "num_classes"),
        ("anchor_size", "anchor_sizes"),
        ("zzz", "fields are backbone"),
    ],
)
def test_unknown_field_says_what_was_meant(name, hint):
    with pytest.raises(ValueError, match=f"mine.yaml: unknown field '{name}'.*{hint}"):
        MaskRCNNConfig.from_dict({name: 1}, "mine.yaml")


def test_unknown_name_lists_the_shipped():
    with pytest.raises(ValueError, match="mask_rcnn_resnet50_fpn"):
        MaskRCNNConfig.from_name("mask_rcnn_resnet18")


@pytest.mark.parametrize("text", ["[1, 2]", "just words", "", "a: [1"])
def test_text_that_is_no_config(text):
    with pytest.raises(ValueError, match="config: "):
        MaskRCNNConfig.from_yaml(text)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        MaskRCNNConfig.from_yaml(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("backbone", "vgg16", "backbone must be one of resnet14"),
        ("neck", "bifpn", "neck must be one of"),
        ("norm", "layer_norm", "norm must be one of"),
        ("roi_aggregation", "sum", "roi_aggregation must be one of"),
        ("mask_target_style", "soft", "mask_target_style must be one of detectron2, torchvision"),
        ("mask_loss", "dice", "mask_loss must be one of sigmoid, softmax"),
        ("class_agnostic_mask", "yes", "class_agnostic_mask must be true or false"),
        ("roi_transform", "crop", "roi_transform must be one of roi_align, roi_pool"),
        ("roi_implementation", "fast", "roi_implementation must be one of auto, compiled"),
        ("num_classes", 0, "num_classes must be at least 1"),
        ("num_classes", 2.5, "num_classes must be a whole number, got 2.5"),
        ("num_classes", True, "num_classes must be a whole number"),
        ("num_classes", "3", "num_classes must be a whole number"),
        ("mask", 1, "mask must be true or false"),
        ("backbone", 50, "backbone must be text"),
        ("freeze_at", -1, "freeze_at must be at least 0"),
        ("freeze_at", 6, "freeze_at must be at most 5"),
        ("roi_sampling_ratio", -1, "roi_sampling_ratio must be at least 0"),
        ("rpn_smooth_l1_beta", -0.1, "rpn_smooth_l1_beta must be at least 0"),
        ("max_gt_boxes", 0, "max_gt_boxes must be at least 1"),
        ("rpn_nms_threshold", 1.1, "rpn_nms_threshold must be within 0..1"),
        ("box_positive_fraction", -0.1, "box_positive_fraction must be within 0..1"),
        ("box_score_threshold", float("nan"), "box_score_threshold must be a finite number"),
        ("box_score_threshold", "high", "box_score_threshold must be a finite number"),
        ("pixel_mean", [1, 2], "pixel_mean needs 3 values, got 2"),
        ("channels", 0, "channels must be at least 1"),
        ("channels", 17, "channels must be at most 16, got 17"),
        ("pixel_range", [0], "pixel_range needs 2 values, got 1"),
        ("pixel_range", [255, 0], "pixel_range needs the lowest value first"),
        ("pixel_range", [0, float("inf")], r"pixel_range\[1\] must be a finite number"),
        ("pixel_std", [1, 0, 1], "pixel_std needs values above 0"),
        ("pixel_std", 1.0, "pixel_std must be a list"),
        ("box_regression_weights", [10, 10, 5], "box_regression_weights needs 4 values"),
        ("box_head_units", [], "box_head_units needs values above 0"),
        ("mask_head_channels", [0], "mask_head_channels needs values above 0"),
        ("anchor_aspect_ratios", [-1], "anchor_aspect_ratios needs values above 0"),
        ("anchor_aspect_ratios", ["wide"], r"anchor_aspect_ratios\[0\] must be a finite number"),
        ("anchor_sizes", [[32], [64], [128], [256]], "anchor_sizes needs one list a level"),
        ("anchor_sizes", [[8], [16], [32], [64], [1, 2]], "the same number of sizes above 0"),
        ("anchor_sizes", [[8], [16], [32], [64], [0]], "the same number of sizes above 0"),
        ("anchor_sizes", [[], [], [], [], []], "the same number of sizes above 0"),
        ("anchor_sizes", [8, 16, 32, 64, 128], r"anchor_sizes\[0\] must be a list"),
        ("class_names", "cat", "class_names must be a list"),
        ("class_score_thresholds", [1.1] * 80, r"class_score_thresholds\[0\] must be within 0..1"),
        ("class_score_thresholds", ["a"] * 80, r"class_score_thresholds\[0\] must be a finite"),
    ],
)
def test_impossible_value(field, value, message):
    with pytest.raises(ValueError, match=message):
        MaskRCNNConfig(**{field: value})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"rpn_bg_iou_threshold": 0.8, "rpn_fg_iou_threshold": 0.7},
            r"rpn_bg_iou_threshold \(0.8\) must not exceed rpn_fg_iou_threshold \(0.7\)",
        ),
        (
            {"image_min_size": 800, "image_max_size": 640},
            r"image_min_size \(800\) must not exceed image_max_size \(640\)",
        ),
        ({"num_classes": 3, "class_names": ["cat"]}, "class_names has 1 names for num_classes=3"),
        (
            {"num_classes": 3, "class_score_thresholds": [0.1, 0.2]},
            "class_score_thresholds has 2 values for num_classes=3",
        ),
        ({"norm": "group_norm", "fpn_channels": 48}, "fpn_channels .48. must be multiples of 32"),
        ({"norm": "group_norm", "backbone_width": 16}, "backbone_width .16."),
        ({"backbone": "resnext50_32x4d", "backbone_width": 24}, "multiple of 16, got 24"),
        ({"backbone": "resnext101_32x8d", "backbone_width": 12}, "multiple of 8, got 12"),
        (
            {"mask_loss": "softmax", "class_agnostic_mask": True},
            "class_agnostic_mask leaves no classes that could compete in mask_loss='softmax'",
        ),
    ],
)
def test_contradicting_fields(fields, message):
    with pytest.raises(ValueError, match=message):
        MaskRCNNConfig(**fields)


def test_the_neck_has_its_own_defaults():
    config = MaskRCNNConfig(neck="c4")
    assert config.anchor_sizes == ((32.0, 64.0, 128.0, 256.0, 512.0),)
    assert (config.rpn_pre_nms_top_n_train, config.rpn_pre_nms_top_n_test) == (12000, 6000)
    assert (config.box_head_units, config.mask_head_channels, config.mask_size) == ((), (), 14)
    assert (config.levels, config.roi_levels, config.size_divisor) == (("res4",), ("res4",), 1)
    assert MaskRCNNConfig(neck="c4", box_pool_size=7).box_pool_size == 7
    assert MaskRCNNConfig.from_yaml(config.to_yaml()) == config
    assert MaskRCNNConfig().mask_size == 28


def test_c5_has_one_level_and_the_heads_of_the_pyramid():
    config, pyramid = MaskRCNNConfig(neck="c5"), MaskRCNNConfig()
    assert (config.levels, config.roi_levels, config.size_divisor) == (("res5",), ("res5",), 1)
    assert config.anchor_sizes == MaskRCNNConfig(neck="c4").anchor_sizes
    assert config.feature_channels == 2048
    for name in ("box_pool_size", "box_head_units", "mask_head_channels", "mask_size"):
        assert getattr(config, name) == getattr(pyramid, name)


def test_masks_a_region():
    assert MaskRCNNConfig(num_classes=3).mask_channels == 3
    assert MaskRCNNConfig(num_classes=3, mask_loss="softmax").mask_channels == 4
    assert MaskRCNNConfig(num_classes=3, class_agnostic_mask=True).mask_channels == 1


def test_heads_have_the_group_norm_of_the_backbone_unless_told():
    assert MaskRCNNConfig(norm="group_norm").head_norm == "group_norm"
    assert MaskRCNNConfig(norm="batch_norm").head_norm == "none"
    assert MaskRCNNConfig(norm="group_norm", head_norm="none").head_norm == "none"


def test_the_eight_architectures_are_shipped():
    for backbone in ("resnet50", "resnet101", "resnext50_32x4d", "resnext101_32x8d"):
        for neck in ("c4", "fpn"):
            config = MaskRCNNConfig.from_name(f"mask_rcnn_{backbone}_{neck}")
            assert (config.backbone, config.neck) == (backbone, neck)


def test_replace_takes_the_defaults_of_the_new_neck_and_norm():
    assert MaskRCNNConfig().replace(neck="c4", norm="group_norm") == MaskRCNNConfig(
        neck="c4", norm="group_norm"
    )
    assert MaskRCNNConfig(box_pool_size=5).replace(neck="c4").box_pool_size == 5


def test_replace_leaves_thresholds_to_the_classes_that_they_are_of():
    classes = {"num_classes": 2, "class_names": ("a", "b")}
    config = MaskRCNNConfig(**classes, class_score_thresholds=(0.2, 0.7))
    assert config.replace(**classes, box_min_size=1.0).class_score_thresholds == (0.2, 0.7)
    for changes in ({"num_classes": 1, "class_names": ["a"]}, {"class_names": ["b", "a"]}):
        assert config.replace(**changes).class_score_thresholds == ()
    assert config.replace(
        num_classes=1, class_names=[], class_score_thresholds=[0.3]
    ).class_score_thresholds == (0.3,)
