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
    with pytest.raises(ValueError, match="class_names must be of ellipse, .*house; got"):
        shapes.generate(tmp_path, 1, class_names=class_names)


NEW_AREAS = {
    "heart": 180 * np.pi / 16**2,  # of the curve x = 16 sin(t)**3, y = 13 cos(t) - 5 cos(2t) - ...
    "moon": np.pi - 1.707,  # less what circles of radius 1 and 0.9 share, 0.6 apart
    "arrow": 1.1 * 0.5 + 0.9 * 1.5 / 2,  # shaft and head
    "house": 1.0 * 1.3 + 0.75 * 1.3 / 2,  # square and gable
}


@pytest.mark.parametrize("name", shapes.NEW_CLASS_NAMES)
def test_new_classes(name):
    """Each fills as much as its outline says, squashed to between 0.8 and all of its height."""
    radius = 0.2 * 192
    scene = shapes.Scene(number=(1, 1), radius=(0.2, 0.2))
    areas = []
    for seed in range(40):
        _, _, masks = shapes.draw_picture(np.random.default_rng(seed), 192, (name,), scene)
        for mask in masks:
            if not mask[[0, -1]].any() and not mask[:, [0, -1]].any():  # not cut off
                areas.append(mask.sum() / radius**2)
    assert len(areas) > 10
    assert 0.8 * NEW_AREAS[name] - 0.03 < min(areas)
    assert max(areas) < NEW_AREAS[name] + 0.08  # the outline itself is filled too
    assert max(areas) - min(areas) > 0.05


def test_the_classes_by_default_are_those_that_a_model_may_know():
    assert not set(shapes.CLASS_NAMES) & set(shapes.NEW_CLASS_NAMES)


def test_plain_pictures_stay_what_they_were():
    """Figures in the README and in the benchmarks are of these pictures."""
    image, class_ids, masks = shapes.draw_picture(np.random.default_rng([3, 1]), 96)
    assert class_ids == [1, 2, 3, 0]
    assert [int(mask.sum()) for mask in masks] == [510, 102, 208, 841]
    assert int(image.sum()) == pytest.approx(2523638, rel=1e-4)  # resizing differs among machines


def test_a_scene_of_many_thin_shapes_close_together():
    scene = shapes.Scene(number=(12, 12), radius=(0.1, 0.1), thickness=0.5, touching=1.0)
    number, thick, thin = 0, [], []
    for seed in range(8):
        _, _, masks = shapes.draw_picture(np.random.default_rng(seed), 128, ("ring",), scene)
        number += len(masks)
        thin.append(np.median([mask.sum() for mask in masks]))
        plain = shapes.Scene(number=(12, 12), radius=(0.1, 0.1), touching=1.0)
        _, _, masks = shapes.draw_picture(np.random.default_rng(seed), 128, ("ring",), plain)
        thick.append(np.median([mask.sum() for mask in masks]))
    assert number > 8 * 8  # of 12, some are hidden
    ring = np.pi * 12.8**2
    assert np.median(thin) < ring * (1 - 0.775**2) < np.median(thick)


def test_touching_shapes_lie_beside_the_one_before():
    scene = shapes.Scene(number=(2, 2), radius=(0.1, 0.1), touching=1.0)
    gaps = []
    for seed in range(20):
        _, _, masks = shapes.draw_picture(np.random.default_rng(seed), 128, ("ellipse",), scene)
        if len(masks) == 2:
            first, second = (np.argwhere(mask).mean(axis=0) for mask in masks)
            gaps.append(np.linalg.norm(first - second))
    assert len(gaps) > 10
    assert np.median(gaps) < 2.2 * 12.8


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"number": (0, 3)}, "number must be 0 < lowest <= highest"),
        ({"radius": (0.3, 0.2)}, "radius must be 0 < lowest <= highest"),
        ({"thickness": 1.5}, "thickness must be above 0 and at most 1"),
        ({"touching": -0.1}, "touching within 0..1"),
    ],
)
def test_impossible_scenes(fields, message):
    with pytest.raises(ValueError, match=message):
        shapes.Scene(**fields)
