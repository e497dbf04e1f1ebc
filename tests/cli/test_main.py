"""The command line as a whole: its help, which is there at once, and what it says of errors."""

import subprocess
import sys

import pytest

from keras_maskrcnn.cli.main import main


@pytest.mark.parametrize(
    "verb",
    [
        *("train", "evaluate", "report", "predict", "merge-results", "inspect-dataset"),
        *("convert-dataset", "export", "build-ops", "info"),
    ],
)
def test_help_has_examples(verb, capsys):
    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"])
    assert stop.value.code == 0
    assert f"keras-maskrcnn {verb}" in capsys.readouterr().out.split("examples:")[1]


def test_debug_shows_the_traceback():
    with pytest.raises(ValueError, match="Unknown config"):
        main(["info", "--config", "nonsense", "--debug"])


def test_help_imports_nothing_heavy():
    """TensorFlow takes seconds; so would OpenCV, pycocotools and rich take their share."""
    program = "import sys, keras_maskrcnn.cli.main as m\ntry:\n    m.main(['--help'])\n"
    program += "except SystemExit:\n    print(sorted(sys.modules))"
    out = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert "keras_maskrcnn.cli.parser" in out
    for name in ("tensorflow", "keras", "numpy", "cv2", "pycocotools", "rich", "h5py", "PIL"):
        assert f"'{name}'" not in out
