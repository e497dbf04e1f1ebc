from keras_maskrcnn import data as data
from keras_maskrcnn.config import MaskRCNNConfig as MaskRCNNConfig
from keras_maskrcnn.detections import Detections as Detections
from keras_maskrcnn.evaluation import callbacks as callbacks
from keras_maskrcnn.evaluation.coco import evaluate as evaluate
from keras_maskrcnn.evaluation.report.build import report as report
from keras_maskrcnn.mask_rcnn import MaskRCNN as MaskRCNN
from keras_maskrcnn.prediction.video import predict_video as predict_video
from keras_maskrcnn.weights.hub import upload_preset as upload_preset

__version__: str
