import cv2
import numpy as np
import pytest
from conftest import painted
from skimage.morphology import skeletonize

from metrics import (
    THRESHOLDS,
    TOLERANCE,
    at_best_threshold,
    centreline_counts,
    counts,
    counts_by_threshold,
    counts_by_width,
    dice,
    f1,
    interval,
    iou,
    label_noise_counts,
    precision,
    recall,
    reliability,
    summary,
    tolerant_counts,
)
from quantify.skeleton import skeleton, widths
from results import coverage

TRUTH = np.array([[0, 1, 1, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 0, 0]], np.uint8)
PREDICTION = np.array([[0, 0, 1, 1, 1], [0, 0, 1, 1, 1], [0, 0, 0, 0, 1]], np.uint8)
EMPTY = np.zeros((3, 5), np.uint8)


def test_scores_of_two_little_masks_are_those_worked_out_by_hand():
    c = counts(PREDICTION, TRUTH)
    assert c.tolist() == [2, 5, 2, 6]
    assert (iou(c), dice(c), precision(c), recall(c)) == pytest.approx((2 / 9, 4 / 11, 2 / 7, 2 / 4))


@pytest.mark.parametrize("place", [0, 1])
def test_a_mask_of_two_classes_is_refused_instead_of_counted_as_one(place):
    masks = [PREDICTION, TRUTH]
    masks[place] = 2 * masks[place]
    for count in (counts, tolerant_counts, centreline_counts):
        with pytest.raises(ValueError, match="one class"):
            count(*masks)


def test_what_is_undefined_is_nan():
    c = counts(EMPTY, EMPTY)
    assert np.isnan([iou(c), dice(c), precision(c), recall(c)]).all()
    assert np.isnan(precision(counts(EMPTY, TRUTH))) and recall(counts(EMPTY, TRUTH)) == 0
    assert np.isnan(f1(tolerant_counts(EMPTY, EMPTY)))
    assert f1(tolerant_counts(EMPTY, TRUTH)) == f1(tolerant_counts(TRUTH, EMPTY)) == 0  # as for Dice


def test_counts_of_all_thresholds_at_once_are_those_of_each(rng):
    probability = np.round(rng.random((20, 30)), 2).astype(np.float32)
    truth = rng.integers(0, 2, (20, 30), dtype=np.uint8)
    at_once = counts_by_threshold(probability, truth)
    for row, threshold in zip(at_once, THRESHOLDS.tolist(), strict=True):  # plain floats, as a checkpoint has them
        assert row.tolist() == counts((probability >= threshold).astype(np.uint8), truth).tolist()


def test_the_summary_is_the_one_worked_out_by_hand():
    c = np.array([[2, 5, 2, 6], [0, 0, 4, 11], [0, 3, 0, 12], [0, 0, 0, 15]])
    s = summary(c)
    assert s["iou_cracked"] == pytest.approx((2 / 9 + 0) / 2)
    assert s["iou_all"] == pytest.approx((2 / 9 + 0 + 0 + 1) / 4)
    assert s["iou_pooled"] == pytest.approx(2 / 16)
    assert s["dice_cracked"] == pytest.approx((4 / 11 + 0) / 2)
    assert (s["precision"], s["recall"]) == pytest.approx((2 / 10, 2 / 8))
    assert s["miou_with_background"] == pytest.approx((2 / 16 + 44 / 58) / 2)
    assert (s["undamaged_correct"], s["undamaged_area"]) == pytest.approx((1 / 2, 3 / 30))
    assert s["all_black"] == 2 / 4


def test_an_all_black_answer_scores_what_the_sheet_calls_all_black():
    truths = [TRUTH, EMPTY, EMPTY, TRUTH, TRUTH]
    s = summary([counts(EMPTY, truth) for truth in truths])
    assert s["iou_all"] == s["all_black"] == 0.4 and s["iou_cracked"] == 0


def test_an_all_white_answer_finds_every_crack_and_is_right_about_no_sound_photo():
    truths = [TRUTH, EMPTY, TRUTH, EMPTY]
    s = summary([counts(np.ones_like(truth), truth) for truth in truths])
    share = TRUTH.mean()
    assert s["recall"] == 1 and s["undamaged_correct"] == 0 and s["undamaged_area"] == 1
    assert s["iou_cracked"] == pytest.approx(share) and s["iou_all"] == pytest.approx(share / 2)
    assert s["precision"] == s["iou_pooled"] == pytest.approx(share / 2)


def test_neither_the_order_of_photos_nor_merging_two_sets_changes_pooled_scores(rng):
    c = rng.integers(1, 50, (9, 4))
    assert summary(c) == pytest.approx(summary(c[rng.permutation(9)]), nan_ok=True)
    assert summary(c)["iou_pooled"] == pytest.approx(float(iou(c[:4].sum(axis=0) + c[4:].sum(axis=0))))


def test_two_pixels_of_tolerance_forgive_two_pixels_and_not_three():
    truth = painted((20, 20), np.s_[10])
    for shift, expected in ((0, 1.0), (2, 1.0), (3, 0.0)):
        c = tolerant_counts(np.roll(truth, shift, axis=0), truth)
        assert f1(c) == expected
    corner = np.zeros((20, 20), np.uint8)
    dot = corner.copy()
    corner[10, 10], dot[12, 12] = 1, 1  # 2.8 pixels apart
    assert tolerant_counts(dot, corner).tolist() == [1, 0, 1, 0]


def test_the_tolerance_is_a_disk_of_two_pixels_to_all_sides():
    y, x = np.mgrid[-2:3, -2:3]
    assert ((x**2 + y**2 <= 4) == TOLERANCE).all()


def test_tolerance_never_lowers_a_score(rng):
    for _ in range(20):
        a, b = (rng.random((2, 15, 15)) > 0.8).astype(np.uint8)
        assert f1(tolerant_counts(a, b)) >= dice(counts(a, b))


def test_centre_line_dice_is_the_share_of_the_skeletons_that_the_other_mask_covers():
    truth, prediction = np.zeros((15, 40), np.uint8), np.zeros((15, 40), np.uint8)
    truth[7] = 1
    prediction[7, :20] = prediction[2, 5:15] = 1
    c = centreline_counts(prediction, truth)
    assert c.tolist() == [30, 20, 40, 20] and f1(c) == pytest.approx(2 * (2 / 3) * 0.5 / (2 / 3 + 0.5))


def test_the_skeletons_of_centre_line_dice_keep_their_spurs():
    truth = painted((40, 60), np.s_[15:26, 5:55])
    truth[10:15, 30] = 1  # a bump that pruning cuts off
    predicted, inside, true, found = centreline_counts(truth, truth)
    assert predicted == inside == true == found > skeleton(truth).sum()


@pytest.mark.parametrize("seed", range(3))
def test_centre_line_dice_is_that_of_scikit_image(seed):
    rng = np.random.default_rng(seed)
    truth, prediction = np.zeros((2, 200, 300), np.uint8)
    for mask in (truth, truth, prediction):  # lines of odd and even width at any angle
        for _ in range(4):
            start, end = rng.integers(0, 200, (2, 2)).tolist()
            cv2.line(mask, start, end, 1, int(rng.integers(1, 12)))
    prediction |= truth * (np.arange(300) < 150).astype(np.uint8)
    predicted_line, true_line = skeletonize(prediction > 0), skeletonize(truth > 0)
    precision = predicted_line[truth > 0].sum() / predicted_line.sum()
    sensitivity = true_line[prediction > 0].sum() / true_line.sum()
    theirs = 2 * precision * sensitivity / (precision + sensitivity)
    assert 0.1 < theirs < 0.99
    assert f1(centreline_counts(prediction, truth)) == pytest.approx(theirs, abs=0.0002)


@pytest.mark.parametrize("width,group", [(2, 0), (3, 0), (4, 1), (9, 1), (10, 1), (11, 2), (21, 2)])
def test_recall_by_width_puts_a_strip_into_the_group_of_its_width(width, group):
    truth = painted((60, 200), np.s_[20 : 20 + width])
    prediction = truth.copy()
    prediction[:, 50:] = 0
    hits, true = counts_by_width(prediction, truth, skeleton(truth)).T
    assert true[group] == truth.sum() and true.sum() == truth.sum()
    assert hits[group] == prediction.sum()


@pytest.mark.parametrize("width", range(1, 13))
def test_the_width_on_the_centre_line_of_a_strip_is_that_of_the_strip_odd_or_even(width):
    mask = painted((60, 200), np.s_[20 : 20 + width, 40:160])
    for strip in (mask, np.ascontiguousarray(mask.T)):
        assert np.median(widths(strip, skeleton(strip))) == width


def test_the_interval_holds_the_mean_and_narrows_with_more_photos(rng):
    values = rng.random(400)
    few, many = interval(values[:20]), interval(values)
    assert few[0] < values[:20].mean() < few[1] and many[0] < values.mean() < many[1]
    assert many[1] - many[0] < few[1] - few[0]


def test_the_interval_is_the_one_worked_out_by_hand_and_ends_at_its_limits():
    values = [0.2, 0.4, 0.6, 0.8, 0.5, 0.5]  # mean 0.5, standard deviation 0.2, t of 5 degrees of freedom 2.5706
    half = 2.5706 * 0.2 / 6**0.5
    assert interval(values) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-4)
    assert interval(values, limits=(0.3, 0.6)) == (0.3, 0.6)
    assert interval([0.7] * 8, limits=(0, 1)) == pytest.approx((0.7, 0.7))


@pytest.mark.parametrize("count", coverage.COUNTS)
def test_the_interval_covers_what_it_says(count):
    """With 1000 simulated test sets the share varies by 0.007 (one standard deviation)."""
    usual = [kind for kind in coverage.KINDS if kind != "one photo in five missed"]
    shares = [coverage.coverage(coverage.student, kind, count, 1000) for kind in usual]
    assert min(shares) > 0.91 and max(shares) < 0.98 and 0.935 < np.mean(shares) < 0.965
    assert coverage.coverage(coverage.bootstrap, usual[0], 6, 200) < 0.9  # why it is no longer used


def test_five_values_have_no_interval_six_have_one_and_nan_is_none_of_them():
    values = [0.1, 0.2, 0.3, 0.4, 0.5]
    for few in ([], values, [*values, np.nan]):
        assert np.isnan(interval(few)).all()
    low, high = interval([*values, 0.6])
    assert 0.1 <= low < 0.35 < high <= 0.6


def test_scores_are_those_of_scikit_learn(rng):
    sklearn = pytest.importorskip("sklearn.metrics")
    for share in (0.05, 0.5):
        truth, prediction = (rng.random((2, 31, 17)) < share).astype(np.uint8)
        c, flat = counts(prediction, truth), (truth.ravel(), prediction.ravel())
        assert iou(c) == pytest.approx(sklearn.jaccard_score(*flat))
        assert dice(c) == pytest.approx(sklearn.f1_score(*flat))
        assert (precision(c), recall(c)) == pytest.approx((sklearn.precision_score(*flat), sklearn.recall_score(*flat)))
        both = sklearn.jaccard_score(*flat, average="macro")
        assert summary(c)["miou_with_background"] == pytest.approx(both)


def test_the_best_thresholds_are_those_worked_out_by_hand():
    c = np.array(
        [
            [[4, 4, 0, 8], [3, 0, 1, 12]],  # Dice 8/12, 6/7
            [[2, 1, 0, 13], [1, 1, 1, 13]],  # Dice 4/5, 2/4
            [[0, 9, 0, 7], [0, 2, 0, 14]],  # undamaged: no Dice
        ]
    )
    best = at_best_threshold(c)
    assert best["ods"] == pytest.approx((8 / 12 + 4 / 5) / 2)
    assert best["ois"] == pytest.approx((6 / 7 + 4 / 5) / 2)


def test_no_threshold_does_better_than_ods_and_no_choice_of_thresholds_than_ois(rng):
    truths = [np.roll(TRUTH, i, axis=1) for i in range(4)]
    c = np.array([counts_by_threshold(rng.random(TRUTH.shape), truth) for truth in truths])
    best = at_best_threshold(c)
    assert max(summary(c[:, i])["dice_cracked"] for i in range(len(THRESHOLDS))) == pytest.approx(best["ods"])
    assert best["ods"] <= best["ois"]
    for nothing in (np.full_like(c, np.nan, dtype=float), c[:0]):
        assert np.isnan(list(at_best_threshold(nothing).values())).all()


def test_miou_of_papers_is_averaged_over_photos_first_and_is_that_of_the_best_threshold():
    likely = np.where(TRUTH > 0, 0.62, 0.47), np.where(TRUTH > 0, 0.42, 0.12)  # no threshold suits both photos
    c = np.array([counts_by_threshold(probability, TRUTH) for probability in likely])
    one_empty = (0 + 11 / 15) / 2
    assert at_best_threshold(c)["miou_papers"] == pytest.approx((1 + one_empty) / 2)
    with_undamaged = np.concatenate([c, [counts_by_threshold(np.ones(EMPTY.shape), EMPTY)]])
    assert at_best_threshold(with_undamaged) == at_best_threshold(c)


def test_label_noise_is_what_a_wider_and_a_narrower_pen_make_of_a_strip():
    truth = painted((12, 9), np.s_[4:8])  # 4 pixels wide: drawn 1 wider 4/5, narrower 3/4; 2 wider 4/6, narrower 2/4
    assert iou(label_noise_counts(truth)).tolist() == [[4 / 5, 3 / 4], [4 / 6, 2 / 4]]
    truth[5:8] = 0  # 1 pixel wide: a narrower pen leaves nothing
    assert iou(label_noise_counts(truth)).tolist() == [[1 / 2, 0], [1 / 3, 0]]
    assert np.isnan(iou(label_noise_counts(np.zeros_like(truth)))).all()


def test_reliability_is_the_share_of_crack_among_pixels_of_a_like_probability():
    probability = np.array([[0.01, 0.02, 0.72, 0.74, 0.71], [0.03, 0.97, 0.96, 0.31, 0.04]], np.float32)
    truth = np.array([[0, 1, 1, 0, 1], [0, 1, 1, 0, 0]], np.uint8)
    share, pixels = reliability(counts_by_threshold(probability, truth))
    assert pixels.sum() == 10 and pixels[[0, 6, 14, 19]].tolist() == [4, 1, 3, 2]
    assert share[[0, 6, 14, 19]] == pytest.approx([1 / 4, 0, 2 / 3, 1])
    assert np.isnan(share[1])
