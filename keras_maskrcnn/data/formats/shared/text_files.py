"""Reading text files in the encodings that editors and shells write."""

import codecs
import pathlib

# Those that begin with a mark of what they are.
MARKED = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# Those that have no mark: which of them it is can only be supposed.
LIKELY = ("gb18030", "shift_jis", "cp1252")


def encoding_of(start: bytes) -> str:
    """The encoding of a text by the mark that it begins with, UTF-8 where there is none."""
    return next((name for mark, name in MARKED.items() if start.startswith(mark)), "utf-8")


def read_text(path: pathlib.Path) -> str:
    """The text of a file: UTF-8, or UTF-16 or UTF-32 that begins with a byte order mark.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is in another encoding; the message names the file and what it could be.
    """
    data = path.read_bytes()
    encoding = encoding_of(data)
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        likely = next((name for name in LIKELY if _can_be(data, name)), None)
        perhaps = f", perhaps {likely}" if likely and encoding == "utf-8" else ""
        raise ValueError(
            f"{path}: not a text in {encoding} (byte 0x{data[error.start]:02x} at position "
            f"{error.start}){perhaps}: save it as UTF-8."
        ) from error


def _can_be(data, encoding):
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True
