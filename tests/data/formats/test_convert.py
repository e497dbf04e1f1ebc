"""The bar of all formats: the same shapes give the same batches, whatever they are written in."""

import base64
import io
import json
import zlib

import numpy as np
import PIL.Image
import pytest

import keras_maskrcnn as km
from keras_maskrcnn.data import open_dataset
from keras_maskrcnn.data.formats.convert import WRITERS as WRITTEN
from keras_maskrcnn.data.formats.convert import convert
from keras_maskrcnn.data.masks import decode_mask

SIZE = 128
NAMES = ("bolt", "nut")
# Boxes with sides of 28 and 56 pixels, so that the cells of 28 x 28 masks begin where pixels do:
# polygons, which are filled in their box, and pixels, which are resampled, then agree exactly.
ELL = [(0, 0), (28, 0), (28, 12), (14, 12), (14, 28), (0, 28)]
TEE = [(0, 0), (56, 0), (56, 16), (36, 16), (36, 28), (20, 28), (20, 16), (0, 16)]
SQUARE = [(0, 0), (28, 0), (28, 28), (0, 28)]


def draw_pictures():
    """Per picture: pixels, and the class and polygons of each object; none overlap."""
    for number in range(6):
        rng = np.random.default_rng(number)
        image = rng.integers(0, 256, (SIZE, SIZE + 32, 3), np.uint8)
        objects = []
        for place, outline in zip([(4, 6), (60, 10), (30, 70)], (ELL, TEE, SQUARE), strict=True):
            corner = np.array(place) + rng.integers(0, 4, 2)
            objects.append((int(rng.integers(2)), [(corner + outline).tolist()]))
        # One object of two parts, which together have a box of 56 x 28.
        corner = np.array([90, 80]) + rng.integers(0, 4, 2)
        parts = [(np.array(SQUARE) * (0.5, 1) + corner + (x, 0)).tolist() for x in (0, 42)]
        objects.append((1, parts))
        yield f"{number:03}", image, objects[: number + 1] if number < 4 else objects


@pytest.fixture(scope="module")
def pictures():
    return list(draw_pictures())


@pytest.fixture(scope="module")
def images(pictures, tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for name, image, _ in pictures:
        PIL.Image.fromarray(image).save(folder / f"{name}.png")
    return folder


def write_coco(folder, pictures, images):
    content = {"images": [], "annotations": []}
    content["categories"] = [{"id": i + 3, "name": name} for i, name in enumerate(NAMES)]
    for name, image, objects in pictures:
        height, width = image.shape[:2]
        info = {"id": int(name), "file_name": f"{name}.png", "height": height, "width": width}
        content["images"].append(info)
        for class_id, parts in objects:
            points = np.concatenate(parts)
            low, high = points.min(0), points.max(0)
            entry = {
                "id": len(content["annotations"]) + 1,
                "image_id": int(name),
                "category_id": class_id + 3,
                "bbox": [*low.tolist(), *(high - low).tolist()],
                "segmentation": [np.ravel(part).tolist() for part in parts],
            }
            content["annotations"].append(entry)
    (folder / "coco.json").write_text(json.dumps(content))
    return km.data.CocoDataset(folder / "coco.json", images)


def write_labelme(folder, pictures, images):
    for name, _, objects in pictures:
        shapes = [
            {
                "label": NAMES[class_id],
                "points": part,
                "group_id": number if len(parts) > 1 else None,
                "shape_type": "polygon",
                "flags": {},
            }
            for number, (class_id, parts) in enumerate(objects)
            for part in parts
        ]
        content = {"version": "5.0.1", "flags": {}, "shapes": shapes, "imageData": None}
        content["imagePath"] = f"..\\{images.name}\\{name}.png"
        (folder / f"{name}.json").write_text(json.dumps(content))
    return km.data.CocoDataset.from_labelme(folder)


def write_via(folder, pictures, images, version):
    entries = {}
    for name, _, objects in pictures:
        regions = []
        for number, (class_id, parts) in enumerate(objects):
            attributes = {"name": NAMES[class_id]}
            if len(parts) > 1:
                attributes["group_id"] = number
            for part in parts:
                x, y = np.transpose(part).tolist()
                shape = {"name": "polygon", "all_points_x": x, "all_points_y": y}
                regions.append({"shape_attributes": shape, "region_attributes": attributes})
        if version == 1:
            regions = {str(i): region for i, region in enumerate(regions)}
        entry = {"filename": f"{name}.png", "size": 1, "regions": regions, "file_attributes": {}}
        entries[f"{name}.png1"] = entry
    content = entries if version == 1 else {"_via_settings": {}, "_via_img_metadata": entries}
    (folder / "via.json").write_text(json.dumps(content))
    return km.data.Dataset.from_via(folder / "via.json", images)


def numbered(image, objects):
    """Each pixel's object and class, by the polygons' corners, which are those of pixels."""
    numbers, classes = np.zeros((2, *image.shape[:2]), np.uint8)
    for number, (class_id, parts) in enumerate(objects, 1):
        polygons = [np.ravel(part).astype(float).tolist() for part in parts]
        mask = decode_mask(polygons, *image.shape[:2]) > 0
        assert not numbers[mask].any()
        numbers[mask], classes[mask] = number, class_id + 1
    return numbers, classes


def write_voc(folder, pictures, images):
    (folder / "JPEGImages").symlink_to(images)
    for part in ("SegmentationObject", "SegmentationClass", "ImageSets/Segmentation"):
        (folder / part).mkdir(parents=True)
    for name, image, objects in pictures:
        parts = ("SegmentationObject", "SegmentationClass")
        for part, values in zip(parts, numbered(image, objects), strict=True):
            picture = PIL.Image.fromarray(values)
            picture.putpalette(np.random.default_rng(0).integers(0, 256, 768).tolist())
            picture.save(folder / part / f"{name}.png")
    (folder / "class_names.txt").write_text("__ignore__\n_background_\nbolt\nnut\n")
    names = "".join(f"{name}\n" for name, *_ in pictures)
    (folder / "ImageSets/Segmentation/train.txt").write_text(names)
    return km.data.Dataset.from_voc(folder, "train")


def write_mask_pngs(folder, pictures, images):
    for name, image, objects in pictures:
        numbers, _ = numbered(image, objects)
        PIL.Image.fromarray(numbers).save(folder / f"{name}_mask.png")
    return km.data.Dataset.from_mask_pngs(images, folder, "thing")


def write_yolo(folder, pictures, images):
    (folder / "images").symlink_to(images)
    (folder / "labels").mkdir()
    for name, image, objects in pictures:
        rows = []
        for class_id, parts in objects:
            first, *others = map(np.array, parts)
            # To each other part and back, along one line.
            cuts = [np.concatenate([other, other[:1], first[:1]]) for other in others]
            points = np.concatenate([first, first[:1], *cuts]) / (image.shape[1], image.shape[0])
            rows.append(f"{class_id} {' '.join(map(str, points.ravel()))}\n")
        (folder / "labels" / f"{name}.txt").write_text("".join(rows))
    (folder / "data.yaml").write_text("path: .\ntrain: images\nnames: {0: bolt, 1: nut}\n")
    return open_dataset(folder)


def cvat_polygons(image, class_id, parts, number):
    texts = [";".join(f"{x},{y}" for x, y in part) for part in parts]
    group = f'group_id="{number}"' if len(parts) > 1 else ""
    return "".join(
        f'<polygon label="{NAMES[class_id]}" points="{text}" {group}/>' for text in texts
    )


def cvat_mask(image, class_id, parts, number):
    mask = numbered(image, [(class_id, parts)])[0]
    points = np.concatenate(parts).astype(int)
    low, high = points.min(0), points.max(0)
    runs, values = [0], mask[low[1] : high[1], low[0] : high[0]].ravel().tolist()
    for before, value in zip([0, *values], values, strict=False):
        runs += [0] if before != value else []
        runs[-1] += 1
    width, height = high - low
    return (
        f'<mask label="{NAMES[class_id]}" rle="{", ".join(map(str, runs))}" left="{low[0]}" '
        f'top="{low[1]}" width="{width}" height="{height}"/>'
    )


def write_cvat(folder, pictures, images, shape):
    elements = []
    for index, (name, image, objects) in enumerate(pictures):
        height, width = image.shape[:2]
        attributes = f'id="{index}" name="{name}.png" width="{width}" height="{height}"'
        shapes = (shape(image, *parts, number) for number, parts in enumerate(objects, 1))
        elements.append(f"<image {attributes}>{''.join(shapes)}</image>")
    labels = "".join(f"<label><name>{name}</name></label>" for name in NAMES)
    meta = f"<meta><project><labels>{labels}</labels></project></meta>"
    text = f"<annotations><version>1.1</version>{meta}{''.join(elements)}</annotations>"
    (folder / "annotations.xml").write_text(text)
    return open_dataset(folder, images)


def write_voc_colours(folder, pictures, images):
    colours = np.array([(0, 0, 0), (250, 50, 83), (61, 61, 245)], np.uint8)
    for part in ("SegmentationObject", "SegmentationClass"):
        (folder / part).mkdir(parents=True)
    for name, image, objects in pictures:
        numbers, classes = numbered(image, objects)
        # Objects numbered in any order must come in one, so the same colours as VOC's numbers.
        shades = np.stack([numbers, numbers, 7 * numbers], 2)
        PIL.Image.fromarray(shades).save(folder / "SegmentationObject" / f"{name}.png")
        PIL.Image.fromarray(colours[classes]).save(folder / "SegmentationClass" / f"{name}.png")
    (folder / "labelmap.txt").write_text("background:0,0,0::\nbolt:250,50,83::\nnut:61,61,245::\n")
    return open_dataset(folder, images)


def write_supervisely(folder, pictures, images):
    for part in ("ann", "img"):
        (folder / "set" / part).mkdir(parents=True)
    for name, image, objects in pictures:
        figures = []
        for class_id, parts in objects:
            data = io.BytesIO()
            PIL.Image.fromarray(numbered(image, [(class_id, parts)])[0]).save(data, "PNG")
            text = base64.b64encode(zlib.compress(data.getvalue())).decode()
            figure = {"classTitle": NAMES[class_id], "geometryType": "bitmap"}
            figures.append({**figure, "bitmap": {"data": text, "origin": [0, 0]}})
        height, width = image.shape[:2]
        content = {"size": {"height": height, "width": width}, "objects": figures}
        (folder / "set/ann" / f"{name}.png.json").write_text(json.dumps(content))
    meta = {"classes": [{"title": name, "shape": "bitmap"} for name in NAMES]}
    (folder / "meta.json").write_text(json.dumps(meta))
    return open_dataset(folder, images)


WRITERS = {
    "yolo": write_yolo,
    "cvat polygons": lambda *args: write_cvat(*args, shape=cvat_polygons),
    "cvat masks": lambda *args: write_cvat(*args, shape=cvat_mask),
    "voc colours": write_voc_colours,
    "supervisely": write_supervisely,
    "labelme": write_labelme,
    "via 1": lambda *args: write_via(*args, version=1),
    "via 2": lambda *args: write_via(*args, version=2),
    "voc": write_voc,
    "mask png": write_mask_pngs,
}


@pytest.fixture(scope="module")
def coco(pictures, images, tmp_path_factory):
    return write_coco(tmp_path_factory.mktemp("coco"), pictures, images)


@pytest.fixture(scope="module")
def config():
    return km.MaskRCNNConfig(image_min_size=192, image_max_size=256, gt_mask_size=28)


def assert_same_batches(one, other, config, classes=True, **kwargs):
    pairs = zip(one.batches(config, **kwargs), other.batches(config, **kwargs), strict=True)
    for (x, y), (other_x, other_y) in pairs:
        for name in x:
            np.testing.assert_array_equal(x[name], other_x[name])
        np.testing.assert_array_equal(y["boxes"], other_y["boxes"])
        np.testing.assert_array_equal(y["masks"], other_y["masks"])
        expected = y["classes"] if classes else np.minimum(y["classes"], 0)
        np.testing.assert_array_equal(expected, other_y["classes"])


@pytest.mark.parametrize("name", WRITERS)
def test_the_same_shapes_give_the_same_batches(name, coco, pictures, images, config, tmp_path):
    folder = images.parent / name.replace(" ", "_")
    folder.mkdir()
    dataset = WRITERS[name](folder, pictures, images)
    assert type(dataset) is km.data.Dataset
    assert dataset.problems == []
    one_class = name == "mask png"
    assert dataset.class_names == (("thing",) if one_class else NAMES)
    assert_same_batches(coco, dataset, config, classes=not one_class, batch_size=2)
    assert_same_batches(coco, dataset, config, not one_class, batch_size=3, training=True, seed=4)


@pytest.mark.parametrize("target", [name for name in WRITTEN if name != "tfrecord"])
def test_conversion_gives_the_same_batches(target, coco, config, tmp_path):
    losses = convert(coco, target, tmp_path / "out")
    one_class = target == "mask-png"
    objects = sum(len(record.instances) for record in coco.records)
    assert losses == ({"objects that lose their class": objects} if one_class else {})
    dataset = open_dataset(tmp_path / "out")
    assert dataset.problems == []
    assert_same_batches(coco, dataset, config, classes=not one_class, batch_size=4)


@pytest.mark.parametrize("target", ["coco", "labelme", "voc", "cvat"])
def test_masks_of_pixels_keep_every_pixel(target, config, tmp_path):
    shapes = km.data.shapes.generate(tmp_path / "shapes", 8, size=96)
    assert convert(shapes, target, tmp_path / "out", link_images=True) == {}
    dataset = open_dataset(tmp_path / "out", class_names=shapes.class_names)
    assert_same_batches(shapes, dataset, config, batch_size=4)
    assert (tmp_path / "out").rglob("*.jpg").__next__().is_symlink()


def test_what_pngs_cannot_hold_is_counted(tmp_path, shared):
    folder = shared / "data/coco_tiny"
    photos = open_dataset(folder / "annotations/instances_val2017.json", folder / "val2017")
    losses = convert(photos, "mask-png", tmp_path / "out", link_images=True)
    crowds = sum(i.crowd for record in photos.records for i in record.instances)
    objects = sum(len(record.instances) for record in photos.records) - crowds
    assert losses.get("crowds, left out", 0) == crowds
    dataset = open_dataset(tmp_path / "out")
    hidden = losses.get("objects wholly under others, left out", 0)
    assert sum(len(record.instances) for record in dataset.records) == objects - hidden
    assert losses["objects that others hide in part"] > 0


def test_convert_refuses(coco, tmp_path):
    with pytest.raises(ValueError, match="No format 'supervisely'; there are coco, cvat, labelme"):
        convert(coco, "supervisely", tmp_path / "out")
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="not empty"):
        convert(coco, "coco", tmp_path)


@pytest.mark.parametrize("name", WRITTEN)
def test_images_of_other_channels_are_kept_as_they_are(deep_shapes, deep_config, tmp_path, name):
    dataset, config = deep_shapes(4, ".npy"), deep_config(4)
    convert(dataset, name, tmp_path / "out")
    converted = open_dataset(tmp_path / "out")
    assert not converted.problems
    for record, other in zip(dataset.records, converted.records, strict=True):
        assert (record.height, record.width) == (other.height, other.width)
        np.testing.assert_array_equal(record.read_pixels(config), other.read_pixels(config))
