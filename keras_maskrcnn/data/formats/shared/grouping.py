"""From shapes drawn one by one to objects: what LabelMe, VIA and the like share."""

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from keras_maskrcnn.data.formats.shared.instances import make_instance, mender
from keras_maskrcnn.data.records import Contents, Instance, Problem, Record

# The shapes of each object with their names, "shapes[3]", by its class and its group.
Objects = dict[tuple[str, tuple], list[tuple[str, dict]]]
# Polygons or an RLE, as in `Instance`, of the shapes of an object in an image of (height, width).
Segment = Callable[[list[dict], tuple[int, int]], list[list[float]] | dict[str, Any]]


class DrawnImage(NamedTuple):
    """An image and the shapes that are drawn in it.

    Args:
        where: What problems are said of: the file, and the image's place in it.
        name: What the annotation ids begin with.
        path: Of the image file.
        size: Its height and width in pixels.
        objects: The shapes of each object, as `group_shapes` gives them.
        encoded: The bytes of the image file, where there is none at `path`.
    """

    where: str
    name: str
    path: str
    size: tuple[int, int]
    objects: Objects
    encoded: bytes | None = None


def group_shapes(
    shapes: Iterable[Any],
    kind: str,
    where: str,
    describe: Callable[[dict], tuple[str, Any] | None],
    problems: list[Problem],
) -> Objects:
    """Brings together the shapes that are the parts of one object.

    Args:
        shapes: As the file has them.
        kind: The name of their list in the file.
        where: As in `DrawnImage`.
        describe: Gives the class of a shape, and what the parts of its object have in common, None
            if it is alone; or None, if the shape stands for no object; raises a ValueError if it
            has no class.
        problems: Gets the shapes that are left out.
    """
    objects: Objects = {}
    for index, shape in enumerate(shapes):
        name = f"{kind}[{index}]"
        try:
            if not isinstance(shape, dict):
                raise ValueError(f"must be an object, got {shape!r:.80}")
            described = describe(shape)
            if described is None:
                continue
            label, group = described
            key = label, ("alone", index) if group is None else ("group", str(group))
            objects.setdefault(key, []).append((name, shape))
        except ValueError as error:
            what = f"{error}; it is left out"
            problems.append(Problem(f"{where} {name}", what, "annotation"))
    return objects


def labels_of(images: Iterable[DrawnImage]) -> set[str]:
    """The classes that occur."""
    return {label for image in images for label, _ in image.objects}


def choose_classes(
    labels: set[str], class_names: Sequence[str] | None, source: str | os.PathLike
) -> tuple[str, ...]:
    """The classes of a format that has no list of them.

    Args:
        labels: Those that occur.
        class_names: Those to keep, in their order; all that occur, sorted, if None.
        source: The file or folder, for the message.

    Raises:
        ValueError: None of `class_names` occurs.
    """
    if class_names is None:
        return tuple(sorted(labels))
    if labels and not labels & set(class_names):
        raise ValueError(
            f"{os.fspath(source)}: no object of {', '.join(class_names)}; there are "
            f"{', '.join(sorted(labels))}."
        )
    return tuple(class_names)


def choose_listed_classes(
    listed: Iterable[str],
    labels: set[str],
    class_names: Sequence[str] | None,
    source: str | os.PathLike,
) -> tuple[str, ...]:
    """The classes of a format that has a list of them; those that are missing there come last.

    Args:
        listed: The list, in its order.
        labels: Those that occur.
        class_names: Those to keep, in their order; all if None.
        source: The file or folder, for the message.

    Raises:
        ValueError: One of `class_names` is neither listed nor occurs.
    """
    known = dict.fromkeys([*listed, *sorted(labels)])
    if class_names is None:
        return tuple(known)
    unknown = [name for name in class_names if name not in known]
    if unknown:
        raise ValueError(
            f"{os.fspath(source)}: no class {unknown[0]!r}; there are {', '.join(known)}."
        )
    return tuple(class_names)


def contents_of(
    images: Iterable[DrawnImage],
    class_names: Sequence[str],
    segment: Segment,
    problems: list[Problem],
) -> Contents:
    """The records of drawn images, numbered from 1.

    Args:
        images: With the shapes of their objects.
        class_names: The classes to keep, in the order of their class ids.
        segment: Gives the segmentation of an object; raises a ValueError, TypeError or KeyError if
            it has none.
        problems: Gets what is left out or mended, and goes along.
    """
    class_ids = {name: i for i, name in enumerate(class_names)}
    records = [
        Record(
            image_id=number,
            path=image.path,
            height=image.size[0],
            width=image.size[1],
            instances=_instances(image, class_ids, segment, problems),
            encoded=image.encoded,
        )
        for number, image in enumerate(images, 1)
    ]
    return Contents(records, class_names, problems)


def _instances(image, class_ids, segment, problems) -> tuple[Instance, ...]:
    instances = []
    for (label, _), shapes in image.objects.items():
        if label not in class_ids:
            continue
        first = shapes[0][0]
        where = f"{image.where} {first}"
        try:
            annotation = {
                "id": f"{image.name} {first}",
                "segmentation": segment([shape for _, shape in shapes], image.size),
            }
            mended = mender(problems, where, annotation["id"])
            instances.append(make_instance(annotation, class_ids[label], *image.size, mended))
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            problems.append(Problem(where, f"{error}; it is left out", "annotation"))
    return tuple(instances)
