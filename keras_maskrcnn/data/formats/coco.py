"""Datasets in COCO's annotation format.

Its coordinates are ours: continuous pixels, a box [x, y, width, height] is xyxy [x, y, x + width,
y + height], and polygons lie as they are.
"""

import contextlib
import gc
import json
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

from keras_maskrcnn.data.formats.shared.coco_folders import (
    NAMES,
    ImageFinder,
    annotation_files,
    image_folders,
)
from keras_maskrcnn.data.formats.shared.instances import make_instance, mender
from keras_maskrcnn.data.formats.shared.json_files import outer_keys, read_json
from keras_maskrcnn.data.formats.shared.placing import place_images
from keras_maskrcnn.data.records import AnnotatedImages, Contents, Instance, Problem, Record

NAME = "coco"
LISTS = ("images", "annotations", "categories")
LAYOUT = (
    f"a file (.json) of {', '.join(LISTS)}, or a folder with its {', '.join(NAMES)} or "
    "annotations/instances_*.json"
)


def recognise(path: pathlib.Path, images: pathlib.Path | None) -> pathlib.Path | None:
    """The JSON file, known by its lists, or the one in a folder; the folder if it has several."""
    if path.is_dir():
        files = [file for file in annotation_files(path) if _is_coco(file)]
        return path if len(files) > 1 else next(iter(files), None)
    return path if path.suffix == ".json" and path.is_file() and _is_coco(path) else None


def read(
    path: str | os.PathLike,
    images: str | os.PathLike | None = None,
    class_names: Sequence[str] | None = None,
) -> Contents:
    """What a COCO JSON file of instances holds.

    Args:
        path: The file; or the folder of one, as `shared.coco_folders` says where tools put it.
        images: The folder of the image files that it names; if None, where the tool that wrote it
            puts them: `images/` or `data/` beside it, its own folder, and so on.
        class_names: The categories to keep, in the order of their class ids; all of them, in the
            order of their COCO ids, if None.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no COCO file, or has no category of that name; or it is a folder of
            several, splits say, which the message names.
    """
    path = _only_file(pathlib.Path(path))
    folders = image_folders(path) if images is None else [images]
    with _without_garbage_collection():
        return _read(path, folders, class_names)


def _only_file(path):
    if not path.is_dir():
        return path
    files = [file for file in annotation_files(path) if _is_coco(file)]
    if len(files) != 1:
        found = "".join(f"\n  {file}" for file in files) or f" none ({', '.join(NAMES)})"
        raise ValueError(f"{path}: open one of its COCO files; there are{found}")
    return files[0]


def _is_coco(file):
    return bool(outer_keys(file)[0].intersection(LISTS))


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


def _read(source, folders, class_names):
    content = _read_content(source)
    names, category_ids = _classes(content, class_names, source)
    problems: list[Problem] = []
    infos = _images(content, source, problems)
    instances = _instances_by_image(content, infos, category_ids, source, problems)
    finder = ImageFinder(folders, (info["file_name"] for _, info in infos.values()))
    records = []
    for where, info in infos.values():
        path = finder.find(info["file_name"])
        if path is not None:
            size = info["height"], info["width"]
            records.append(Record(info["id"], path, *size, tuple(instances[info["id"]])))
        else:
            what = f"there is no image file {finder.describe(info['file_name'])}"
            problems.append(Problem(where, f"{what}; the image is left out", "image"))
    return Contents(records, names, problems, category_ids)


def write(dataset: AnnotatedImages, folder: pathlib.Path, link_images: bool) -> dict[str, int]:
    """Writes `annotations.json` and `images/`; COCO's format holds everything."""
    content = coco_content(dataset.records, dataset.class_names, dataset.category_ids)
    placed = place_images(dataset.records, folder / "images", link_images)
    for info, (_, name) in zip(content["images"], placed, strict=True):
        info["file_name"] = name
    (folder / NAMES[0]).write_text(json.dumps(content) + "\n", encoding="utf-8")
    return {}


def coco_content(
    records: Iterable[Record], class_names: Sequence[str], category_ids: Sequence[int]
) -> dict[str, list[dict[str, Any]]]:
    """Records as the content of a COCO file; its images have no `file_name`.

    Args:
        records: Images and their objects; they are gone through once.
        class_names: The name of each class id.
        category_ids: The COCO id of each class id.
    """
    images, annotations = [], []
    for record in records:
        images.append({"id": record.image_id, "height": record.height, "width": record.width})
        for instance in record.instances:
            x0, y0, x1, y1 = instance.box
            annotation = {
                "id": len(annotations) + 1,  # an id of 0 would never match
                "image_id": record.image_id,
                "category_id": category_ids[instance.class_id],
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "area": instance.area,
                "iscrowd": int(instance.crowd),
            }
            if instance.segmentation is not None:
                annotation["segmentation"] = instance.segmentation
            annotations.append(annotation)
    categories = [
        {"id": category_id, "name": name}
        for category_id, name in zip(category_ids, class_names, strict=True)
    ]
    return {"images": images, "annotations": annotations, "categories": categories}


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


def _read_content(path):
    content = read_json(path)
    if not isinstance(content, dict) or not all(isinstance(content.get(p), list) for p in LISTS):
        found = list(content) if isinstance(content, dict) else type(content).__name__
        raise ValueError(
            f"{path}: not a COCO annotation file: it needs the lists {', '.join(LISTS)}; "
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
