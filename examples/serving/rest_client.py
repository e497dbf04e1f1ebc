"""Send a photo to TensorFlow Serving's REST interface and draw the objects that it finds.

python examples/serving/rest_client.py photo.jpg found.jpg --classes CLASSES.txt
"""

import base64
import json
import sys
import urllib.error
import urllib.request

import drawing
import numpy as np


def predict(url: str, model: str, label: str | None, data: bytes) -> dict[str, np.ndarray]:
    """The outputs of `serve_bytes` for the bytes of an image file.

    Raises:
        ValueError: The server refuses the request; it says why.
    """
    version = f"/labels/{label}" if label else ""
    encoded = base64.b64encode(data).decode()
    request = urllib.request.Request(
        f"{url}/v1/models/{model}{version}:predict",
        json.dumps({"signature_name": "serve_bytes", "inputs": [{"b64": encoded}]}).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request) as response:
            outputs = json.load(response)["outputs"]
    except urllib.error.HTTPError as error:
        raise ValueError(f"{url} answered {error.code}: {error.read().decode()}") from error
    return {
        name: np.array(value, np.int32 if name in ("classes", "num_detections") else np.float32)
        for name, value in outputs.items()
    }


def main() -> int:
    args = drawing.arguments(__doc__, "http://localhost:8501")
    try:
        answer = predict(args.url, args.model, args.label, args.photo.read_bytes())
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    drawing.draw(answer, args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
