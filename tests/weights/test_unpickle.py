import os
import pickle
import subprocess

import numpy as np
import pytest

from keras_maskrcnn.weights.unpickle import load_pickle


class Attack:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_arrays_and_containers(tmp_path, protocol):
    content = {
        "model": {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.float64(2.5)},
        "names": ["x", ("y", 1, None, True)],
    }
    path = tmp_path / "weights.pkl"
    path.write_bytes(pickle.dumps(content, protocol))
    loaded = load_pickle(path)
    np.testing.assert_array_equal(loaded["model"]["a"], content["model"]["a"])
    assert loaded["model"]["b"] == 2.5
    assert loaded["names"] == content["names"]


@pytest.mark.parametrize("function", [os.system, eval, exec, subprocess.run])
def test_code_is_refused_and_not_run(tmp_path, function):
    trace = tmp_path / "trace"
    path = tmp_path / "attack.pkl"
    path.write_bytes(pickle.dumps({"model": Attack(function, f"open({str(trace)!r}, 'w')")}))
    with pytest.raises(ValueError, match="attack.pkl.*only numpy arrays"):
        load_pickle(path)
    assert not trace.exists()


def test_arrays_of_objects_cannot_smuggle_code(tmp_path):
    path = tmp_path / "objects.pkl"
    path.write_bytes(pickle.dumps(np.array([Attack(os.system, "true")], dtype=object)))
    with pytest.raises(ValueError, match="only numpy arrays"):
        load_pickle(path)


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps({"a": np.ones(9)})[:-20]])
def test_broken_file(tmp_path, content):
    path = tmp_path / "broken.pkl"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"broken.pkl: not a pickle of weights"):
        load_pickle(path)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_pickle(tmp_path / "none.pkl")
