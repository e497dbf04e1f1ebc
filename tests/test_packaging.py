"""What `pip install` lays down."""

import ast
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


def run_python(program):
    """What a fresh interpreter prints."""
    command = [sys.executable, "-c", program]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_importing_costs_nothing():
    program = "import sys, keras_maskrcnn as km; print(dir(km)); print(sorted(sys.modules))"
    names, modules = run_python(program).splitlines()
    assert set(keras_maskrcnn.__all__) <= set(ast.literal_eval(names))
    heavy = {"tensorflow", "keras", "numpy", "cv2", "pycocotools", "yaml"}
    assert not heavy & set(ast.literal_eval(modules))


def test_the_stub_names_what_there_is():
    """Editors complete from it, the interpreter from `__dir__`."""
    tree = ast.parse((ROOT / "keras_maskrcnn/__init__.pyi").read_text(encoding="utf-8"))
    stubs = {
        alias.asname: f"{node.module}.{alias.name}"
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert set(stubs) == set(keras_maskrcnn.__all__)
    for name, path in stubs.items():
        home, _, attribute = path.rpartition(".")
        value = getattr(keras_maskrcnn, name)  # which loads the module
        assert value is (sys.modules.get(path) or getattr(sys.modules[home], attribute))
    with pytest.raises(AttributeError, match="no attribute 'MaskRCN'"):
        keras_maskrcnn.MaskRCN  # noqa: B018


@pytest.mark.parametrize(
    "imports",
    [
        "import keras, keras_maskrcnn",
        "import keras_maskrcnn, keras",
        "import keras_maskrcnn.ops.nms, keras_maskrcnn.mask_rcnn, keras",
        "from keras_maskrcnn import data; import keras",
        "from keras_maskrcnn.config import MaskRCNNConfig; import keras",
    ],
)
def test_keras_knows_the_model_in_whatever_order_they_are_imported(imports):
    name = "keras_maskrcnn>MaskRCNN"
    known = f"{imports}; print(keras.saving.get_registered_object({name!r}))"
    assert "keras_maskrcnn.mask_rcnn.MaskRCNN" in run_python(known)


def test_a_model_is_loaded_whatever_module_came_first(small_config, tmp_path):
    keras_maskrcnn.MaskRCNN(small_config).save(tmp_path / "m.keras")
    program = "import keras_maskrcnn.prediction.file_lists, keras; "
    program += f"print(keras.models.load_model({str(tmp_path / 'm.keras')!r}).config.backbone)"
    assert run_python(program) == "resnet14\n"


def test_versions_agree():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == keras_maskrcnn.__version__


@pytest.mark.slow
def test_build_lays_configs_and_the_op_beside_the_code(tmp_path, compiled_op):
    pytest.importorskip("setuptools", minversion="77")
    command = [sys.executable, "setup.py", "-q", "build", "--build-base", str(tmp_path / "base")]
    command += ["--build-lib", str(tmp_path / "lib")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    installed = tmp_path / "lib" / "keras_maskrcnn"
    assert (installed / "configs" / "mask_rcnn_resnet50_fpn.yaml").is_file()
    assert (installed / "cli/main.py").is_file()
    assert (installed / "__init__.pyi").is_file()
    assert (installed / "py.typed").is_file()
    assert (installed / "custom_ops" / "roi_align" / "op_kernels.cc").is_file()
    built = (installed / "ops" / "_roi_align.so").read_bytes()
    assert f"built for TensorFlow {tf.__version__} ".encode() in built
