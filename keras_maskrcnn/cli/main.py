"""`keras-maskrcnn VERB`: runs the verb and says what went wrong.

TensorFlow takes seconds to import, so only the verbs import it.
"""

import os
import re
import sys
from collections.abc import Sequence

from keras_maskrcnn.cli import parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 done, 1 done in part, 2 not done.

    Args:
        argv: The arguments after the program's name; those of the process if None.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    args = parser.build().parse_args(argv)
    try:
        return args.run_verb(args)
    except (ValueError, OSError, RuntimeError, ModuleNotFoundError) as error:
        if args.debug:
            raise
        print(f"keras-maskrcnn: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("keras-maskrcnn: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        message = _pipeline_error(error)
        if args.debug or message is None:
            raise
        print(f"keras-maskrcnn: error: {message}", file=sys.stderr)
        return 2


def _pipeline_error(error):
    """What the input pipeline said when it stopped: TensorFlow wraps it in tracebacks."""
    import tensorflow as tf

    found = re.search(r"ValueError: (.*?)\n+Traceback", str(error), re.DOTALL)
    return found[1] if found and isinstance(error, tf.errors.InvalidArgumentError) else None
