"""What the site's pages have from the code, so that they say what it does.

MkDocs calls the functions `on_...`, mkdocstrings the class; see `mkdocs.yml`.
"""

import argparse
import dataclasses
import pathlib
import re
import textwrap

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from keras_maskrcnn.cli import parser
from keras_maskrcnn.config import (
    BACKBONES,
    FIELDS_AFTER_TRAINING,
    NECK_DEFAULTS,
    NECKS,
    OF_NECK,
    MaskRCNNConfig,
)
from keras_maskrcnn.data.formats import FORMATS
from keras_maskrcnn.weights.presets import PRESETS, Preset

ROOT = pathlib.Path(__file__).parent.parent
# The first part of a field's name, and the heading of its table; all others are under the first.
GROUPS = {
    "": "The network",
    "pixel": "Pixels and sizes",
    "image": "Pixels and sizes",
    "resize": "Pixels and sizes",
    "anchor": "Anchors",
    "rpn": "Region proposal network",
    "box": "Box head and detections",
    "roi": "Regions of interest",
    "mask": "Masks",
    "class": "Masks",
    "max": "Ground truth in a batch",
    "gt": "Ground truth in a batch",
}
OF_THE_NETWORK = ("mask", "class_names")


class KerasDocstrings(griffe.Extension):
    """Sections that Keras' docstrings have beside Google's, in words that griffe knows."""

    SECTIONS = {"Example:": "Examples:", "Call arguments:": "Other Parameters: Call arguments"}

    def on_object(self, *, obj: griffe.Object, **_) -> None:
        if obj.docstring:
            for ours, known in self.SECTIONS.items():
                text = obj.docstring.value
                obj.docstring.value = re.sub(rf"^{ours}$", known, text, flags=re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that lie outside of `docs/`."""
    for name in ("CHANGELOG.md", "CONTRIBUTING.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, name.lower(), content=text))
    return files


def on_page_markdown(markdown: str, **_) -> str:
    """Fills in what a page asks for: `<!-- made from the code: presets -->`."""
    makers = {"formats": formats, "options": options, "presets": presets, "verbs": verbs}
    places = re.compile(r"^<!-- made from the code: (\w+) -->$", re.MULTILINE)
    return places.sub(lambda found: makers[found[1]](), markdown)


def options() -> str:
    """Every field of the config, in a table for each part of the model."""
    described = field_descriptions()
    tables: dict[str, list[str]] = {heading: [] for heading in GROUPS.values()}
    for field in dataclasses.fields(MaskRCNNConfig):
        prefix = "" if field.name in OF_THE_NETWORK else field.name.split("_")[0]
        mark = " *" if field.name in FIELDS_AFTER_TRAINING else ""
        row = (f"`{field.name}`{mark}", default_of(field), described[field.name])
        tables[GROUPS.get(prefix, GROUPS[""])].append("| " + " | ".join(row) + " |")
    head = "| field | default | |\n| --- | --- | --- |\n"
    return "\n\n".join(f"## {title}\n\n{head}" + "\n".join(rows) for title, rows in tables.items())


def field_descriptions() -> dict[str, str]:
    """What the docstring of the config says of each field, in Markdown."""
    docstring = griffe.Docstring(MaskRCNNConfig.__doc__ or "", parser="google")
    sections = docstring.parse(warnings=False)
    arguments = next(s for s in sections if s.kind is griffe.DocstringSectionKind.parameters)
    backbones = ", ".join(f'`"{name}"`' for name in BACKBONES)
    return {
        entry.name: " ".join(entry.description.split()).replace("`BACKBONES`", backbones)
        for entry in arguments.value
    }


def default_of(field: dataclasses.Field) -> str:
    """The default in Python, for each neck where they differ."""
    if field.name == "head_norm":
        return "of `norm`"
    if field.default is not OF_NECK:
        return f"`{field.default!r}`"
    values = {neck: repr(NECK_DEFAULTS[neck][field.name]) for neck in NECKS}
    return "<br>".join(f"{neck}: `{value}`" for neck, value in values.items())


def verbs() -> str:
    """The help of each verb of the command line."""
    actions = parser.build()._actions
    found = next(a for a in actions if isinstance(a, argparse._SubParsersAction)).choices
    helps = (f"## {name}\n\n```text\n{help_of(verb)}\n```" for name, verb in found.items())
    return "\n\n".join(helps)


def help_of(verb: argparse.ArgumentParser) -> str:
    """What `--help` prints, 88 columns wide, but the config's fields, which have a page."""
    verb.formatter_class = lambda prog: argparse.RawDescriptionHelpFormatter(prog, width=88)
    fields = r"configuration:\n  Every field of the config\..*?\n\n(?=\S)"
    instead = "configuration:\n  Every field of the config: see the page 'Every option'.\n\n"
    text = re.sub(fields, instead, verb.format_help(), flags=re.DOTALL).strip()
    return "\n".join(textwrap.fill(line, 88, subsequent_indent="  ") for line in text.split("\n"))


def presets() -> str:
    """The presets, in Markdown."""
    rows = [_preset_row(name, preset) for name, preset in PRESETS.items()]
    head = "| preset | box AP | mask AP | weights | licence |\n| --- | --- | --- | --- | --- |\n"
    return head + "\n".join(rows)


def _preset_row(name: str, preset: Preset) -> str:
    aps = ("" if ap is None else f"{ap:.1f}" for ap in (preset.box_ap, preset.mask_ap))
    weights = preset.source + (", the backbone alone" if preset.backbone else "")
    return f"| `{name}` | {' | '.join(aps)} | {weights} | {preset.licence} |"


def formats() -> str:
    """The formats of annotations, and what each is recognised by."""
    head = "| format | recognised by | written too |\n| --- | --- | --- |\n"
    return head + "\n".join(
        f"| `{module.NAME}` | {escaped(module.LAYOUT)} | {'yes' * hasattr(module, 'write')} |"
        for module in FORMATS
    )


def escaped(text: str) -> str:
    """Plain text that Markdown leaves as it is."""
    return re.sub(r"([*_<|])", r"\\\1", text)
