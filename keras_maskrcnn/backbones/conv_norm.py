"""A convolution with its normalisation and activation, fused where nothing of it trains."""

import functools

import keras
import tensorflow as tf

from keras_maskrcnn.ops.replicas import num_replicas, sum_over_replicas

EPSILON = 1e-5


@keras.saving.register_keras_serializable(package="keras_maskrcnn")
class ConvNorm(keras.layers.Layer):
    """Convolution, normalisation, activation, padded as PyTorch pads.

    A convolution of kernel size k pads k // 2 on every side; TensorFlow's "SAME" would pad a
    strided one on the right and below only. A batch norm that does not train is an affine map and
    is folded into kernel and bias at each call.

    Args:
        filters: Channels of the output.
        kernel_size: Side of the kernel.
        strides: Stride in both directions.
        groups: Groups of a grouped convolution.
        norm: `"frozen_batch_norm"`, `"batch_norm"`, `"group_norm"`, or None for a plain bias.
        epsilon: What the norm adds to a variance.
        activation: A Keras activation, or None.
        kernel_initializer: A Keras initializer.

    Call arguments:
        inputs: (B, H, W, C) features.
        training: Whether a `"batch_norm"` uses and updates the statistics of the batch.
        padding: `"VALID"` for none.

    Example:
        >>> conv = ConvNorm(64, 3, strides=2, norm="group_norm", activation="relu")
        >>> conv(tf.zeros((1, 8, 8, 3))).shape
        TensorShape([1, 4, 4, 64])
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        strides: int = 1,
        groups: int = 1,
        norm: str | None = None,
        epsilon: float = EPSILON,
        activation: str | None = None,
        kernel_initializer="he_normal",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = kernel_size
        self.strides = strides
        self.groups = groups
        self.norm_name = norm
        self.epsilon = epsilon
        self.activation = keras.activations.get(activation)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.norm = self._make_norm(norm)

    def _make_norm(self, norm):
        if norm is None:
            return None
        if norm == "group_norm":
            return keras.layers.GroupNormalization(
                groups=32, epsilon=self.epsilon, dtype=self.dtype_policy, name="norm"
            )
        layers = {"batch_norm": FusedBatchNorm, "frozen_batch_norm": FrozenBatchNorm}
        if norm not in layers:
            raise ValueError(f"norm must be None, 'group_norm' or one of {list(layers)}: {norm!r}")
        return layers[norm](epsilon=self.epsilon, dtype=self.dtype_policy, name="norm")

    def build(self, input_shape):
        channels = input_shape[-1]
        self.kernel = self.add_weight(
            name="kernel",
            shape=(self.kernel_size, self.kernel_size, channels // self.groups, self.filters),
            initializer=self.kernel_initializer,
            autocast=False,
        )
        self.bias = None
        if self.norm is None:
            self.bias = self.add_weight(
                name="bias", shape=(self.filters,), initializer="zeros", autocast=False
            )
        else:
            self.norm.build((None, None, None, self.filters))

    def call(self, inputs, training=False, padding="SAME"):
        kernel, bias = self.kernel, self.bias
        folded = isinstance(self.norm, FusedBatchNorm | FrozenBatchNorm)
        folded = folded and not self.norm.uses_batch_statistics(training)
        if folded:
            scale, bias = self.norm.affine()
            kernel = kernel * scale
        outputs = self._convolve(inputs, tf.cast(kernel, self.compute_dtype), padding, training)
        if bias is not None:
            outputs = tf.nn.bias_add(outputs, tf.cast(bias, self.compute_dtype))
        if self.norm is not None and not folded:
            outputs = self.norm(outputs, training=training)
        return self.activation(outputs)

    def _convolve(self, inputs, kernel, padding, training):
        if padding == "VALID" and inputs.shape[1:] == kernel.shape[:3]:
            # One cell comes out of each input, for which oneDNN's convolutions are slow.
            return tf.tensordot(inputs, kernel, 3)[:, None, None]
        convolve = tf.nn.conv2d
        if self.groups > 1 and not _has_gradients_of_groups():
            convolve = _grouped_convolution
        if self.strides == 1 or padding == "VALID":
            return convolve(inputs, kernel, self.strides, padding)
        margin = self.kernel_size // 2
        paddings = [[0, 0], [margin, margin], [margin, margin], [0, 0]]
        if training:
            return _padded_convolution(inputs, kernel, self.strides, paddings, convolve)
        return convolve(tf.pad(inputs, paddings), kernel, self.strides, "VALID")

    def compute_output_shape(self, input_shape):
        batch, height, width, _ = input_shape
        margin = self.kernel_size // 2
        sides = [
            None if side is None else (side + 2 * margin - self.kernel_size) // self.strides + 1
            for side in (height, width)
        ]
        return (batch, *sides, self.filters)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "groups": self.groups,
            "norm": self.norm_name,
            "epsilon": self.epsilon,
            "activation": keras.activations.serialize(self.activation),
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


def _padded_convolution(inputs, kernel, strides, paddings, convolve):
    """A "VALID" convolution of padded inputs, of which no padded copy is kept for the gradients.

    oneDNN has gradients for "VALID" padding only, not for explicit one: the inputs are padded
    again once the gradients are due.
    """

    @tf.custom_gradient
    def run(inputs, kernel):
        def gradient(upstream):
            with tf.GradientTape() as tape, tf.control_dependencies([upstream]):
                tape.watch([inputs, kernel])
                outputs = convolve(tf.pad(inputs, paddings), kernel, strides, "VALID")
            return tape.gradient(outputs, [inputs, kernel], upstream)

        return convolve(inputs, kernel, strides, paddings), gradient

    return run(inputs, kernel)


@functools.cache
def _has_gradients_of_groups() -> bool:
    """Whether the device trains grouped convolutions: a GPU does, a CPU only with oneDNN."""
    try:
        with tf.init_scope():
            tf.raw_ops.Conv2DBackpropInput(
                input_sizes=[1, 3, 3, 4],
                filter=tf.ones((3, 3, 2, 4)),
                out_backprop=tf.ones((1, 3, 3, 4)),
                strides=[1, 1, 1, 1],
                padding="SAME",
            )
    except tf.errors.OpError:
        return False
    return True


def _grouped_convolution(inputs, kernel, strides, padding):
    """`tf.nn.conv2d` of a kernel (h, w, C / groups, filters), one group after the other.

    TensorFlow without oneDNN has no gradients of groups, and fails in a graph that adds a bias.
    """
    groups = inputs.shape[-1] // kernel.shape[2]
    parts = zip(tf.split(inputs, groups, -1), tf.split(kernel, groups, -1), strict=True)
    return tf.concat([tf.nn.conv2d(x, k, strides, padding) for x, k in parts], axis=-1)


@keras.saving.register_keras_serializable(package="keras_maskrcnn")
class FusedBatchNorm(keras.layers.BatchNormalization):
    """Keras' batch norm, trained through TensorFlow's fused kernel: a third of the time.

    Under a `tf.distribute` strategy the statistics are those of all replicas' values.
    """

    def __init__(self, **kwargs):
        super().__init__(**{"momentum": 0.9, "epsilon": EPSILON, **kwargs})

    def uses_batch_statistics(self, training: bool) -> bool:
        """Whether the layer is no affine map now."""
        return bool(training) and self.trainable

    def affine(self):
        """Scale and offset (C,) that the layer comes to with its moving statistics."""
        scale = self.gamma * tf.math.rsqrt(self.moving_variance + self.epsilon)
        return scale, self.beta - self.moving_mean * scale

    def call(self, inputs, training=False):
        if not self.uses_batch_statistics(training):
            scale, offset = self.affine()
            return inputs * tf.cast(scale, inputs.dtype) + tf.cast(offset, inputs.dtype)
        normalize = self._normalize if num_replicas() == 1 else self._normalize_over_replicas
        outputs, mean, variance = normalize(inputs)
        for moving, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + value * (1.0 - self.momentum))
        return outputs

    def _normalize(self, inputs):
        """The outputs, and mean and unbiased variance (C,) of the inputs."""
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=self.gamma,
            offset=self.beta,
            mean=[],
            variance=[],
            epsilon=self.epsilon,
            is_training=True,
        )
        return outputs, mean, variance

    def _normalize_over_replicas(self, inputs):
        """As `_normalize`, for the inputs of all replicas together."""
        values = tf.cast(inputs, tf.float32)
        axes = list(range(inputs.shape.rank - 1))
        number = tf.cast(tf.size(values) // tf.shape(values)[-1], tf.float32)
        number, total = sum_over_replicas([number, tf.reduce_sum(values, axes)])
        mean = total / number
        squares = sum_over_replicas(tf.reduce_sum(tf.math.squared_difference(values, mean), axes))
        variance = squares / number
        scale = self.gamma * tf.math.rsqrt(variance + self.epsilon)
        outputs = tf.cast((values - mean) * scale + self.beta, inputs.dtype)
        return outputs, mean, squares / tf.maximum(number - 1.0, 1.0)


@keras.saving.register_keras_serializable(package="keras_maskrcnn")
class FrozenBatchNorm(keras.layers.Layer):
    """A batch norm of which nothing ever trains, whatever `trainable` says (Detectron2).

    Args:
        epsilon: What is added to the variance; 0 in torchvision's first detection weights.
    """

    def __init__(self, epsilon: float = EPSILON, **kwargs):
        super().__init__(**kwargs)
        self.epsilon = epsilon

    def build(self, input_shape):
        for name, initial in (
            ("gamma", "ones"),
            ("beta", "zeros"),
            ("moving_mean", "zeros"),
            ("moving_variance", "ones"),
        ):
            weight = self.add_weight(
                name=name,
                shape=(input_shape[-1],),
                initializer=initial,
                trainable=False,
                autocast=False,
            )
            setattr(self, name, weight)

    def uses_batch_statistics(self, training: bool) -> bool:
        """Never: the layer is always an affine map."""
        return False

    def affine(self):
        """Scale and offset (C,) that the layer comes to."""
        scale = self.gamma * tf.math.rsqrt(self.moving_variance + self.epsilon)
        return scale, self.beta - self.moving_mean * scale

    def call(self, inputs):
        scale, offset = self.affine()
        return inputs * tf.cast(scale, inputs.dtype) + tf.cast(offset, inputs.dtype)

    def get_config(self):
        return {**super().get_config(), "epsilon": self.epsilon}
