"""Find the objects of a list of image files with Apache Beam.

    pip install 'maskrcnn-keras[beam]'
    keras-maskrcnn export --run runs/mine --output serving/1
    python examples/beam_predict.py --model serving/1 --input-list files.txt --output found/results
    keras-maskrcnn merge-results found/results-*.jsonl --output results.json

Options that it does not know are Beam's: `--runner DataflowRunner --project ...`, `--runner
FlinkRunner --flink_master ...`, `--runner SparkRunner ...`. Workers need this package too, for
example in a container of Beam's with `pip install 'maskrcnn-keras[beam]'`, named by
`--sdk_container_image`. The list, the files, the model and the output may lie in any storage that
both Beam and TensorFlow know, such as gs://.

Files that cannot be read are listed in `<output>.errors-*.jsonl`.
"""

import argparse
from collections.abc import Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from keras_maskrcnn.export.beam import FindObjects, NumberedLines


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the pipeline until it is done."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--model", metavar="DIR", required=True, help="an exported SavedModel")
    parser.add_argument("--input-list", metavar="FILE", required=True, help="one path a line")
    parser.add_argument("--output", metavar="PREFIX", required=True, help="of the files to write")
    parser.add_argument("--batch-size", type=int, default=1, metavar="N", help="default: 1")
    parser.add_argument("--score-threshold", type=float, default=0.5, metavar="X")
    args, beam_options = parser.parse_known_args(argv)

    with beam.Pipeline(options=PipelineOptions(beam_options)) as pipeline:
        found = (
            pipeline
            | NumberedLines(args.input_list)
            | FindObjects(args.model, args.batch_size, args.score_threshold)
        )
        write(found["results"], "Results", args.output)
        write(found["failures"], "Failures", args.output + ".errors")


def write(lines: beam.PCollection, what: str, prefix: str) -> None:
    """Writes lines to `<prefix>-00000-of-00001.jsonl` and so on."""
    lines | f"Write{what}" >> beam.io.WriteToText(prefix, file_name_suffix=".jsonl")


if __name__ == "__main__":
    main()
