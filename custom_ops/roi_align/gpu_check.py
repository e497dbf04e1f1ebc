"""Compares the CUDA kernels with torchvision's: the numbers, then the time. Needs no TensorFlow.

    python custom_ops/roi_align/gpu_check.py                       # compiles them with nvcc first
    python custom_ops/roi_align/gpu_check.py --library libroi.so   # takes them compiled

Needs a GPU, PyTorch and torchvision. Exits with 1 where numbers disagree, with 2 where something
is missing and nothing was checked.
Times are of 1000 regions on P2..P5 of an 800x1344 image, 7x7, 256 channels, each side in its own
layout: channels last for ours, channels first for torchvision.
"""

import argparse
import ctypes
import dataclasses
import itertools
import math
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

try:
    import torch
    from torchvision import ops
except ModuleNotFoundError as error:
    print(f"{error.name} is missing: install it; nothing was checked.", file=sys.stderr)
    sys.exit(2)

SOURCE = pathlib.Path(__file__).with_name("cuda_kernels.cu")
DEVICE = "cuda"
MAX_LEVELS = 8
POOLINGS = ("average", "max", "pool")
DATA_TYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
# Largest difference over the largest value. Coordinates are float32 for every dtype.
TOLERANCES = dict(zip(DATA_TYPES, (5e-5, 1e-3, 8e-3, 5e-5), strict=True))
# One channel, an odd number, whole vectors, and more than one thread block takes.
CHANNELS = (1, 5, 64, 1032)

# Boxes in a 48x64 image: larger than it, outside, tiny, empty, inverted, far larger, all of it.
AWKWARD_BOXES = (
    (4.3, 6.1, 30.7, 41.9),
    (-20.3, -30.1, 90.2, 70.4),
    (100.0, 100.0, 130.0, 140.0),
    (10.0, 10.0, 10.4, 10.9),
    (20.1, 20.1, 20.1, 20.1),
    (40.3, 30.2, 10.1, 5.7),
    (-611.3, -702.9, 803.1, 517.7),
    (0.0, 0.0, 64.0, 48.0),
)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is pooled how; `strides` has one entry a level."""

    strides: tuple[int, ...]
    output_size: int
    sampling_ratio: int = 2
    aligned: bool = False
    pooling: str = "average"


class Problem(ctypes.Structure):
    """`roi::Problem` of geometry.h."""

    _fields_ = [
        ("batch", ctypes.c_int),
        ("regions", ctypes.c_int),
        ("channels", ctypes.c_int),
        ("levels", ctypes.c_int),
        ("height", ctypes.c_int * MAX_LEVELS),
        ("width", ctypes.c_int * MAX_LEVELS),
        ("stride", ctypes.c_float * MAX_LEVELS),
        ("output_size", ctypes.c_int),
        ("sampling_ratio", ctypes.c_int),
        ("aligned", ctypes.c_bool),
        ("canonical_scale", ctypes.c_float),
        ("pooling", ctypes.c_int),
    ]


class Kernels:
    """The compiled kernels, on tensors: maps (B, H, W, C), boxes (B, R, 4).

    Example:
        >>> kernels = Kernels("libroi_align_cuda.so")
        >>> maps = [torch.ones(1, 32, 32, 8, device="cuda")]
        >>> boxes = torch.tensor([[[8.0, 8.0, 40.0, 56.0]]], device="cuda")
        >>> kernels.forward(maps, boxes, Settings((4,), 7)).shape
        torch.Size([1, 1, 7, 7, 8])
    """

    def __init__(self, library: str | pathlib.Path):
        self._library = ctypes.CDLL(str(library))
        self._library.roi_backward_cuda_workspace.restype = ctypes.c_size_t

    def forward(
        self, maps: list[torch.Tensor], boxes: torch.Tensor, settings: Settings
    ) -> torch.Tensor:
        """The pooled features (B, R, output_size, output_size, C)."""
        size = settings.output_size
        output = maps[0].new_empty((*boxes.shape[:2], size, size, maps[0].shape[-1]))
        self._call(self._library.roi_forward_cuda, maps, boxes, settings, _address(output))
        return output

    def backward(
        self,
        maps: list[torch.Tensor],
        boxes: torch.Tensor,
        settings: Settings,
        upstream: torch.Tensor,
    ) -> list[torch.Tensor]:
        """The gradients of the maps where the output's is `upstream`."""
        gradients = [torch.empty_like(level) for level in maps]
        workspace = maps[0].new_empty(
            self._library.roi_backward_cuda_workspace(
                ctypes.byref(_problem(maps, boxes, settings)), DATA_TYPES.index(maps[0].dtype)
            ),
            dtype=torch.uint8,
        )
        outputs = _address(upstream), _addresses(gradients), _address(workspace)
        self._call(self._library.roi_backward_cuda, maps, boxes, settings, *outputs)
        return gradients

    def _call(self, function, maps, boxes, settings, *arguments):
        error = function(
            ctypes.byref(_problem(maps, boxes, settings)),
            DATA_TYPES.index(maps[0].dtype),
            _addresses(maps),
            _address(boxes),
            *arguments,
            ctypes.c_void_p(torch.cuda.current_stream().cuda_stream),
        )
        if error:
            raise RuntimeError(f"{function.__name__} failed with cudaError_t {error}")


def _problem(maps, boxes, settings):
    by_level = ctypes.c_int * MAX_LEVELS
    return Problem(
        batch=boxes.shape[0],
        regions=boxes.shape[1],
        channels=maps[0].shape[-1],
        levels=len(maps),
        height=by_level(*(level.shape[1] for level in maps)),
        width=by_level(*(level.shape[2] for level in maps)),
        stride=(ctypes.c_float * MAX_LEVELS)(*settings.strides),
        output_size=settings.output_size,
        sampling_ratio=settings.sampling_ratio,
        aligned=settings.aligned,
        canonical_scale=224.0,
        pooling=POOLINGS.index(settings.pooling),
    )


def _address(tensor):
    return ctypes.c_void_p(tensor.data_ptr())


def _addresses(tensors):
    return (ctypes.c_void_p * len(tensors))(*(tensor.data_ptr() for tensor in tensors))


def compile_kernels(folder: str) -> pathlib.Path:
    """Compiles the kernels for the GPU of this machine into a shared library in `folder`.

    Example:
        >>> kernels = Kernels(compile_kernels("build"))
    """
    library = pathlib.Path(folder) / "libroi_align_cuda.so"
    flags = ["-O3", "-std=c++17", "-fmad=false", "-arch=native", "-shared", "-Xcompiler", "-fPIC"]
    subprocess.run(["nvcc", *flags, "-o", library, SOURCE], check=True)
    return library


def torchvision_pool(
    maps: list[torch.Tensor], boxes: torch.Tensor, settings: Settings
) -> torch.Tensor:
    """The same as `Kernels.forward` by torchvision, differentiable.

    Example:
        >>> torchvision_pool([torch.ones(1, 8, 8, 2)], torch.ones(1, 3, 4), Settings((4,), 7)).shape
        torch.Size([1, 3, 7, 7, 2])
    """
    maps = [level.permute(0, 3, 1, 2).contiguous() for level in maps]
    boxes = list(boxes.to(maps[0].dtype))
    size, samples, scale = settings.output_size, settings.sampling_ratio, 1 / settings.strides[0]
    if len(maps) > 1:
        image = [tuple(side * settings.strides[0] for side in maps[0].shape[2:])] * len(boxes)
        levels = {str(i): level for i, level in enumerate(maps)}
        pooled = ops.MultiScaleRoIAlign(list(levels), size, samples)(levels, boxes, image)
    elif settings.pooling == "pool":
        pooled = ops.roi_pool(maps[0], boxes, size, scale)
    elif settings.pooling == "max":  # every sample as a bin of its own
        fine = ops.roi_align(maps[0], boxes, size * samples, scale, 1, settings.aligned)
        pooled = torch.nn.functional.max_pool2d(fine, samples)
    else:
        pooled = ops.roi_align(maps[0], boxes, size, scale, samples, settings.aligned)
    return pooled.permute(0, 2, 3, 1).unflatten(0, (len(boxes), -1))


def _agreement_cases() -> list[tuple[Settings, list[tuple[int, int]]]]:
    """What is compared with torchvision: settings, and rows and columns of each level's map."""
    average = [
        Settings((4,), 3, samples, aligned)
        for samples, aligned in itertools.product((0, 2, 3), (True, False))
    ]
    largest = [Settings((4,), 3, 2, aligned, "max") for aligned in (True, False)]
    pool = [Settings((4,), 3, 0, False, "pool")]
    cases = [
        (settings, [size]) for settings in average + largest + pool for size in ((12, 16), (1, 1))
    ]
    pyramid = [(512 // stride, 768 // stride) for stride in (4, 8, 16, 32)]
    return cases + [(Settings((4, 8, 16, 32), 7, samples), pyramid) for samples in (0, 2)]


def regions(count: int, height: int, width: int) -> torch.Tensor:
    """Boxes (1, count, 4) in an image, sizes log-uniform from 16 to 600 pixels.

    Example:
        >>> regions(1000, 800, 1333).shape
        torch.Size([1, 1000, 4])
    """
    random = torch.Generator().manual_seed(0)
    size = 16 * (600 / 16) ** torch.rand(count, 1, generator=random)
    stretch = torch.exp(0.25 * torch.randn(count, 1, generator=random))
    limit = torch.tensor([width, height])
    sides = torch.minimum(torch.cat([size * stretch, size / stretch], 1), limit)
    start = torch.rand(count, 2, generator=random) * (limit - sides)
    return torch.cat([start, start + sides], 1)[None].to(DEVICE)


def worst_difference(
    kernels: Kernels, settings: Settings, sizes: list[tuple[int, int]], dtype: torch.dtype
) -> float:
    """The largest difference from torchvision over its largest value, both directions.

    Example:
        >>> kernels = Kernels("libroi_align_cuda.so")
        >>> worst_difference(kernels, Settings((4,), 3), [(12, 16)], torch.float32) < 1e-5
        True
    """
    awkward = torch.tensor(AWKWARD_BOXES, device=DEVICE)
    boxes = torch.stack([awkward, awkward.flip(0)])
    if len(sizes) > 1:
        boxes = regions(20, *(side * settings.strides[0] for side in sizes[0])).repeat(2, 1, 1)
    exact = torch.promote_types(dtype, torch.float32)
    worst = 0.0
    for channels in CHANNELS:
        maps = [torch.randn(2, *size, channels, device=DEVICE).to(dtype) for size in sizes]
        leaves = [level.to(exact).requires_grad_() for level in maps]
        expected = torchvision_pool(leaves, boxes, settings)
        upstream = torch.randn(expected.shape, device=DEVICE).to(dtype)
        slopes = torch.autograd.grad(expected, leaves, upstream.to(exact))
        ours = [kernels.forward(maps, boxes, settings)]
        ours += kernels.backward(maps, boxes, settings, upstream)
        for got, wanted in zip(ours, [expected.detach(), *slopes], strict=True):
            difference = (got.to(exact) - wanted).abs().max() / wanted.abs().max()
            worst = max(worst, difference.item())
    return worst


def _check_extremes(kernels: Kernels, settings: Settings) -> bool:
    """Whether boxes that are no numbers give 0, a huge one ends, and no boxes give no gradient."""
    maps = [torch.randn(1, 12, 16, 8, device=DEVICE)]
    bad = [[3.0, 3.0, value, 20.0] for value in (math.nan, math.inf, -math.inf, 1e30)]
    boxes = torch.tensor([[*bad, [-9e5, -9e5, 9e5, 9e5]]], device=DEVICE)
    pooled = kernels.forward(maps, boxes, settings)
    gradient = kernels.backward(maps, boxes, settings, torch.ones_like(pooled))[0]
    good = not pooled[:, : len(bad)].any() and pooled.isfinite().all() and gradient.isfinite().all()
    nothing = kernels.forward(maps, boxes[:, :0].contiguous(), settings)
    gradient = kernels.backward(maps, boxes[:, :0].contiguous(), settings, nothing)[0]
    return bool(good and not gradient.any())


def check_agreement(kernels: Kernels) -> bool:
    """Prints the worst difference by pooling and dtype; whether all are within tolerance.

    Example:
        >>> check_agreement(Kernels("libroi_align_cuda.so"))
        pooling   dtype            difference   allowed
        ...
    """
    print(f"{'pooling':10}{'dtype':16}{'difference':>12}{'allowed':>10}")
    agree = True
    for pooling, dtype in itertools.product(POOLINGS, DATA_TYPES):
        worst = max(
            worst_difference(kernels, settings, sizes, dtype)
            for settings, sizes in _agreement_cases()
            if settings.pooling == pooling
        )
        agree &= worst <= TOLERANCES[dtype]
        print(f"{pooling:10}{str(dtype):16}{worst:12.1e}{TOLERANCES[dtype]:10.0e}")
    for pooling, samples in itertools.product(POOLINGS, (0, 2)):
        if not _check_extremes(kernels, Settings((4,), 3, samples, True, pooling)):
            print(f"{pooling}, sampling ratio {samples}: wrong for extreme boxes")
            agree = False
    return agree


def _median_seconds(run, runs: int = 50) -> float:
    """Seconds of a call on the GPU, after a warm-up."""
    times = []
    for _ in range(runs + 10):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 1000)
    return statistics.median(times[10:])


def _copy_bandwidth() -> float:
    """Bytes a second, read and written, that a copy within the GPU's memory reaches."""
    source = torch.zeros(2**28, device=DEVICE)
    target = torch.empty_like(source)
    return 2 * source.nbytes / _median_seconds(lambda: target.copy_(source))


def report_times(kernels: Kernels, dtype: torch.dtype, bandwidth: float) -> None:
    """Prints our time and torchvision's, and the share of the bandwidth that ours uses.

    Example:
        >>> report_times(Kernels("libroi_align_cuda.so"), torch.float32, bandwidth=3e12)
    """
    settings = Settings((4, 8, 16, 32), 7)
    boxes = regions(1000, 800, 1333)
    maps = [
        torch.randn(1, 800 // stride, 1344 // stride, 256, device=DEVICE).to(dtype)
        for stride in settings.strides
    ]
    upstream = torch.randn_like(kernels.forward(maps, boxes, settings))

    levels = {str(i): level.permute(0, 3, 1, 2).contiguous() for i, level in enumerate(maps)}
    peer = ops.MultiScaleRoIAlign(list(levels), settings.output_size, settings.sampling_ratio)
    peer_arguments = levels, [boxes[0].to(dtype)], [(800, 1344)]
    peer_upstream = upstream[0].permute(0, 3, 1, 2).contiguous()

    def both():
        kernels.forward(maps, boxes, settings)
        kernels.backward(maps, boxes, settings, upstream)

    def peer_both():
        torch.autograd.grad(peer(*peer_arguments), list(levels.values()), peer_upstream)

    with torch.no_grad():
        peer_forward = _median_seconds(lambda: peer(*peer_arguments))
    for level in levels.values():
        level.requires_grad_()
    read = sum(  # cells that get a gradient are those that the forward pass reads
        level.any(-1).sum().item() * level[0, 0, 0].nbytes
        for level in kernels.backward(maps, boxes, settings, torch.ones_like(upstream))
    )
    forward_bytes = read + upstream.nbytes
    both_bytes = forward_bytes + upstream.nbytes + sum(level.nbytes for level in maps)
    rows = [
        ("forward", lambda: kernels.forward(maps, boxes, settings), peer_forward, forward_bytes),
        ("forward, backward", both, _median_seconds(peer_both), both_bytes),
    ]
    for work, run, peer_time, moved in rows:
        ours = _median_seconds(run)
        print(
            f"{work:20}{str(dtype):16}{ours * 1e3:10.3f}{peer_time * 1e3:14.3f}"
            f"{peer_time / ours:8.1f}{moved / ours / bandwidth:12.0%}"
        )


def main() -> None:
    """Checks the numbers, then the time."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--library", help="the compiled kernels; without it nvcc compiles them")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("No GPU: PyTorch finds no CUDA device; nothing was checked.", file=sys.stderr)
        sys.exit(2)
    if not (arguments.library or shutil.which("nvcc")):
        print("No nvcc: install CUDA's, or give --library; nothing was checked.", file=sys.stderr)
        sys.exit(2)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        kernels = Kernels(arguments.library or compile_kernels(folder))
    agree = check_agreement(kernels)
    bandwidth = _copy_bandwidth()
    print(f"\n{torch.cuda.get_device_name()}, copies at {bandwidth / 1e9:.0f} GB/s")
    heads = f"{'ours ms':>10}{'torchvision':>14}{'ratio':>8}{'bandwidth':>12}"
    print(f"{'work':20}{'dtype':16}{heads}")
    for dtype in (torch.float32, torch.float16):
        report_times(kernels, dtype, bandwidth)
    sys.exit(not agree)


if __name__ == "__main__":
    main()
