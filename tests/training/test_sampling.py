"""What must hold of every sample, whatever the labels."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_maskrcnn.training.matching import BACKGROUND, FOREGROUND, IGNORED
from keras_maskrcnn.training.sampling import sample

LABELS = st.lists(
    st.lists(st.sampled_from([FOREGROUND, BACKGROUND, IGNORED]), min_size=12, max_size=12),
    min_size=1,
    max_size=3,
)


def drawn(labels, size, fraction, seed=(0, 0)):
    return [part.numpy() for part in sample(np.array(labels, np.int32), size, fraction, seed)]


@given(LABELS, st.integers(1, 30), st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_a_sample_is_as_large_as_it_can_be_and_nothing_else(labels, size, fraction, seed):
    indices, foreground, valid = drawn(labels, size, fraction, (seed, 1))
    assert indices.shape == foreground.shape == valid.shape
    assert indices.shape[1] <= size
    assert ((indices >= 0) & (indices < 12)).all()
    for image, image_labels in enumerate(np.array(labels)):
        chosen = indices[image, valid[image]]
        positives = min(int(size * fraction), (image_labels == FOREGROUND).sum())
        negatives = min(size - positives, (image_labels == BACKGROUND).sum())
        assert foreground[image].sum() == positives
        assert valid[image].sum() == positives + negatives
        assert len(set(chosen)) == len(chosen)
        assert (image_labels[chosen[:positives]] == FOREGROUND).all()
        assert (image_labels[chosen[positives:]] == BACKGROUND).all()
        for part in (foreground, valid):  # foreground first, padding last
            assert (np.diff(part[image].astype(int)) <= 0).all()


def test_the_seed_decides():
    labels = [[FOREGROUND, BACKGROUND] * 50]
    first, again, other = (drawn(labels, 20, 0.5, seed)[0] for seed in ((1, 2), (1, 2), (1, 3)))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_images_of_a_batch_are_drawn_apart():
    indices = drawn([[BACKGROUND] * 100] * 2, 20, 0.5)[0]
    assert (indices[0] != indices[1]).any()


def test_every_eligible_box_is_chosen_equally_often():
    labels = [[BACKGROUND] * 10 + [IGNORED] * 10] * 2000
    indices, _, valid = drawn(labels, 4, 0.5)
    counts = np.bincount(indices[valid], minlength=20)
    assert (counts[10:] == 0).all()
    np.testing.assert_allclose(counts[:10], 2000 * 4 / 10, rtol=0.15)
