"""What tests share: the reference data beside the checkout, and a model small enough for tests."""

import contextlib
import functools
import json
import os
import pathlib

import pytest

SHARED = pathlib.Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> pathlib.Path:
    """The folder of goldens, photos and sets that lies beside the checkout.

    It does not come with the package: a user's machine that has none skips, and says why; CI fails.
    """
    if SHARED.is_dir():
        return SHARED
    if os.environ.get("CI"):
        pytest.fail(f"CI needs the reference data in {SHARED}")
    pytest.skip(f"needs the reference data in {SHARED}")


@pytest.fixture(scope="session")
def compiled_op():
    """The compiled ops; CI must have them, a machine without a C++ compiler has none."""
    from keras_maskrcnn.ops import compiled_roi_align

    library = compiled_roi_align.load()
    if library.ops is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"RoIAlign is {library.description}")
    return library.ops


@pytest.fixture(scope="session")
def small_config():
    """A model that a test can train: a shallow, narrow ResNet on 64 pixel images."""
    from keras_maskrcnn import MaskRCNNConfig

    return MaskRCNNConfig(
        backbone="resnet14",
        backbone_width=8,
        norm="batch_norm",
        freeze_at=0,
        num_classes=3,
        class_names=("cat", "dog", "sheep"),
        fpn_channels=16,
        anchor_sizes=((8,), (16,), (32,), (64,), (128,)),
        image_min_size=64,
        image_max_size=96,
        rpn_pre_nms_top_n_train=100,
        rpn_pre_nms_top_n_test=100,
        rpn_post_nms_top_n_train=50,
        rpn_post_nms_top_n_test=50,
        rpn_batch_size_per_image=32,
        box_batch_size_per_image=16,
        box_head_units=(32,),
        box_detections_per_image=20,
        roi_sampling_ratio=2,
        mask_head_channels=(16,),
        mask_deconv_channels=16,
        gt_mask_size=28,
    )


@pytest.fixture(scope="session")
def served(small_config, tmp_path_factory):
    """A small model that finds all it can, and the folder of its SavedModel."""
    import keras

    import keras_maskrcnn as km

    keras.utils.set_random_seed(0)
    model = km.MaskRCNN(small_config, box_score_threshold=0.0)
    folder = tmp_path_factory.mktemp("served") / "1"
    model.export(folder, verbose=False)
    return model, folder


@pytest.fixture(scope="session")
def signatures(served):
    """The signatures of that SavedModel, loaded."""
    import tensorflow as tf

    return tf.saved_model.load(served[1]).signatures


@pytest.fixture(scope="session")
def deep_shapes(tmp_path_factory):
    """A function: three pictures of shapes in 16 bits, of one channel or four, in COCO's format."""
    import numpy as np
    import tifffile

    import keras_maskrcnn as km

    folder = tmp_path_factory.mktemp("shapes")
    shapes = km.data.shapes.generate(folder / "rgb", 3, size=64, class_names=("ring", "star"))
    writers = {
        ".npy": np.save,
        ".tif": lambda path, pixels: tifffile.imwrite(
            path, np.moveaxis(pixels, 2, 0), photometric="minisblack"
        ),
    }

    @functools.cache
    def make(channels, ending):
        target = folder / f"{channels}{ending}"
        target.mkdir()
        content = shapes.to_coco()
        for record, entry in zip(shapes.records, content["images"], strict=True):
            pixels = record.read_image().astype(np.uint16) * 257
            grey = pixels.mean(axis=2, keepdims=True).astype(np.uint16)
            pixels = grey if channels == 1 else np.dstack([pixels, grey])
            entry["file_name"] = f"{record.image_id}{ending}"
            writers[ending](target / entry["file_name"], pixels)
        (target / "annotations.json").write_text(json.dumps(content), encoding="utf-8")
        return km.data.CocoDataset(target / "annotations.json", target)

    return make


@pytest.fixture(scope="session")
def deep_config(small_config):
    """A function: the config of a small model for `deep_shapes` of so many channels."""

    def of(channels):
        return small_config.replace(
            channels=channels,
            pixel_range=(0, 65535),
            num_classes=2,
            class_names=("ring", "star"),
            box_score_threshold=0.0,
        )

    return of


@pytest.fixture
def batch():
    """x and y of a batch of two images, 64x96 and 48x80, the second with one object."""
    import numpy as np

    rng = np.random.default_rng(0)
    images = np.zeros((2, 64, 96, 3), np.float32)
    images[0] = rng.uniform(0, 255, (64, 96, 3))
    images[1, :48, :80] = rng.uniform(0, 255, (48, 80, 3))
    x = {"images": images, "image_sizes": np.array([[64, 96], [48, 80]], np.int32)}
    boxes = np.array([[[4, 6, 40, 50], [50, 10, 90, 60]], [[10, 5, 60, 40], [0, 0, 0, 0]]])
    classes = np.array([[0, 2], [1, -1]], np.int32)
    masks = rng.integers(0, 2, (2, 2, 28, 28), dtype=np.uint8)
    return x, {"boxes": boxes.astype(np.float32), "classes": classes, "masks": masks}


@pytest.fixture(scope="session")
def run_eagerly():
    """A context in which models train op by op: a few steps are done before a graph were built.

    For tests of what surrounds a run; others train in graphs.
    """
    import keras_maskrcnn as km

    always = property(lambda model: True, lambda model, value: None)

    @contextlib.contextmanager
    def context():
        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setattr(km.MaskRCNN, "run_eagerly", always)
            yield

    return context


@pytest.fixture
def eagerly(run_eagerly):
    """The test's models run eagerly."""
    with run_eagerly():
        yield


@pytest.fixture
def ffmpeg(tmp_path_factory, monkeypatch):
    """The path of the program ffmpeg, which is found by its name too."""
    import imageio_ffmpeg

    program = tmp_path_factory.mktemp("bin") / "ffmpeg"
    program.symlink_to(imageio_ffmpeg.get_ffmpeg_exe())
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    return program
