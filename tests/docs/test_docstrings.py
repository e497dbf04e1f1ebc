"""The examples of the docstrings run and give what they say, in a folder of small stand-ins.

They start from the package's public names, what their own module defines, the libraries below and
a `model`, the datasets `train` and `val`, and `batches` of `train`, as the pages of `docs/` do.
"""

import doctest
import importlib
import json
import pathlib
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_maskrcnn as km

ROOT = pathlib.Path(km.__file__).parents[1]
LIBRARIES = {"json": json, "keras": keras, "km": km, "np": np, "pathlib": pathlib, "tf": tf}
# Modules, classes and functions whose examples cannot run here, and why.
NOT_RUN = {
    "keras_maskrcnn.export.beam": "slow to start: tests/export/test_beam.py runs a pipeline",
    "keras_maskrcnn.ops.build.build": "takes a minute",
    "keras_maskrcnn.prediction.video_writer.add_sound": "needs ffmpeg: its test brings one",
    "keras_maskrcnn.weights.download": "another host",
    "keras_maskrcnn.weights.hub.upload_preset": "needs an account: tests/weights/test_hub.py",
}
# Who uses one of these runs a model.
OF_MODELS = {"MaskRCNN", "model", "train", "val", "batches"}


def modules(with_models):
    """The modules whose examples run a model, or those whose examples do not."""
    found = []
    for path in sorted((ROOT / "keras_maskrcnn").rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        text = path.read_text(encoding="utf-8")
        code = "\n".join(re.findall(r"^ *(?:>>>|\.\.\.) (.*)", text, re.MULTILINE))
        names = compile(code, path, "exec").co_names
        if code and name not in NOT_RUN and with_models == bool(OF_MODELS.intersection(names)):
            found.append(name)
    return found


def run_examples(name, given):
    module = importlib.import_module(name)
    own = {k: v for k, v in vars(module).items() if getattr(v, "__module__", None) == name}
    public = {name: getattr(km, name) for name in km.__all__}
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    runner = doctest.DocTestRunner(optionflags=flags, verbose=False)
    out = []
    names = {**public, **LIBRARIES, **given, **own}
    for test in doctest.DocTestFinder().find(module, name, globs=names):
        if test.name not in NOT_RUN:
            runner.run(test, out=out.append)
    assert runner.failures == 0, "".join(out)
    assert runner.tries > 0


@pytest.fixture(scope="module")
def given(stand_ins):
    """What examples with a model start from."""
    model = keras.models.load_model(stand_ins / "m.keras")
    model.compile(keras.optimizers.SGD(0.001))
    train = km.data.CocoDataset(stand_ins / "train.json", stand_ins / "images")
    val = km.data.CocoDataset(stand_ins / "val.json", stand_ins / "images")
    batches = train.batches(model.config, batch_size=2, training=True)
    return {"model": model, "train": train, "val": val, "batches": batches}


@pytest.fixture
def quiet():
    """Keras shows no progress bars."""
    keras.config.disable_interactive_logging()
    yield
    keras.config.enable_interactive_logging()


@pytest.mark.parametrize("name", modules(with_models=False))
def test_examples_without_a_model(name, workplace):
    run_examples(name, {})


@pytest.mark.slow
@pytest.mark.parametrize("name", modules(with_models=True))
def test_examples_with_a_model(name, workplace, given, eagerly, quiet, request):
    if name == "keras_maskrcnn.export.loading":
        request.getfixturevalue("compiled_op")
    run_examples(name, given)
