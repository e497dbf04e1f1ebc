"""The example on a few synthetic pictures, from mask PNGs to its tables."""

import csv
import json
import pathlib

import cv2
import pytest

import keras_maskrcnn as km


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Folders of pictures and mask PNGs."""
    folder = tmp_path_factory.mktemp("pictures")
    for seed, (name, count) in enumerate((("train", 8), ("val", 3))):
        drawn = km.data.shapes.generate(folder / f"{name}_drawn", count, size=96, seed=seed)
        km.data.convert(drawn, "mask-png", folder / name)
    return folder


@pytest.mark.slow
def test_from_mask_pngs_to_counts_and_sizes(pictures, load_example, tmp_path, eagerly):
    nuclei = load_example("nuclei")
    sets = ["--train", str(pictures / "train"), "--val", str(pictures / "val")]
    nuclei.main([*sets, "--epochs", "1", "--output", str(tmp_path)])
    tables = {}
    for name in ("nuclei", "sizes"):
        with open(tmp_path / f"{name}.csv", encoding="utf-8") as file:
            tables[name] = list(csv.DictReader(file))
    val = km.data.open_dataset(pictures / "val")
    for row, record in zip(tables["nuclei"], val.records, strict=True):
        assert row["picture"] == pathlib.Path(record.path).name
        assert int(row["annotated"]) == len(record.instances)
        sizes = [one for one in tables["sizes"] if one["picture"] == row["picture"]]
        assert int(row["found"]) == len(sizes)
        if sizes:
            areas = [int(one["area"]) for one in sizes]
            assert float(row["mean_area"]) == pytest.approx(sum(areas) / len(areas), abs=0.05)
    assert "mask_ap" in json.loads((tmp_path / "results.json").read_text())
    (first, *_) = sorted((tmp_path / "pictures").iterdir())
    assert cv2.imread(str(first)).shape == (96, 96, 3)
    assert (tmp_path / "m.keras").is_file()


def test_a_table_of_no_row_is_an_empty_file(load_example, tmp_path):
    load_example("nuclei").write_table(tmp_path / "sizes.csv", [])
    assert (tmp_path / "sizes.csv").read_text() == ""
