"""Datasets in COCO's annotation format.

Its coordinates are ours: continuous pixels, a box [x, y, width, height] is xyxy [x, y, x + width,
y + height], and polygons lie as they are.
"""

import contextlib
import gc
import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from keras_maskrcnn.data.dataset import Dataset
from keras_maskrcnn.data.formats.shared.instances import make_instance, mender
from keras_maskrcnn.data.formats.shared.placing import place_images
from keras_maskrcnn.data.records import Contents, Instance, Problem, Record


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
        ('cat', 'dog')
    """

    def __init__(
        self,
        annotations: str | os.PathLike,
        images: str | os.PathLike,
        class_names: Sequence[str] | None = None,
    ):
        super().__init__(annotations, read_coco(annotations, images, class_names))


def read_coco(
    annotations: str | os.PathLike,
    images: str | os.PathLike,
    class_names: Sequence[str] | None = None,
) -> Contents:
    """What a COCO file holds; the arguments and errors are those of `CocoDataset`."""
    with _without_garbage_collection():
        return _read(os.fspath(annotations), os.fspath(images), class_names)


@contextlib.contextmanager
def _without_garbage_collection():
    """Makes millions of small objects in half the time; none of them is garbage."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _read(source, folder, class_names):
    content = _read_json(source)
    names, category_ids = _classes(content, class_names, source)
    problems: list[Problem] = []
    infos = _images(content, source, problems)
    instances = _instances_by_image(content, infos, category_ids, source, problems)
    records = []
    for where, info in infos.values():
        path = os.path.join(folder, info["file_name"])
        if os.path.isfile(path):
            size = info["height"], info["width"]
            records.append(Record(info["id"], path, *size, tuple(instances[info["id"]])))
        else:
            what = f"there is no image file {path}; the image is left out"
            problems.append(Problem(where, what, "image"))
    return Contents(records, names, problems, category_ids)


def write_coco(dataset: Dataset, folder: pathlib.Path, link: bool) -> dict[str, int]:
    """Writes `annotations.json` and `images/`; COCO's format holds everything."""
    content = dataset.to_coco()
    placed = place_images(dataset.records, folder / "images", link)
    for info, (_, name) in zip(content["images"], placed, strict=True):
        info["file_name"] = name
    (folder / "annotations.json").write_text(json.dumps(content) + "\n", encoding="utf-8")
    return {}


def _images(content, source, problems):
    """Where each entry of an image stands and what it is, by its id; bad ones are left out."""
    infos: dict[Any, tuple[str, dict]] = {}
    for index, info in enumerate(content["images"]):
        where = f"{source}: images[{index}]"
        try:
            _check_image(info)
            if info["id"] in infos:
                raise ValueError(f"has the id {info['id']!r} of {infos[info['id']][0]}")
            infos[info["id"]] = where, info
        except (ValueError, TypeError) as error:
            problems.append(Problem(where, f"{error}; the image is left out", "image"))
    return infos


def _check_image(info):
    if not isinstance(info, dict):
        raise ValueError(f"must be an object, got {info!r:.80}")
    missing = [key for key in ("id", "file_name", "height", "width") if key not in info]
    if missing:
        raise ValueError(f"has no {', '.join(missing)}")
    for key in ("height", "width"):
        if type(info[key]) is not int or info[key] < 1:
            raise ValueError(f"{key} must be a whole number of pixels, got {info[key]!r:.80}")
    if not isinstance(info["file_name"], str):
        raise ValueError(f"file_name must be a text, got {info['file_name']!r:.80}")


def _instances_by_image(content, infos, category_ids, source, problems):
    """The instances of each image; annotations of images that were left out go with them."""
    known = {category["id"] for category in content["categories"]}
    named = {info["id"] for info in content["images"] if _has_id(info)}
    class_ids = {category_id: i for i, category_id in enumerate(category_ids)}
    instances: dict[Any, list[Instance]] = {image_id: [] for image_id in infos}
    for index, annotation in enumerate(content["annotations"]):
        where = f"{source}: annotation at index {index}"
        try:
            if not isinstance(annotation, dict):
                raise ValueError(f"must be an object, got {annotation!r:.80}")
            where = f"{source}: annotation {annotation.get('id', f'at index {index}')}"
            category, image_id = annotation.get("category_id"), annotation.get("image_id")
            if category not in known:
                raise ValueError(f"unknown category id {category}")
            if image_id not in named:
                raise ValueError(f"unknown image id {image_id}")
            if category in class_ids and image_id in infos:
                info = infos[image_id][1]
                size = info["height"], info["width"]
                mended = mender(problems, where)
                instance = make_instance(annotation, class_ids[category], *size, mended)
                instances[image_id].append(instance)
        except (ValueError, TypeError) as error:
            problems.append(Problem(where, f"{error}; it is left out", "annotation"))
    return instances


def _has_id(info):
    return isinstance(info, dict) and isinstance(info.get("id"), int | str)


def _read_json(path):
    try:
        content = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a JSON file: {error}") from error
    parts = ("images", "annotations", "categories")
    if not isinstance(content, dict) or not all(isinstance(content.get(p), list) for p in parts):
        found = list(content) if isinstance(content, dict) else type(content).__name__
        raise ValueError(
            f"{path}: not a COCO annotation file: it needs the lists {', '.join(parts)}; "
            f"found {found}."
        )
    for index, category in enumerate(content["categories"]):
        if not isinstance(category, dict) or not {"id", "name"} <= category.keys():
            raise ValueError(f"{path}: categories[{index}] has no id or no name: {category!r:.80}")
    return content


def _classes(content, class_names, source):
    """Names and COCO ids of the classes, in the order of their class ids."""
    ids = {category["name"]: category["id"] for category in content["categories"]}
    if class_names is None:
        class_names = sorted(ids, key=ids.get)
    unknown = [name for name in class_names if name not in ids]
    if unknown:
        raise ValueError(f"{source}: no category {unknown[0]!r}; there are {', '.join(ids)}.")
    return tuple(class_names), tuple(ids[name] for name in class_names)
