import subprocess
import sys

import keras
import numpy as np
from tensorflow.core.protobuf import saved_model_pb2

import keras_maskrcnn as km


def test_saved_model_needs_tensorflow_alone(small_config, tmp_path):
    keras.utils.set_random_seed(0)
    model = km.MaskRCNN(small_config, box_score_threshold=0.0)
    model.export(tmp_path / "1", verbose=False)
    images = np.random.default_rng(0).integers(0, 256, (2, 70, 90, 3), np.uint8)
    np.save(tmp_path / "images.npy", images)
    script = (
        "import sys, numpy as np, tensorflow as tf; "
        "serve = tf.saved_model.load('1').signatures['serving_default']; "
        "np.savez('out.npz', **serve(images=tf.constant(np.load('images.npy')))); "
        "assert 'keras_maskrcnn' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    theirs = np.load(tmp_path / "out.npz")
    ours = model({"images": images})
    assert set(theirs) == set(ours)
    for name in ours:
        np.testing.assert_allclose(theirs[name], ours[name], atol=1e-4)


def test_saved_model_is_of_stock_ops(small_config, tmp_path):
    km.MaskRCNN(small_config).export(tmp_path / "1", verbose=False)
    graph = saved_model_pb2.SavedModel.FromString((tmp_path / "1/saved_model.pb").read_bytes())
    definition = graph.meta_graphs[0].graph_def
    nodes = [*definition.node, *(n for f in definition.library.function for n in f.node_def)]
    ops = {node.op for node in nodes}
    assert "CombinedNonMaxSuppression" in ops
    assert not {op for op in ops if "KerasMaskrcnn" in op or "PyFunc" in op}
