"""Each number against its definition, on cases made by hand, and COCO's against pycocotools."""

import contextlib
import io
import math

import numpy as np
import pytest
from pycocotools.cocoeval import COCOeval

from keras_maskrcnn.evaluation.coco import figures
from keras_maskrcnn.evaluation.report.analysis import (
    analyse,
    by_object_number,
    class_figures,
    for_page,
    recalls,
    recalls_by_area,
)
from keras_maskrcnn.evaluation.report.average_precision import precision_at_recalls
from keras_maskrcnn.evaluation.report.by_score import STEPS, best_score, number_from
from keras_maskrcnn.evaluation.report.calibration import calibration
from keras_maskrcnn.evaluation.report.confusion import confusion_matrix
from keras_maskrcnn.evaluation.report.errors import CORRECT, KINDS
from keras_maskrcnn.evaluation.report.images import doubtful, error_numbers, worst_images

CATEGORIES = (10, 20)
# Two images, with one of each kind of error: objects, then what is found.
OBJECTS = [
    [(0, 0, 0, 40, 40), (0, 100, 0, 40, 40), (1, 0, 100, 40, 40), (1, 100, 100, 40, 40)],
    [(0, 0, 0, 20, 20), (0, 150, 150, 20, 20)],
]
FOUND = [
    [
        (0, 0, 0, 40, 40, 0.95),  # correct
        (0, 2, 0, 40, 40, 0.85),  # duplicate
        (0, 120, 0, 40, 40, 0.75),  # localization: IoU 1/3 with the second
        (0, 0, 100, 40, 40, 0.65),  # classification: on the third
        (0, 120, 100, 40, 40, 0.55),  # both: IoU 1/3 with the fourth, of the other class
    ],
    [(1, 60, 60, 40, 40, 0.9)],  # background; both objects of this image are missed
]
EXPECTED = [
    [CORRECT, "duplicate", "localization", "classification", "both"],
    ["background"],
]


@pytest.fixture(scope="module", params=["box", "mask"])
def one_of_each(request, evaluated):
    return analyse(evaluated(OBJECTS, FOUND)[request.param], CATEGORIES)


def random_case(seed, images=12, classes=3):
    """Objects at random, some crowds, and detections near some of them and elsewhere."""
    rng = np.random.default_rng(seed)
    objects, found = [], []
    for _ in range(images):
        of_image = []
        for _ in range(rng.integers(0, 8)):
            place = [int(v) for v in (*rng.integers(0, 100, 2), *rng.integers(8, 99, 2))]
            more = ("crowd",) if rng.uniform() < 0.1 else ()
            of_image.append((int(rng.integers(classes)), *place, *more))
        objects.append(of_image)
        near = []
        for class_id, *place in [o[:5] for o in of_image for _ in range(rng.integers(0, 3))]:
            moved = np.maximum(np.array(place) + rng.integers(-9, 10, 4), [0, 0, 4, 4])
            if rng.uniform() < 0.2:
                class_id = int(rng.integers(classes))
            # Scores of a few values: many are equal.
            near.append((class_id, *moved.tolist(), float(rng.integers(1, 20) / 20)))
        found.append(near)
    return objects, found


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["box", "mask"])
def test_ap_and_ar_are_those_of_pycocotools(evaluated, kind, seed):
    evaluation = evaluated(*random_case(seed), num_classes=3, kinds=(kind,))[kind]
    analysis = analyse(evaluation, (10, 20, 30))
    precision = evaluation.eval["precision"][..., 0, -1]  # IoU, recall, class
    assert 0.05 < precision.mean() < 0.95
    np.testing.assert_allclose(analysis.precisions, precision.transpose(0, 2, 1), atol=1e-9)
    with contextlib.redirect_stdout(io.StringIO()):
        judge = COCOeval(evaluation.cocoGt, evaluation.cocoDt, evaluation.params.iouType)
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    numbers = figures({kind: evaluation})
    aps = [numbers[f"{kind}_{name}"] for name in ("ap", "ap50", "ap75")]
    np.testing.assert_allclose(aps, judge.stats[:3], atol=1e-9)
    by_number, by_area = recalls(analysis), recalls_by_area(evaluation)
    recall = [by_number["ar1"], by_number["ar10"], numbers[f"{kind}_ar"], *by_area.values()]
    expected = np.where(judge.stats[6:] < 0, np.nan, judge.stats[6:])
    np.testing.assert_allclose(recall, expected, atol=1e-9)


def test_kinds_of_error(one_of_each):
    assert [wrong.kinds.tolist() for wrong in one_of_each.wrong] == EXPECTED
    first, second = one_of_each.wrong
    np.testing.assert_array_equal(first.objects, [0, -1, 1, 2, -1])
    # The fourth object is only overlapped by what is wrong in both.
    np.testing.assert_allclose(first.covered, [0.95, 0.75, 0.65, -1])
    np.testing.assert_array_equal(second.covered, [-1, -1])


def test_kinds_at_the_borders_and_in_crowds(evaluated):
    objects = [[(0, 0, 0, 10, 10), (0, 100, 0, 100, 100, "crowd"), (1, 0, 50, 10, 10)]]
    found = [
        [
            (0, 0, 0, 10, 5, 0.9),  # IoU 0.5 exactly: found
            (0, 0, 9, 10, 1, 0.8),  # IoU 0.1 exactly: localization
            (0, 110, 10, 20, 20, 0.7),  # in the crowd of its class: ignored
            (1, 110, 10, 20, 20, 0.6),  # in the crowd of another class: background
            (0, 0, 58, 10, 20, 0.5),  # IoU 2/28 with another class: background
            (1, 150, 150, 9, 9, 0.4),
        ]
    ]
    wrong = analyse(evaluated(objects, found)["box"], CATEGORIES).wrong[0]
    kinds = [CORRECT, "localization", "ignored", "background", "background", "background"]
    assert wrong.kinds.tolist() == kinds
    assert wrong.covered.tolist() == [0.9, -1, -1]


def test_what_an_error_costs(one_of_each):
    """AP50 by hand. Class 0: 4 objects, scores .95 right, .85, .75, .65, .55 wrong. Class 1: 0."""

    def ap(right, objects):
        scores = np.linspace(0.9, 0.1, len(right))
        return precision_at_recalls(scores, np.array(right, bool), objects).mean()

    now = (ap([1, 0, 0, 0, 0], 4) + ap([0], 2)) / 2
    mended = {
        # Found in class 1 instead, below its false one.
        "classification": (ap([1, 0, 0, 0], 4) + ap([0, 1], 2)) / 2,
        "localization": (ap([1, 0, 1, 0, 0], 4) + ap([0], 2)) / 2,
        "both": (ap([1, 0, 0, 0], 4) + ap([0], 2)) / 2,
        "duplicate": (ap([1, 0, 0, 0], 4) + ap([0], 2)) / 2,
        "background": (ap([1, 0, 0, 0, 0], 4) + 0) / 2,
        "missed": (ap([1, 0, 0, 0, 0], 2) + ap([0], 1)) / 2,
    }
    assert list(one_of_each.errors) == list(KINDS)
    for kind, (count, cost) in one_of_each.errors.items():
        assert count == (3 if kind == "missed" else 1)
        assert cost == pytest.approx(mended[kind] - now), kind
    assert one_of_each.errors["localization"].cost == pytest.approx(25 * 2 / 3 / 101 / 2)


def test_only_the_best_repair_of_an_object_counts(evaluated):
    objects = [[(0, 0, 0, 40, 40), (0, 100, 100, 40, 40)]]
    found = [
        [
            (0, 0, 0, 40, 40, 0.9),
            (0, 20, 0, 40, 40, 0.8),  # would be a duplicate of the first
            (0, 120, 100, 40, 40, 0.7),
            (0, 80, 100, 40, 40, 0.6),  # would be a duplicate of the one before
        ]
    ]
    analysis = analyse(evaluated(objects, found)["box"], CATEGORIES)
    assert analysis.errors["localization"].number == 3
    now = precision_at_recalls(np.array([0.9, 0.8]), np.array([True, False]), 2).mean()
    assert analysis.errors["localization"].cost == pytest.approx(1 - now)


def test_confusion_matrix(one_of_each):
    expected = [
        # found c0, c1, nothing
        [1, 0, 3],
        [1, 0, 1],
        [3, 1, 0],  # nothing there: duplicate, localization, both; background
    ]
    objects = one_of_each.objects
    np.testing.assert_array_equal(objects, [4, 2])
    matrix = confusion_matrix(*one_of_each.taken_for, objects, 0.0)
    np.testing.assert_array_equal(matrix, expected)
    only_best = confusion_matrix(*one_of_each.taken_for, objects, 0.9)
    np.testing.assert_array_equal(only_best, [[1, 0, 3], [0, 0, 2], [0, 1, 0]])
    nothing = confusion_matrix(*one_of_each.taken_for, objects, math.nan)
    np.testing.assert_array_equal(nothing, [[0, 0, 4], [0, 0, 2], [0, 0, 0]])


def test_best_score():
    scores = np.array([0.9, 0.8, 0.8, 0.5, 0.4])
    true = np.array([True, False, True, True, False])
    best = best_score(scores, true, objects=4)

    def f1(least):
        taken = scores >= least
        return 2 * true[taken].sum() / (taken.sum() + 4)

    assert best.f1 == pytest.approx(max(f1(score) for score in scores))
    assert best == pytest.approx((0.5, 3 / 4, 3 / 4, 3 / 4))
    # Equal scores are taken together: only the right one of two would have F1 1.
    assert best_score(np.array([0.8, 0.8]), np.array([True, False]), 1).f1 == pytest.approx(2 / 3)
    assert best_score(scores, np.zeros(5, bool), 4)[2] == 0
    assert all(math.isnan(value) for value in best_score(scores, np.zeros(5, bool), 0))


def test_figures_of_a_class(one_of_each):
    curve = precision_at_recalls(np.arange(5.0)[::-1], np.arange(5) == 0, 4)
    figures = class_figures(one_of_each, 0)
    assert curve.tolist() == [1.0] * 26 + [0.0] * 75
    aps = [figures["ap"], figures["ap50"], figures["ap75"]]
    assert aps == pytest.approx([26 / 101] * 3)
    assert (figures["score"], figures["precision"], figures["recall"]) == (0.95, 1.0, 0.25)
    assert figures["f1"] == pytest.approx(0.4)
    assert class_figures(one_of_each, 1)["ap"] == 0.0


def test_ap_by_number_of_objects(one_of_each, evaluated):
    few, some = by_object_number(one_of_each), for_page(one_of_each)["by_objects"]
    assert few == some
    assert [(row["least"], row["most"], row["images"], row["objects"]) for row in few] == [
        (2, 4, 2, 6)
    ]
    apart = [OBJECTS[0], [OBJECTS[1][0]]]
    rows = by_object_number(analyse(evaluated(apart, FOUND)["box"], CATEGORIES))
    # In the one with a single object nothing of it is found; in the other, as by hand.
    assert [row["ap50"] for row in rows] == pytest.approx([0.0, 51 / 101 / 2])


def test_counts_by_score(one_of_each):
    page = for_page(one_of_each)
    at = {score: int(np.argmin(np.abs(STEPS - score))) for score in (0.0, 0.6, 0.9, 1.0)}
    np.testing.assert_array_equal(page["right"][:, at[0.9]], [1, 0])
    np.testing.assert_array_equal(page["wrong"][:, at[0.9]], [0, 1])
    np.testing.assert_array_equal(page["wrong"][:, at[0.0]], [4, 1])
    missed = page["error_counts"]["missed"]
    assert [missed[at[score]] for score in at] == [3, 3, 5, 6]
    duplicates = page["error_counts"]["duplicate"]
    assert [duplicates[at[score]] for score in at] == [1, 1, 0, 0]
    total = np.zeros((3, 3), int)
    for annotated, found, step, number in page["confusions"]:
        assert 0 <= step <= 100
        total[annotated, found] += number
    np.testing.assert_array_equal(total, [[1, 0, 0], [1, 0, 0], [3, 1, 0]])


def test_number_from():
    numbers = number_from(np.array([0.0, 0.29, 0.295, 1.0]))
    assert [numbers[step] for step in (0, 1, 29, 30, 100)] == [4, 3, 3, 1, 1]


def test_calibration():
    scores = np.array([0.05, 0.05, 0.62, 0.68, 1.0])
    true = np.array([False, True, True, True, True])
    result = calibration(scores, true)
    assert result.counts.tolist() == [2, 0, 0, 0, 0, 0, 2, 0, 0, 1]
    assert result.scores[6] == pytest.approx(0.65)
    assert result.precisions[[0, 6, 9]] == pytest.approx([0.5, 1.0, 1.0])
    assert result.error == pytest.approx((2 * 0.45 + 2 * 0.35 + 0) / 5)
    assert math.isnan(calibration(np.zeros(0), np.zeros(0, bool)).error)


def test_images_with_errors_and_doubtful_annotations(one_of_each):
    assert one_of_each.score == 0.95  # F1 2/7; with all six it is 2/12
    np.testing.assert_array_equal(
        error_numbers(one_of_each), [[0, 0, 0, 0, 0, 3], [0, 0, 0, 0, 0, 2]]
    )
    assert worst_images(one_of_each, most=5) == [0, 1]
    assert worst_images(one_of_each, most=1) == [0]
    assert doubtful(one_of_each, most=5) == []


def test_what_is_not_annotated_is_doubtful(evaluated):
    found = [[(0, *OBJECTS[0][0][1:], 0.8), (1, 60, 60, 20, 20, 0.9), (1, 60, 150, 9, 9, 0.6)], []]
    found[0] += [(*box, 0.95) for box in OBJECTS[0][1:]]
    analysis = analyse(evaluated(OBJECTS, found)["box"], CATEGORIES)
    assert doubtful(analysis, most=5) == [(0, 3)]
    assert analysis.images[0].scores[3] == 0.9


def test_nothing_found_and_nothing_annotated(evaluated):
    nothing_found = analyse(evaluated(OBJECTS, [[], []])["mask"], CATEGORIES)
    assert math.isnan(nothing_found.score)
    assert nothing_found.errors["missed"].number == 6
    assert nothing_found.errors["background"].cost == 0
    assert class_figures(nothing_found, 0)["ap"] == 0
    assert error_numbers(nothing_found)[:, -1].tolist() == [4, 2]
    nothing_there = analyse(evaluated([[], []], FOUND)["box"], CATEGORIES)
    assert all(math.isnan(cost.cost) for cost in nothing_there.errors.values())
    assert nothing_there.errors["background"].number == 6
    assert math.isnan(class_figures(nothing_there, 0)["ap"])
    assert by_object_number(nothing_there) == []
    assert for_page(nothing_found)["confusions"].tolist() == []
    assert for_page(nothing_there)["error_counts"]["background"][0] == 6
