"""A model's weights as constants of one graph, with all that is known beforehand computed."""

import tensorflow as tf
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2
from tensorflow.python.grappler import tf_optimizer

from keras_maskrcnn.backbones.conv_norm import ConvNorm

LARGEST_GRAPH = 2**31 - 1  # bytes; no protobuf message is larger
OPTIMIZERS = ("pruning", "constfold", "dependency")


def fold_batch_norms(model) -> None:
    """Puts each batch norm of `model`, with its moving statistics, into the convolution before it.

    The model's outputs stay what they are at inference; it is no longer fit for training.

    Args:
        model: A `MaskRCNN`, changed in place.
    """
    for layer in model._flatten_layers():
        if isinstance(layer, ConvNorm) and hasattr(layer.norm, "affine"):
            scale, offset = layer.norm.affine()
            layer.kernel.assign(layer.kernel * scale)
            layer.bias, layer.norm = offset.numpy(), None


def check_size(model) -> None:
    """Raises a ValueError if the weights of `model` are too many for a graph that holds them."""
    sizes = {weight.path: 4 * weight.value.shape.num_elements() for weight in model.weights}
    total = sum(sizes.values())
    if total >= LARGEST_GRAPH:
        largest = max(sizes, key=sizes.get)
        raise ValueError(
            f"The weights take {total / 1e9:.2f} GB in float32, and a SavedModel with constants "
            f"holds less than {LARGEST_GRAPH / 1e9:.2f} GB. The largest is {largest}, "
            f"{sizes[largest] / 1e9:.2f} GB: export a smaller model, or serve the .keras file."
        )


def freeze(function):
    """The concrete function with variables as constants, and what depends on constants alone.

    Args:
        function: A concrete function with tensors as its arguments and a dict as its result.

    Returns:
        A function of the same tensors, in their order, with the same result. Each caller refers
        to it, so that what several of them share is stored once.
    """
    frozen = convert_variables_to_constants_v2(function, lower_control_flow=False)
    outputs = [tensor.name for tensor in frozen.outputs]
    names = sorted(function.structured_outputs)  # as TensorFlow flattens a dict
    graph = _fold_constants(frozen.graph, [tensor.name for tensor in frozen.inputs], outputs)
    _tidy_functions(graph)
    _pack_halves(graph)
    imported = tf.compat.v1.wrap_function(
        lambda: tf.graph_util.import_graph_def(graph, name=""), []
    )
    element = imported.graph.as_graph_element
    feeds = [element(tensor.name) for tensor in frozen.inputs]
    fetches = {name: element(output) for name, output in zip(names, outputs, strict=True)}
    return imported.prune(feeds, fetches)


def _fold_constants(graph, inputs, outputs):
    meta_graph = tf.compat.v1.train.export_meta_graph(graph_def=graph.as_graph_def(), graph=graph)
    kept = meta_graph_pb2.CollectionDef()
    kept.node_list.value.extend([*inputs, *outputs])
    meta_graph.collection_def["train_op"].CopyFrom(kept)
    config = config_pb2.ConfigProto()
    rewriting = config.graph_options.rewrite_options
    rewriting.min_graph_nodes = -1  # however small the graph is
    rewriting.meta_optimizer_iterations = rewriting.TWO
    rewriting.optimizers.extend(OPTIMIZERS)
    return tf_optimizer.OptimizeGraph(config, meta_graph)


def _tidy_functions(graph):
    """Names of their own for the bodies of loops, which differ now from what was traced.

    Custom gradients go by names that only this process knows, and are left out.
    """
    renamed = {function.signature.name for function in graph.library.function}
    for function in graph.library.function:
        function.signature.name = f"frozen_{function.signature.name}"
    for nodes in (graph.node, *(function.node_def for function in graph.library.function)):
        for node in nodes:
            node.attr.pop("_gradient_op_type", None)
            for value in node.attr.values():
                for called in (value.func, *value.list.func):
                    if called.name in renamed:
                        called.name = f"frozen_{called.name}"


def _pack_halves(graph):
    """Two bytes a number of half precision, where TensorFlow writes varints, mostly of three."""
    for node in graph.node:
        tensor = node.attr["value"].tensor if node.op == "Const" else None
        if tensor and len(tensor.half_val) > 1:
            tensor.tensor_content = tf.make_ndarray(tensor).tobytes()
            tensor.ClearField("half_val")
