"""ResNet, ResNeXt and the Feature Pyramid Network."""

from keras_maskrcnn.backbones.fpn import FPN
from keras_maskrcnn.backbones.resnet import ResNet

__all__ = ["FPN", "ResNet"]
