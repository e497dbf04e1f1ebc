"""Finding the objects of files with Apache Beam: on Dataflow, Flink, Spark, or one machine.

It runs an exported SavedModel and needs `pip install 'maskrcnn-keras[beam]'`, on the workers too.
`examples/beam_predict.py` is a whole pipeline.
"""

import os
from collections.abc import Iterator, Sequence

import apache_beam as beam
import tensorflow as tf
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.ml.inference.base import KeyedModelHandler, ModelHandler, RunInference

from keras_maskrcnn.data.images import encoded_image_size
from keras_maskrcnn.detections import Detections
from keras_maskrcnn.ops import compiled_roi_align
from keras_maskrcnn.prediction.predict import to_detections
from keras_maskrcnn.prediction.results_file import failure_line, result_lines

FAILURES = "failures"


class NumberedLines(beam.PTransform):
    """The lines of a list as (number, path), numbered from 1; empty ones count, but are left out.

    One worker reads the list, since only so are the numbers known; the lines are then shared out.

    Args:
        path: The list, local or of any file system that Beam knows.

    Example:
        >>> pipeline | NumberedLines("gs://bucket/files.txt")
    """

    def __init__(self, path: str):
        super().__init__()
        self.path = path

    def expand(self, pipeline):
        return (
            pipeline
            | beam.Create([self.path])
            | "ReadList" >> beam.FlatMap(_read_lines)
            | beam.Reshuffle()
        )


class FindObjects(beam.PTransform):
    """From (number, path) of images to what is found in them.

    The result is a dict of two collections of text. `"results"` has an element an image in which
    something was found: entries of COCO's results format, as `keras-maskrcnn predict --input-list`
    writes them, a line each. `"failures"` has an element a file that was passed over: a JSON
    object of `image_id`, `file_name` and `error`. Both are fit for `beam.io.WriteToText`.

    Args:
        model: The folder of a SavedModel that `model.export` wrote, local or of any file system
            that TensorFlow knows. `roi_align="custom"` is faster where the workers have the op.
        batch_size: Images at a time, at most; smaller ones of a batch are padded to the largest.
        score_threshold: Keep objects that score at least this.

    Example:
        >>> found = pipeline | NumberedLines("files.txt") | FindObjects("serving/1")
        >>> found["results"] | beam.io.WriteToText("results", file_name_suffix=".jsonl")
    """

    def __init__(self, model: str | os.PathLike, batch_size: int = 1, score_threshold: float = 0.5):
        super().__init__()
        self.model = os.fspath(model)
        self.batch_size = batch_size
        self.score_threshold = score_threshold

    def expand(self, numbered):
        handler = KeyedModelHandler(ServeBytes(self.model, self.batch_size))
        read = numbered | "ReadFiles" >> beam.ParDo(_ReadFile()).with_outputs(FAILURES, main="data")
        found = (
            read.data
            | RunInference(handler)
            | beam.ParDo(_Encode(self.score_threshold)).with_outputs(FAILURES, main="results")
        )
        failures = (read[FAILURES], found[FAILURES]) | beam.Flatten()
        return {"results": found.results, "failures": failures}


class ServeBytes(ModelHandler[bytes, Detections | str, tf.Module]):
    """The signature `serve_bytes` of a SavedModel for `RunInference`.

    It makes `Detections` of the bytes of an image file, or, of a file that is no image, the text
    of the error. Beam's own `TFModelHandlerTensor` reads Keras models only.

    Args:
        model: The folder of the SavedModel.
        batch_size: Images at a time, at most.
    """

    def __init__(self, model: str, batch_size: int = 1):
        super().__init__(min_batch_size=1, max_batch_size=batch_size)
        self._path = model

    def load_model(self) -> tf.Module:
        compiled_roi_align.load()  # for a model of roi_align="custom", where the op is built
        model = tf.saved_model.load(self._path)
        if "serve_bytes" not in model.signatures:
            raise ValueError(
                f"{self._path} does not read image files: it has the signatures "
                f"{', '.join(model.signatures)}, as models of other images than RGB 0..255 have."
            )
        with tf.io.gfile.GFile(tf.io.gfile.join(self._path, "assets", "class_names.txt")) as names:
            model.all_class_names = names.read().splitlines()
        return model

    def run_inference(
        self, batch: Sequence[bytes], model: tf.Module, inference_args: dict | None = None
    ) -> list[Detections | str]:
        try:
            return _detect(batch, model)
        except (tf.errors.InvalidArgumentError, ValueError) as error:
            if len(batch) == 1:
                return [_reason(error)]
        # One bad file fails its batch: which one it is shows when each goes alone.
        return [self.run_inference([data], model)[0] for data in batch]


def _detect(batch, model):
    sizes = [encoded_image_size(data, "the file") for data in batch]
    outputs = model.signatures["serve_bytes"](image_bytes=tf.constant(batch))
    outputs = {name: value.numpy() for name, value in outputs.items()}
    sizes = tf.constant(sizes).numpy()
    outputs |= {"image_sizes": sizes, "original_sizes": sizes}
    return to_detections(outputs, model.all_class_names)


def _reason(error):
    """What an error says, without what TensorFlow says of the graph before and after."""
    return str(error).split("\n\t [[")[0].splitlines()[-1]


def _read_lines(path) -> Iterator[tuple[int, str]]:
    with FileSystems.open(path) as lines:
        for number, line in enumerate(lines, 1):
            if file := os.fsdecode(line.rstrip(b"\r\n")):
                yield number, file


class _ReadFile(beam.DoFn):
    """(number, path) to ((number, path), bytes)."""

    def process(self, numbered):
        try:
            with FileSystems.open(
                numbered[1], compression_type=CompressionTypes.UNCOMPRESSED
            ) as file:
                yield numbered, file.read()
        except OSError as error:
            yield beam.pvalue.TaggedOutput(FAILURES, failure_line(*numbered, str(error)))


class _Encode(beam.DoFn):
    """((number, path), Detections or error) to lines."""

    def __init__(self, score_threshold):
        super().__init__()
        self.score_threshold = score_threshold

    def process(self, element):
        numbered, found = element
        if isinstance(found, str):
            yield beam.pvalue.TaggedOutput(FAILURES, failure_line(*numbered, found))
        elif lines := result_lines(found, *numbered, self.score_threshold):
            yield "\n".join(lines)  # together, so that they keep their order
