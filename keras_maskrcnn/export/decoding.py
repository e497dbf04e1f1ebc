"""Encoded images within a graph: decoded and resized as the config says."""

import tensorflow as tf

from keras_maskrcnn.config import MaskRCNNConfig


def decode_images(data: tf.Tensor, config: MaskRCNNConfig) -> dict[str, tf.Tensor]:
    """Decodes and resizes.

    Args:
        data: (B,) string, JPEG or PNG files.
        config: Its `image_min_size` and `image_max_size`.

    Returns:
        `images` (B, H, W, 3) float32, `image_sizes` and `original_sizes`, both (B, 2) int32.
    """

    def decode(file):
        image = tf.io.decode_image(file, channels=3, expand_animations=False)
        image.set_shape((None, None, 3))
        size = tf.cast(tf.shape(image)[:2], tf.float64)
        scale = tf.minimum(
            config.image_min_size / tf.reduce_min(size), config.image_max_size / tf.reduce_max(size)
        )
        shape = tf.maximum(tf.cast(tf.floor(size * scale + 0.5), tf.int32), 1)
        resized = tf.image.resize(tf.cast(image, tf.float32), shape, antialias=True)
        return tf.RaggedTensor.from_tensor(resized, ragged_rank=2), shape, tf.shape(image)[:2]

    images, sizes, original_sizes = tf.map_fn(
        decode,
        data,
        fn_output_signature=(
            tf.RaggedTensorSpec([None, None, 3], tf.float32, ragged_rank=2),
            tf.TensorSpec([2], tf.int32),
            tf.TensorSpec([2], tf.int32),
        ),
    )
    return {"images": images.to_tensor(), "image_sizes": sizes, "original_sizes": original_sizes}
