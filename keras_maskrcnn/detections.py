"""What was found in one image."""

import functools
import json
import os
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from keras_maskrcnn.data.drawing import draw_detections
from keras_maskrcnn.data.stored import display, read_to_show
from keras_maskrcnn.ops.masks import paste_mask, paste_masks
from keras_maskrcnn.ops.runs import mask_runs as runs_of
from keras_maskrcnn.ops.runs import paste_runs, runs_rle

if TYPE_CHECKING:
    import supervision


class Detections:
    """The objects found in one image, best first.

    Args:
        boxes: (n, 4) xyxy pixels of the image.
        scores: (n,) 0..1.
        class_ids: (n,) from 0.
        box_masks: (n, m, m) mask probabilities in the boxes; None without a mask branch.
        image_size: Height and width of the image.
        class_names: The name of each class id; ids without one are named by their number.
        mask_runs: In place of `box_masks`, of objects that were put together from tiles: n masks
            as runs, see `keras_maskrcnn.ops.runs`.
        track_ids: (n,) of objects that were followed through a video: the same object has the same
            number in all frames, from 1; -1 where it is not followed yet.

    Attributes:
        boxes, scores, class_ids, box_masks: As given, float32, float32, int32 and float32.
        mask_runs: As given, a tuple, or None.
        track_ids: As given, int32, or None.
        image_size: (height, width).
        all_class_names: The names of all classes, found or not.

    Raises:
        ValueError: A shape is wrong, or the shapes do not agree.

    Example:
        >>> found = Detections([[2, 2, 8, 6]], [0.9], [1], None, (10, 10), ["cat", "dog"])
        >>> found.class_names, len(found[found.scores > 0.95])
        (['dog'], 0)
    """

    def __init__(
        self,
        boxes: np.ndarray,
        scores: np.ndarray,
        class_ids: np.ndarray,
        box_masks: np.ndarray | None,
        image_size: tuple[int, int],
        class_names: Sequence[str] = (),
        mask_runs: Sequence[np.ndarray] | None = None,
        track_ids: np.ndarray | None = None,
    ):
        boxes = np.asarray(boxes, np.float32)
        self.boxes = boxes.reshape(0, 4) if boxes.shape == (0,) else boxes
        self.scores = np.asarray(scores, np.float32)
        self.class_ids = np.asarray(class_ids, np.int32)
        self.box_masks = None if box_masks is None else np.asarray(box_masks, np.float32)
        self.mask_runs = None if mask_runs is None else tuple(mask_runs)
        self.track_ids = None if track_ids is None else np.asarray(track_ids, np.int32)
        self.image_size = _image_size(image_size)
        self.all_class_names = tuple(class_names)
        _check_shapes(self)

    @property
    def class_names(self) -> list[str]:
        """The name of each detection's class."""
        names = self.all_class_names
        return [names[i] if 0 <= i < len(names) else str(i) for i in self.class_ids.tolist()]

    @property
    def has_masks(self) -> bool:
        """Whether there are masks; a model without a mask branch finds none."""
        return self.box_masks is not None or self.mask_runs is not None

    @functools.cached_property
    def masks(self) -> np.ndarray:
        """(n, height, width) bool, pasted into the image when first asked for, then kept.

        A byte a pixel and object: of many objects in a large image, take a few at a time.

        Raises:
            ValueError: The model has no mask branch.
        """
        if not self.has_masks:
            raise ValueError("There are no masks: the model has no mask branch (mask=False).")
        if self.mask_runs is None:
            return paste_masks(self.box_masks, self.boxes, *self.image_size)
        pasted = np.zeros((len(self), *self.image_size), bool)
        for canvas, runs in zip(pasted, self.mask_runs, strict=True):
            paste_runs(runs, canvas)
        return pasted

    def mask_part(self, index: int) -> tuple[np.ndarray, tuple[int, int]]:
        """One mask without the image around it.

        Returns:
            A bool array (h, w) and the (row, column) of its first pixel in the image.

        Raises:
            ValueError: The model has no mask branch.
        """
        if not self.has_masks:
            raise ValueError("There are no masks: the model has no mask branch (mask=False).")
        if self.mask_runs is None:
            return paste_mask(self.box_masks[index], self.boxes[index], *self.image_size)
        runs = self.mask_runs[index]
        if not len(runs):
            return np.zeros((0, 0), bool), (0, 0)
        left, top = runs[:, :2].min(axis=0)
        right, bottom = runs[-1, 0] + 1, runs[:, 2].max()
        part = np.zeros((bottom - top, right - left), bool)
        paste_runs(runs, part, (top, left))
        return part, (int(top), int(left))

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: int | slice | Sequence | np.ndarray) -> "Detections":
        """A selection, by a number, a slice, an array of numbers or one of booleans.

        Raises:
            IndexError: There is no such detection, or there are more or fewer booleans than
                detections.
        """
        chosen = np.atleast_1d(np.arange(len(self))[index])
        return Detections(
            self.boxes[chosen],
            self.scores[chosen],
            self.class_ids[chosen],
            None if self.box_masks is None else self.box_masks[chosen],
            self.image_size,
            self.all_class_names,
            None if self.mask_runs is None else [self.mask_runs[i] for i in chosen],
            None if self.track_ids is None else self.track_ids[chosen],
        )

    def __repr__(self) -> str:
        height, width = self.image_size
        shown = [f"{n} {s:.2f}" for n, s in zip(self.class_names, self.scores, strict=True)][:4]
        more = ", ..." if len(self) > len(shown) else ""
        return f"<{len(self)} Detections in {width}x{height}: {', '.join(shown)}{more}>"

    def plot(
        self,
        image: np.ndarray | str | os.PathLike | None = None,
        pixel_range: Sequence[float] | None = None,
        channels: Sequence[int] = (0, 1, 2),
    ) -> np.ndarray:
        """The detections drawn on their image, (H, W, 3) uint8 RGB.

        Args:
            image: The image (H, W, 3) RGB 0..255, or (H, W, C) of other channels, or its path;
                white if None.
            pixel_range: What is black and what is white: see `data.stored.display`.
            channels: Which of other channels are shown as red, green and blue.

        Raises:
            ValueError: The image is not of the size that the detections are of, or has no such
                channels.
            FileNotFoundError: There is no such file.
        """
        return draw_detections(self._pixels(image, pixel_range, channels), self)

    def save(
        self, path: str | os.PathLike, image: np.ndarray | str | os.PathLike | None = None
    ) -> None:
        """Writes a picture, COCO results, the arrays, or annotations to correct by hand.

        The ending says which: `.png` or `.jpg`, `.json`, `.npz`, `.labelme.json`.

        In COCO results the file's name without its ending is the image's id; `to_coco` takes
        another. `numpy.load` reads the arrays by the names of the attributes; `mask_runs` are there
        one after the other, with `mask_run_counts` (n,), how many runs are whose.

        Args:
            path: Where to; the ending decides what is written.
            image: What to draw on, as for `plot`; of other channels than RGB the first three are
                shown. LabelMe's file names the image: its path, or the one picture beside the file,
                `a.jpg` beside `a.labelme.json`.

        Raises:
            ValueError: The ending is none of these, or LabelMe's file has no image to name.
            OSError: The file cannot be written there.
        """
        path = pathlib.Path(path)
        ending = path.suffix.lower()
        if path.name.lower().endswith(".labelme.json"):
            from keras_maskrcnn.prediction.annotations import save_labelme

            save_labelme(self, path, image)
        elif ending == ".json":
            path.write_text(json.dumps(self.to_coco(path.stem)), encoding="utf-8")
        elif ending == ".npz":
            np.savez_compressed(path, **self._arrays())
        elif ending in (".png", ".jpg", ".jpeg"):
            picture = cv2.cvtColor(self.plot(image), cv2.COLOR_RGB2BGR)
            if not path.parent.is_dir() or not cv2.imwrite(str(path), picture):
                raise OSError(f"{path}: the picture cannot be written there.")
        else:
            raise ValueError(f"{path}: the ending must be .png, .jpg, .json or .npz.")

    def to_coco(
        self, image_id: int | str, category_ids: Sequence[int] | None = None
    ) -> list[dict[str, Any]]:
        """The detections as entries of a COCO results file.

        Args:
            image_id: As in the annotation file.
            category_ids: The COCO id of each class id; the class id itself if None.

        Returns:
            Dicts of `image_id`, `category_id`, `bbox` [x, y, width, height], `score`, and
            `segmentation`, a compressed RLE, where there are masks, and `track_id`, None of -1,
            where there are track ids: what JSON can hold.

        Raises:
            ValueError: `category_ids` has none for a class that was found.
        """
        if category_ids is not None and len(self):
            low, high = self.class_ids.min(), self.class_ids.max()
            if low < 0 or high >= len(category_ids):
                raise ValueError(
                    f"category_ids has {len(category_ids)} entries; class ids {low} to {high} "
                    "were found."
                )
        results = []
        for i, (x0, y0, x1, y1) in enumerate(self.boxes.tolist()):
            class_id = int(self.class_ids[i])
            result = {
                "image_id": image_id,
                "category_id": class_id if category_ids is None else int(category_ids[class_id]),
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "score": float(self.scores[i]),
            }
            if self.has_masks:
                result["segmentation"] = self._rle(i)
            if self.track_ids is not None:
                track_id = int(self.track_ids[i])
                result["track_id"] = None if track_id < 0 else track_id
            results.append(result)
        return results

    def to_supervision(self) -> "supervision.Detections":
        """As the library supervision takes them: for its annotators, zones, counters and trackers.

        Returns:
            Boxes, scores, class ids, full-size masks where there are masks, track ids where there
            are any, and the names of the classes as `data["class_name"]`.

        Raises:
            ModuleNotFoundError: supervision is not installed.

        Example:
            >>> found = Detections([[2, 2, 8, 6]], [0.9], [1], None, (10, 10), ["cat", "dog"])
            >>> found.to_supervision().data["class_name"]
            array(['dog'], ...)
        """
        try:
            import supervision
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "to_supervision needs supervision: pip install 'maskrcnn-keras[video]'"
            ) from error
        return supervision.Detections(
            xyxy=self.boxes,
            confidence=self.scores,
            class_id=self.class_ids,
            mask=self.masks if self.has_masks else None,
            tracker_id=self.track_ids,
            data={"class_name": np.array(self.class_names, str)},
        )

    def _rle(self, index):
        """Of runs: at full size the mask of a large image would take gigabytes."""
        if self.mask_runs is None:
            return runs_rle(runs_of(*self.mask_part(index)), *self.image_size)
        return runs_rle(self.mask_runs[index], *self.image_size)

    def _arrays(self):
        names = ("boxes", "scores", "class_ids", "box_masks", "track_ids", "image_size")
        arrays = {name: getattr(self, name) for name in names}
        if self.mask_runs is not None:
            arrays["mask_runs"] = np.concatenate([np.zeros((0, 3), np.int32), *self.mask_runs])
            arrays["mask_run_counts"] = [len(runs) for runs in self.mask_runs]
        return {name: value for name, value in arrays.items() if value is not None}

    def _pixels(self, image, pixel_range, channels):
        if image is None:
            return np.full((*self.image_size, 3), 255, np.uint8)
        if isinstance(image, str | os.PathLike):
            image = read_to_show(image, pixel_range, channels)
            pixel_range, channels = None, (0, 1, 2)
        image = np.atleast_3d(image)
        if image.ndim != 3 or image.shape[:2] != self.image_size:
            raise ValueError(
                f"The image must be {(*self.image_size, 3)}, or of other channels, as the one that "
                f"was given to the model; got {image.shape}."
            )
        return display(image, pixel_range, channels)


def _image_size(size):
    height, width = (int(side) for side in size)
    if height < 1 or width < 1:
        raise ValueError(f"image_size must be (height, width), 1 or more each; got {size}.")
    return height, width


def _check_shapes(found):
    count = len(found.boxes)
    expected = {"boxes": (count, 4), "scores": (count,), "class_ids": (count,)}
    if found.track_ids is not None:
        expected["track_ids"] = (count,)
    for name, shape in expected.items():
        if getattr(found, name).shape != shape:
            got = getattr(found, name).shape
            raise ValueError(f"{name} must be {shape} for {count} detections, got shape {got}.")
    masks, runs = found.box_masks, found.mask_runs
    if runs is not None:
        if masks is not None or len(runs) != count:
            raise ValueError(f"mask_runs must be {count}, in place of box_masks; got {len(runs)}.")
        if any(np.ndim(of_mask) != 2 or np.shape(of_mask)[1] != 3 for of_mask in runs):
            raise ValueError("Each of mask_runs must be (k, 3): column, first row, row after it.")
    if masks is None:
        return
    if masks.ndim != 3 or len(masks) != count or masks.shape[1] != masks.shape[2]:
        raise ValueError(f"box_masks must be ({count}, m, m), got shape {masks.shape}.")
