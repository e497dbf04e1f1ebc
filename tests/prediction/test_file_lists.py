"""Long lists of files: what is written, in what order, and after a kill."""

import json
import signal
import subprocess
import sys
import time

import cv2
import keras
import numpy as np
import pytest

import keras_maskrcnn as km
from keras_maskrcnn.cli import predict as cli_predict
from keras_maskrcnn.cli.main import main
from keras_maskrcnn.prediction import file_lists
from keras_maskrcnn.prediction.file_lists import predict_files

SIZES = ((70, 40), (64, 64), (9, 30), (48, 90))


@pytest.fixture(scope="module")
def model(small_config):
    keras.utils.set_random_seed(0)
    return km.MaskRCNN(small_config, box_score_threshold=0.0)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Pictures in two folders with the same names; one is empty, one is missing."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    paths = [folder / side / f"{i:02}.png" for side in ("left", "right") for i in range(12)]
    for path, size in zip(paths, SIZES * 6, strict=True):
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), rng.integers(0, 256, (*size, 3), np.uint8))
    paths[5].write_bytes(b"")
    paths[17].unlink()
    return [str(path) for path in paths]


@pytest.fixture(scope="module")
def whole(model, files, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    done = predict_files(model, files, folder / "results.json", score_threshold=0.0)
    assert (done.inputs, done.failures) == (24, 2)
    return folder / "results.json"


def test_entries_are_those_of_predict(model, files, whole):
    entries = json.loads(whole.read_text())
    readable = [(i, file) for i, file in enumerate(files, 1) if i not in (6, 18)]
    found = model.predict([file for _, file in readable], verbose=0)
    expected = [
        {**entry, "category_name": name, "file_name": file}
        for (number, file), detections in zip(readable, found, strict=True)
        for entry, name in zip(detections.to_coco(number), detections.class_names, strict=True)
    ]
    assert len(entries) == len(expected) > 22
    for entry, other in zip(entries, expected, strict=True):
        np.testing.assert_allclose(entry.pop("bbox"), other.pop("bbox"), atol=1e-3)
        np.testing.assert_allclose(entry.pop("score"), other.pop("score"), atol=1e-5)
        assert entry.pop("segmentation")["size"] == other.pop("segmentation")["size"]
        assert entry == other


def test_files_that_cannot_be_read_are_listed(files, whole):
    lines = (whole.parent / "results.errors.jsonl").read_text().splitlines()
    empty, missing = map(json.loads, lines)
    assert (empty["image_id"], empty["file_name"]) == (6, files[5])
    assert "is empty" in empty["error"]
    assert (missing["image_id"], missing["file_name"]) == (18, files[17])
    assert "no image file" in missing["error"]


def test_batches_are_of_like_shapes_and_keep_the_order(model, files, tmp_path):
    """Two shapes in turn: batches that mixed them would be padded, which moves what is found."""
    found = []
    for batch_size in (1, 2):
        output = tmp_path / f"{batch_size}.json"
        predict_files(model, files[::2], output, batch_size=batch_size, score_threshold=0.0)
        found.append(json.loads(output.read_text()))
    ones, twos = found
    ids = [entry["image_id"] for entry in twos]
    assert ids == sorted(ids) == [entry["image_id"] for entry in ones]
    for one, two in zip(ones, twos, strict=True):
        assert two["score"] == pytest.approx(one["score"], abs=1e-4)


def test_the_score_threshold_holds(model, files, whole, tmp_path):
    scores = [entry["score"] for entry in json.loads(whole.read_text())]
    middle = float(np.median(scores))
    done = predict_files(model, files, tmp_path / "r.json", score_threshold=middle)
    assert done.results == sum(score >= middle for score in scores)


def test_shards_merged_are_the_whole(model, files, whole, tmp_path):
    lines = ["", *files]  # an empty line counts, so the numbers move by one
    for k in range(1, 4):
        output = tmp_path / f"results-{k}.json"
        predict_files(model, lines, output, shard=(k, 3), score_threshold=0.0)
        ids = {entry["image_id"] for entry in json.loads(output.read_text())}
        assert ids <= set(range(k, 26, 3))
    shards = [str(tmp_path / f"results-{k}.json") for k in range(1, 4)]
    assert main(["merge-results", *shards, "--output", str(tmp_path / "all.json")]) == 0
    moved = [{**e, "image_id": e["image_id"] + 1} for e in json.loads(whole.read_text())]
    assert json.loads((tmp_path / "all.json").read_text()) == moved
    errors = "".join((tmp_path / f"results-{k}.errors.jsonl").read_text() for k in range(1, 4))
    assert len(errors.splitlines()) == 2


def test_neither_files_nor_results_pile_up(model, files, tmp_path):
    """Of a long list only what the next batches need is taken before results are written."""
    taken, ahead = 0, []

    def endless():
        nonlocal taken
        for file in files * 10:
            taken += 1
            yield file

    output = tmp_path / "r.json"
    predict_files(model, endless(), output, on_progress=lambda p: ahead.append(taken - p.inputs))
    assert max(ahead) < 80
    assert taken == 240


def test_another_model_is_noticed(model, small_config, files, tmp_path):
    def stop(progress):
        raise KeyboardInterrupt

    output = tmp_path / "r.json"
    with pytest.raises(KeyboardInterrupt):
        predict_files(model, files * 20, output, on_progress=stop)
    other = km.MaskRCNN(small_config, box_score_threshold=0.0)
    with pytest.raises(ValueError, match="begun with weights .*, now .*delete r.json.part"):
        predict_files(other, files * 20, output)
    changed = km.MaskRCNN(small_config, box_score_threshold=0.0, box_nms_threshold=0.4)
    changed.set_weights(model.get_weights())
    with pytest.raises(ValueError, match="begun with box_nms_threshold 0.5, now 0.4"):
        predict_files(changed, files * 20, output)


@pytest.mark.parametrize("shard", [(0, 2), (3, 2)])
def test_shards_count_from_one(model, shard, tmp_path):
    with pytest.raises(ValueError, match="k from 1 to n"):
        predict_files(model, [], tmp_path / "r.json", shard=shard)


def test_lists_are_files_folders_and_standard_input(tmp_path, monkeypatch):
    (tmp_path / "b").mkdir()
    for name in ("b/2.JPG", "b/1.png", "a.tif", "notes.txt"):
        (tmp_path / name).touch()
    inside = [str(tmp_path / name) for name in ("a.tif", "b/1.png", "b/2.JPG")]
    assert list(cli_predict.read_list(str(tmp_path))) == inside
    strange = b"one.jpg\r\n\ncaf\xe9 \xc3\xa9.jpg"
    (tmp_path / "list.txt").write_bytes(strange)
    lines = list(cli_predict.read_list(str(tmp_path / "list.txt")))
    assert lines == ["one.jpg", "", "caf\udce9 é.jpg"]
    with open(tmp_path / "list.txt", encoding="utf-8") as file:
        monkeypatch.setattr("sys.stdin", file)
        assert list(cli_predict.read_list("-")) == lines


@pytest.fixture(scope="module")
def command(model, files, tmp_path_factory):
    """The command line of a run over 400 lines, but for its output."""
    folder = tmp_path_factory.mktemp("command")
    model.save(folder / "m.keras")
    (folder / "files.txt").write_text("\n".join(files * 17) + "\n")
    return [
        *("predict", "--model", str(folder / "m.keras"), "--score-threshold", "0"),
        *("--input-list", str(folder / "files.txt"), "--output"),
    ]


def test_the_command_line(command, files, whole, tmp_path, capsys):
    output = tmp_path / "out" / "results.json"
    assert main([*command, str(output), "--shard", "1/200"]) == 0
    assert "3 pictures: " in capsys.readouterr().out
    entries = json.loads(output.read_text())
    assert {entry["image_id"] for entry in entries} == {1, 201, 401}
    first = [e for e in json.loads(whole.read_text()) if e["image_id"] == 1]
    assert [e for e in entries if e["image_id"] == 1] == first
    assert main([*command, str(tmp_path / "bad.json"), "--shard", "6/200"]) == 1
    assert "passed over 1: " in capsys.readouterr().err


def test_the_command_line_says_what_is_wrong(command, tmp_path, capsys):
    for arguments, message in (
        ([*command, str(tmp_path / "folder")], "must end in .json"),
        ([*command, str(tmp_path / "r.json"), "photo.jpg"], "pictures or --input-list, not both"),
        ([*command[:3], "--input-list", "none.txt"], "no list of pictures none.txt"),
        (command[:3], "a list with --input-list"),
    ):
        assert main(arguments) == 2
        assert message in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*command, "r.json", "--shard", "0/3"])
    assert "K from 1 to N" in capsys.readouterr().err


@pytest.mark.slow
def test_killed_at_any_moment_and_started_again(command, tmp_path, monkeypatch):
    """A real process and a real SIGKILL, at moments that how far it is decides."""
    start = "import sys; from keras_maskrcnn.cli.main import main; "
    start += "from keras_maskrcnn.prediction import file_lists; "
    often = "file_lists.COMMIT_SECONDS = 0; "  # so that kills fall on all kinds of moments
    program = [sys.executable, "-c", start + often + "sys.exit(main())", *command]
    monkeypatch.setattr(file_lists, "COMMIT_SECONDS", 0)
    undisturbed, output = tmp_path / "undisturbed.json", tmp_path / "killed.json"
    assert main([*command, str(undisturbed)]) == 1
    for moment in (0, 1, 120, 250):
        process = subprocess.Popen([*program, str(output)], stderr=subprocess.DEVNULL)
        while process.poll() is None and inputs_done(output) < moment:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert moment <= inputs_done(output) < 408
    assert main([*command, str(output)]) == 1
    assert output.read_bytes() == undisturbed.read_bytes()
    errors = (tmp_path / f"{path.stem}.errors.jsonl" for path in (output, undisturbed))
    one, other = (path.read_bytes() for path in errors)
    assert one == other
    assert len(one.splitlines()) == 34
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".jsonl"}


def inputs_done(output):
    """How many inputs a run has committed; -1 before it began."""
    state = output.with_name(output.name + ".state")
    return json.loads(state.read_bytes())["progress"]["inputs"] if state.exists() else -1
