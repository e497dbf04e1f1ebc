"""What happens to a region: RoIAlign, the box and the mask branch, the final detections."""

from keras_maskrcnn.roi.box_head import BoxHead
from keras_maskrcnn.roi.detect import detect
from keras_maskrcnn.roi.mask_head import MaskHead, mask_probabilities
from keras_maskrcnn.roi.pooling import make_pooling
from keras_maskrcnn.roi.res5 import Res5
from keras_maskrcnn.roi.roi_align import RoIAlign, RoIPool

__all__ = [
    "BoxHead",
    "MaskHead",
    "Res5",
    "RoIAlign",
    "RoIPool",
    "detect",
    "make_pooling",
    "mask_probabilities",
]
