"""Every Python block and every shell line of the README and of `docs/` runs.

A page's blocks run in their order, in one namespace, in a folder of small stand-ins for the data,
the checkpoints and the downloads that it names (`conftest.py`).
"""

import argparse
import glob
import pathlib
import re
import runpy
import shlex
import shutil
import sys
import tomllib

import pytest
from packaging.requirements import Requirement
from sybil import Document
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import CodeBlockParser

from keras_maskrcnn.cli import parser
from keras_maskrcnn.cli.main import main

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES.append(ROOT / "examples/serving/README.md")
# Pages that take more than ten seconds.
SLOW = ["README.md"] + [
    f"docs/{name}.md"
    for name in (
        *(
            "channels",
            "evaluating",
            "fine_tuning",
            "first_steps",
            "from_matterport",
            "large-images",
            "own_data",
        ),
        *("predicting", "serving", "tf_serving_custom_op", "training", "video"),
    )
]
# What is checked by less than running, and why. A shell line: its arguments must be those that the
# parser of the command takes, or, of other people's programs, nothing is checked. Python compiles.
NOT_RUN = {
    r"keras-maskrcnn build-ops": "takes a minute and replaces the op that other tests load",
    r"keras-maskrcnn train --resume": "needs a run that was killed, as tests/cli has one",
    r"python examples/beam_predict.py": "slow to start: tests/export/test_beam.py",
    r"keras-maskrcnn report runs/": "needs two runs: tests/evaluation/report/test_runs.py",
    r"keras-maskrcnn merge-results found/results-": "joins what Beam would have written",
    r"make ": "each sets an environment up: the target must exist",
    r"pip install ": "fetches packages: name and extras must be those of pyproject.toml",
    r"python ": "minutes to hours: the script must take the arguments, its own test runs it",
    r"\.venv/bin/python -m pytest ": "the tests would run themselves: the file must exist",
    r"km\.upload_preset": "needs an account: tests/weights/test_hub.py has a hub of its own",
    r"tf\.load_op_library": "of a process without this package: tests/export/test_loading.py",
    r"docker |tensorflow_model_server |cp -r |cd serving|tools/run_in_docker": "needs a server",
}
# What a script may need that the tests' environment may lack.
OPTIONAL = ("apache_beam", "torch")
# Added to command lines: an epoch does for many, and small pictures for large ones.
SHORTER = {"train": ["--epochs", "1", "--image-min-size", "64", "--image-max-size", "64"]}


class Accepted(Exception):
    """A script's parser took its arguments."""


def lines_of(block):
    """The commands of a block, without comments, continued lines joined."""
    text = block.replace("\\\n", " ")
    return [line for line in map(str.strip, text.splitlines()) if line and line[0] != "#"]


def words_of(line):
    """A command's words, patterns of files filled in, and the file that it writes to, if any."""
    line, _, output = line.partition(" > ")
    words = [word for word in shlex.split(line, comments=True) if not re.match(r"[A-Z_]+=", word)]
    filled = [("*" in word and sorted(glob.glob(word))) or [word] for word in words]
    return [word for some in filled for word in some], output.strip()


def check_line(line, run):
    """Run a command, or check it as `NOT_RUN` says."""
    words, output = words_of(line)
    if words[0] == "keras-maskrcnn" and words[-1] == "--help":
        with pytest.raises(SystemExit, match="0"):
            main(words[1:])
        return
    not_run = any(re.match(pattern, " ".join(words)) for pattern in NOT_RUN)
    if words[0] == "keras-maskrcnn":
        run_verb(words[1:], output) if run and not not_run else parser.build().parse_args(words[1:])
    elif words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), line
    elif words[:2] == ["pip", "install"]:
        check_requirement(words[2])
    elif words[0] == "python":
        check_script(words[1], words[2:])
    elif words[0] == ".venv/bin/python":
        assert (ROOT / words[3]).is_file(), line
    else:
        assert not_run, f"No way to check: {line}"


def run_verb(arguments, output):
    """Run `keras-maskrcnn` in this process, its standard output in a file if one is named."""
    folder = re.search(r"--output (runs/\S+)", " ".join(arguments))
    if arguments[0] == "train" and folder:  # where a stand-in may lie
        shutil.rmtree(folder[1], ignore_errors=True)
    arguments = arguments + SHORTER.get(arguments[0], [])
    if output:
        with open(output, "w") as file, pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdout", file)
            code = main(arguments)
    else:
        code = main(arguments)
    assert code == 0, arguments


def check_requirement(text):
    """Names this distribution and extras that it has, or the checkout."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    if text in (".", "--editable"):
        return
    requirement = Requirement(text)
    assert requirement.name == project["name"]
    assert requirement.extras <= set(project["optional-dependencies"])


def check_script(path, arguments):
    """The script is there, and its parser takes the arguments."""
    if not arguments and "pars" not in (ROOT / path).read_text(encoding="utf-8"):
        return
    parse = argparse.ArgumentParser.parse_known_args

    def parse_and_stop(self, args=None, namespace=None):
        _, unknown = parse(self, args, namespace)
        assert not unknown, f"{path} does not know {unknown}"
        raise Accepted

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_known_args", parse_and_stop)
        patch.setattr(sys, "argv", [path, *arguments])
        patch.syspath_prepend(str((ROOT / path).parent))
        try:
            runpy.run_path(str(ROOT / path), run_name="__main__")
        except Accepted:
            return
        except ModuleNotFoundError as error:
            if error.name in OPTIONAL:
                return
            raise
    raise AssertionError(f"{path} did not look at its arguments")


def check_python(example, run):
    compile(example.parsed, example.path, "exec")
    if run and not any(re.match(pattern, example.parsed) for pattern in NOT_RUN):
        PythonEvaluator()(example)


def check_shell(example, run):
    for line in lines_of(example.parsed):
        check_line(line, run)


def check_page(page, run):
    python = CodeBlockParser("python", lambda example: check_python(example, run))
    shell = CodeBlockParser("bash", lambda example: check_shell(example, run))
    for example in Document.parse(str(ROOT / page), python, shell).examples():
        example.evaluate()


def page_parameters():
    pages = [p for p in PAGES if re.search("```(python|bash)", p.read_text(encoding="utf-8"))]
    names = [str(page.relative_to(ROOT)) for page in pages]
    return [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in names]


@pytest.mark.filterwarnings("ignore:.*the stem's kernel is spread")  # a page tells of it
@pytest.mark.parametrize("page", page_parameters())
def test_the_blocks_of_a_page_run(page, workplace, request):
    if page != "README.md":  # whose dozen epochs are worth a graph
        request.getfixturevalue("eagerly")
    text = (ROOT / page).read_text(encoding="utf-8")
    if '.pth")' in text:
        pytest.importorskip("torch")
    if 'roi_align="custom"' in text:
        request.getfixturevalue("compiled_op")
    check_page(page, run=True)


@pytest.mark.parametrize("page", SLOW)
def test_shell_lines_are_taken_and_python_compiles(page):
    """Of the pages that run among the slow tests."""
    check_page(page, run=False)


def test_examples_of_the_helps_are_taken():
    actions = parser.build()._actions
    verbs = next(a for a in actions if isinstance(a, argparse._SubParsersAction)).choices
    for verb in verbs.values():
        lines = [line for line in lines_of(verb.epilog) if "keras-maskrcnn" in line.split()]
        assert lines
        for line in lines:
            for command in line.split(" && "):
                if "train ..." not in command:
                    check_line(command, run=False)


def test_every_block_says_its_language():
    for page in PAGES:
        fences = re.findall(r"^ *```(.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert set(fences[::2]) <= {"python", "bash", "text", "starlark"}, page
        assert set(fences[1::2]) <= {""}, page
