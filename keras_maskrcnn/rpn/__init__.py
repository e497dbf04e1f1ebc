"""The region proposal network: anchors, its head, and the proposals made of both."""

from keras_maskrcnn.rpn.anchors import make_anchors
from keras_maskrcnn.rpn.head import RPNHead
from keras_maskrcnn.rpn.proposals import ProposalLayer

__all__ = ["ProposalLayer", "RPNHead", "make_anchors"]
