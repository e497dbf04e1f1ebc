import itertools

import cv2
import numpy as np
import pytest

from keras_maskrcnn import Detections
from keras_maskrcnn.data import CocoDataset
from keras_maskrcnn.data.drawing import class_colour, draw_instances, grid


@pytest.fixture(scope="module")
def example(shared):
    folder = shared / "data" / "coco_tiny"
    dataset = CocoDataset(folder / "annotations" / "instances_val2017.json", folder / "val2017")
    return dataset.example(10)


def grey(height, width):
    return np.full((height, width, 3), 128, np.uint8)


def difference(one, other):
    """How different two colours look: the distance in CIELAB, of which 2 can just be seen."""
    pair = np.array([[one, other]], np.float32) / 255
    first, second = cv2.cvtColor(pair, cv2.COLOR_RGB2LAB)[0]
    return np.linalg.norm(first - second)


def distance(one, other):
    return np.abs(np.subtract(one, other)).max()


def test_colours_are_distinct_and_stable():
    classes = [class_colour(i) for i in range(12)]
    assert min(difference(a, b) for a, b in itertools.combinations(classes, 2)) > 25
    for class_id in range(12):
        shades = [class_colour(class_id, instance) for instance in range(6)]
        assert min(difference(a, b) for a, b in itertools.combinations(shades, 2)) > 5
    assert class_colour(3, 1) == class_colour(3, 1)
    assert all(0 <= part <= 255 for c in range(80) for i in range(6) for part in class_colour(c, i))


def test_mask_is_translucent_and_outlined():
    mask = np.zeros((1, 100, 120), bool)
    mask[0, 20:80, 30:90] = True
    image = grey(100, 120)
    picture = draw_instances(image, np.array([[30, 20, 90, 80]]), [4], mask)
    colour = np.array(class_colour(4))
    assert distance(picture[50, 60], 0.55 * image[50, 60] + 0.45 * colour) <= 1
    edge = picture[20:80, 30:90][[0, -1]].astype(int)
    assert np.abs(edge - colour).max() < 60
    outside = np.ones((100, 120), bool)
    outside[17:83, 27:93] = False
    assert (picture[outside] == 128).all()
    assert (image == 128).all()


def test_boxes_are_drawn_without_masks():
    boxes = np.array([[30, 20, 90, 80], [-10, -10, 500, 500]], np.float32)
    picture = draw_instances(grey(100, 120), boxes, [4, 1])
    assert distance(picture[20, 60], class_colour(4)) < 60
    assert distance(picture[0, 60], class_colour(1)) < 60
    assert distance(picture[99, 60], class_colour(1)) < 60
    assert (picture[50, 60] == 128).all()


def test_first_object_lies_on_top():
    masks = np.ones((2, 60, 60), bool)
    boxes = np.array([[0, 0, 60, 60]] * 2)
    both = draw_instances(grey(60, 60), boxes, [0, 1], masks)
    first, second = (
        draw_instances(grey(60, 60), boxes[:1], [class_id], masks[:1]) for class_id in (0, 1)
    )
    assert distance(both[30, 30], first[30, 30].astype(int)) < distance(
        both[30, 30], second[30, 30].astype(int)
    )


def labelled_pixels(boxes, labels, shape=(200, 200)):
    """Where labels differ from the picture without them: (H, W) bool."""
    boxes = np.array(boxes, np.float32)
    ids = [0] * len(boxes)
    plain = draw_instances(grey(*shape), boxes, ids)
    return (draw_instances(grey(*shape), boxes, ids, labels=labels) != plain).any(-1)


def test_label_does_not_hide_a_small_object():
    for x, y in itertools.product((0, 90, 188), repeat=2):
        pixels = labelled_pixels([[x, y, x + 12, y + 12]], ["person 97%"])
        assert pixels.sum() > 200
        assert not pixels[y + 2 : y + 10, x + 2 : x + 10].any()


def test_labels_do_not_overlap():
    """Plates of crowded objects: together as many pixels as apart."""
    boxes = [[40 + 3 * i, 60 + 2 * i, 140, 160] for i in range(4)]
    apart = sum(labelled_pixels([[40, 60, 140, 160]], [f"cat {i}"]).sum() for i in range(4))
    together = labelled_pixels(boxes, [f"cat {i}" for i in range(4)]).sum()
    assert together > 0.85 * apart


@pytest.mark.parametrize("shape", [(20, 20), (192, 192), (30, 900), (2400, 3600)])
def test_labels_in_pictures_of_any_size(shape):
    """Letters grow with the picture, from a height that can just be read."""
    height, width = shape
    plate_height = labelled_pixels([[-9, -9, width, height]], ["dog 88%"], shape).any(1).sum()
    assert 0.02 * np.sqrt(height * width) < plate_height < max(16, 0.06 * height)


def test_real_photo(example):
    image, masks = example["image"], example["masks"]
    labels = ["thing"] * len(masks)
    picture = draw_instances(image, example["boxes"], example["class_ids"], masks, labels)
    again = draw_instances(image, example["boxes"], example["class_ids"], masks, labels)
    np.testing.assert_array_equal(picture, again)
    assert picture.shape == image.shape
    assert picture.dtype == np.uint8
    changed = (picture != image).any(-1)
    assert changed[masks.any(0)].mean() > 0.98


def test_a_followed_object_keeps_its_colour_and_shows_its_number():
    def picture(boxes, track_ids):
        scores, classes = np.linspace(0.9, 0.5, len(boxes)), [4] * len(boxes)
        return Detections(boxes, scores, classes, None, (90, 120), track_ids=track_ids).plot()

    mine, other = [30, 30, 100, 80], [2, 2, 20, 20]
    alone, second = picture([mine], [3]), picture([other, mine], [8, 3])
    assert distance(alone[60, 100].astype(int), second[60, 100]) == 0
    assert distance(alone[60, 100].astype(int), picture([mine], [4])[60, 100]) > 0
    label = draw_instances(np.full((90, 120, 3), 255, np.uint8), [mine], [4], labels=["4 #6 90%"])
    np.testing.assert_array_equal(picture([mine], [6]), label)  # the shades repeat after six
    label = draw_instances(np.full((90, 120, 3), 255, np.uint8), [mine], [4], labels=["4 90%"])
    np.testing.assert_array_equal(picture([mine], [-1]), label)


def test_wrong_input_is_named():
    boxes = np.zeros((2, 4))
    with pytest.raises(ValueError, match=r"image must be \(H, W, 3\) uint8, got \(9, 9\)"):
        draw_instances(np.zeros((9, 9), np.uint8), boxes, [0, 0])
    with pytest.raises(ValueError, match="uint8, got .* float64"):
        draw_instances(np.zeros((9, 9, 3)), boxes, [0, 0])
    with pytest.raises(ValueError, match="2 boxes, 1 class_ids, 0 labels"):
        draw_instances(grey(9, 9), boxes, [0])
    with pytest.raises(ValueError, match="2 boxes, 2 class_ids, 1 labels"):
        draw_instances(grey(9, 9), boxes, [0, 0], labels=["a"])
    with pytest.raises(ValueError, match=r"masks must be \(2, 9, 9\), got \(2, 8, 9\)"):
        draw_instances(grey(9, 9), boxes, [0, 0], np.zeros((2, 8, 9), bool))


def test_grid():
    pictures = [
        np.full((h, w, 3), i, np.uint8) for i, (h, w) in enumerate([(4, 6), (8, 3), (5, 5)])
    ]
    sheet = grid(pictures, 2)
    assert sheet.shape == (8 + 4 + 5, 6 + 4 + 3, 3)
    assert (sheet[:4, :6] == 0).all()
    assert (sheet[:8, 10:] == 1).all()
    assert (sheet[12:, :5] == 2).all()
    assert (sheet[8:12] == 255).all()
    np.testing.assert_array_equal(grid(pictures[:1], 5), pictures[0])
    for wrong in (([], 2), (pictures, 0)):
        with pytest.raises(ValueError, match="A grid needs pictures and columns"):
            grid(*wrong)
