"""Full-size masks within a graph, by the rule of `ops.masks.paste_masks`."""

import tensorflow as tf


def paste_masks(
    masks: tf.Tensor, boxes: tf.Tensor, height: int | tf.Tensor, width: int | tf.Tensor
) -> tf.Tensor:
    """Masks predicted in their boxes, pasted into images.

    A byte a pixel and detection, twice that while they are put together: of 100 detections in an
    image of 800 x 1333 pixels 107 MB, and 213 MB for a while.

    Args:
        masks: (B, D, m, m) probabilities.
        boxes: (B, D, 4) xyxy pixels; without area where there is no detection.
        height: Of the images.
        width: Of the images.

    Returns:
        (B, D, height, width) uint8, 1 where a mask is at least 0.5 at the centre of a pixel.

    Example:
        >>> paste_masks(tf.ones((1, 1, 28, 28)), tf.constant([[[1.0, 0, 3, 1]]]), 2, 4)[0, 0]
        <tf.Tensor: shape=(2, 4), dtype=uint8, numpy=
        array([[0, 1, 1, 0],
               [0, 0, 0, 0]], dtype=uint8)>
    """
    cells = masks.shape[-1]

    def paste(mask_and_box):
        mask, box = mask_and_box
        x0, y0, x1, y1 = tf.unstack(tf.cast(box, tf.float64))

        def stretched():
            rows = _interpolation(y0, y1, height, cells)
            columns = _interpolation(x0, x1, width, cells)
            values = tf.matmul(tf.matmul(rows, mask), columns, transpose_b=True)
            return tf.cast(values >= 0.5, tf.uint8)

        empty = tf.zeros([height, width], tf.uint8)
        return tf.cond((x1 > x0) & (y1 > y0), stretched, lambda: empty)

    flat = tf.reshape(masks, [-1, cells, cells]), tf.reshape(boxes, [-1, 4])
    pasted = tf.map_fn(paste, flat, fn_output_signature=tf.uint8)
    return tf.reshape(pasted, [*tf.unstack(tf.shape(masks)[:2]), height, width])


def _interpolation(start, end, length, cells):
    """Weights (length, cells) of the mask's cells at the centre of each pixel along one axis.

    Outside the box the nearest cell weighs less than a half, so that nothing there can be set.
    """
    centres = tf.range(tf.cast(length, tf.float64)) + 0.5
    position = (centres - start) / (end - start) * cells - 0.5
    distance = tf.abs(position[:, None] - tf.range(float(cells), dtype=tf.float64))
    return tf.cast(tf.maximum(1.0 - distance, 0.0), tf.float32)
