"""A results file that is cut off anywhere becomes the file of an undisturbed run."""

import json
import pathlib
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_maskrcnn.prediction.results_file import ResultsFile, merge_results

INPUTS = [(number, f"folder {number % 2}/ä{number}.jpg") for number in range(1, 8)]


def write(path, inputs=INPUTS, stop=None, commit_each=2, **settings):
    """All of a run, or what it does until it is killed after `stop` inputs."""
    with ResultsFile(path, settings) as results:
        for done, (number, file) in enumerate(results.remaining(inputs)):
            if done == stop:
                results._part.flush()
                results._errors.flush()
                return
            if number % 3 == 0:
                results.add_failure(number, file, "no picture")
            else:
                entries = [{"image_id": number, "n": n} for n in range(number % 4)]
                results.add(number, file, map(json.dumps, entries))
            if number % commit_each == 0:
                results.commit()
        results.finish()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    write(folder / "results.json")
    return folder


def contents(folder):
    return {path.name: path.read_bytes() for path in pathlib.Path(folder).iterdir()}


def test_the_file_is_a_json_array_with_an_entry_a_line(whole):
    text = (whole / "results.json").read_text()
    expected = [{"image_id": i, "n": n} for i, _ in INPUTS if i % 3 for n in range(i % 4)]
    assert json.loads(text) == expected
    assert len(text.splitlines()) == len(expected) + 2
    lines = (whole / "results.errors.jsonl").read_text().splitlines()
    failures = [json.loads(line) for line in lines]
    assert [f["image_id"] for f in failures] == [3, 6]
    assert failures[0] == {"image_id": 3, "file_name": INPUTS[2][1], "error": "no picture"}
    assert set(contents(whole)) == {"results.json", "results.errors.jsonl"}


@given(stops=st.lists(st.integers(0, 6), max_size=4), rubbish=st.binary(max_size=40))
@settings(max_examples=50, deadline=None)
def test_killed_anywhere_and_started_again(stops, rubbish, whole, tmp_path_factory):
    folder = tmp_path_factory.mktemp("killed")
    for stop in stops:
        write(folder / "results.json", stop=stop)
        if not (folder / "results.json.part").exists():
            break
        for name in ("results.json.part", "results.errors.jsonl"):
            with open(folder / name, "ab") as file:
                file.write(rubbish)
        (folder / "results.json.state.new").write_bytes(rubbish)
    if not (folder / "results.json").exists():
        write(folder / "results.json")
    (folder / "results.json.state.new").unlink(missing_ok=True)
    assert contents(folder) == contents(whole)
    shutil.rmtree(folder)


def test_killed_after_the_file_got_its_name(whole, tmp_path, monkeypatch):
    def die(path, *_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(pathlib.Path, "unlink", die)
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / "results.json")
    assert (tmp_path / "results.json.state").exists()
    write(tmp_path / "results.json")
    assert contents(tmp_path) == contents(whole)


def test_nothing_found_is_an_empty_array(tmp_path):
    write(tmp_path / "results.json", inputs=[])
    assert json.loads((tmp_path / "results.json").read_text()) == []


def test_finished_files_are_not_overwritten(whole):
    with pytest.raises(FileExistsError, match="results.json is finished"):
        write(whole / "results.json")
    assert json.loads((whole / "results.json").read_text())


def test_other_settings_are_named(tmp_path):
    write(tmp_path / "results.json", stop=4, batch_size=1, mask=True)
    with pytest.raises(ValueError, match="begun with batch_size 1, now 2.*delete results.json"):
        write(tmp_path / "results.json", batch_size=2, mask=True)


def test_other_inputs_are_refused(tmp_path):
    write(tmp_path / "results.json", stop=4)
    changed = [INPUTS[0], (2, "another.jpg"), *INPUTS[2:]]
    for inputs in (changed, INPUTS[:2], INPUTS[1:]):
        with pytest.raises(ValueError, match="first 4 inputs are not those"):
            write(tmp_path / "results.json", inputs=inputs)


def test_a_second_process_is_refused(tmp_path):
    with (
        ResultsFile(tmp_path / "results.json", {}),
        pytest.raises(BlockingIOError, match="Another process is writing .*results.json"),
    ):
        write(tmp_path / "results.json")
    write(tmp_path / "results.json")


def test_a_part_that_lost_its_end_is_refused(tmp_path):
    write(tmp_path / "results.json", stop=4)
    (tmp_path / "results.json.part").write_bytes(b"[")
    with pytest.raises(ValueError, match="results.json.part is shorter than .*state says"):
        write(tmp_path / "results.json")


def test_the_name_must_be_of_json(tmp_path):
    with pytest.raises(ValueError, match="must end in .json"):
        write(tmp_path / "results")


def test_shards_merged_are_the_whole(whole, tmp_path):
    shards = [tmp_path / f"results-{k}.json" for k in range(3)]
    for k, shard in enumerate(shards):
        write(shard, inputs=INPUTS[k::3])
    entries = sum(i % 4 for i, _ in INPUTS if i % 3)
    assert merge_results(shards, tmp_path / "all.json") == entries
    assert (tmp_path / "all.json").read_bytes() == (whole / "results.json").read_bytes()


def test_json_lines_in_any_order_are_merged(whole, tmp_path):
    lines = (whole / "results.json").read_text().replace("},", "}").splitlines()[1:-1]
    numbered = sorted(lines, key=lambda line: -json.loads(line)["image_id"])
    (tmp_path / "a.jsonl").write_text("\n".join(numbered[:5]))
    (tmp_path / "b.jsonl").write_text("\n".join(numbered[5:]) + "\n")
    merge_results([tmp_path / "a.jsonl", tmp_path / "b.jsonl"], tmp_path / "all.json")
    assert (tmp_path / "all.json").read_bytes() == (whole / "results.json").read_bytes()


def test_merging_names_a_line_that_is_no_entry(tmp_path):
    (tmp_path / "a.json").write_text('[{"image_id": 1}, {"image_id": 2}]')
    with pytest.raises(ValueError, match=r"a.json, line 1: expected one entry of COCO results"):
        merge_results([tmp_path / "a.json"], tmp_path / "all.json")
