import cv2
import numpy as np
import pytest

from keras_maskrcnn.data import Dataset
from keras_maskrcnn.data.masks import decode_mask


@pytest.fixture
def folders(tmp_path):
    """Two images, and the folder for their masks."""
    images, masks = tmp_path / "images", tmp_path / "masks"
    images.mkdir()
    masks.mkdir()
    for name in "ab":
        cv2.imwrite(str(images / f"{name}.jpg"), np.full((20, 30, 3), 90, np.uint8))
    return images, masks


def numbers(dtype=np.uint8, first=1, second=2):
    values = np.zeros((20, 30), dtype)
    values[2:6, 3:9] = first
    values[10:18, 12:30] = second
    return values


@pytest.mark.parametrize("name", ["a.png", "a_mask.png"])
@pytest.mark.parametrize("values", [numbers(), numbers(np.uint16, 255, 60000)])
def test_numbered_pixels(folders, name, values):
    images, masks = folders
    cv2.imwrite(str(masks / name), values)
    cv2.imwrite(str(masks / "b.png"), np.zeros((20, 30), np.uint8))
    dataset = Dataset.from_mask_pngs(images, masks, "pedestrian")
    assert dataset.class_names == ("pedestrian",)
    assert dataset.problems == []
    first, second = dataset.records[0].instances
    assert (first.box, second.box) == ((3, 2, 9, 6), (12, 10, 30, 18))
    np.testing.assert_array_equal(decode_mask(second.segmentation, 20, 30), values == values.max())
    assert dataset.records[1].instances == ()


def test_a_folder_of_masks_an_image(folders):
    images, masks = folders
    for name in "ab":
        (masks / name).mkdir()
    full = np.full((20, 30), 255, np.uint8)
    cv2.imwrite(str(masks / "a/1.png"), full)
    cv2.imwrite(str(masks / "a/2.png"), numbers(first=255, second=0))
    cv2.imwrite(str(masks / "a/3.png"), np.zeros_like(full))
    cv2.imwrite(str(masks / "b/1.png"), full)
    cv2.imwrite(str(masks / "b/2.png"), full[1:])
    dataset = Dataset.from_mask_pngs(images, masks)
    assert [i.box for i in dataset.records[0].instances] == [(0, 0, 30, 20), (3, 2, 9, 6)]
    assert len(dataset) == 1
    assert "must hold PNGs of one size" in dataset.problem_report()


def test_bad_masks_are_left_out_and_listed(folders):
    images, masks = folders
    cv2.imwrite(str(masks / "a.png"), numbers())
    dataset = Dataset.from_mask_pngs(images, masks)
    assert len(dataset) == 1
    assert "masks holds no b.png; the image is left out" in dataset.problem_report()
    (masks / "b.png").write_bytes(b"no picture")
    report = Dataset.from_mask_pngs(images, masks).problem_report()
    assert "b.png: not an image, or a broken one" in report


def test_folders_that_are_none(tmp_path, folders):
    with pytest.raises(FileNotFoundError, match="none"):
        Dataset.from_mask_pngs(tmp_path / "none", folders[1])
    with pytest.raises(ValueError, match="masks holds no image"):
        Dataset.from_mask_pngs(folders[1], folders[0])
