"""Reading XML files that need not be trusted."""

import pathlib
import xml.parsers.expat
from xml.etree import ElementTree

MOST_DEPTH = 100


def read_xml(path: pathlib.Path) -> ElementTree.Element:
    """The outermost element of an XML file.

    Document types are refused, and with them the entities that they declare, which could be of any
    size or name other files.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no XML, declares a document type, or is nested deeply; the message names
            the file.
    """
    builder = ElementTree.TreeBuilder()
    depth = 0

    def start(tag, attributes):
        nonlocal depth
        depth += 1
        if depth > MOST_DEPTH:
            raise ValueError(f"{path}: its elements are nested more than {MOST_DEPTH} deep.")
        builder.start(tag, attributes)

    def end(tag):
        nonlocal depth
        depth -= 1
        builder.end(tag)

    def refuse(*_):
        raise ValueError(f"{path}: an XML file with a document type (<!DOCTYPE) is not read.")

    # A prefix that is bound to no namespace is an error, as for other readers.
    parser = xml.parsers.expat.ParserCreate(namespace_separator="}")
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = builder.data, refuse
    try:
        parser.Parse(path.read_bytes(), True)
    except xml.parsers.expat.ExpatError as error:
        raise ValueError(f"{path}: not an XML file: {error}") from error
    except LookupError as error:  # of an encoding
        raise ValueError(f"{path}: not an XML file that can be read: {error}") from error
    return builder.close()
