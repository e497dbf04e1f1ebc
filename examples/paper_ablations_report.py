"""Tables, plots and pictures of what `paper_ablations.py` has kept."""

import csv
import json
import math
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import matplotlib
import numpy as np
from pycocotools import mask as coco_mask

import keras_maskrcnn as km

matplotlib.use("Agg")  # files, no window
from matplotlib import pyplot as plt  # noqa: E402

MARK = "<!-- What follows is written by paper_ablations.py; what stands above it is kept. -->"
FIGURES = ("ap", "ap50", "ap75")
SHOWN, SHOWN_SCORE, ZOOM = 3, 0.5, 2

Results = dict[str, dict[int, dict[str, Any]]]


class Pair(NamedTuple):
    """A claim of the paper: one variant is better than another."""

    claim: str
    better: str
    worse: str
    kind: str  # of AP: "mask" or "box"
    paper: tuple[float | None, ...]  # gains of AP, AP50 and AP75
    source: str


PAIRS = (
    Pair("RoIAlign over RoIPool, stride 32", "c5", "c5_roi_pool", "mask", (7.3, 5.3, 10.5), "2d"),
    Pair("RoIAlign over RoIPool, stride 16", "c4", "c4_roi_pool", "mask", (3.4, 2.4, 5.1), "2c"),
    Pair("RoIAlign over RoIPool, stride 32", "c5", "c5_roi_pool", "box", (5.8, 2.6, 9.5), "2d"),
    Pair("RoIAlign over RoIPool, stride 16", "c4", "c4_roi_pool", "box", (None,) * 3, ""),
    Pair("RoIAlign over RoIPool, FPN", "fpn", "fpn_roi_pool", "mask", (None,) * 3, ""),
    Pair("RoIAlign over RoIPool, FPN", "fpn", "fpn_roi_pool", "box", (None,) * 3, ""),
    Pair("sigmoid over softmax", "fpn", "fpn_softmax", "mask", (5.5, 7.1, 6.4), "2b, C4"),
    Pair(
        "a mask for each class over one for all",
        "fpn",
        "fpn_class_agnostic",
        "mask",
        (0.6, None, None),
        "section 4.2, C4",
    ),
    Pair("mask branch over none", "fpn", "fpn_no_mask", "box", (0.9, 0.7, 1.4), "3, ResNet-101"),
    Pair("FPN over C4", "fpn", "c4", "mask", (3.3, 4.0, 3.8), "2a"),
    Pair(
        "learned backbone, batch norm frozen, over from scratch with group norm",
        "fpn",
        "fpn_group_norm",
        "mask",
        (None,) * 3,
        "",
    ),
)


def write_report(output: pathlib.Path, path: pathlib.Path) -> pathlib.Path:
    """Write the report of the runs under `output` to `path`, its figures beside it.

    What stands in `path` above `MARK` is kept.

    Returns:
        `path`.
    """
    results = read_results(output)
    figures = path.parent / f"{path.stem}_figures"
    figures.mkdir(parents=True, exist_ok=True)
    drawn = {
        "iou.png": ("Mask AP against the IoU that counts as found", draw_iou_curves),
        "curves.png": ("Mask AP on a few pictures while training, means of seeds", draw_learning),
        "losses.png": ("Sum of the losses, means of seeds", draw_losses),
        "pictures.jpg": ("Annotated; RoIAlign; RoIPool, at stride 32", draw_pictures),
    }
    lines = [MARK, "", settings_line(output), "", *pair_table(results), "", *all_table(results)]
    for name, (title, draw) in drawn.items():
        if draw(output, results, figures / name):
            lines += ["", f"{title}:", "", f"![{title}]({figures.name}/{name})"]
    before = path.read_text(encoding="utf-8").split(MARK)[0] if path.is_file() else ""
    path.write_text((before or "# The paper's ablations\n\n") + "\n".join(lines) + "\n", "utf-8")
    return path


def read_results(output: pathlib.Path) -> Results:
    """The `results.json` of each run that has ended, by variant and seed, and its log."""
    results: Results = {}
    for path in sorted(output.glob("*/seed*/results.json")):
        with open(path.parent / "log.csv", encoding="utf-8") as file:
            log = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
        run = {**json.loads(path.read_text(encoding="utf-8")), "log": log, "folder": path.parent}
        results.setdefault(path.parent.parent.name, {})[int(path.parent.name[4:])] = run
    return results


def settings_line(output: pathlib.Path) -> str:
    """What all runs share."""
    settings = json.loads((output / "settings.json").read_text(encoding="utf-8"))
    return (
        f"{settings['steps']} steps of {settings['batch_size']} pictures of {settings['size']} "
        f"pixels (`--scale {settings['scale']:g}`). Figures are percent: mean and standard "
        "deviation over the seeds; a difference is that of runs of the same seed."
    )


def pair_table(results: Results) -> list[str]:
    """Each claim: both variants, their difference, and the paper's."""
    lines = [
        "| claim | | AP | AP50 | AP75 | seeds |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for pair in PAIRS:
        seeds = results.get(pair.better, {}).keys() & results.get(pair.worse, {}).keys()
        if not seeds:
            continue
        values = {
            variant: np.array([figures_of(results[variant][seed], pair.kind) for seed in seeds])
            for variant in (pair.better, pair.worse)
        }
        gain = values[pair.better] - values[pair.worse]
        claim = f"{pair.claim} ({pair.kind} AP)"
        for variant, rows in values.items():
            lines.append(row(claim, f"`{variant}`", cells(rows), len(seeds)))
            claim = ""
        lines.append(row("", "difference", cells(gain, "+"), len(seeds)))
        if pair.source:
            told = ["" if value is None else f"{value:+.1f}" for value in pair.paper]
            lines.append(row("", f"the paper's ({pair.source})", told, ""))
    return lines


def all_table(results: Results) -> list[str]:
    """Box and mask AP of each variant."""
    names = [f"{kind} {name.upper()}" for kind in ("box", "mask") for name in FIGURES]
    lines = [
        f"| variant | {' | '.join(names)} | seeds |",
        f"|{' --- |' * (len(names) + 2)}",
    ]
    for variant, runs in results.items():
        both = [[*figures_of(run, "box"), *figures_of(run, "mask")] for run in runs.values()]
        lines.append(f"| `{variant}` | {' | '.join(cells(np.array(both)))} | {len(runs)} |")
    return lines


def figures_of(run: dict[str, Any], kind: str) -> list[float]:
    """AP, AP50 and AP75 in percent; NaN without a mask branch."""
    return [100 * run.get(f"{kind}_{name}", math.nan) for name in FIGURES]


def cells(rows: np.ndarray, sign: str = "") -> list[str]:
    """Mean and standard deviation of each column of (seeds, n)."""
    means = [f"{value:{sign}.1f}" for value in rows.mean(axis=0)]
    if len(rows) > 1:
        spread = rows.std(axis=0, ddof=1)
        means = [f"{mean} ± {value:.1f}" for mean, value in zip(means, spread, strict=True)]
    return ["" if "nan" in cell else cell for cell in means]


def row(claim: str, name: str, values: list[str], seeds: int | str) -> str:
    """A line of the table of claims."""
    return f"| {claim} | {name} | {' | '.join(values)} | {seeds} |"


def draw_iou_curves(output: pathlib.Path, results: Results, path: pathlib.Path) -> bool:
    """RoIAlign against RoIPool on each kind of features; False if there is no run of them."""
    colours = {"c4": "tab:blue", "c5": "tab:red", "fpn": "tab:green"}
    pairs = [(f"{neck}{pool}", neck) for neck in colours for pool in ("", "_roi_pool")]
    drawn = [(name, colours[neck]) for name, neck in pairs if name in results]
    thresholds = np.linspace(0.5, 0.95, 10)

    def draw(axes):
        for name, colour in drawn:
            rows = 100 * np.array([r["ap_by_iou"]["mask"] for r in results[name].values()])
            style = "--" if "pool" in name else "-"
            axes.plot(thresholds, rows.mean(axis=0), style, color=colour, label=name)
            low, high = rows.min(axis=0), rows.max(axis=0)
            axes.fill_between(thresholds, low, high, color=colour, alpha=0.15)
        axes.set(xlabel="IoU", ylabel="mask AP, %")

    return plot(draw, path) if drawn else False


def draw_learning(output: pathlib.Path, results: Results, path: pathlib.Path) -> bool:
    """Mask AP at each line of the log of each variant that has masks."""
    return draw_logs(output, results, path, "val_mask_ap", "mask AP, %", 100)


def draw_losses(output: pathlib.Path, results: Results, path: pathlib.Path) -> bool:
    """The sum of the losses at each line of the log of each variant."""
    return draw_logs(output, results, path, "loss", "loss", 1)


def draw_logs(
    output: pathlib.Path, results: Results, path: pathlib.Path, column: str, label: str, factor: int
) -> bool:
    """A column of the logs, its mean over the seeds, against the steps."""
    steps = json.loads((output / "settings.json").read_text(encoding="utf-8"))["steps"]

    def draw(axes):
        for name, runs in results.items():
            if name == "start":  # of another length
                continue
            logs = [run["log"] for run in runs.values()]
            if column in logs[0][0]:
                values = np.mean([[line[column] for line in log] for log in logs], axis=0)
                at = np.arange(1, len(values) + 1) * steps / len(values)
                # A log repeats an evaluation until the next one.
                new = np.diff(values, prepend=np.nan) != 0
                axes.plot(at[new], factor * values[new], label=name)
        axes.set(xlabel="step", ylabel=label)

    return plot(draw, path) if results else False


def plot(draw: Callable[[plt.Axes], None], path: pathlib.Path) -> bool:
    """One pair of axes with a legend, written to `path`."""
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    draw(axes)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=100)
    plt.close(figure)
    return True


def draw_pictures(output: pathlib.Path, results: Results, path: pathlib.Path) -> bool:
    """The first pictures as annotated, and as both variants of the coarsest stride see them."""
    seeds = results.get("c5", {}).keys() & results.get("c5_roi_pool", {}).keys()
    if not seeds:
        return False
    val = km.data.CocoDataset(output / "data/val/annotations.json", output / "data/val/images")
    rows = []
    for index in range(min(SHOWN, len(val))):
        example, record = val.example(index), val.records[index]
        masks, classes = example["masks"], example["class_ids"]
        columns = [drawn(example["image"], masks, classes, np.ones(len(masks)), val.class_names)]
        for variant in ("c5", "c5_roi_pool"):
            folder = results[variant][min(seeds)]["folder"]
            kept = json.loads((folder / "detections.json").read_text(encoding="utf-8"))
            kept = [
                d for d in kept if d["image_id"] == record.image_id and d["score"] >= SHOWN_SCORE
            ]
            masks = [coco_mask.decode(d["segmentation"]).astype(bool) for d in kept]
            masks = np.array(masks).reshape(-1, record.height, record.width)
            classes = [val.category_ids.index(d["category_id"]) for d in kept]
            scores = [d["score"] for d in kept]
            columns.append(drawn(example["image"], masks, classes, scores, val.class_names))
        rows.append(np.hstack(columns))
    cv2.imwrite(str(path), np.vstack(rows)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
    return True


def drawn(image, masks, class_ids, scores, class_names) -> np.ndarray:
    """The picture enlarged, so that labels find room on it, with full-size masks drawn."""
    image = cv2.resize(image, None, fx=ZOOM, fy=ZOOM, interpolation=cv2.INTER_CUBIC)
    masks = masks.repeat(ZOOM, axis=1).repeat(ZOOM, axis=2)
    boxes = [cv2.boundingRect(mask.astype(np.uint8)) for mask in masks]
    boxes = np.array([[x, y, x + w, y + h] for x, y, w, h in boxes], np.float32).reshape(-1, 4)
    kept = boxes[:, 2] > boxes[:, 0]  # a mask may be empty
    boxes, masks = boxes[kept], masks[kept]
    found = km.Detections(
        boxes,
        np.asarray(scores)[kept],
        np.asarray(class_ids)[kept],
        km.data.crop_masks(masks, boxes),
        image.shape[:2],
        class_names,
    )
    return found.plot(image)
