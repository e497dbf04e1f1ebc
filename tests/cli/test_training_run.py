"""Runs of `keras-maskrcnn train`: what its options do, and that a killed run goes on."""

import importlib.util
import json
import pickle
import random
import shutil
import signal
import subprocess
import sys
import time
import types

import keras
import numpy as np
import pytest

import keras_maskrcnn as km
from keras_maskrcnn.cli import training_run
from keras_maskrcnn.cli.main import main
from keras_maskrcnn.cli.training_options import TrainingOptions
from keras_maskrcnn.evaluation.coco import match_classes
from keras_maskrcnn.training.schedules import WarmupMultiStep
from keras_maskrcnn.weights import detectron2
from keras_maskrcnn.weights.layout import sources

# All that keeps a state of its own. Of the backbone one stage trains: its steps are built faster.
STATEFUL = [
    *("--freeze-at", "4"),
    *("--epochs", "3", "--backup-every", "4", "--optimizer", "adamw", "--learning-rate", "0.001"),
    *("--accumulate", "2", "--ema", "0.9", "--patience", "3", "--evaluate-every", "2"),
]


@pytest.fixture(scope="module")
def longer(tmp_path_factory, narrow):
    """Options that name the data of a longer run: 24 pictures to train on, two for figures."""
    folder = tmp_path_factory.mktemp("data")
    options = []
    for seed, (name, count) in enumerate((("train", 24), ("val", 2))):
        km.data.shapes.generate(folder / name, count, size=64, seed=seed)
        options += [f"--{name}-annotations", str(folder / name / "annotations.json")]
        options += [f"--{name}-images", str(folder / name / "images")]
    return [*options, *narrow]


@pytest.fixture(scope="module")
def alone(longer, tmp_path_factory):
    """A run that nothing interrupts."""
    folder = tmp_path_factory.mktemp("runs") / "alone"
    assert main(["train", *longer, *STATEFUL, "--output", str(folder)]) == 0
    return folder


def start(data, folder):
    """A process of a run."""
    program = [sys.executable, "-m", "keras_maskrcnn", "train", *data, *STATEFUL]
    program += ["--output", str(folder)]
    return subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def kill_after_backups(process, folder, number):
    """SIGKILL at a random moment after so many backups."""
    backups = set()
    while len(backups) < number:
        assert process.poll() is None, process.stderr.read()
        backups |= set(folder.glob("backup/step-*"))
        time.sleep(0.005)
    time.sleep(random.uniform(0, 0.3))
    with process:
        process.kill()
    assert process.returncode == -signal.SIGKILL


@pytest.mark.slow
def test_a_killed_run_ends_as_one_left_alone(longer, alone, tmp_path):
    folder = tmp_path / "killed"
    kill_after_backups(start(longer, folder), folder, random.randint(1, 6))
    assert main(["train", "--resume", str(folder)]) == 0
    for name in ("last.keras", "best.keras"):
        killed, whole = (keras.models.load_model(run / name) for run in (folder, alone))
        for ours, theirs in zip(
            [*killed.weights, *killed.optimizer.variables],
            [*whole.weights, *whole.optimizer.variables],
            strict=True,
        ):
            np.testing.assert_array_equal(ours, theirs, err_msg=ours.path)
    for name in ("log.csv", "results.json"):
        assert (folder / name).read_bytes() == (alone / name).read_bytes()
    assert {path.name for path in folder.iterdir()} == {path.name for path in alone.iterdir()}


def test_a_run_says_how_to_go_on_and_cannot_when_it_has_ended(run, capsys):
    assert main(["train", "--resume", str(run)]) == 2
    assert "has ended" in capsys.readouterr().err
    assert not (run / "backup").exists()
    assert ("tensorboard" in {path.name for path in run.iterdir()}) == bool(
        importlib.util.find_spec("tensorboard")
    )


@pytest.fixture
def begun(run, tmp_path):
    """The folder of a run that was interrupted before its first backup."""
    for name in ("run.json", "config.yaml"):
        shutil.copy(run / name, tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--epochs", "3", "--ema", "0.5"], "leave out --epochs, --ema"),
        (["--backbone", "resnet50"], "leave out --backbone"),
        (["--train-images", "images"], "leave out --train-images"),
    ],
)
def test_resume_refuses_other_options(begun, more, message, capsys):
    assert main(["train", "--resume", str(begun), *more]) == 2
    assert message in capsys.readouterr().err


def test_resume_refuses_other_data_and_folders(begun, tmp_path, capsys):
    assert main(["train", "--resume", str(tmp_path / "none")]) == 2
    assert "none holds no run.json" in capsys.readouterr().err
    facts = json.loads((begun / "run.json").read_text())
    (begun / "run.json").write_text(json.dumps({**facts, "train_images": 7}))
    assert main(["train", "--resume", str(begun)]) == 2
    assert "train_images was 7 and is 6" in capsys.readouterr().err


def test_data_is_required_without_resume(capsys):
    assert main(["train"]) == 2
    assert "--train-annotations" in capsys.readouterr().err


def test_patience_needs_data_to_evaluate_on(data, train_options, capsys):
    assert main(train_options({"train": data["train"]}, "--patience", "2")) == 2
    assert "--patience needs --val-annotations" in capsys.readouterr().err


def test_half_precision_and_multistep(data, train_options, tmp_path, eagerly):
    """float16 has a loss scale, and the saved model its precision."""
    options = ["--mixed-precision", "float16", "--schedule", "multistep", "--clip-norm", "5"]
    options += ["--epochs", "1", "--output", str(tmp_path / "run")]
    assert main(train_options({"train": data["train"]}, *options)) == 0
    model = keras.models.load_model(tmp_path / "run" / "last.keras")
    assert model.dtype_policy.name == "mixed_float16"
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert model.optimizer.inner_optimizer.global_clipnorm == 5
    assert model.optimizer.inner_optimizer.weight_decay == 0.001
    assert len((tmp_path / "run" / "log.csv").read_text().splitlines()) == 2


def test_schedules():
    """The peak, its ends, and where it falls, of batches of 4 that accumulate to 8."""

    def schedule(steps_per_epoch, **options):
        common = {"train_data": "a.json", "batch_size": 4, "accumulate": 2}
        return training_run.make_schedule(TrainingOptions(**common, **options), steps_per_epoch)

    cosine, epochs = schedule(90, warmup_steps=9)
    assert epochs == 12
    rates = [float(cosine(step)) for step in (0, 9, 12 * 90)]
    np.testing.assert_allclose(rates, [1e-5, 0.01, 0], rtol=1e-4, atol=1e-9)
    multistep, epochs = schedule(90, schedule="multistep", epochs=3, learning_rate=0.5)
    assert (epochs, multistep.get_config()) == (
        3,
        WarmupMultiStep(0.5, 27, [180, 240]).get_config(),
    )
    detectron, epochs = schedule(7000, schedule="2x")
    assert epochs == 103  # of 7000 steps: 180,000 * 16 / 4
    assert detectron.get_config() == WarmupMultiStep(0.01, 4000, [480_000, 640_000]).get_config()
    adamw, _ = schedule(90, optimizer="adamw")
    assert adamw.warmup_target == 1e-4


def test_stops_after_evaluations_without_a_better_one(tmp_path, monkeypatch):
    """Of every second epoch, whether the epochs were trained in one go or in two."""
    figures = iter([0.1, 0.3, 0.2, 0.3, 0.4])
    callbacks = "keras_maskrcnn.evaluation.callbacks"
    monkeypatch.setattr(f"{callbacks}.run_coco_eval", lambda *_, **__: {})
    monkeypatch.setattr(f"{callbacks}.match_classes", lambda *_: [])
    monkeypatch.setattr(f"{callbacks}.figures", lambda _: {"mask_ap": next(figures)})
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")

    def fit(past, epochs):
        callbacks = training_run.evaluation_callbacks(
            tmp_path, None, "val_mask_ap", every=2, patience=2, past=past
        )
        callbacks[0].verbose = False
        history = model.fit(
            np.zeros((2, 1)),
            np.zeros((2, 1)),
            initial_epoch=len(past),
            epochs=epochs,
            verbose=0,
            callbacks=callbacks,
        )
        return [*past, *({"val_mask_ap": value} for value in history.history["val_mask_ap"])]

    past = fit([], 4)[:3]  # killed before the fourth epoch's end
    assert [row["val_mask_ap"] for row in past] == [0.1, 0.3, 0.3]
    figures = iter([0.2, 0.3, 0.4])
    saved = (tmp_path / "best.keras").stat().st_mtime_ns
    rows = fit(past, 100)
    assert [row["val_mask_ap"] for row in rows] == [0.1, 0.3, 0.3, 0.2, 0.2, 0.3]
    assert (tmp_path / "best.keras").stat().st_mtime_ns == saved


def test_classes_come_from_the_data():
    config = km.MaskRCNNConfig()
    assert training_run.with_classes(config, ["a", "b"]).class_names == ("a", "b")
    roomy = training_run.with_classes(config, ["a", "b"], num_classes=3)
    assert (roomy.num_classes, roomy.class_names) == (3, ("a", "b", "N/A"))
    data = types.SimpleNamespace(class_names=("a", "b"), category_ids=(7, 9), source="val.json")
    assert match_classes(types.SimpleNamespace(config=roomy), data) == [7, 9, None]
    with pytest.raises(ValueError, match="num_classes=1 is too small"):
        training_run.with_classes(config, ["a", "b"], num_classes=1)


def test_weights_of_other_classes_leave_only_the_last_layers_new(tmp_path, small_config):
    source, model = km.MaskRCNN(small_config), km.MaskRCNN(small_config)
    source.save_weights(tmp_path / "m.weights.h5")
    training_run.load_weights(model, tmp_path / "m.weights.h5")
    for ours, theirs in zip(model.get_weights(), source.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)

    frozen = small_config.replace(norm="frozen_batch_norm", num_classes=5, class_names=[])
    write_detectron2(tmp_path / "m.pkl", km.MaskRCNN(frozen))
    fewer = km.MaskRCNN(frozen.replace(num_classes=2))
    training_run.load_weights(fewer, tmp_path / "m.pkl")
    five = km.MaskRCNN.from_checkpoint(tmp_path / "m.pkl")
    np.testing.assert_array_equal(fewer.fpn.lateral[0].kernel, five.fpn.lateral[0].kernel)
    assert fewer.box_head.classes.kernel.shape[-1] == 3


def write_detectron2(path, model):
    """A checkpoint of Detectron2's layout with random tensors for `model`."""
    rng = np.random.default_rng(0)
    tensors = {}
    for variable, name, _ in sources(model, detectron2):
        shape = tuple(variable.shape)[::-1]
        shape = (*shape[:2], *shape[2:][::-1]) if len(shape) == 4 else shape
        if name.endswith("mask_head.predictor.weight"):
            shape = (*shape[::-1], 1, 1)
        tensors[name] = rng.normal(size=shape).astype(np.float32)
    path.write_bytes(pickle.dumps({"model": tensors}))


@pytest.mark.slow
def test_a_run_of_a_script_is_that_of_the_command_line(data, train_options, tmp_path, eagerly):
    """The same options and config give the same folder: files, log, figures and weights."""
    options = ["--epochs", "1", "--seed", "3", "--augment", "multiscale"]
    assert main(train_options(data, *options, "--output", str(tmp_path / "command"))) == 0
    config = km.MaskRCNNConfig.from_yaml(tmp_path / "command/config.yaml")
    chosen = TrainingOptions(
        train_data=data["train"][0],
        train_images=data["train"][1],
        val_data=data["val"][0],
        val_images=data["val"][1],
        epochs=1,
        batch_size=2,
        seed=3,
        augment="multiscale",
    )
    config = config.replace(num_classes=80, class_names=[])
    assert training_run.train(chosen, config, tmp_path / "script") == tmp_path / "script"
    command, script = ({p.relative_to(f) for p in f.rglob("*")} for f in tmp_path.iterdir())
    logged = {path for path in command | script if path.parts[0] == "tensorboard"}
    assert command - logged == script - logged
    for name in ("run.json", "config.yaml", "log.csv", "results.json"):
        ours = (tmp_path / "script" / name).read_bytes()
        assert ours == (tmp_path / "command" / name).read_bytes(), name
    models = [keras.models.load_model(tmp_path / f / "last.keras") for f in ("command", "script")]
    for ours, theirs in zip(models[0].get_weights(), models[1].get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
def test_crops_are_trained_on_and_tiles_evaluated(
    data, train_options, tmp_path, monkeypatch, eagerly
):
    seen = []
    predict = km.MaskRCNN.predict

    def spy(self, *args, **kwargs):
        seen.append(kwargs.get("tile_size"))
        return predict(self, *args, **kwargs)

    monkeypatch.setattr(km.MaskRCNN, "predict", spy)
    options = ["--epochs", "1", "--crop-size", "48", "--output", str(tmp_path / "run")]
    assert main(train_options(data, *options)) == 0
    assert seen.count(48) == 2  # after the epoch, and the best at the end
    assert json.loads((tmp_path / "run/results.json").read_text())["mask_ap"] >= 0
