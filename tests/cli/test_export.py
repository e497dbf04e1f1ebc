"""Exports from the command line."""

import pytest

import keras_maskrcnn as km
from keras_maskrcnn.cli.main import main


def test_export(run, tmp_path, capsys):
    folder = tmp_path / "serving" / "1"
    options = ["--box-score-threshold", "0.5", "--dtype", "bfloat16", "--pasted-masks"]
    assert main(["export", "--run", str(run), "--output", str(folder), *options]) == 0
    assert "serving_default, serve_sizes, serve_bytes" in capsys.readouterr().out
    assert (folder / "saved_model.pb").is_file()
    names = (folder / "assets/class_names.txt").read_text(encoding="utf-8").splitlines()
    assert tuple(names) == km.MaskRCNNConfig.from_yaml(run / "config.yaml").class_names


@pytest.mark.slow
@pytest.mark.parametrize(
    ("format", "options"),
    [("onnx", []), ("litert", ["--image-size", "64", "96", "--quantize", "dynamic_int8"])],
)
def test_export_to_a_file(run, tmp_path, format, options):
    file = tmp_path / f"m.{format}"
    command = ["export", "--run", str(run), "--output", str(file), "--format", format]
    assert main([*command, *options]) == 0
    assert file.stat().st_size > 10_000


def test_export_refuses_options_of_other_formats(run, tmp_path, capsys):
    command = ["export", "--run", str(run), "--output", str(tmp_path / "m.onnx")]
    assert main([*command, "--format", "onnx", "--dtype", "bfloat16"]) == 2
    assert "--dtype has no meaning for --format onnx" in capsys.readouterr().err
