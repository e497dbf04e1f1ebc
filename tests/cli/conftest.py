"""What the tests of the command line share: a narrow model, a few pictures, and a run."""

import pytest

import keras_maskrcnn as km
from keras_maskrcnn.cli.main import main

NARROW = [
    *("--backbone", "resnet14", "--norm", "batch_norm", "--freeze-at", "0"),
    *("--backbone-width", "8", "--fpn-channels", "16", "--box-head-units", "[16]"),
    *("--mask-head-channels", "[16]", "--mask-deconv-channels", "16"),
    *("--image-min-size", "64", "--image-max-size", "64", "--roi-sampling-ratio", "2"),
    *("--rpn-pre-nms-top-n-train", "50", "--rpn-post-nms-top-n-train", "20"),
    *("--rpn-pre-nms-top-n-test", "50", "--rpn-post-nms-top-n-test", "20"),
    *("--anchor-sizes", "[[8], [16], [32], [64], [128]]", "--box-batch-size-per-image", "8"),
]


@pytest.fixture(scope="session")
def narrow():
    """Options of a model that trains in seconds."""
    return list(NARROW)


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """Folders with a few pictures each; of a set, annotations and folder as options take them."""
    folder = tmp_path_factory.mktemp("data")
    sets = {}
    for seed, (name, count) in enumerate((("train", 6), ("val", 3))):
        km.data.shapes.generate(folder / name, count, size=64, seed=seed)
        sets[name] = (str(folder / name / "annotations.json"), str(folder / name / "images"))
    return sets


@pytest.fixture(scope="session")
def train_options():
    """A function that gives the options of a run on data of `data`."""

    def options(data, *more):
        annotations, images = data["train"]
        options = ["train", "--train-annotations", annotations, "--train-images", images]
        if "val" in data:
            annotations, images = data["val"]
            options += ["--val-annotations", annotations, "--val-images", images]
        return [*options, "--batch-size", "2", *NARROW, *more]

    return options


@pytest.fixture(scope="session")
def run(data, train_options, tmp_path_factory, run_eagerly):
    """The folder of a run of three steps."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    with run_eagerly():
        assert main(train_options(data, "--epochs", "1", "--output", str(folder))) == 0
    return folder


@pytest.fixture
def error_of(capsys):
    """A function that gives what the command line says on stderr when it refuses arguments."""

    def error(arguments):
        try:
            code = main(arguments)
        except SystemExit as stop:  # argparse's own errors
            code = stop.code
        assert code == 2
        error = capsys.readouterr().err
        assert "Traceback" not in error
        return error

    return error
