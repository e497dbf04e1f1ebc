import cv2
import numpy as np
import PIL.Image
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
    assert "b/2.png is 30x19, but " in dataset.problem_report()


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


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_masks_saved_as_jpeg_are_refused(folders, name):
    images, masks = folders
    cv2.imwrite(str(masks / "b.png"), numbers())
    PIL.Image.fromarray(numbers(first=255)).save(masks / name, "JPEG", quality=75)
    dataset = Dataset.from_mask_pngs(images, masks)
    assert [record.path[-5] for record in dataset.records] == ["b"]
    (problem,) = dataset.problems
    assert (problem.where, problem.lost) == (str(images / "a.jpg"), "image")
    assert f"{name}: a mask saved as JPEG" in problem.what
    assert "save masks as PNG" in problem.what


def test_files_of_systems_are_read_past(folders):
    images, masks = folders
    cv2.imwrite(str(masks / "a.png"), numbers())
    (masks / "b").mkdir()
    (images / ".ipynb_checkpoints").mkdir()
    (images / "__MACOSX").mkdir()
    cv2.imwrite(str(masks / "b/1.png"), numbers(second=0))
    for folder in (images, masks, masks / "b"):
        for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._a.png", "notes.txt"):
            (folder / name).write_bytes(b"\0\5\26\7")
    dataset = Dataset.from_mask_pngs(images, masks)
    assert [len(record.instances) for record in dataset.records] == [2, 1]
    assert dataset.problems == []


@pytest.mark.parametrize("folder", ["images", "masks"])
def test_two_files_of_one_stem_are_listed(folders, folder):
    for name in "ab":
        cv2.imwrite(str(folders[1] / f"{name}.png"), numbers())
    doubled = folders[0].parent / folder
    cv2.imwrite(str(doubled / "a.bmp"), numbers())
    dataset = Dataset.from_mask_pngs(*folders)
    assert [record.path[-5] for record in dataset.records] == ["b"]
    lost = [f"{folders[0]}/a.bmp", f"{folders[0]}/a.jpg"][folder == "masks" :]
    assert [problem.where for problem in dataset.problems] == lost
    assert f"{doubled}/a.bmp and {doubled}/a." in dataset.problem_report()
    assert "rename all but one" in dataset.problem_report()
