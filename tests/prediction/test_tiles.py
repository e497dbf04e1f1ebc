"""Tiles, with a finder that sees exactly what a tile shows of numbered objects."""

import cv2
import numpy as np
import pytest

import keras_maskrcnn as km
from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.data.windows import WholeImage
from keras_maskrcnn.ops.runs import mask_runs
from keras_maskrcnn.prediction.tiles import check_tiles, find_in_tiles, tile_windows

CONFIG = MaskRCNNConfig(num_classes=2, class_names=("round", "long"))
SIDE = 400


def find(tiles, mask=True, shrink=0.0):
    """Each number in a tile's first channel is an object, of the class in the second."""
    found = []
    for tile in tiles:
        runs, boxes, classes = [], [], []
        for number in np.unique(tile[..., 0][tile[..., 0] > 0]):
            seen = (tile[..., 0] == number).astype(np.uint8)
            # A network takes what is not connected for several things.
            count, labels = cv2.connectedComponents(seen, connectivity=8)
            for label in range(1, count):
                part = labels == label
                x, y, width, height = cv2.boundingRect(part.astype(np.uint8))
                dx, dy = (min(shrink, (side - 1) / 4) for side in (width, height))
                boxes.append([x + dx, y + dy, x + width - dx, y + height - dy])
                classes.append(tile[..., 1][part][0])
                runs.append(mask_runs(part))
        scores = np.linspace(0.9, 0.5, len(boxes))
        masks = {"mask_runs": runs} if mask else {}
        found.append(km.Detections(boxes, scores, classes, None, tile.shape[:2], **masks))
    return found


def picture_of(objects, side=SIDE):
    """A picture of objects, (class, draw) each, and their masks; the last are on top."""
    numbers, classes = np.zeros((side, side), np.uint8), np.zeros((side, side), np.uint8)
    for number, (class_id, draw) in enumerate(objects, 1):
        mask = np.zeros((side, side), np.uint8)
        draw(mask)
        numbers[mask > 0], classes[mask > 0] = number, class_id
    picture = np.dstack([numbers, classes, np.arange(side * side).reshape(side, side) % 251])
    return picture.astype(np.uint8), [numbers == n for n in range(1, len(objects) + 1)]


def disc(x, y, radius):
    return lambda mask: cv2.circle(mask, (x, y), radius, 1, -1)


def bar(*points, thickness=12):
    return lambda mask: cv2.polylines(mask, [np.array(points)], False, 1, thickness)


def check(objects, tile_size=100, overlap=0.25, **options):
    """Each object is found once, whole, and nothing else is."""
    picture, masks = picture_of(objects)
    found = find_in_tiles(
        lambda tiles: find(tiles, **options), CONFIG, WholeImage(picture), tile_size, overlap, 4
    )
    assert found.image_size == picture.shape[:2]
    assert len(found) == len(masks)
    assert (np.diff(found.scores) <= 0).all()
    left = list(range(len(masks)))
    for i, mask in enumerate(found.masks):
        same = [n for n in left if np.array_equal(masks[n], mask)]
        assert len(same) == 1
        left.remove(same[0])
        assert found.class_ids[i] == objects[same[0]][0]
        x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
        np.testing.assert_allclose(found.boxes[i], [x, y, x + width, y + height], atol=3)
    return found


def test_small_objects_wherever_they_lie():
    rng = np.random.default_rng(0)
    for _ in range(3):
        grid = [(x, y) for x in range(15, SIDE, 40) for y in range(15, SIDE, 40)]
        chosen = rng.permutation(len(grid))[:60]
        at = [np.array(grid[i]) + rng.integers(-4, 5, 2) for i in chosen]
        check([(int(rng.integers(2)), disc(*p.tolist(), int(rng.integers(4, 12)))) for p in at])


def test_touching_objects_of_a_class_stay_apart():
    beside = [(0, disc(x, 87, 12)) for x in range(30, 380, 22)]
    below = [(0, disc(87, y, 12)) for y in range(120, 380, 22)]
    check(beside + below)


@pytest.mark.parametrize("overlap", [0.1, 0.25, 0.5, 0.6])
def test_objects_larger_than_a_tile_come_out_as_one(overlap):
    objects = [
        (1, bar((5, 20), (390, 60))),
        (1, bar((30, 80), (30, 390))),
        (0, disc(230, 230, 130)),
        (1, bar((60, 395), (120, 340), (180, 395))),
        (1, bar((390, 90), (330, 110), (391, 150))),
    ]
    check(objects, overlap=overlap)


def test_two_large_touching_objects_stay_apart():
    upper = lambda mask: cv2.rectangle(mask, (20, 20), (380, 150), 1, -1)  # noqa: E731
    lower = lambda mask: cv2.rectangle(mask, (20, 151), (380, 300), 1, -1)  # noqa: E731
    check([(0, upper), (0, lower)])


def test_a_box_that_ends_before_the_border_is_cut_all_the_same():
    check([(1, bar((5, 20), (390, 60))), (0, disc(230, 230, 130))], shrink=2.5)
    check([(0, disc(x, 87, 12)) for x in range(30, 380, 22)], shrink=1)


def test_without_masks_the_boxes_are_joined():
    picture, _ = picture_of([(0, disc(87, 87, 20)), (1, bar((5, 200), (390, 200)))])
    found = find_in_tiles(
        lambda tiles: find(tiles, mask=False),
        CONFIG.replace(mask=False),
        WholeImage(picture),
        100,
        0.25,
    )
    assert not found.has_masks
    order = np.argsort(found.boxes[:, 1])
    expected = [[67, 67, 108, 108], [-1, 194, 397, 207]]
    np.testing.assert_allclose(found.boxes[order], expected, atol=2)


def test_a_cut_part_that_looks_like_another_thing_is_dropped():
    """What a tile shows whole outweighs what its neighbour makes of a half of it."""

    def find_halves(tiles):
        found = find(tiles)
        for detections in found:
            whole = (detections.boxes[:, 2:] - detections.boxes[:, :2]).min(axis=1) >= 20
            detections.class_ids[~whole] = 1
        return found

    picture, (mask,) = picture_of([(0, disc(82, 50, 11))])
    assert len(find_halves([picture[:100, 75:175]])[0]) == 1
    found = find_in_tiles(find_halves, CONFIG, WholeImage(picture), 100, 0.25)
    assert found.class_names == ["round"]
    np.testing.assert_array_equal(found.masks[0], mask)


def test_the_better_of_two_is_kept():
    """A disc that two tiles show whole, with other scores and of another size in one of them."""
    picture, (mask,) = picture_of([(0, disc(88, 50, 8))])

    def find_differently(tiles):
        found = find(tiles)
        for detections in found:
            if len(detections):
                detections.scores[:] = 0.3 + 0.1 * (detections.boxes[0, 0] < 50)
        return found

    found = find_in_tiles(find_differently, CONFIG, WholeImage(picture), 100, 0.25, 16)
    assert found.scores.tolist() == [pytest.approx(0.4)]
    np.testing.assert_array_equal(found.masks[0], mask)


def test_an_image_that_fits_is_looked_at_whole():
    picture, _ = picture_of([(0, disc(40, 40, 20))], side=90)
    seen = []
    find_in_tiles(
        lambda tiles: seen.extend(tiles) or find(tiles), CONFIG, WholeImage(picture), 100, 0.25
    )
    np.testing.assert_array_equal(seen, picture[None])


def test_tiles_of_one_colour_are_passed_over():
    picture = np.full((300, 300, 3), 7, np.uint8)
    picture[:90, :90] = picture_of([(0, disc(40, 40, 20))], side=90)[0]
    shapes, progress = [], []
    found = find_in_tiles(
        lambda tiles: shapes.append(len(tiles)) or find(tiles),
        CONFIG,
        WholeImage(picture),
        100,
        0.25,
        batch_size=3,
        on_progress=lambda *done: progress.append(done),
    )
    assert shapes == [3, 1]
    assert progress == [(done, 16) for done in range(1, 17)]
    assert found.boxes.shape[1] == 4
    blank = WholeImage(np.full((300, 300, 3), 7, np.uint8))
    nothing = find_in_tiles(find, CONFIG, blank, 100, 0.25)
    assert len(nothing) == 0
    assert nothing.masks.shape == (0, 300, 300)


@pytest.mark.parametrize("size", [(100, 100), (101, 260), (1000, 333), (90, 500), (64, 64)])
@pytest.mark.parametrize("overlap", [0, 0.25, 0.5, 0.9])
def test_windows_cover_the_image_and_overlap(size, overlap):
    windows = np.array(tile_windows(size, 100, overlap))
    covered = np.zeros(size, bool)
    for left, top, right, bottom in windows:
        covered[top:bottom, left:right] = True
        assert (bottom - top, right - left) == (min(100, size[0]), min(100, size[1]))
    assert covered.all()
    for axis in (0, 1):
        starts = np.unique(windows[:, axis])
        assert (np.diff(starts) <= max(1, 100 * (1 - overlap) + 0.5)).all()
        assert windows[:, axis + 2].max() == size[1 - axis]


@pytest.mark.parametrize(
    ("tile_size", "overlap", "message"),
    [
        (8, 0.25, "tile_size"),
        (64.5, 0.25, "tile_size"),
        (64, 1, "tile_overlap"),
        (64, -0.1, "tile"),
    ],
)
def test_tiles_that_cannot_be_meant(tile_size, overlap, message):
    with pytest.raises(ValueError, match=message):
        check_tiles(tile_size, overlap)
