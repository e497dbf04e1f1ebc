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
    for data, what in (
        (b"\xff\xfe\x00", "not a text in utf-16"),
        (b"\xff", "not a text in utf-8 .byte 0xff at position 0.*: save it as UTF-8"),
        (b"{", "not a JSON file: .*line 1 column 2"),
        (b"[" * 10**5, "not a JSON file: .*recursion"),
        (b"9" * 10**4, "not a JSON file: .*digits"),
    ):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=f"a.json: {what}"):
            read_json(path)
    with pytest.raises(FileNotFoundError, match="none.json"):
        read_json(path.with_name("none.json"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_encodings_that_say_what_they_are(path, encoding):
    path.write_text('{"k\u00e4tzchen": {"\u732b": 1}}', encoding=encoding)
    assert read_json(path) == {"k\u00e4tzchen": {"\u732b": 1}}
    assert outer_keys(path) == ({"k\u00e4tzchen"}, {"\u732b"})


@pytest.mark.parametrize("encoding", ["gb18030", "cp1252", "shift_jis"])
def test_encodings_that_do_not_say_it_are_named(path, encoding):
    word = {"gb18030": "\u72d7", "cp1252": "caf\u00e9 ", "shift_jis": "\uff76"}[encoding]
    path.write_text(f'{{"name": "{word}"}}', encoding=encoding)
    with pytest.raises(ValueError, match=f"a.json: .*, perhaps {encoding}: save it as UTF-8"):
        read_json(path)
