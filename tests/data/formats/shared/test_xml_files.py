import pytest

from keras_maskrcnn.data.formats.shared.xml_files import read_xml

BOMB = """<?xml version="1.0"?>
<!DOCTYPE a [<!ENTITY b "bbbbbbbb"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]>
<a>&c;</a>"""
FILE = '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/hostname">]><a>&b;</a>'


def test_elements(tmp_path):
    path = tmp_path / "a.xml"
    path.write_bytes("\ufeff<a><b c='&lt;é'>text</b><b/></a>".encode())
    root = read_xml(path)
    assert (root.tag, len(root)) == ("a", 2)
    assert (root[0].get("c"), root[0].text) == ("<é", "text")


@pytest.mark.parametrize("text", [BOMB, FILE, '<!DOCTYPE a SYSTEM "a.dtd"><a/>'])
def test_document_types_are_refused(text, tmp_path):
    path = tmp_path / "a.xml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"a\.xml: an XML file with a document type"):
        read_xml(path)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "not an XML file: no element found"),
        (b"<a>", "not an XML file: no element found"),
        (b"<a></b>", "not an XML file: mismatched tag"),
        (b"<a>&b;</a>", "not an XML file: undefined entity"),
        (b"<a>\xff</a>", "not an XML file: not well-formed"),
        (b'<?xml version="1.0" encoding="nonsense"?><a/>', "not an XML file"),
        (b"<a>" * 101, "more than 100 deep"),
        (b"<a>" * 10**6, "more than 100 deep"),
    ],
)
def test_what_is_broken_is_named(data, what, tmp_path):
    path = tmp_path / "a.xml"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=what) as error:
        read_xml(path)
    assert str(path) in str(error.value)
