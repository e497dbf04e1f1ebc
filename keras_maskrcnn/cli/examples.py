"""The examples that the help of each verb ends with."""

VERBS = """\
examples:
  keras-maskrcnn inspect-dataset annotated/
  keras-maskrcnn train --train-data annotated/ --val-data annotated_val/ \\
      --weights model_final_f10217.pkl
  keras-maskrcnn evaluate --run runs/mine --data test.json --images photos/
  keras-maskrcnn predict --run runs/mine --output predictions/ photos/ one_more.jpg
  keras-maskrcnn export --run runs/mine --output serving/1
  keras-maskrcnn build-ops
  keras-maskrcnn info

keras-maskrcnn VERB --help explains each verb.
"""
TRAIN = """\
examples:
  # finetune Detectron2's R50-FPN on your classes, which are read from the annotations
  keras-maskrcnn train --train-data train.json --train-images photos/ \\
      --val-data val.json --val-images photos/ \\
      --weights model_final_f10217.pkl --epochs 12 --output runs/mine
  # a small model from random weights
  keras-maskrcnn train --train-data train.json --train-images photos/ \\
      --config demo_shapes --optimizer adamw --learning-rate 0.001 --batch-size 8
  # annotated in LabelMe; Pascal VOC, by its splits
  keras-maskrcnn train --train-data annotated/ --val-data annotated_val/
  keras-maskrcnn train --train-data VOC2012/ImageSets/Segmentation/train.txt \\
      --val-data VOC2012/ImageSets/Segmentation/val.txt
  # your own config file, and fields of it changed
  keras-maskrcnn train --train-data train.json --train-images photos/ \\
      --config mine.yaml --image-min-size 640 --anchor-sizes "[[16], [32], [64], [128], [256]]"
  # go on with a run that was interrupted
  keras-maskrcnn train --resume runs/mine
"""
EVALUATE = """\
examples:
  keras-maskrcnn evaluate --run runs/mine --data test.json --images photos/
  keras-maskrcnn evaluate --model m.keras --data test.json --images photos/ --json ap.json
"""
PREDICT = """\
examples:
  keras-maskrcnn predict --run runs/mine photos/
  keras-maskrcnn predict --model m.keras --score-threshold 0.7 --output found/ a.jpg b.png
  keras-maskrcnn predict --model model_final_f10217.pkl photo.jpg
  # millions of files; the same line again goes on with a run that was killed
  keras-maskrcnn predict --model m.keras --input-list files.txt --output results.json
  # the third of sixteen machines
  keras-maskrcnn predict --model m.keras --input-list files.txt --shard 3/16 \\
      --output results-03.json

The pictures and results.json (COCO's results format, with file names) go to the output folder.
Of a list, image_id is the number of the line, from 1, in every shard. A run that was killed loses
a second of work, or a batch; delete results.json.state and results.json.part to begin anew.
The exit code is 1 if some of the files could not be read; the others are done all the same.
"""
MERGE = """\
examples:
  keras-maskrcnn merge-results results-*.json --output results.json
  cat results-*.errors.jsonl > results.errors.jsonl

The objects are in the order of the list.
"""
INSPECT = """\
examples:
  keras-maskrcnn inspect-dataset train.json --images photos/
  keras-maskrcnn inspect-dataset annotated/ --output inspection/
  keras-maskrcnn inspect-dataset PennFudanPed/PedMasks --images PennFudanPed/PNGImages

The output folder gets contact_sheet.png, and problems.txt if there are any.
"""
CONVERT = """\
examples:
  keras-maskrcnn convert-dataset annotated/ --to coco --output as_coco/
  keras-maskrcnn convert-dataset balloon/train/via_region_data.json --to labelme --output train/
  keras-maskrcnn convert-dataset VOC2012 --to coco --output voc_as_coco/ --link-images

What the format cannot hold (overlaps and crowds in PNGs, say) is counted and said.
"""
EXPORT = """\
examples:
  keras-maskrcnn export --run runs/mine --output serving/1
  keras-maskrcnn export --model model_final_f10217.pkl --dtype bfloat16 --output serving/2
  keras-maskrcnn export --run runs/mine --box-score-threshold 0.5 --pasted-masks --output serving/3
  keras-maskrcnn export --run runs/mine --format onnx --output m.onnx
  keras-maskrcnn export --run runs/mine --format litert --image-size 480 640 --output m.tflite

TensorFlow Serving loads serving/ as a model with the versions 1, 2 and 3.
"""
BUILD_OPS = """\
examples:
  keras-maskrcnn build-ops
  CXX=clang++ keras-maskrcnn build-ops --no-cuda

It takes about a minute and needs a C++ compiler. `keras-maskrcnn info` says which RoIAlign runs.
"""
INFO = """\
examples:
  keras-maskrcnn info
  keras-maskrcnn info --model runs/mine/best.keras
  keras-maskrcnn info --config mask_rcnn_resnet50_fpn > mine.yaml
  keras-maskrcnn info --presets
"""
