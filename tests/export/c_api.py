"""A client of TensorFlow's C API: what a server in C++ does, in Python that imports no TensorFlow.

    python c_api.py run SAVED_MODEL [OPS.so]
    python c_api.py ops OP_LIST.pb

`run` reads a line of JSON for each request, `{"request": NPZ, "answer": NPZ, "inputs": {name:
"operation:index"}, "outputs": {...}}`, the names those of the signature, and says when the answer
is written, or why there is none. The file of the request holds the inputs by name; bytes objects
as a (B,) array of dtype object go as strings.
"""

import ctypes
import importlib.util
import json
import pathlib
import sys

import numpy as np

DTYPES = {1: np.float32, 3: np.int32, 4: np.uint8}
STRING, STRING_BYTES = 7, 24
POINTER, INTEGER = ctypes.c_void_p, ctypes.c_int


class Output(ctypes.Structure):
    """TF_Output: an output of an operation."""

    _fields_ = [("operation", POINTER), ("index", INTEGER)]


class Buffer(ctypes.Structure):
    """TF_Buffer."""

    _fields_ = [("data", POINTER), ("length", ctypes.c_size_t), ("deallocator", POINTER)]


def load_library():
    """The library of the TensorFlow that is installed, and what its functions return and take."""
    (folder,) = importlib.util.find_spec("tensorflow").submodule_search_locations
    tf = ctypes.CDLL(str(pathlib.Path(folder) / "libtensorflow_cc.so.2"))
    for name in ("NewStatus", "NewGraph", "NewSessionOptions", "LoadSessionFromSavedModel"):
        getattr(tf, f"TF_{name}").restype = POINTER
    for name in ("GraphOperationByName", "AllocateTensor", "TensorData"):
        getattr(tf, f"TF_{name}").restype = POINTER
    tf.TF_Message.restype = ctypes.c_char_p
    tf.TF_Dim.restype = ctypes.c_int64
    tf.TF_GetAllOpList.restype = ctypes.POINTER(Buffer)
    return tf


class Session:
    """A SavedModel loaded with TF_LoadSessionFromSavedModel."""

    def __init__(self, folder, ops=None):
        self.tf = load_library()
        self.status = POINTER(self.tf.TF_NewStatus())
        if ops:
            self.tf.TF_LoadLibrary(ops.encode(), self.status)
            self._check()
        self.graph = POINTER(self.tf.TF_NewGraph())
        options, tags = POINTER(self.tf.TF_NewSessionOptions()), (ctypes.c_char_p * 1)(b"serve")
        self.session = POINTER(
            self.tf.TF_LoadSessionFromSavedModel(
                options, None, folder.encode(), tags, 1, self.graph, None, self.status
            )
        )
        self._check()

    def run(self, inputs, outputs):
        """Arrays by name; `inputs` maps a tensor's name to its array, `outputs` a name to it."""
        feeds = (Output * len(inputs))(*map(self._output, inputs))
        values = (POINTER * len(inputs))(*map(self._tensor, inputs.values()))
        fetches = (Output * len(outputs))(*map(self._output, outputs.values()))
        results = (POINTER * len(outputs))()
        given, asked = (feeds, values, len(feeds)), (fetches, results, len(fetches))
        self.tf.TF_SessionRun(self.session, None, *given, *asked, None, 0, None, self.status)
        self._check()
        return dict(zip(outputs, map(self._array, results), strict=True))

    def _check(self):
        if self.tf.TF_GetCode(self.status):
            raise RuntimeError(self.tf.TF_Message(self.status).decode())

    def _output(self, name):
        operation, index = name.split(":")
        return Output(self.tf.TF_GraphOperationByName(self.graph, operation.encode()), int(index))

    def _tensor(self, array):
        dims = (ctypes.c_int64 * array.ndim)(*array.shape)
        is_text = array.dtype == object
        code = STRING if is_text else next(c for c, kind in DTYPES.items() if kind == array.dtype)
        size = ctypes.c_size_t(STRING_BYTES * array.size if is_text else array.nbytes)
        tensor = POINTER(self.tf.TF_AllocateTensor(code, dims, array.ndim, size))
        data = self.tf.TF_TensorData(tensor)
        if not is_text:
            ctypes.memmove(data, np.ascontiguousarray(array).ctypes.data, array.nbytes)
            return tensor.value
        for i, text in enumerate(array):
            place = POINTER(data + i * STRING_BYTES)
            self.tf.TF_StringInit(place)
            self.tf.TF_StringCopy(place, text, ctypes.c_size_t(len(text)))
        return tensor.value

    def _array(self, tensor):
        tensor = POINTER(tensor)
        shape = [self.tf.TF_Dim(tensor, i) for i in range(self.tf.TF_NumDims(tensor))]
        array = np.empty(shape, DTYPES[self.tf.TF_TensorType(tensor)])
        ctypes.memmove(array.ctypes.data, self.tf.TF_TensorData(tensor), array.nbytes)
        return array


def op_list():
    """Every operation that the library registers, as an `OpList` message."""
    ops = load_library().TF_GetAllOpList().contents
    return ctypes.string_at(ops.data, ops.length)


def main(verb, *paths):
    if verb == "ops":
        pathlib.Path(paths[0]).write_bytes(op_list())
        return
    session = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            session = session or Session(*paths)
            np.savez(request["answer"], **answer_to(session, request))
            print("answered", flush=True)
        except RuntimeError as error:
            print(json.dumps(str(error)), flush=True)
    assert "tensorflow" not in sys.modules


def answer_to(session, request):
    """The outputs by name for the request in a file."""
    values = np.load(request["request"], allow_pickle=True)
    inputs = {tensor: values[name] for name, tensor in request["inputs"].items()}
    return session.run(inputs, request["outputs"])


if __name__ == "__main__":
    main(*sys.argv[1:])
