"""Evaluation from the command line."""

import json
import pathlib

import keras_maskrcnn as km
from keras_maskrcnn.cli.main import main


def test_evaluate_repeats_the_results_of_the_run(run, data, tmp_path, capsys, eagerly):
    annotations, images = data["val"]
    options = ["--run", str(run), "--annotations", annotations, "--images", images]
    assert main(["evaluate", *options, "--json", str(tmp_path / "ap.json")]) == 0
    results = json.loads((tmp_path / "ap.json").read_text())
    assert results == json.loads((run / "results.json").read_text())
    assert "AP" in capsys.readouterr().out


def write_labelme(folder, labels):
    """A folder of one picture with a rectangle of each label."""
    dataset = km.data.shapes.generate(folder / "shapes", 1, size=64)
    km.data.convert(dataset, "labelme", folder / "labelme")
    (file,) = (folder / "labelme").glob("*.json")
    content = json.loads(file.read_text())
    shape = {"shape_type": "rectangle", "points": [[4, 4], [20, 30]], "flags": {}}
    content["shapes"] = [{**shape, "label": label, "group_id": None} for label in labels]
    pathlib.Path(file).write_text(json.dumps(content))
    return str(folder / "labelme")


def test_other_classes_are_refused_and_absent_ones_are_not(
    run, tmp_path, error_of, capsys, eagerly
):
    first, *_ = km.MaskRCNNConfig.from_yaml(run / "config.yaml").class_names
    (tmp_path / "a").mkdir()
    known = write_labelme(tmp_path / "a", [first])
    assert main(["evaluate", "--run", str(run), "--data", known]) == 0
    capsys.readouterr()
    (tmp_path / "b").mkdir()
    other = write_labelme(tmp_path / "b", [first, "eel"])
    error = error_of(["evaluate", "--run", str(run), "--data", other])
    assert "has classes that the model does not know: eel" in error


def test_runs_side_by_side(run, tmp_path, capsys, error_of):
    assert main(["report", str(run), str(run), "--output", str(tmp_path)]) == 0
    assert f"report: {tmp_path / 'index.html'}" in capsys.readouterr().out
    assert len(json.loads((tmp_path / "report.json").read_text())["runs"]) == 2
    error = error_of(["report", str(tmp_path)])
    assert f"{tmp_path} holds no report/report.json" in error
    assert "leave out --model, --run and --data" in error_of(["report", "a", "--run", "b"])
    assert "Give --data and a model, or run folders" in error_of(["report", "--run", str(run)])


def test_reports(run, data, tmp_path, capsys, eagerly):
    annotations, images = data["val"]
    options = ["--run", str(run), "--data", annotations, "--images", images]
    assert main(["report", *options, "--output", str(tmp_path / "one")]) == 0
    out = capsys.readouterr().out
    assert "AP50" in out
    assert f"report: {tmp_path / 'one' / 'index.html'}" in out.replace("\n", "")
    assert main(["evaluate", *options, "--report", str(tmp_path / "other")]) == 0
    contents = [(tmp_path / name / "report.json").read_text() for name in ("one", "other")]
    assert contents[0] == contents[1]
    results = json.loads((run / "results.json").read_text())
    figures = json.loads(contents[0])["figures"]
    assert {name: figures[name] for name in results} == results
    assert json.loads((run / "report/report.json").read_text())["figures"] == figures
