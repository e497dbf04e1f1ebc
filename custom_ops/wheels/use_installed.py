"""Trains, uses, saves and exports a model with the package that is installed; see check_wheels.py.

Run it in an empty folder.
"""

import pathlib
import shutil
import sys

import keras
import numpy as np
import tensorflow as tf

import keras_maskrcnn as km
from keras_maskrcnn.export import load_saved_model
from keras_maskrcnn.ops import compiled_roi_align


def main() -> None:
    """Go the whole way, with a small model and few pictures."""
    assert pathlib.Path(km.__file__).is_relative_to(sys.prefix), km.__file__
    assert not [name for name in ("g++", "clang++", "c++", "cc", "gcc") if shutil.which(name)]
    assert compiled_roi_align.load().ops is not None
    keras.utils.set_random_seed(0)
    data = km.data.shapes.generate("data", 4, size=96)
    model = km.MaskRCNN("demo_shapes", box_score_threshold=0.0)
    model.compile(optimizer=keras.optimizers.AdamW(1e-3))
    batches = data.batches(model.config, batch_size=2, training=True)  # which shuffles them
    log = model.fit(batches, epochs=2, verbose=0, shuffle=False)
    assert np.isfinite(log.history["loss"]).all(), log.history
    pictures = [record.path for record in data.records]
    found = model.predict(pictures, verbose=0)
    assert all(len(one) and one.masks.shape[1:] == (96, 96) for one in found)
    model.save("m.keras")
    assert_same(found, keras.models.load_model("m.keras").predict(pictures, verbose=0))
    for name in ("portable", "custom"):
        model.export(f"served/{name}", roi_align=name, verbose=False)
        serve = load_saved_model(f"served/{name}").signatures["serving_default"]
        image = tf.io.decode_jpeg(tf.io.read_file(str(pictures[0])))
        served = int(serve(images=image[None])["num_detections"][0])
        assert served == len(found[0]), (name, served, len(found[0]))


def assert_same(expected, found):
    """The same detections, picture by picture."""
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-2)
        np.testing.assert_array_equal(one.class_ids, other.class_ids)


if __name__ == "__main__":
    main()
