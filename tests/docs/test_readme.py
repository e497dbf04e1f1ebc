"""What the README says beside its code: names, links and figures."""

import pathlib
import re
import subprocess

from keras_maskrcnn.weights.presets import PRESETS

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEXTS = ("*.md", "*.py", "*.toml", "*.yaml", "*.yml", "*.ipynb", "Makefile")


def test_links_lead_somewhere():
    for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        for link in re.findall(r"\]\(([^)#]+)", text):
            assert link.startswith("https://") or (ROOT / link).is_file(), f"{name}: {link}"


def test_figures_of_presets_are_those_of_the_code():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| ([\d.]+) \| ([\d.]+) \| (\w+)", text, re.MULTILINE)
    assert len(rows) > 5
    for name, box_ap, mask_ap, source in rows:
        preset = PRESETS[name]
        assert (preset.box_ap, preset.mask_ap) == (float(box_ap), float(mask_ap))
        assert preset.source == source


def test_nobody_is_told_to_install_another_project():
    """`keras-maskrcnn` on the package index is somebody else's."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *TEXTS],
        cwd=ROOT,
        capture_output=True,
        text=True,
    ).stdout.split()
    files = [ROOT / name for name in listed] or [p for t in TEXTS for p in ROOT.rglob(t)]
    wrong = re.compile(r"pip install[^\n`]*[ '\"]keras[-_]maskrcnn\b")
    texts = {file: file.read_text(encoding="utf-8") for file in files if file.is_file()}
    assert not [str(file) for file, text in texts.items() if wrong.search(text)]
