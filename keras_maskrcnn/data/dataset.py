"""Annotated images of any format."""

import contextlib
import io
import os
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from pycocotools.coco import COCO

from keras_maskrcnn.config import NO_CLASS, MaskRCNNConfig
from keras_maskrcnn.data.formats import coco, labelme, mask_png, via, voc
from keras_maskrcnn.data.masks import decode_mask
from keras_maskrcnn.data.pipeline import Augment, ListedItems, make_batches
from keras_maskrcnn.data.problems import ProblemLog, listed, nothing_to_train_on, opening_advice
from keras_maskrcnn.data.records import Contents, Lost, Problem, load_image


class Dataset:
    """Images and the objects annotated in them.

    `CocoDataset(annotations, images)` opens COCO's format, the constructors `from_...` the others.

    Args:
        source: The file or folder that it was read from, for messages.
        contents: What a reader found there.

    Attributes:
        records: One `Record` an image that there is a file for.
        class_names: The name of each class id.
        category_ids: The COCO id of each class id.
        source: As given.

    Raises:
        ValueError: There is no image that can be used.

    Example:
        >>> dataset = Dataset.from_labelme("annotated/")
        >>> dataset.class_names
        ('cross', 'ring', 'star')
    """

    def __init__(self, source: str | os.PathLike, contents: Contents):
        self.source = os.fspath(source)
        self.records = contents.records
        self.class_names = tuple(contents.class_names)
        ids = contents.category_ids or range(1, len(self.class_names) + 1)
        self.category_ids = tuple(ids)
        annotations = contents.annotations
        if annotations is None:
            annotations = sum(len(record.instances) for record in self.records)
        self._log = ProblemLog(self.source, len(self.records), annotations, contents.problems)
        if not len(self.records):
            number = self._log.counts()["image"][1]
            raise ValueError(
                f"{self.source}: none of its {number} images is usable.\n{self.problem_report()}"
            )

    @staticmethod
    def from_labelme(
        folder: str | os.PathLike, class_names: Sequence[str] | None = None
    ) -> "Dataset":
        """A folder of LabelMe's JSON files; see `data.formats.labelme.read`."""
        return Dataset(folder, labelme.read(folder, None, class_names))

    @staticmethod
    def from_via(
        annotations: str | os.PathLike,
        images: str | os.PathLike | None = None,
        class_names: Sequence[str] | None = None,
        class_attribute: str | None = None,
    ) -> "Dataset":
        """A JSON file of the VGG Image Annotator; see `data.formats.via.read`."""
        return Dataset(annotations, via.read(annotations, images, class_names, class_attribute))

    @staticmethod
    def from_voc(
        root: str | os.PathLike,
        split: str | None = None,
        class_names: Sequence[str] | None = None,
    ) -> "Dataset":
        """Pascal VOC's instance PNGs; see `data.formats.voc.read`."""
        path = root if split is None else os.path.join(root, *voc.SPLITS, f"{split}.txt")
        return Dataset(root, voc.read(path, None, class_names))

    @staticmethod
    def from_mask_pngs(
        images: str | os.PathLike, masks: str | os.PathLike, class_name: str = "object"
    ) -> "Dataset":
        """Images and PNGs that number the objects in them; see `data.formats.mask_png.read`."""
        return Dataset(masks, mask_png.read(masks, images, (class_name,)))

    def __len__(self) -> int:
        return len(self.records)

    @property
    def problems(self) -> list[Problem]:
        """What had to be passed over or mended; grows while images are read."""
        return list(self._log)

    @property
    def max_broken(self) -> float:
        """The share of the images, or of the annotations, that may be unusable: 0.1.

        Once more than it (and more than five) cannot be used, `batches`, `ground_truth` and
        reading raise a ValueError that lists them. Set it to 1 to go on whatever happens.
        """
        return self._log.max_broken

    @max_broken.setter
    def max_broken(self, share: float) -> None:
        self._log.max_broken = share

    def note(self, where: str, what: str, lost: Lost | None = None) -> None:
        """Adds a problem to the list, once.

        Args:
            where: The file, and the image or annotation in it.
            what: What is wrong with it.
            lost: `"image"` or `"annotation"` if that cannot be used for it.

        Raises:
            ValueError: With it, more than `max_broken` cannot be used.
        """
        self._log.add(Problem(where, what, lost))

    def broken(self) -> dict[str, tuple[int, int]]:
        """How many cannot be used, and of how many, for `"image"` and for `"annotation"`."""
        return self._log.counts()

    def problem_report(self, most: int = 10) -> str:
        """The number of problems and the first of them, a line each."""
        return self._log.report(most)

    def batches(
        self,
        config: MaskRCNNConfig,
        batch_size: int = 1,
        training: bool = False,
        seed: int = 0,
        augmentation: Augment | None = None,
        start: int = 0,
        crop_size: int | None = None,
    ) -> tf.data.Dataset:
        """Batches `(x, y)` as the model takes them; see `data.pipeline.make_batches`.

        Warns where there is no object to train on.

        Raises:
            ValueError: More than `max_broken` cannot be used, or a class id means one thing here
                and another to the model.
        """
        self._log.check()
        self.check_classes(config)
        nothing = nothing_to_train_on(self.source, self.records) if training else None
        if nothing:
            warnings.warn(nothing, stacklevel=2)
        items = ListedItems(self.records)
        how = batch_size, training, seed, augmentation, start, crop_size
        return make_batches(items, self, config, *how)

    def check_classes(self, config: MaskRCNNConfig) -> None:
        """Refuses a model to which a class id means another class than here.

        It may have further classes; one whose config has no `class_names` takes any.

        Raises:
            ValueError: With the classes of both, and what to do.

        Example:
            >>> config = MaskRCNNConfig(num_classes=3, class_names=["cross", "ring", "star"])
            >>> Dataset.from_labelme("annotated/").check_classes(config)
        """
        names = config.class_names or self.class_names
        if self.class_names == names[: config.num_classes][: len(self.class_names)]:
            return
        kept = tuple(name for name in config.class_names if name != NO_CLASS)
        # With room between the classes no dataset has the model's ids.
        can_open = kept and kept == config.class_names[: len(kept)]
        opening = (
            f"Open it with {opening_advice(config.class_names)}, or make" if can_open else "Make"
        )
        raise ValueError(
            f"{self.source} has the classes {listed(self.class_names)}, the model "
            f"(num_classes={config.num_classes}) {listed(config.class_names) or 'no names'}: ids "
            f"would mean other classes. {opening} the model with "
            "num_classes=len(dataset.class_names), class_names=dataset.class_names."
        )

    def example(self, index: int) -> dict[str, np.ndarray]:
        """One record at full size, to look at.

        Returns:
            `image` (H, W, 3) uint8 RGB, of other channels as `data.stored.display` shows them;
            `boxes` (n, 4) xyxy pixels, `class_ids` (n,), and `masks` (n, H, W) bool, crowds left
            out.

        Raises:
            FileNotFoundError: There is no such image file.
            ValueError: The image cannot be read, or a mask not be decoded.
        """
        record = self.records[index]
        image = load_image(record)
        instances = [instance for instance in record.instances if not instance.crowd]
        masks = np.zeros((len(instances), record.height, record.width), bool)
        for mask, instance in zip(masks, instances, strict=True):
            if instance.segmentation is not None:
                mask[:] = decode_mask(instance.segmentation, record.height, record.width)
        return {
            "image": image,
            "boxes": np.array([i.box for i in instances], np.float32).reshape(-1, 4),
            "class_ids": np.array([i.class_id for i in instances], np.int32),
            "masks": masks,
        }

    def to_coco(self) -> dict[str, list[dict[str, Any]]]:
        """The records as the content of a COCO file; see `data.formats.coco.coco_content`."""
        return coco.coco_content(self.records, self.class_names, self.category_ids)

    def ground_truth(self) -> COCO:
        """The records as a pycocotools `COCO`, for the official evaluation.

        Raises:
            ValueError: More than `max_broken` cannot be used.
        """
        self._log.check()
        truth = COCO()
        truth.dataset = self.to_coco()
        with contextlib.redirect_stdout(io.StringIO()):
            truth.createIndex()
        return truth


class CocoDataset(Dataset):
    """A COCO JSON file of instances and its images.

    Args:
        annotations: The file.
        images: The folder of the image files that it names.
        class_names: The categories to keep, in the order of their class ids; all of them, in the
            order of their COCO ids, if None.

    Raises:
        FileNotFoundError: There is no such annotation file.
        ValueError: It is no COCO file, or no image of it is there.

    Example:
        >>> dataset = CocoDataset("train.json", "images/")
        >>> dataset.class_names
        ('ring', 'star', 'cross')
    """

    def __init__(
        self,
        annotations: str | os.PathLike,
        images: str | os.PathLike,
        class_names: Sequence[str] | None = None,
    ):
        super().__init__(annotations, coco.read(annotations, images, class_names))
