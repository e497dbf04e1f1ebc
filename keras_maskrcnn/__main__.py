"""`python -m keras_maskrcnn`: the command line."""

import sys

from keras_maskrcnn.cli.main import main

sys.exit(main())
