"""The C++ tests of the op's kernels, built and run with the sanitizers and without."""

import os
import shutil
import subprocess

import pytest

from keras_maskrcnn.ops import build

KERNELS = [name for name in build.SOURCES if name not in ("ops.cc", "op_kernels.cc")]
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-O1")


@pytest.fixture(scope="module")
def compiler():
    name = shutil.which("g++")
    if name is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("needs g++")
    return name


def run_kernel_test(compiler, folder, options, rounds):
    objects = []
    for name, flags in {**{n: build.SOURCES[n] for n in KERNELS}, "kernel_test.cc": ()}.items():
        objects.append(f"{folder}/{name}.o")
        source = str(build.sources_folder() / name)
        command = [compiler, "-std=c++17", "-Wall", "-Wextra", "-Werror", *options, *flags]
        subprocess.run([*command, "-c", source, "-o", objects[-1]], check=True)
    program = f"{folder}/kernel_test"
    subprocess.run([compiler, *options, *objects, "-lpthread", "-o", program], check=True)
    return subprocess.run([program, str(rounds)], capture_output=True, text=True)


@pytest.mark.parametrize(
    ("options", "rounds"),
    [(("-O2",), 500), pytest.param(SANITIZERS, 300, marks=pytest.mark.slow)],
    ids=["optimised", "sanitizers"],
)
def test_kernels_agree_with_their_definition(compiler, tmp_path, options, rounds):
    done = run_kernel_test(compiler, tmp_path, options, rounds)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(f"passed: {4 * rounds} rounds")
