"""What `pip install` lays down."""

import ast
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile

import pytest
import tensorflow as tf

import keras_maskrcnn
from keras_maskrcnn.config import shipped_configs
from keras_maskrcnn.ops.build import library_name

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
        *(
            pytest.param(imports, marks=pytest.mark.slow)
            for imports in (
                "import keras_maskrcnn.ops.nms, keras_maskrcnn.mask_rcnn, keras",
                "from keras_maskrcnn import data; import keras",
                "from keras_maskrcnn.config import MaskRCNNConfig; import keras",
            )
        ),
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


def setup(command, cwd=ROOT, **variables):
    """Runs a command of `setup.py`, and leaves nothing in the tree."""
    subprocess.run(
        [sys.executable, "setup.py", "-q", *command],
        cwd=cwd,
        env={**os.environ, **variables},
        check=True,
        capture_output=True,
    )


@pytest.fixture
def tree(tmp_path):
    """A copy of the tree, without what builds left in it."""
    ignore = shutil.ignore_patterns(
        ".*", "*.so", "__pycache__", "*.egg-info", "build", "dist", "runs"
    )
    return pathlib.Path(shutil.copytree(ROOT, tmp_path / "tree", ignore=ignore))


def test_a_wheel_takes_the_ops_that_are_compiled_already(tree, tmp_path):
    """And no other: what an earlier build left is not for this one."""
    compiled = tmp_path / "compiled"
    compiled.mkdir()
    names = sorted(library_name(version) for version in ("2.18.1", "2.21.0"))
    for name in names:
        (compiled / name).write_bytes(name.encode())
    left = tree / "build/lib" / "keras_maskrcnn/ops" / library_name("2.17.0")
    left.parent.mkdir(parents=True)
    left.touch()
    options = ["build", "--build-lib", "build/lib", "bdist_wheel", "--dist-dir", "dist"]
    setup(options, tree, KERAS_MASKRCNN_OPS=str(compiled))
    (wheel,) = (tree / "dist").glob("*.whl")
    assert wheel.name.startswith("maskrcnn_keras-")
    assert "-py3-none-" in wheel.name
    assert not wheel.name.endswith("-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
        assert sorted(pathlib.Path(n).name for n in inside if n.endswith(".so")) == names
        for name in names:
            assert archive.read(f"keras_maskrcnn/ops/{name}") == name.encode()
    for name in (
        "configs/mask_rcnn_resnet50_fpn.yaml",
        "cli/main.py",
        "__init__.pyi",
        "py.typed",
        "evaluation/report/page.html",
        "custom_ops/roi_align/op_kernels.cc",
    ):
        assert f"keras_maskrcnn/{name}" in inside


def test_an_sdist_has_all_that_a_build_needs(tree):
    setup(["sdist", "--dist-dir", "dist", "--formats", "gztar"], tree)
    (sdist,) = (tree / "dist").glob("maskrcnn_keras-*.tar.gz")
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    needed = [ROOT / "setup.py", ROOT / "pyproject.toml", *(ROOT / "configs").glob("*.yaml")]
    for folder in ("keras_maskrcnn", "custom_ops", "tests"):
        needed += [
            path
            for path in (ROOT / folder).rglob("*")
            if path.is_file() and path.suffix not in (".pyc", ".so")
        ]
    missing = {path.relative_to(ROOT).as_posix() for path in needed} - inside
    assert not missing


@pytest.mark.slow
def test_build_compiles_the_op_for_the_tensorflow_found(tmp_path, compiled_op):
    setup(["build", "--build-base", str(tmp_path / "base"), "--build-lib", str(tmp_path / "lib")])
    built = (tmp_path / "lib/keras_maskrcnn/ops" / library_name(tf.__version__)).read_bytes()
    assert f"built for TensorFlow {tf.__version__} ".encode() in built
