"""Fresh virtual environments, under `build/wheels/`."""

import pathlib
import subprocess
import venv

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "wheels"


def create(name: str, *pip_arguments: str) -> pathlib.Path:
    """Makes an environment anew, installs into it, and returns its folder of programs."""
    print(f"{name}: pip install {' '.join(pip_arguments)}", flush=True)
    venv.create(BUILD / name, clear=True, with_pip=True, symlinks=True)
    programs = BUILD / name / "bin"
    install = [programs / "python", "-m", "pip", "install", "--quiet", *pip_arguments]
    subprocess.run(install, check=True)
    return programs
