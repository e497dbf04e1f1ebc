import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_maskrcnn.data.formats.shared.json_files import START, outer_keys, read_json

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
TRICKY = st.sampled_from(['"', "\\", '\\"', "{", "}", '":', '"a":', "[[", "]"])
JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | TEXT | TRICKY,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT | TRICKY, inner, max_size=3),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("json") / "a.json"


@given(JSON, st.sampled_from([None, 1]))
@settings(max_examples=300, deadline=None)
def test_outer_keys_are_those_of_the_whole_file(path, content, indent):
    path.write_text(json.dumps(content, indent=indent, ensure_ascii=False), encoding="utf-8")
    if not isinstance(content, dict):
        assert outer_keys(path) == (set(), set())
        return
    # Escapes stay as they are written.
    outer = {json.dumps(key, ensure_ascii=False)[1:-1] for key in content}
    inner = {
        json.dumps(key, ensure_ascii=False)[1:-1]
        for value in content.values()
        if isinstance(value, dict)
        for key in value
    }
    assert outer_keys(path) == (outer, inner)


@pytest.mark.parametrize("value", ["7" * 2 * START, '\\"' * START, "[" * START])
def test_a_file_that_is_larger_than_what_is_read(path, value):
    path.write_text(f'{{"version": 1, "inside": {{"a": 2}}, "long": "{value}", "late": 3}}')
    assert outer_keys(path) == ({"version", "inside", "long"}, {"a"})


def test_what_is_no_json_file_is_named(path):
    for data, what in ((b"\xff\xfe\x00", "utf-8"), (b"{", "line 1 column 2")):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=f"a.json: not a JSON file: .*{what}"):
            read_json(path)
    with pytest.raises(FileNotFoundError, match="none.json"):
        read_json(path.with_name("none.json"))
