"""Runs side by side, of folders as `train` leaves them."""

import json

import pytest

from keras_maskrcnn.evaluation.report.runs import compare_runs

LOG = "epoch,loss,val_mask_ap\r\n0,2.5,0.1\r\n1,1.5,NA\r\n"


@pytest.fixture(scope="module")
def runs(written, tmp_path_factory):
    """Two run folders with the same report; the second has another name and no log."""
    folder = tmp_path_factory.mktemp("runs")
    text = (written[1] / "report.json").read_text()
    for name in ("first", "second"):
        (folder / name / "report").mkdir(parents=True)
        (folder / name / "report/report.json").write_text(text)
    (folder / "first/log.csv").write_text(LOG, newline="")
    return [folder / "first", folder / "second"]


def test_the_page_holds_reports_and_logs(runs, written, tmp_path):
    compare_runs(runs, tmp_path / "compared")
    first, second = json.loads((tmp_path / "compared/report.json").read_text())["runs"]
    assert (first["name"], second["name"]) == ("first", "second")
    assert first["log"] == {"epoch": [0, 1], "loss": [2.5, 1.5], "val_mask_ap": [0.1, None]}
    assert second["log"] == {}
    report = written[0]
    assert first["figures"]["mask_ap"] == report.figures["mask_ap"]
    assert first["per_class"]["ring"]["box_ap"] == report.per_class["ring"]["box_ap"]
    assert first["errors"]["mask"]["missed"]["cost"] == report.errors["mask"]["missed"].cost
    page = (tmp_path / "compared/index.html").read_text()
    assert page.count("</script>") == 2
    assert "/* runs.js */" not in page


def test_runs_of_one_name_are_told_apart_and_a_missing_report_is_named(runs, tmp_path):
    compare_runs([runs[0], runs[0]], tmp_path)
    names = [run["name"] for run in json.loads((tmp_path / "report.json").read_text())["runs"]]
    assert names == [str(runs[0])] * 2
    with pytest.raises(FileNotFoundError, match=r"holds no report/report.json.*--run"):
        compare_runs([tmp_path], tmp_path / "more")
    assert not (tmp_path / "more").exists()
