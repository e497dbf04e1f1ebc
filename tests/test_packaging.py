"""What `pip install` lays down."""

import pathlib
import subprocess
import sys
import tomllib

import pytest
import tensorflow as tf

import keras_maskrcnn
from keras_maskrcnn.config import shipped_configs

ROOT = pathlib.Path(__file__).parent.parent


def test_every_folder_with_code_is_a_package():
    folders = {file.parent for file in (ROOT / "keras_maskrcnn").rglob("*.py")}
    assert not [str(folder) for folder in folders if not (folder / "__init__.py").is_file()]


def test_every_config_is_shipped():
    assert shipped_configs() == sorted(path.stem for path in (ROOT / "configs").glob("*.yaml"))


def test_versions_agree():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == keras_maskrcnn.__version__


def test_build_lays_configs_and_the_op_beside_the_code(tmp_path, compiled_op):
    pytest.importorskip("setuptools", minversion="77")
    command = [sys.executable, "setup.py", "-q", "build", "--build-base", str(tmp_path / "base")]
    command += ["--build-lib", str(tmp_path / "lib")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    installed = tmp_path / "lib" / "keras_maskrcnn"
    assert (installed / "configs" / "mask_rcnn_resnet50_fpn.yaml").is_file()
    assert (installed / "cli.py").is_file()
    assert (installed / "custom_ops" / "roi_align" / "op_kernels.cc").is_file()
    built = (installed / "ops" / "_roi_align.so").read_bytes()
    assert f"built for TensorFlow {tf.__version__} ".encode() in built
