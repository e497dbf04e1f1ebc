"""Send a photo to TensorFlow Serving's gRPC interface and draw the objects that it finds.

pip install 'maskrcnn-keras[serving]'
python examples/serving/grpc_client.py photo.jpg found.jpg --classes CLASSES.txt
"""

import sys

import drawing
import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

LARGEST_MESSAGE = 2**30  # bytes; gRPC's own limit of 4 MB is less than some photos


def predict(url: str, model: str, label: str | None, data: bytes) -> dict[str, np.ndarray]:
    """The outputs of `serve_bytes` for the bytes of an image file.

    Raises:
        grpc.RpcError: The server refuses the request; its `details()` say why.
    """
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = "serve_bytes"
    if label:
        request.model_spec.version_label = label
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([data]))
    limits = ("grpc.max_send_message_length", "grpc.max_receive_message_length")
    options = [(name, LARGEST_MESSAGE) for name in limits]
    with grpc.insecure_channel(url, options) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        outputs = stub.Predict(request, timeout=60).outputs
    return {name: tf.make_ndarray(value) for name, value in outputs.items()}


def main() -> int:
    args = drawing.arguments(__doc__, "localhost:8500")
    try:
        answer = predict(args.url, args.model, args.label, args.photo.read_bytes())
    except grpc.RpcError as error:
        print(f"{args.url} answered {error.code().name}: {error.details()}", file=sys.stderr)
        return 1
    except OSError as error:
        print(error, file=sys.stderr)
        return 1
    drawing.draw(answer, args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
