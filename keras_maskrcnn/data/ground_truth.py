"""Records as COCO's annotation files have them."""

from collections.abc import Iterable, Sequence
from typing import Any

from keras_maskrcnn.data.records import Record


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
