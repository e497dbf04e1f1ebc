"""What `pyproject.toml` cannot say: the compiled op, and data that lies beside the package.

The op is compiled for the TensorFlow that is installed, or else for the newest, which pip then
installs together with this package. Without a compiler the package works too, only slower.
Where KERAS_MASKRCNN_OPS names a folder of ops that are compiled already, they go in instead, for
as many versions of TensorFlow as there are: so `custom_ops/wheels/build_wheels.py` makes wheels.
"""

import os
import pathlib
import shutil
import sys
import sysconfig

from setuptools import Command, Distribution, find_namespace_packages, find_packages, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build import build

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from keras_maskrcnn.ops import build as ops

ROOT = pathlib.Path(__file__).resolve().parent
OPS_FOLDER = "keras_maskrcnn/ops"
# Folders of weights without code.
PRESETS = find_namespace_packages(include=["keras_maskrcnn.weights.*"], exclude=["*.__pycache__"])
COMPILED_OPS = os.environ.get("KERAS_MASKRCNN_OPS")


def tensorflow_is_installed() -> bool:
    """Whether the environment that is installed into has TensorFlow already."""
    return (pathlib.Path(sysconfig.get_path("purelib")) / "tensorflow").is_dir()


class BuildOps(Command):
    """Has the op compiled; a failure is reported and leaves the package without it."""

    user_options = []

    def initialize_options(self):
        self.build_lib = None
        self.editable_mode = False

    def finalize_options(self):
        self.set_undefined_options("build", ("build_lib", "build_lib"))

    def run(self):
        if self.editable_mode:  # the op goes beside the code that loads it
            folder = ROOT / OPS_FOLDER
        else:
            folder = pathlib.Path(self.build_lib) / OPS_FOLDER
            for stale in folder.glob("*.so"):  # of an earlier build
                stale.unlink()
        if COMPILED_OPS:
            copy_ops(pathlib.Path(COMPILED_OPS), folder)
        else:
            self.compile(folder)

    def compile(self, folder):
        environment = dict(os.environ)
        if tensorflow_is_installed():  # and not the one of pip's own build environment
            environment.pop("PYTHONPATH", None)
        try:
            ops.build(folder, ops.find_tensorflow(environment=environment))
        except RuntimeError as error:
            self.warn(
                f"RoIAlign is not compiled, its portable version will run: {error}\n"
                "`keras-maskrcnn build-ops` tries again."
            )

    def get_source_files(self):
        return [str(path) for path in pathlib.Path("custom_ops").rglob("*.*")]

    def get_outputs(self):
        return [str(path) for path in pathlib.Path(self.build_lib, OPS_FOLDER).glob("*.so")]

    def get_output_mapping(self):
        return {}


def copy_ops(source: pathlib.Path, target: pathlib.Path) -> None:
    """Copies the compiled ops of a folder, of which there must be some."""
    libraries = sorted(source.glob("*.so"))
    if not libraries:
        raise SystemExit(f"KERAS_MASKRCNN_OPS: there is no compiled op (*.so) in {source}")
    for library in libraries:
        shutil.copy(library, target)


class PlatformDistribution(Distribution):
    """There is machine code in it, though no extension module of Python's."""

    def has_ext_modules(self):
        return True


class Wheel(bdist_wheel):
    """TensorFlow loads the op, Python does not: one wheel serves all versions of Python."""

    def get_tag(self):
        return ("py3", "none", super().get_tag()[2])


build.sub_commands.append(("build_ops", None))

setup(
    packages=[
        *find_packages(include=["keras_maskrcnn", "keras_maskrcnn.*"]),
        *PRESETS,
        "keras_maskrcnn.configs",
        "keras_maskrcnn.custom_ops.roi_align",
    ],
    package_dir={
        "keras_maskrcnn.configs": "configs",
        "keras_maskrcnn.custom_ops.roi_align": "custom_ops/roi_align",
    },
    package_data={
        "keras_maskrcnn": ["__init__.pyi", "py.typed"],
        "keras_maskrcnn.evaluation.report": ["*.css", "*.html", "*.js"],
        **{preset: ["*"] for preset in PRESETS},
        "keras_maskrcnn.configs": ["*.yaml"],
        "keras_maskrcnn.custom_ops.roi_align": ["*.cc", "*.cu", "*.cuh", "*.h", "*.inc", "*.md"],
    },
    distclass=PlatformDistribution,
    cmdclass={"build_ops": BuildOps, "bdist_wheel": Wheel},
    setup_requires=[] if COMPILED_OPS or tensorflow_is_installed() else ["tensorflow>=2.18"],
)
