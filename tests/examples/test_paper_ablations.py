"""The ablations at a tiny scale, killed and resumed; the report of figures that are known."""

import importlib
import json
import pathlib
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import keras_maskrcnn as km
from keras_maskrcnn.backbones import ResNet

ROOT = pathlib.Path(__file__).resolve().parents[2]
SMALL = {"backbone": "resnet14", "backbone_width": 8, "stride_in_1x1": False, "num_classes": 3}


@pytest.fixture
def ablations(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "examples")
    return importlib.import_module("paper_ablations")


@pytest.fixture
def report(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "examples")
    return importlib.import_module("paper_ablations_report")


@pytest.mark.parametrize("neck", ["fpn", "c4", "c5"])
def test_a_frozen_start_computes_what_was_learned(ablations, tmp_path, neck):
    backbone = ResNet("resnet14", 8, False, "batch_norm")
    image = np.random.default_rng(0).normal(size=(1, 64, 64, 3)).astype(np.float32)
    for _ in range(3):
        backbone(image, training=True)  # moves the statistics
    layers = [backbone.stem, *backbone.blocks]
    values = [weight.numpy() for layer in layers for weight in layer.weights]
    np.savez(tmp_path / "weights.npz", *values)
    model = km.MaskRCNN(
        f"mask_rcnn_resnet50_{'fpn' if neck == 'fpn' else 'c4'}", neck=neck, **SMALL
    )
    ablations.start_from(model, tmp_path / "weights.npz")
    expected = backbone(image)
    features = model.backbone(image)
    np.testing.assert_allclose(features["res4"], expected["res4"], rtol=1e-3, atol=1e-3)
    if neck == "c4":
        features["res5"] = model.res5(features["res4"][:, None])[:, 0]
    np.testing.assert_allclose(features["res5"], expected["res5"], rtol=1e-3, atol=1e-3)


def test_pairs_differ_in_one_thing(ablations, report):
    differences = {
        (pair.better, pair.worse): {
            name
            for name in ablations.VARIANTS[pair.better].keys() | ablations.VARIANTS[pair.worse]
            if ablations.VARIANTS[pair.better].get(name) != ablations.VARIANTS[pair.worse].get(name)
        }
        for pair in report.PAIRS
    }
    assert differences[("c5", "c5_roi_pool")] == {"roi_transform"}
    assert differences[("c4", "c4_roi_pool")] == {"roi_transform"}
    assert differences[("fpn", "fpn_roi_pool")] == {"roi_transform"}
    assert differences[("fpn", "fpn_softmax")] == {"mask_loss"}
    assert differences[("fpn", "fpn_class_agnostic")] == {"class_agnostic_mask"}
    assert differences[("fpn", "fpn_no_mask")] == {"mask"}
    assert differences[("fpn", "fpn_group_norm")] == {"norm", "freeze_at"}
    for fields in ablations.VARIANTS.values():
        km.MaskRCNNConfig(**fields)


def write_run(output, variant, seed, ap):
    """The kept files of a run whose masks have `ap`, and whose boxes twice that."""
    folder = output / variant / f"seed{seed}"
    folder.mkdir(parents=True)
    results = {f"mask_{name}": ap for name in ("ap", "ap50", "ap75")}
    results |= {f"box_{name}": 2 * ap for name in ("ap", "ap50", "ap75")}
    results["ap_by_iou"] = {kind: list(np.linspace(ap, 0, 10)) for kind in ("box", "mask")}
    (folder / "results.json").write_text(json.dumps(results))
    lines = [f"{epoch},{5 - epoch},{ap * epoch / 2}" for epoch in range(3)]
    (folder / "log.csv").write_text("\n".join(["epoch,loss,val_mask_ap", *lines]))
    (folder / "detections.json").write_text("[]")


@pytest.fixture
def kept(tmp_path):
    output = tmp_path / "runs"
    km.data.shapes.generate(output / "data/val", 2, 64)
    for seed, (align, pool) in enumerate([(0.30, 0.20), (0.32, 0.26)]):
        write_run(output, "c5", seed, align)
        write_run(output, "c5_roi_pool", seed, pool)
    write_run(output, "fpn", 0, 0.4)
    settings = {"steps": 30, "batch_size": 4, "size": 64, "scale": 1.0}
    (output / "settings.json").write_text(json.dumps(settings))
    return output


def test_report_has_means_spreads_and_differences_of_seeds(report, kept, tmp_path):
    path = report.write_report(kept, tmp_path / "report.md")
    lines = [re.split(r"\s*\|\s*", line) for line in path.read_text(encoding="utf-8").splitlines()]
    rows = [cells[1:7] for cells in lines if len(cells) == 8]
    claim = rows.index(
        ["RoIAlign over RoIPool, stride 32 (mask AP)", "`c5`", *["31.0 ± 1.4"] * 3, "2"]
    )
    assert rows[claim + 1] == ["", "`c5_roi_pool`", *["23.0 ± 4.2"] * 3, "2"]
    assert rows[claim + 2] == ["", "difference", *["+8.0 ± 2.8"] * 3, "2"]
    assert rows[claim + 3] == ["", "the paper's (2d)", "+7.3", "+5.3", "+10.5", ""]
    assert not any("softmax" in cell for cells in rows for cell in cells)  # that did not run
    everything = [cells[1:9] for cells in lines if len(cells) == 10]
    assert ["`fpn`", *["80.0"] * 3, *["40.0"] * 3, "1"] in everything
    for name in ("iou.png", "curves.png", "losses.png", "pictures.jpg"):
        assert f"report_figures/{name}" in path.read_text(encoding="utf-8")
        assert (tmp_path / "report_figures" / name).stat().st_size > 1000


def test_report_keeps_what_was_written_above_it(report, kept, tmp_path):
    path = report.write_report(kept, tmp_path / "report.md")
    generated = path.read_text(encoding="utf-8").split(report.MARK)[1]
    path.write_text(f"# What agrees\n\nMuch.\n\n{report.MARK}\nold", encoding="utf-8")
    report.write_report(kept, path)
    assert path.read_text(encoding="utf-8") == f"# What agrees\n\nMuch.\n\n{report.MARK}{generated}"


def test_settings_and_configs_are_not_mixed(ablations, tmp_path, monkeypatch):
    args = ablations.parse(["--output", str(tmp_path), "--scale", "2"])
    ablations.note_settings(args)
    ablations.note_settings(args)
    with pytest.raises(SystemExit, match="other settings"):
        ablations.note_settings(ablations.parse(["--output", str(tmp_path)]))
    folder = ablations.run_folder(args, "fpn", 0)
    folder.mkdir(parents=True)
    assert not ablations.is_done(args, "fpn", 0)
    km.MaskRCNNConfig(**ablations.FPN).to_yaml(folder / "config.yaml")
    assert not ablations.is_done(args, "fpn", 0)
    (folder / "results.json").write_text("{}")
    assert ablations.is_done(args, "fpn", 0)
    monkeypatch.setitem(ablations.ALL, "fpn", ablations.C5)
    with pytest.raises(SystemExit, match="another config"):
        ablations.is_done(args, "fpn", 0)


def options(output):
    few = ["--scale", "0.001", "--only", "fpn", "--seeds", "0", "--parallel", "1"]
    return [*few, "--output", str(output)]


@pytest.mark.slow
def test_a_killed_run_goes_on_and_an_ended_one_is_kept(ablations, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    folder = tmp_path / "fpn/seed0"
    command = [sys.executable, ROOT / "examples/paper_ablations.py", *options(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 600
    while not any(folder.glob("backup/step-00000000[2-9]*")) and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    while "is gone" not in (folder / "output.txt").read_text() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not (folder / "results.json").exists()

    ablations.main(options(tmp_path))
    said = capsys.readouterr().out
    assert "0 of 1 runs are there already" in said
    assert "fpn seed 0" in said
    assert "start seed 0" not in said
    results = (folder / "results.json").read_bytes()
    assert {"box_ap", "mask_ap75", "ap_by_iou"} <= json.loads(results).keys()
    assert len((folder / "log.csv").read_text().splitlines()) == 11  # of ten epochs and a header
    assert not (folder / "backup").exists()
    assert "`fpn`" in (tmp_path / "paper_ablations.md").read_text(encoding="utf-8")

    ablations.main(options(tmp_path))
    assert "1 of 1 runs are there already" in capsys.readouterr().out
    assert (folder / "results.json").read_bytes() == results
