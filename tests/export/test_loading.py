"""Loading models that need the compiled op; where it is built, test_saved_model runs one."""

import pytest

from keras_maskrcnn.export import load_saved_model
from keras_maskrcnn.ops import compiled_roi_align


def test_says_what_to_do_without_the_op(monkeypatch, tmp_path):
    missing = compiled_roi_align.load(tmp_path / "missing.so")
    monkeypatch.setattr(compiled_roi_align, "load", lambda: missing)
    with pytest.raises(RuntimeError, match="serving/2 may need the compiled op.*build-ops"):
        load_saved_model("serving/2")


def test_no_saved_model(compiled_op, tmp_path):
    with pytest.raises(OSError, match="SavedModel"):
        load_saved_model(tmp_path)
