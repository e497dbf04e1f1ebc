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
from typing import Any, NamedTuple

from keras_maskrcnn.data.formats.shared.coco_folders import NAMES, annotation_files, image_folders
from keras_maskrcnn.data.formats.shared.finding import ImageFinder
from keras_maskrcnn.data.formats.shared.instances import make_instance, mender
from keras_maskrcnn.data.formats.shared.json_files import outer_keys, read_json
from keras_maskrcnn.data.formats.shared.placing import check_class_names, place_images
from keras_maskrcnn.data.formats.shared.values import class_name, identity, pixels
from keras_maskrcnn.data.images import image_size
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
            order of their COCO ids, if None. Categories of one name are one class.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no COCO file, has no category of that name, or has two of one id; or it
            is a folder of several, splits say, which the message names.
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
    problems: list[Problem] = []
    categories = _categories(content, source)
    ids = _ids_by_name(categories, source, problems)
    names = _class_names(class_names, categories, ids, source)
    class_ids = {key: class_id for class_id, name in enumerate(names) for key in ids[name]}
    images = _images(content, folders, source, problems)
    instances, used = _instances_by_image(content, images, categories, class_ids, source, problems)
    if class_names is None:
        problems += _roots(content, categories, used, source)
    category_ids = _category_ids(names, ids, used, source, problems)
    record_ids = _record_ids(images)
    records = [
        Record(record_ids[key], image.path, *image.size, tuple(instances[key]))
        for key, image in images.items()
        if image.path is not None
    ]
    return Contents(records, names, problems, category_ids)


def write(dataset: AnnotatedImages, folder: pathlib.Path, link_images: bool) -> dict[str, int]:
    """Writes `annotations.json` and `images/`; COCO's format holds everything.

    Raises:
        ValueError: A class has a name that is not read again.
    """
    check_class_names(dataset.class_names, "a COCO file")
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


class _Image(NamedTuple):
    """An entry of an image: its id as it is written, its file, and its (height, width).

    File and size are None where it has to be left out.
    """

    id: int | float | str
    path: str | None = None
    size: tuple[int, int] | None = None


def _images(content, folders, source, problems):
    """The images by the ids that they are compared by; entries without one are not among them."""
    entries: dict[int | str, tuple[str, dict]] = {}
    for index, info in enumerate(content["images"]):
        where = f"{source}: images[{index}]"
        try:
            key = _image_key(info)
            if key in entries:
                raise ValueError(f"has the id {info['id']!r} of {entries[key][0]}")
            entries[key] = where, info
        except ValueError as error:
            problems.append(Problem(where, f"{error}; the image is left out", "image"))
    names = (info.get("file_name") for _, info in entries.values())
    finder = ImageFinder(folders, (name for name in names if isinstance(name, str)))
    images = {}
    for key, (where, info) in entries.items():
        try:
            images[key] = _Image(info["id"], *_picture(info, finder))
        except (ValueError, OSError) as error:
            problems.append(Problem(where, f"{error}; the image is left out", "image"))
            images[key] = _Image(info["id"])
    return images


def _image_key(info):
    if not isinstance(info, dict):
        raise ValueError(f"must be an object, got {info!r:.80}")
    if "id" not in info:
        raise ValueError("has no id")
    return identity(info["id"], "id")


def _picture(info, finder):
    """The file of an image and its (height, width), from its header where they are missing."""
    name = info.get("file_name")
    if not isinstance(name, str):
        raise ValueError(f"file_name must be a text, got {name!r:.80}")
    height, width = info.get("height"), info.get("width")
    size = (
        None if height is None else pixels(height, "height"),
        None if width is None else pixels(width, "width"),
    )
    path = finder.find(name)
    if path is None:
        raise ValueError(f"there is no image file {finder.describe(name)}")
    return path, image_size(path) if None in size else size


def _record_ids(images):
    """The ids of the records: as they are written, or of one type where these are not."""
    if all(isinstance(image.id, str) for image in images.values()):
        return {key: image.id for key, image in images.items()}
    whole = all(isinstance(key, int) for key in images)
    return {key: key if whole else str(key) for key in images}


def _instances_by_image(content, images, categories, class_ids, source, problems):
    """The instances of each image, and the ids of the categories that annotations have.

    Annotations of images that were left out go with them.
    """
    instances: dict[int | str, list[Instance]] = {key: [] for key in images}
    used = set()
    for index, annotation in enumerate(content["annotations"]):
        where = f"{source}: annotation at index {index}"
        try:
            if not isinstance(annotation, dict):
                raise ValueError(f"must be an object, got {annotation!r:.80}")
            where = f"{source}: annotation {annotation.get('id', f'at index {index}')}"
            category = identity(annotation.get("category_id"), "category_id")
            key = identity(annotation.get("image_id"), "image_id")
            if category not in categories:
                raise ValueError(f"unknown category id {category}")
            if key not in images:
                raise ValueError(f"unknown image id {key}")
            used.add(category)
            size = images[key].size
            if category in class_ids and size is not None:
                mended = mender(problems, where, annotation.get("id"))
                instance = make_instance(annotation, class_ids[category], *size, mended)
                instances[key].append(instance)
        except (ValueError, TypeError) as error:
            problems.append(Problem(where, f"{error}; it is left out", "annotation"))
    return instances, used


def _read_content(path):
    content = read_json(path)
    if not isinstance(content, dict) or not all(isinstance(content.get(p), list) for p in LISTS):
        found = list(content) if isinstance(content, dict) else type(content).__name__
        raise ValueError(
            f"{path}: not a COCO annotation file: it needs the lists {', '.join(LISTS)}; "
            f"found {found}."
        )
    return content


def _categories(content, source):
    """The name of each category by the id that it is compared by."""
    names: dict[int | str, str] = {}
    for index, category in enumerate(content["categories"]):
        where = f"{source}: categories[{index}]"
        if not isinstance(category, dict) or not {"id", "name"} <= category.keys():
            raise ValueError(f"{where} has no id or no name: {category!r:.80}")
        try:
            key, name = identity(category["id"], "id"), class_name(category["name"], "name")
        except ValueError as error:
            raise ValueError(f"{where}: {error}.") from error
        if names.setdefault(key, name) != name:
            raise ValueError(
                f"{where}: {name!r} has the id {key!r} of {names[key]!r}: give each category an id "
                "of its own."
            )
    return names


def _ids_by_name(categories, source, problems):
    """The ids of the categories of each name, in the order of the ids; more than one are said."""
    whole = all(isinstance(key, int) for key in categories)
    ids: dict[str, list[int | str]] = {}
    for key in sorted(categories) if whole else categories:
        ids.setdefault(categories[key], []).append(key)
    for name, keys in ids.items():
        if len(keys) > 1:
            what = f"the ids {', '.join(map(str, keys))} are all {name!r}: they become one class"
            problems.append(Problem(f"{source}: categories", what))
    return ids


def _class_names(class_names, categories, ids, source):
    """The names of the classes, in the order of their class ids."""
    if class_names is None:
        return tuple(ids)
    unknown = [name for name in class_names if name not in ids]
    if unknown:
        there = ", ".join(dict.fromkeys(categories.values()))
        raise ValueError(f"{source}: no category {unknown[0]!r}; there are {there}.")
    return tuple(class_names)


def _category_ids(names, ids, used, source, problems):
    """The COCO id of each class, the one that annotations have; None where some are no numbers."""
    chosen = [next((key for key in ids[name] if key in used), ids[name][0]) for name in names]
    if all(isinstance(key, int) for key in chosen):
        return tuple(chosen)
    what = f"ids that are no whole numbers ({', '.join(map(repr, chosen))}); results number them"
    problems.append(Problem(f"{source}: categories", f"{what} 1, 2, ... in this order"))
    return None


def _roots(content, categories, used, source):
    """Categories that are there to group others only, as Roboflow writes one into each file."""
    for index, category in enumerate(content["categories"]):
        key = identity(category["id"], "id")
        others = (other for other in content["categories"] if other is not category)
        supercategories = {str(other.get("supercategory")) for other in others}
        if key not in used and categories[key] in supercategories:
            what = (
                f"{categories[key]!r} is the supercategory of others and no annotation has it, but "
                "it is a class all the same; to do without, take it out of the file or choose "
                "class_names"
            )
            yield Problem(f"{source}: categories[{index}]", what)
