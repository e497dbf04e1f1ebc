"""Small models and random tensors for checkpoints in the layouts of their sources."""

import numpy as np
import pytest

SMALL = {
    "backbone": "resnet14",
    "backbone_width": 8,
    "fpn_channels": 16,
    "mask_deconv_channels": 16,
    "num_classes": 3,
    "rpn_post_nms_top_n_test": 20,
    "box_score_threshold": 0.0,
}


@pytest.fixture
def small():
    """Fields of a small model."""
    return dict(SMALL)


@pytest.fixture
def draw():
    """A function from names and shapes to tensors that a deep model can bear."""

    def tensor(rng, name, shape):
        if name.endswith(("running_var", "moving_variance")):
            value = rng.uniform(0.8, 1.2, shape)
        elif len(shape) == 1:
            value = rng.normal(1.0 if name.endswith(("norm.weight", "gamma")) else 0.0, 0.1, shape)
        else:
            gain = 0.02 if "stem" in name else 0.1 if "deltas" in name or "bbox" in name else 1.0
            value = rng.normal(0.0, gain / np.sqrt(np.prod(shape[1:])), shape)
        return value.astype(np.float32)

    def tensors(shapes, seed=0):
        rng = np.random.default_rng(seed)
        return {name: tensor(rng, name, shape) for name, shape in shapes.items()}

    return tensors


@pytest.fixture
def pixels():
    """One image (1, 64, 96, 3) of noise."""
    return np.random.default_rng(1).uniform(0, 255, (1, 64, 96, 3)).astype(np.float32)
