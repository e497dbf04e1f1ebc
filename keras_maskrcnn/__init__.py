"""Mask R-CNN for TensorFlow and Keras 3, from annotation file to served model."""

from keras_maskrcnn import data
from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.detections import Detections
from keras_maskrcnn.evaluation import callbacks
from keras_maskrcnn.evaluation.coco import evaluate
from keras_maskrcnn.mask_rcnn import MaskRCNN

__version__ = "0.1.0"

__all__ = ["Detections", "MaskRCNN", "MaskRCNNConfig", "callbacks", "data", "evaluate"]
