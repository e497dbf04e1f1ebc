import numpy as np
import pytest

from keras_maskrcnn.data import shapes


def test_pictures_and_annotations(tmp_path):
    dataset = shapes.generate(tmp_path, 12, size=96, seed=5)
    assert len(dataset) == 12
    assert dataset.class_names == shapes.CLASS_NAMES
    assert dataset.problems == []
    found = {instance.class_id for record in dataset.records for instance in record.instances}
    assert len(found) >= 5
    for index in range(12):
        example = dataset.example(index)
        assert example["image"].shape == (96, 96, 3)
        assert len(example["masks"]) <= 8
        assert example["masks"].sum(axis=0).max(initial=0) <= 1  # what hides is not seen through
        for mask, box in zip(example["masks"], example["boxes"], strict=True):
            rows, columns = np.nonzero(mask)
            found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            np.testing.assert_array_equal(box, found)
            assert mask.sum() >= shapes.LEAST_VISIBLE_PIXELS


def test_seeded_and_the_same_for_any_number():
    first, *_ = shapes.draw_picture(np.random.default_rng([1, 0]), 64)
    again, *_ = shapes.draw_picture(np.random.default_rng([1, 0]), 64)
    other, *_ = shapes.draw_picture(np.random.default_rng([2, 0]), 64)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize(("count", "size"), [(0, 64), (1, 16)])
def test_impossible_sets(tmp_path, count, size):
    with pytest.raises(ValueError, match="count must be at least 1 and size at least 32"):
        shapes.generate(tmp_path, count, size=size)


def test_chosen_classes(tmp_path):
    dataset = shapes.generate(tmp_path, 6, size=64, class_names=("ring", "star"))
    assert dataset.class_names == ("ring", "star")
    found = {instance.class_id for record in dataset.records for instance in record.instances}
    assert found == {0, 1}


@pytest.mark.parametrize("class_names", [(), ("ring", "rings")])
def test_unknown_classes(tmp_path, class_names):
    with pytest.raises(ValueError, match="class_names must be of ellipse, .*cross; got"):
        shapes.generate(tmp_path, 1, class_names=class_names)
