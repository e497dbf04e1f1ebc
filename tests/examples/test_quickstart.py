"""The notebook runs from its first cell to its last, and is kept without outputs."""

import pathlib

import nbformat
import pytest
from nbclient import NotebookClient

PATH = pathlib.Path(__file__).resolve().parents[2] / "examples/quickstart.ipynb"


@pytest.fixture
def notebook():
    return nbformat.read(PATH, as_version=4)


def test_it_holds_no_outputs(notebook):
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in cells)


@pytest.mark.slow
def test_it_runs_and_finds_the_new_classes(notebook, tmp_path):
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=900, kernel_name="python3", resources=resources).execute()
    assert (tmp_path / "found.png").is_file()
    assert (tmp_path / "mine/README.md").is_file()
    (figures,) = [c for c in notebook.cells if "km.evaluate" in c.source]
    (output,) = figures.outputs
    results = eval(output["data"]["text/plain"])
    assert results["mask_ap50"] > 0.4
