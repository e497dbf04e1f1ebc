"""What `pyproject.toml` cannot say: the compiled op, and data that lies beside the package.

The op is compiled for the TensorFlow that is installed, or else for the newest, which pip then
installs together with this package. Without a compiler the package works too, only slower.
"""

import importlib.util
import os
import pathlib
import sysconfig

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

ROOT = pathlib.Path(__file__).resolve().parent


def load_build_module():
    """`keras_maskrcnn/ops/build.py`, without the package, which needs TensorFlow."""
    path = ROOT / "keras_maskrcnn" / "ops" / "build.py"
    spec = importlib.util.spec_from_file_location("keras_maskrcnn_build", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tensorflow_is_installed() -> bool:
    """Whether the environment that is installed into has TensorFlow already."""
    return (pathlib.Path(sysconfig.get_path("purelib")) / "tensorflow").is_dir()


class BuildOps(build_ext):
    """Has the op compiled; a failure is reported and leaves the package without it."""

    def get_ext_filename(self, fullname):
        return os.path.join(*fullname.split(".")) + ".so"

    def build_extension(self, ext):
        module = load_build_module()
        environment = dict(os.environ)
        if tensorflow_is_installed():  # and not the one of pip's own build environment
            environment.pop("PYTHONPATH", None)
        try:
            module.build(self.get_ext_fullpath(ext.name), module.find_tensorflow(environment))
        except RuntimeError as error:
            self.warn(
                f"RoIAlign is not compiled, its portable version will run: {error}\n"
                "`keras-maskrcnn build-ops` tries again."
            )

    def get_source_files(self):
        return [str(path) for path in pathlib.Path("custom_ops").rglob("*.*")]

    def copy_extensions_to_source(self):
        """For an editable install: the op goes beside the code that loads it."""
        for ext in self.extensions:
            name = self.get_ext_filename(ext.name)
            built = pathlib.Path(self.build_lib) / name
            if built.is_file():
                os.replace(built, ROOT / name)


setup(
    packages=[
        *find_packages(include=["keras_maskrcnn", "keras_maskrcnn.*"]),
        "keras_maskrcnn.configs",
        "keras_maskrcnn.custom_ops.roi_align",
    ],
    package_dir={
        "keras_maskrcnn.configs": "configs",
        "keras_maskrcnn.custom_ops.roi_align": "custom_ops/roi_align",
    },
    package_data={
        "keras_maskrcnn": ["__init__.pyi", "py.typed"],
        "keras_maskrcnn.configs": ["*.yaml"],
        "keras_maskrcnn.custom_ops.roi_align": ["*.cc", "*.cu", "*.cuh", "*.h", "*.inc", "*.md"],
    },
    ext_modules=[Extension("keras_maskrcnn.ops._roi_align", [])],
    cmdclass={"build_ext": BuildOps},
    setup_requires=[] if tensorflow_is_installed() else ["tensorflow>=2.18"],
)
