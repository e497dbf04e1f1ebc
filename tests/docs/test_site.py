"""The site builds without a warning, is whole, and loads nothing from elsewhere."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.data.formats import FORMATS
from keras_maskrcnn.weights.presets import PRESETS

ROOT = pathlib.Path(__file__).resolve().parents[2]
VERBS = ("train", "evaluate", "predict", "export", "convert-dataset", "info")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the built site."""
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    assert not re.search(r"^WARNING +-", built.stderr, re.MULTILINE), built.stderr
    return folder


def test_nothing_is_loaded_from_elsewhere(site):
    loads = r"<(?:script|img|iframe)[^>]*\ssrc=\"?//|<(?:script|img|iframe)[^>]*\ssrc=\"?https?:"
    loads += r"|<link[^>]*stylesheet[^>]*href=\"?(?:https?:)?//"
    for page in site.rglob("*.html"):
        assert not re.search(loads, page.read_text(encoding="utf-8")), page
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(?:@import|url\()[\s\"']*(?:https?:)?//", sheet.read_text()), sheet


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("options", list(MaskRCNNConfig().to_dict())),
        ("models", PRESETS),
        ("own_data", [module.NAME for module in FORMATS]),
    ],
)
def test_tables_are_of_the_code(site, page, names):
    html = (site / f"{page}.html").read_text(encoding="utf-8")
    listed = re.findall(r"<tr>\s*<td><code>([\w-]+)</code>", html)
    assert [name for name in listed if name in names] == list(dict.fromkeys(listed))
    assert set(names) == set(listed)


def test_each_verb_has_its_help(site):
    html = (site / "command_line.html").read_text(encoding="utf-8")
    for verb in VERBS:
        assert f'<h2 id="{verb}">' in html
        assert f"usage: keras-maskrcnn {verb} " in html
