"""Exports a golden's model; run by tests in a process of its own, which gives its memory back.

python export_golden.py GOLDENS NAME FOLDER
"""

import pathlib
import sys

BENCHMARKS = pathlib.Path(__file__).resolve().parents[2] / "benchmarks"


def main(goldens, name, folder):
    sys.path.insert(0, str(BENCHMARKS))
    import parity

    # Images of 320 pixels keep their size.
    model = parity.Golden(pathlib.Path(goldens), name).model(image_min_size=320, image_max_size=640)
    model.export(folder, verbose=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
