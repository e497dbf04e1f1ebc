"""What the tests of ONNX and LiteRT share: models of every kind, and what they compare."""

import keras
import numpy as np
import pytest

import keras_maskrcnn as km

OF_NECK = dict.fromkeys(("anchor_sizes", "box_head_units", "box_pool_size", "mask_head_channels"))
KINDS = {
    "fpn": {"roi_sampling_ratio": 0},
    "c4": {"neck": "c4", **OF_NECK},
    "group_norm": {
        "norm": "group_norm",
        "backbone_width": 32,
        "fpn_channels": 32,
        "box_head_channels": (32,),
        "mask_head_channels": (32,),
        "roi_sampling_ratio": 0,
        "roi_aligned": False,
    },
    "faster_resnext": {
        "backbone": "resnext50_32x4d",
        "backbone_width": 32,
        "stride_in_1x1": False,
        "mask": False,
        "anchor_style": "torchvision",
        "roi_aligned": False,
    },
}
BACKBONES = ("resnet50", "resnet101", "resnext50_32x4d", "resnext101_32x8d")


def _model(config, **overrides):
    keras.utils.set_random_seed(0)
    # Pixels of 0..255 would blow activations up, and with them the rounding of either runtime.
    fields = {"pixel_std": (58.0, 57.0, 57.0), "box_score_threshold": 0.1, **overrides}
    return km.MaskRCNN(config, **fields)


@pytest.fixture(params=KINDS)
def model_of_each_kind(small_config, request):
    """Small models, drawn from a seed: what differs between architectures is in one of them."""
    return _model(small_config, **KINDS[request.param])


@pytest.fixture(params=[f"{backbone}_{neck}" for backbone in BACKBONES for neck in ("fpn", "c4")])
def model_of_each_architecture(small_config, request):
    """The eight, narrow."""
    backbone, neck = request.param.rsplit("_", 1)
    width = 32 if backbone.startswith("resnext") else 8
    of_neck = {"neck": "c4", **OF_NECK} if neck == "c4" else {}
    return _model(small_config, backbone=backbone, backbone_width=width, **of_neck)


@pytest.fixture
def small_model(small_config):
    """A function: a small model with some fields of the config changed."""
    return lambda **overrides: _model(small_config, **overrides)


@pytest.fixture
def make_batch():
    """A function: noise (B, H, W, 3) uint8, and sizes, which leave out some of it."""

    def make(number, height, width):
        images = np.random.default_rng(0).integers(0, 256, (number, height, width, 3), np.uint8)
        left_out = np.arange(2 * number).reshape(number, 2) % 5
        sizes = np.array([[height, width]]) - left_out
        return {"images": images, "image_sizes": sizes.astype(np.int32)}

    return make


@pytest.fixture
def assert_same():
    """A function: the model's own outputs and the runtime's agree, and something was found."""

    def check(model, x, theirs, found=True):
        ours = model(x)
        assert set(theirs) == set(ours)
        assert (ours["num_detections"].numpy() > 0).all() == found
        for name, value in ours.items():
            assert theirs[name].dtype == value.dtype.as_numpy_dtype
            tolerance = 1e-2 if name == "boxes" else 1e-4
            np.testing.assert_allclose(theirs[name], value, atol=tolerance, err_msg=name)

    return check
