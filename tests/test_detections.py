import json
import sys

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from keras_maskrcnn import Detections
from keras_maskrcnn.ops.masks import paste_masks
from keras_maskrcnn.ops.runs import mask_runs

BOXES = [[2, 3, 12, 13], [5, 0, 20, 9], [0, 10, 6, 16]]
SIZE = (16, 24)


@pytest.fixture
def found():
    masks = np.random.default_rng(0).uniform(0, 1, (3, 7, 7))
    return Detections(BOXES, [0.9, 0.8, 0.3], [1, 0, 5], masks, SIZE, ["cat", "dog"])


@pytest.fixture
def image():
    return np.random.default_rng(1).integers(0, 256, (*SIZE, 3), np.uint8)


def test_types_and_names(found):
    assert len(found) == 3
    assert found.boxes.dtype == found.scores.dtype == found.box_masks.dtype == np.float32
    assert found.class_ids.dtype == np.int32
    assert found.class_names == ["dog", "cat", "5"]
    assert found.image_size == (16, 24)
    assert repr(found) == "<3 Detections in 24x16: dog 0.90, cat 0.80, 5 0.30>"


def test_masks_are_pasted_once(found):
    np.testing.assert_array_equal(found.masks, paste_masks(found.box_masks, found.boxes, *SIZE))
    assert found.masks.shape == (3, 16, 24)
    assert found.masks is found.masks


@pytest.mark.parametrize(
    ("index", "chosen"),
    [
        (1, [1]),
        (-1, [2]),
        (np.int64(2), [2]),
        (slice(0, 2), [0, 1]),
        (np.array([True, False, True]), [0, 2]),
        ([2, 0], [2, 0]),
        (np.zeros(3, bool), []),
        (np.array([], np.int64), []),
    ],
)
def test_selection(found, index, chosen):
    part = found[index]
    assert isinstance(part, Detections)
    np.testing.assert_array_equal(part.boxes, found.boxes[chosen])
    np.testing.assert_array_equal(part.scores, found.scores[chosen])
    np.testing.assert_array_equal(part.masks, found.masks[chosen])
    assert part.class_names == [found.class_names[i] for i in chosen]
    assert part.image_size == found.image_size


def test_iteration_gives_single_detections(found):
    assert [len(one) for one in found] == [1, 1, 1]
    with pytest.raises(IndexError):
        found[3]
    with pytest.raises(IndexError):
        found[np.array([True, False])]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"boxes": np.zeros((2, 6))}, r"boxes must be \(2, 4\).*got shape \(2, 6\)"),
        ({"boxes": np.zeros(12)}, "boxes must be"),
        ({"scores": [0.5]}, r"scores must be \(3,\) for 3 detections, got shape \(1,\)"),
        ({"class_ids": [[0], [1], [2]]}, r"class_ids must be \(3,\).*\(3, 1\)"),
        ({"box_masks": np.zeros((2, 7, 7))}, r"box_masks must be \(3, m, m\).*\(2, 7, 7\)"),
        ({"box_masks": np.zeros((3, 7, 8))}, r"box_masks must be \(3, m, m\)"),
        ({"box_masks": np.zeros((3, 7))}, r"box_masks must be \(3, m, m\)"),
        ({"image_size": (0, 5)}, r"image_size must be \(height, width\).*\(0, 5\)"),
        ({"image_size": (5, 5, 3)}, "too many values"),
    ],
)
def test_wrong_shapes_are_named(change, message):
    right = {"boxes": BOXES, "scores": np.ones(3), "class_ids": np.zeros(3), "box_masks": None}
    with pytest.raises(ValueError, match=message):
        Detections(**(right | {"image_size": SIZE} | change))


def test_nothing_found(image, tmp_path):
    nothing = Detections([], [], [], np.zeros((0, 28, 28)), SIZE)
    assert nothing.boxes.shape == (0, 4)
    assert nothing.masks.shape == (0, 16, 24)
    assert nothing.to_coco(1, []) == nothing.class_names == []
    np.testing.assert_array_equal(nothing.plot(image), image)
    assert repr(nothing) == "<0 Detections in 24x16: >"


def test_without_mask_branch(image):
    boxes_only = Detections(BOXES, [0.9, 0.8, 0.3], [1, 0, 1], None, SIZE)
    with pytest.raises(ValueError, match="no mask branch"):
        _ = boxes_only.masks
    assert "segmentation" not in boxes_only.to_coco(1)[0]
    assert len(boxes_only[:2]) == 2
    assert (boxes_only.plot(image) != image).any()


def test_to_coco(found):
    results = found.to_coco(42, category_ids=[18, 17, 0, 0, 0, np.int64(90)])
    assert json.loads(json.dumps(results)) == results
    assert [r["category_id"] for r in results] == [17, 18, 90]
    assert {r["image_id"] for r in results} == {42}
    assert results[1]["bbox"] == [5, 0, 15, 9]
    np.testing.assert_allclose([r["score"] for r in results], found.scores)
    for mask, result in zip(found.masks, results, strict=True):
        assert result["segmentation"]["size"] == [16, 24]
        np.testing.assert_array_equal(coco_mask.decode(result["segmentation"]), mask)
    assert [r["category_id"] for r in found.to_coco(42)] == [1, 0, 5]


def test_to_coco_names_a_class_without_id(found):
    with pytest.raises(ValueError, match="category_ids has 2 entries; class ids 0 to 5"):
        found.to_coco(42, category_ids=[18, 17])


def test_plot_takes_arrays_and_paths(found, image, tmp_path):
    path = tmp_path / "image.png"
    cv2.imwrite(str(path), image[:, :, ::-1])
    before = image.copy()
    plot = found.plot(image)
    assert plot.shape == (16, 24, 3)
    assert plot.dtype == np.uint8
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(found.plot(path), plot)
    np.testing.assert_array_equal(found.plot(str(path)), plot)
    np.testing.assert_array_equal(found.plot(image.astype(np.float32)), plot)
    assert (found.plot() == 255).any()
    with pytest.raises(ValueError, match=r"must be \(16, 24, 3\).*got \(8, 24, 3\)"):
        found.plot(image[:8])


@pytest.mark.parametrize("name", ["a.png", "a.PNG", "a.jpg"])
def test_save_picture(found, image, tmp_path, name):
    found.save(tmp_path / name, image)
    saved = cv2.imread(str(tmp_path / name))[:, :, ::-1]
    difference = np.abs(saved.astype(int) - found.plot(image))
    assert difference.mean() < (40 if name.endswith("jpg") else 1e-9)


def test_save_coco_and_arrays(found, tmp_path):
    found.save(str(tmp_path / "000123.json"))
    assert json.loads((tmp_path / "000123.json").read_text()) == found.to_coco("000123")
    found.save(tmp_path / "found.npz")
    with np.load(tmp_path / "found.npz") as arrays:
        for name in ("boxes", "scores", "class_ids", "box_masks", "image_size"):
            np.testing.assert_array_equal(arrays[name], getattr(found, name))


def test_save_says_what_is_wrong(found, image, tmp_path):
    with pytest.raises(ValueError, match=r"a.gif: the ending must be .png, .jpg, .json or .npz"):
        found.save(tmp_path / "a.gif", image)
    for name in ("a.png", "a.json", "a.npz"):
        with pytest.raises(OSError, match=name):
            found.save(tmp_path / "none" / name, image)


def test_masks_as_runs_are_as_masks_in_boxes(found, image, tmp_path):
    runs = [mask_runs(mask) for mask in found.masks]
    same = Detections(
        BOXES, found.scores, found.class_ids, None, SIZE, ["cat", "dog"], mask_runs=runs
    )
    assert same.has_masks
    assert found.has_masks
    np.testing.assert_array_equal(same.masks, found.masks)
    np.testing.assert_array_equal(same[[2, 0]].masks, found.masks[[2, 0]])
    assert same.to_coco(1) == found.to_coco(1)
    np.testing.assert_array_equal(same.plot(image), found.plot(image))
    for i, mask in enumerate(found.masks):
        part, (top, left) = same.mask_part(i)
        np.testing.assert_array_equal(part, mask[top : top + len(part), left:][:, : part.shape[1]])
        assert part.sum() == mask.sum()
    same.save(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as arrays:
        ends = np.cumsum(arrays["mask_run_counts"])[:-1]
        for saved, given in zip(np.split(arrays["mask_runs"], ends), runs, strict=True):
            np.testing.assert_array_equal(saved, given)


def test_an_empty_mask(image):
    for masks in ({"box_masks": np.zeros((1, 7, 7))}, {"mask_runs": [np.zeros((0, 3), int)]}):
        found = Detections(
            [[2, 3, 12, 13]], [0.9], [1], **{"box_masks": None, "image_size": SIZE, **masks}
        )
        assert found.mask_part(0)[0].sum() == found.masks.sum() == 0
        found.plot(image)
        np.testing.assert_array_equal(coco_mask.decode(found.to_coco(1)[0]["segmentation"]), 0)


def test_wrong_runs():
    with pytest.raises(ValueError, match="mask_runs must be 1"):
        Detections([[2, 3, 12, 13]], [0.9], [1], None, SIZE, mask_runs=[])
    with pytest.raises(ValueError, match=r"must be \(k, 3\)"):
        Detections([[2, 3, 12, 13]], [0.9], [1], None, SIZE, mask_runs=[np.zeros((1, 2), int)])


@pytest.fixture
def tracked(found):
    masks, of_image = found.box_masks, (SIZE, ["cat", "dog"])
    return Detections(
        BOXES, found.scores, found.class_ids, masks, *of_image, track_ids=np.array([7, -1, 2])
    )


def test_track_ids_go_along(tracked, image, tmp_path):
    assert tracked[[2, 0]].track_ids.tolist() == [2, 7]
    assert [entry["track_id"] for entry in tracked.to_coco(1)] == [7, None, 2]
    tracked.save(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as arrays:
        np.testing.assert_array_equal(arrays["track_ids"], [7, -1, 2])
    with pytest.raises(ValueError, match=r"track_ids must be \(3,\)"):
        Detections(BOXES, [0.9, 0.8, 0.3], [1, 0, 1], None, SIZE, track_ids=[1, 2])


def test_to_supervision(found, tracked):
    theirs = found.to_supervision()
    np.testing.assert_array_equal(theirs.xyxy, found.boxes)
    np.testing.assert_array_equal(theirs.confidence, found.scores)
    np.testing.assert_array_equal(theirs.class_id, found.class_ids)
    np.testing.assert_array_equal(theirs.mask, found.masks)
    assert theirs.data["class_name"].tolist() == ["dog", "cat", "5"]
    assert theirs.tracker_id is None
    assert tracked.to_supervision().tracker_id.tolist() == [7, -1, 2]
    boxes_only = Detections(BOXES, found.scores, found.class_ids, None, SIZE)
    assert boxes_only.to_supervision().mask is None
    assert len(found[:0].to_supervision()) == 0


def test_to_supervision_names_what_is_missing(found, monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'maskrcnn-keras\[video\]'"):
        found.to_supervision()


def test_other_channels_are_drawn_on_as_chosen(found, tmp_path):
    image = np.random.default_rng(0).integers(0, 4096, (*SIZE, 5), np.uint16)
    expected = found.plot(image[..., [4, 0, 2]] * (255 / 4095) // 1)
    np.testing.assert_array_equal(found.plot(image, (0, 4095), (4, 0, 2)), expected)
    np.save(tmp_path / "a.npy", image)
    np.testing.assert_array_equal(found.plot(tmp_path / "a.npy", (0, 4095), (4, 0, 2)), expected)
    grey = np.full((*SIZE, 1), 7, np.uint8)
    np.testing.assert_array_equal(found.plot(grey), found.plot(np.repeat(grey, 3, axis=2)))
    with pytest.raises(ValueError, match="channels must be three of 0 to 4"):
        found.plot(image, channels=(0, 1, 5))
    found.save(tmp_path / "a.png", tmp_path / "a.npy")
    assert cv2.imread(str(tmp_path / "a.png")).shape == (*SIZE, 3)
