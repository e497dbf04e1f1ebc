"""Files that are no weights, or not all of them: each gets an error that says so."""

import os
import pickle
import sys

import h5py
import numpy as np
import pytest

from keras_maskrcnn import MaskRCNN
from keras_maskrcnn.weights.checkpoint import read_checkpoint

SIGNATURES = {
    "cut.pth": b"PK\x03\x04" + bytes(40),
    "old.pth": b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19." + bytes(9),
    "cut.h5": b"\x89HDF\r\n\x1a\n" + bytes(40),
    "cut.pkl": pickle.dumps({"model": {"a": np.ones(9)}})[:-20],
}
REASONS = {"pth": "not a readable PyTorch file", "h5": "not a readable HDF5", "pkl": "not a pickle"}


@pytest.mark.parametrize("name", SIGNATURES)
def test_truncated_files(tmp_path, name):
    if name.endswith("pth"):
        pytest.importorskip("torch")
    (tmp_path / name).write_bytes(SIGNATURES[name])
    with pytest.raises(ValueError, match=f"{name}: {REASONS[name.split('.')[1]]}"):
        MaskRCNN.from_checkpoint(tmp_path / name)


@pytest.mark.parametrize("name", ["weights.pkl", "weights.pth", "weights.h5"])
def test_a_web_page(tmp_path, name):
    (tmp_path / name).write_text("\n<!DOCTYPE html><html>Not found</html>")
    with pytest.raises(ValueError, match=f"{name}: a web page, not weights"):
        MaskRCNN.from_checkpoint(tmp_path / name)


def test_an_empty_file_and_none(tmp_path):
    (tmp_path / "empty.pkl").touch()
    with pytest.raises(ValueError, match=r"empty\.pkl: the file is empty"):
        MaskRCNN.from_checkpoint(tmp_path / "empty.pkl")
    with pytest.raises(FileNotFoundError):
        MaskRCNN.from_checkpoint(tmp_path / "none.pkl")


def test_another_model_s_files(tmp_path):
    with h5py.File(tmp_path / "vgg.h5", "w") as file:
        file["block1_conv1/block1_conv1/kernel:0"] = np.ones((3, 3, 3, 64))
    (tmp_path / "vgg.pkl").write_bytes(pickle.dumps({"features.0.weight": np.ones((64, 3, 3, 3))}))
    for name in ("vgg.h5", "vgg.pkl"):
        with pytest.raises(ValueError, match=f"{name}: not a checkpoint of a model.*begins with"):
            read_checkpoint(tmp_path / name)


def test_another_model_s_torch_file(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"features.0.weight": torch.ones(64, 3, 3, 3)}, tmp_path / "vgg.pth")
    with pytest.raises(ValueError, match=r"vgg\.pth: not a checkpoint of a model"):
        read_checkpoint(tmp_path / "vgg.pth")


class Attack:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.system, (f"touch {self.trace}",)


def test_code_in_a_torch_file_is_not_run(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"model": Attack(tmp_path / "trace")}, tmp_path / "attack.pth")
    with pytest.raises(ValueError, match=r"attack\.pth: not a readable PyTorch file of weights"):
        read_checkpoint(tmp_path / "attack.pth")
    assert not (tmp_path / "trace").exists()


def test_without_torch_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "m.pth").write_bytes(SIGNATURES["cut.pth"])
    with pytest.raises(ImportError, match=r"m\.pth is a PyTorch file.*maskrcnn-keras\[torch\]"):
        read_checkpoint(tmp_path / "m.pth")


def test_tensors_that_are_no_backbone(tmp_path):
    names = ["conv1_w", "res2_0_branch2a_w", "res2_0_branch2b_w"]
    scalars = dict.fromkeys(names, np.float32(1))
    (tmp_path / "scalars.pkl").write_bytes(pickle.dumps(scalars))
    with pytest.raises(ValueError, match=r"scalars\.pkl: "):
        MaskRCNN.from_checkpoint(tmp_path / "scalars.pkl")
    few = {"conv1_w": np.ones((8, 3, 7, 7)), "res2_0_branch2a_w": np.ones((8, 8, 1, 1))}
    (tmp_path / "few.pkl").write_bytes(pickle.dumps(few))
    with pytest.raises(ValueError, match=r"few\.pkl: it lacks the tensor 'res2_0_branch2b_w'"):
        MaskRCNN.from_checkpoint(tmp_path / "few.pkl")
