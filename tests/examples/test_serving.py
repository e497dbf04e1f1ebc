"""The clients against servers that speak TensorFlow Serving's protocols on a real socket."""

import base64
import concurrent.futures
import http.server
import json
import pathlib
import subprocess
import sys
import threading

import cv2
import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc
from tensorflow_serving.config import model_server_config_pb2

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "examples/serving"


class RestServer(http.server.BaseHTTPRequestHandler):
    """The predict API of TensorFlow Serving, in its column format."""

    signatures = None

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.path == "/v1/models/mask_rcnn/labels/stable:predict"
        data = [base64.b64decode(value["b64"]) for value in request["inputs"]]
        try:
            outputs = self.signatures[request["signature_name"]](image_bytes=tf.constant(data))
            values = {name: value.numpy().tolist() for name, value in outputs.items()}
            status, answer = 200, {"outputs": values}
        except tf.errors.InvalidArgumentError as error:
            status, answer = 400, {"error": error.message}
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_):
        """Silent."""


@pytest.fixture
def rest_url(signatures):
    RestServer.signatures = signatures
    server = http.server.ThreadingHTTPServer(("localhost", 0), RestServer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://localhost:{server.server_port}"
    server.shutdown()
    server.server_close()


class GrpcServer(prediction_service_pb2_grpc.PredictionServiceServicer):
    """TensorFlow Serving's PredictionService."""

    def __init__(self, signatures):
        self.signatures = signatures

    def Predict(self, request, context):
        assert (request.model_spec.name, request.model_spec.version_label) == (
            "mask_rcnn",
            "stable",
        )
        inputs = {k: tf.constant(tf.make_ndarray(v)) for k, v in request.inputs.items()}
        response = predict_pb2.PredictResponse()
        try:
            outputs = self.signatures[request.model_spec.signature_name](**inputs)
        except tf.errors.InvalidArgumentError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, error.message)
        for name, value in outputs.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
        return response


@pytest.fixture
def grpc_url(signatures):
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        GrpcServer(signatures), server
    )
    port = server.add_insecure_port("localhost:0")
    server.start()
    yield f"localhost:{port}"
    server.stop(None)


def run_client(name, url, folder, *arguments):
    command = [sys.executable, FOLDER / name, *arguments, "--url", url, "--label", "stable"]
    classes = ["--classes", folder / "assets/class_names.txt", "--score-threshold", "0.2"]
    command = [str(part) for part in [*command, *classes]]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize("client", ["rest", "grpc"])
def test_client_draws_what_predict_finds(client, served, tmp_path, request):
    model, folder = served
    photo, picture = tmp_path / "photo.png", tmp_path / "found.png"
    pixels = np.random.default_rng(0).integers(0, 256, (64, 80, 3), np.uint8)
    cv2.imwrite(str(photo), pixels)
    url = request.getfixturevalue(f"{client}_url")
    done = run_client(f"{client}_client.py", url, folder, photo, picture)
    assert done.returncode == 0, done.stderr
    detections = model.predict([photo], verbose=0)[0]
    expected = detections[detections.scores >= 0.2]
    assert len(expected) > 0
    assert str(expected) in done.stdout
    drawn = cv2.imread(str(picture))[:, :, ::-1]
    assert np.mean(np.abs(drawn.astype(int) - expected.plot(photo)) > 8) < 0.01


@pytest.mark.parametrize("client", ["rest", "grpc"])
def test_client_tells_what_the_server_refuses(client, served, tmp_path, request):
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"no picture")
    url = request.getfixturevalue(f"{client}_url")
    done = run_client(f"{client}_client.py", url, served[1], photo, tmp_path / "found.png")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "image 0" in done.stderr


def test_configurations_are_those_that_the_server_reads():
    """Read with the message that the server itself reads it with."""
    from google.protobuf import text_format

    config = model_server_config_pb2.ModelServerConfig()
    text_format.Parse((FOLDER / "models.config").read_text(), config)
    (model,) = config.model_config_list.config
    assert model.name == "mask_rcnn"
    assert list(model.model_version_policy.specific.versions) == [1, 2]
    assert dict(model.version_labels) == {"stable": 1, "canary": 2}
