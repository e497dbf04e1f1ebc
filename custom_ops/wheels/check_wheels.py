"""Installs what `build_wheels.py` built as a user would, and uses it.

    python custom_ops/wheels/check_wheels.py                 # dist/, with every TensorFlow in it
    python custom_ops/wheels/check_wheels.py 2.18 2.21       # with some

It serves `dist/` as a package index. For each TensorFlow, a fresh environment is told to
`pip install maskrcnn-keras` from it. There, without a compiler in reach, the command's `info` has
to say that the op is compiled; a model is trained, used, saved and exported (`use_installed.py`);
and the tests of the op and, where the reference data lies beside the checkout, those of the golden
of R50-FPN run. Then the sdist is installed, with a compiler.
"""

import contextlib
import functools
import http.server
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Iterator

from environments import ROOT, create

sys.path.insert(0, str(ROOT))
from keras_maskrcnn.ops import build as ops

NAME = "maskrcnn-keras"
# The oldest pair that the package claims; pip chooses the newest Keras otherwise.
OLDEST_KERAS = "keras==3.8.*"
TESTS = ["tests/ops/test_compiled_roi_align.py"]
if (ROOT.parent / "shared" / "goldens").is_dir():
    TESTS.append("tests/test_goldens.py::test_inference_with_the_compiled_roi_align")
else:
    print("the golden is left out: the reference data is not there")
VERSIONS = (
    "import tensorflow as tf, keras, numpy; "
    "print('TensorFlow', tf.__version__, 'Keras', keras.__version__, 'NumPy', numpy.__version__)"
)


def main(wanted: list[str]) -> None:
    """Check `dist/`; a failure ends it."""
    (wheel,) = (ROOT / "dist").glob("*.whl")
    versions = wanted or compiled_for(wheel)
    passed = []
    with package_index(ROOT / "dist") as index:
        for version in versions:
            passed.append(check_wheel(index, f"tensorflow=={version}.*"))
            if version == versions[0]:
                passed.append(check_wheel(index, f"tensorflow=={version}.*", OLDEST_KERAS))
        check_sdist(index, versions[-1])
    print(f"{wheel.name} and the sdist passed with", *passed, sep="\n    ")


def compiled_for(wheel: pathlib.Path) -> list[str]:
    """The TensorFlow versions that a wheel holds compiled ops for."""
    with zipfile.ZipFile(wheel) as archive, tempfile.TemporaryDirectory() as folder:
        archive.extractall(folder)
        return ops.built_for(pathlib.Path(folder) / "keras_maskrcnn/ops")


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Does not report each of pip's questions, most of which it has no answer to."""

    def log_message(self, format, *args):
        pass


@contextlib.contextmanager
def package_index(files: pathlib.Path) -> Iterator[str]:
    """The address of an index that has these files, and nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(files, pathlib.Path(folder) / NAME)
        handler = functools.partial(QuietHandler, directory=folder)
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever).start()
            try:
                yield f"http://127.0.0.1:{server.server_port}/"
            finally:
                server.shutdown()


def check_wheel(index: str, *requirements: str) -> str:
    """What a user does with these versions; returns them, as they were found."""
    name = "-".join(["wheel", *requirements]).replace("==", "-").replace(".*", "")
    options = ["--extra-index-url", index, "--only-binary", NAME]
    programs = create(name, *options, NAME, *requirements, "pytest", "hypothesis")
    with tempfile.TemporaryDirectory() as folder:
        run = functools.partial(run_program, folder, str(programs))
        info = run(programs / "keras-maskrcnn", "info")
        if "RoIAlign        compiled for TensorFlow" not in info:
            raise SystemExit(f"{name}: the op does not run as compiled:\n{info}")
        run(programs / "python", ROOT / "custom_ops/wheels/use_installed.py")
        tests = [str(ROOT / test) for test in TESTS]
        # A deprecation that is news to another version of Keras is no fault of the wheel.
        print(
            run(programs / "pytest", "-q", "-W", "default", "-p", "no:cacheprovider", *tests),
            flush=True,
        )
        versions = run(programs / "python", "-c", VERSIONS).strip()
    shutil.rmtree(programs.parent)
    return versions


def check_sdist(index: str, version: str) -> None:
    """A compiler is there, and the op is compiled."""
    options = ["--extra-index-url", index, "--no-binary", NAME]
    programs = create("sdist", *options, NAME, f"tensorflow=={version}.*")
    with tempfile.TemporaryDirectory() as folder:
        path = f"{programs}{os.pathsep}{os.environ['PATH']}"
        info = run_program(folder, path, programs / "keras-maskrcnn", "info")
    if "RoIAlign        compiled for TensorFlow" not in info:
        raise SystemExit(f"the sdist did not compile the op:\n{info}")
    shutil.rmtree(programs.parent)


def run_program(folder: str, path: str, *command: str | os.PathLike) -> str:
    """What a program prints that runs in a folder, with this PATH; it must not fail."""
    environment = {**os.environ, "PATH": path, "TF_CPP_MIN_LOG_LEVEL": "2"}
    done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{command[0]} failed:\n{done.stdout}")
    return done.stdout


if __name__ == "__main__":
    main(sys.argv[1:])
