"""Compiles the RoIAlign op (`custom_ops/roi_align`) for a TensorFlow that is installed.

`setup.py` runs this file before the package can be imported, so it needs nothing but Python.
"""

import concurrent.futures
import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import NamedTuple

LIBRARY_PREFIX = "_roi_align_tf"
HERE = pathlib.Path(__file__).resolve().parent
OPTIONS = ("-std=c++17", "-O3", "-DNDEBUG", "-fPIC", "-fvisibility=hidden")
# Where a sample lies must not depend on whether the compiler fuses a product with a sum.
EXACT = ("-ffp-contract=off",)
STRIPPED = ("-Xlinker", "-s")
X86_64 = platform.machine().lower() in ("x86_64", "amd64")
SOURCES = {
    "channel_loops_baseline.cc": (),
    "channel_loops_avx2.cc": ("-mavx2", "-mfma") if X86_64 else (),
    "channel_loops_avx512.cc": (
        ("-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mfma") if X86_64 else ()
    ),
    "axis_weights.cc": EXACT,
    "cpu_kernels.cc": EXACT,
    "ops.cc": (),
    "op_kernels.cc": EXACT,
}
LOWEST_CUDA, HIGHEST_CUDA = 70, 90


class TensorFlow(NamedTuple):
    """What has to be known of a TensorFlow to compile for it."""

    version: str
    compile_flags: Sequence[str]
    link_flags: Sequence[str]


def abi(version: str) -> str:
    """What the TensorFlow versions have in common that can load the same compiled op.

    The releases of a minor version; a pre-release or somebody's own build stands for itself.

    Example:
        >>> abi("2.18.1"), abi("2.22.0-rc0")
        ('2.18', '2.22.0-rc0')
    """
    release = re.fullmatch(r"(\d+\.\d+)\.\d+", version)
    return release[1] if release else version


def library_name(version: str) -> str:
    """The file of the op that is compiled for a TensorFlow version.

    Example:
        >>> library_name("2.18.1")
        '_roi_align_tf2.18.so'
    """
    return f"{LIBRARY_PREFIX}{abi(version)}.so"


def built_for(folder: pathlib.Path) -> list[str]:
    """The TensorFlow versions that compiled ops lie in a folder for."""
    files = folder.glob(f"{LIBRARY_PREFIX}*.so")
    return sorted(file.stem.removeprefix(LIBRARY_PREFIX) for file in files)


def find_tensorflow(
    python: str | os.PathLike = sys.executable, environment: dict[str, str] | None = None
) -> TensorFlow:
    """The TensorFlow that a Python imports.

    Args:
        python: The interpreter.
        environment: Variables of the process that imports it; those of this one if None.

    Raises:
        RuntimeError: It cannot be imported.
    """
    question = (
        "import json, tensorflow as tf; print(json.dumps([tf.__version__,"
        " tf.sysconfig.get_compile_flags(), tf.sysconfig.get_link_flags()]))"
    )
    quiet = {**(os.environ if environment is None else environment), "TF_CPP_MIN_LOG_LEVEL": "3"}
    answer = subprocess.run([python, "-c", question], capture_output=True, text=True, env=quiet)
    if answer.returncode:
        raise RuntimeError(f"TensorFlow cannot be imported: {answer.stderr.strip()[-500:]}")
    return TensorFlow(*json.loads(answer.stdout.splitlines()[-1]))


def sources_folder() -> pathlib.Path:
    """Where the op's sources lie: in the package, or beside it in a checkout.

    Raises:
        RuntimeError: They are in neither place.
    """
    for folder in (HERE.parent / "custom_ops", HERE.parent.parent / "custom_ops"):
        if (folder / "roi_align" / "ops.cc").is_file():
            return folder / "roi_align"
    raise RuntimeError(f"The sources of the op are missing: no custom_ops/roi_align at {HERE}.")


def build(
    folder: str | os.PathLike = HERE, tensorflow: TensorFlow | None = None, cuda: bool = True
) -> pathlib.Path:
    """Compiles and links the op.

    Args:
        folder: Where the library goes; `library_name` says what it is called.
        tensorflow: What to build for; the one that this Python imports if None.
        cuda: Whether to build the CUDA kernels too, if there is an nvcc.

    Returns:
        The library.

    Raises:
        RuntimeError: There is no compiler or no TensorFlow, or a file does not compile; what the
            compiler said is part of the message.

    Example:
        >>> build("/tmp", cuda=False)
        PosixPath('/tmp/_roi_align_tf2.21.so')
    """
    tensorflow = tensorflow or find_tensorflow()
    output, sources = pathlib.Path(folder) / library_name(tensorflow.version), sources_folder()
    nvcc = shutil.which("nvcc") if cuda else None
    flags = [*OPTIONS, *_as_system(tensorflow.compile_flags)]
    flags.append(f'-DKERAS_MASKRCNN_TENSORFLOW="{tensorflow.version}"')
    flags += ["-DKERAS_MASKRCNN_CUDA"] if nvcc else []
    with tempfile.TemporaryDirectory() as scratch:
        commands = [
            [_compiler(), *flags, *extra, "-c", str(sources / name), "-o", f"{scratch}/{name}.o"]
            for name, extra in SOURCES.items()
        ]
        if nvcc:
            kernels = str(sources / "cuda_kernels.cu")
            commands.append([*cuda_command(nvcc), "-c", kernels, "-o", f"{scratch}/cuda.o"])
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(_run, commands))
        objects = [command[-1] for command in commands]
        library = f"{scratch}/{output.name}"
        # nvcc links its own runtime in.
        linker = [nvcc, "-Xcompiler", "-fPIC"] if nvcc else [_compiler()]
        _run([*linker, "-shared", *objects, *tensorflow.link_flags, *STRIPPED, "-o", library])
        output.parent.mkdir(parents=True, exist_ok=True)
        # Written aside and renamed: a process that runs the old library would crash on a new one.
        aside = output.with_name(f"{output.name}.new")
        shutil.copyfile(library, aside)
        os.replace(aside, output)
    return output


def cuda_command(nvcc: str) -> list[str]:
    """nvcc and its options, for all architectures that it knows of those that are supported."""
    listed = subprocess.run([nvcc, "--list-gpu-arch"], capture_output=True, text=True).stdout
    known = sorted({int(line.removeprefix("compute_")) for line in listed.split()})
    wanted = [number for number in known if LOWEST_CUDA <= number <= HIGHEST_CUDA]
    targets = [f"-gencode=arch=compute_{n},code=sm_{n}" for n in wanted]
    targets += [f"-gencode=arch=compute_{n},code=compute_{n}" for n in wanted[-1:]]
    return [nvcc, "-std=c++17", "-O3", "-fmad=false", "-Xcompiler", "-fPIC", *targets]


def _compiler():
    for name in (os.environ.get("CXX"), "g++", "clang++", "c++"):
        if name and shutil.which(name):
            return name
    raise RuntimeError("There is no C++ compiler: install g++, or set CXX.")


def _as_system(flags):
    """TensorFlow's headers are not ours to warn about."""
    return [flag.replace("-I", "-isystem", 1) if flag.startswith("-I") else flag for flag in flags]


def _run(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        shown = " ".join(command[:1] + command[-4:])
        raise RuntimeError(f"{shown} failed:\n{done.stderr.strip()[-3000:]}")
