"""Evaluation from the command line."""

import json

from keras_maskrcnn.cli.main import main


def test_evaluate_repeats_the_results_of_the_run(run, data, tmp_path, capsys):
    annotations, images = data["val"]
    options = ["--run", str(run), "--annotations", annotations, "--images", images]
    assert main(["evaluate", *options, "--json", str(tmp_path / "ap.json")]) == 0
    results = json.loads((tmp_path / "ap.json").read_text())
    assert results == json.loads((run / "results.json").read_text())
    assert "AP" in capsys.readouterr().out
