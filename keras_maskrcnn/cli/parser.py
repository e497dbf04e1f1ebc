"""What the command line takes: the verbs of all families."""

import argparse

from keras_maskrcnn.cli import datasets, evaluate, export, info, predict, train

EXAMPLES = """\
examples:
  keras-maskrcnn inspect-dataset annotated/
  keras-maskrcnn train --train-data annotated/ --val-data annotated_val/ \\
      --weights model_final_f10217.pkl
  keras-maskrcnn evaluate --run runs/mine --data test.json --images photos/
  keras-maskrcnn report --run runs/mine --data test.json --images photos/
  keras-maskrcnn predict --run runs/mine --output predictions/ photos/ one_more.jpg
  keras-maskrcnn export --run runs/mine --output serving/1
  keras-maskrcnn build-ops
  keras-maskrcnn info

keras-maskrcnn VERB --help explains each verb.
"""


def build() -> argparse.ArgumentParser:
    """The parser of the whole command line; `run_verb` in its result is the verb's function."""
    parser = argparse.ArgumentParser(
        prog="keras-maskrcnn",
        description="Mask R-CNN for Keras 3: train on annotated pictures, evaluate, predict.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", dest="verb", required=True)
    train.add_verb(verbs)
    evaluate.add_verbs(verbs)
    predict.add_verbs(verbs)
    datasets.add_verbs(verbs)
    export.add_verb(verbs)
    info.add_verbs(verbs)
    return parser
