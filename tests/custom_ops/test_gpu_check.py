"""The comparison with torchvision on a GPU, where there is none to compare on."""

import pathlib
import runpy
import sys

import pytest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "custom_ops/roi_align/gpu_check.py"


def test_says_what_is_missing(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert stop.value.code == 2
    assert "torch is missing" in capsys.readouterr().err
