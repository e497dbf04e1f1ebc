"""What a server in C++ does with a SavedModel, through TensorFlow's C API."""

import numpy as np
import pytest

from keras_maskrcnn.ops import compiled_roi_align


def test_the_compiled_op_is_loaded_before_the_model(compiled_op, c_api, served, tmp_path):
    model, _ = served
    model.export(tmp_path / "1", roi_align="custom", verbose=False)
    images = np.random.default_rng(0).integers(0, 256, (1, 64, 80, 3), np.uint8)
    with pytest.raises(RuntimeError, match="Op type not registered 'KerasMaskrcnn>RoiAlign'"):
        c_api(tmp_path / "1", images=images)
    answer = c_api(tmp_path / "1", ops=[compiled_roi_align.LIBRARY], images=images)
    for name, expected in model({"images": images}).items():
        np.testing.assert_allclose(answer[name], expected, atol=1e-3, err_msg=name)


def test_errors_reach_the_caller(c_api, served):
    _, folder = served
    with pytest.raises(RuntimeError, match="images must have a batch, height and width above 0"):
        c_api(folder, images=np.zeros((0, 64, 80, 3), np.uint8))
