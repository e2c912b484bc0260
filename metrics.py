"""Scores of masks against their ground truth, computed from counts of pixels; undefined is nan.

A score of all photos together sums their counts first and divides last; the others are means over photos.
"""

import cv2
import numpy as np
from scipy.special import stdtrit
from skimage.morphology import disk, skeletonize

from quantify.skeleton import check_mask, widths

THRESHOLDS = np.arange(5, 100, 5) / 100  # tried on validation
FLAT = 0.005  # differences in validation IoU up to this are treated as noise
FEWEST = 6  # values that an interval needs: from 5 typical IoU values it would be 0.5 wide and say nothing
WIDTHS = {"recall_to_3px": 3.5, "recall_3_to_10px": 10.5, "recall_over_10px": np.inf}  # upper bounds, pixels
TOLERANCE = disk(2)  # f1_2px accepts 2 pixels, at the photo's own size

MEANING = {
    "iou_cracked": "IoU of the crack, mean over the photos that have one (the main score)",
    "iou_all": "mean IoU over all photos; an undamaged photo counts 1 if left empty, else 0",
    "iou_pooled": "IoU of all pixels of the split together",
    "dice_cracked": "Dice of the crack, mean over the photos that have one",
    "precision": "share of predicted crack pixels that are right, all photos together",
    "recall": "share of true crack pixels that were found, all photos together",
    "f1_2px": "F1 with a tolerance of 2 pixels at the photo's own size, all photos together",
    "cldice": "centre-line Dice, mean over the photos with a crack",
    "recall_to_3px": "recall where the crack is up to 3 pixels wide",
    "recall_3_to_10px": "recall where the crack is 3 to 10 pixels wide",
    "recall_over_10px": "recall where the crack is over 10 pixels wide",
    "miou_with_background": "mean IoU of crack and background, only to compare with papers that print it",
    "undamaged_correct": "share of undamaged photos left empty",
    "undamaged_area": "mean share of an undamaged photo predicted as crack",
    "all_black": "iou_all of an all-black prediction: the number to beat",
    "ods": "dice_cracked at the best single threshold for these photos; optimistic, specks not removed",
    "ois": "dice_cracked at the best threshold for each photo; more optimistic, specks not removed",
    "miou_papers": "mean IoU of crack and background by photo, at the best single threshold, as in papers; optimistic",
    "label_noise_1px": "iou_cracked of the ground truth drawn 1 pixel wider or narrower, mean of both",
    "label_noise_2px": "iou_cracked of the ground truth drawn 2 pixels wider or narrower, mean of both",
}


def divide(numerator, denominator):
    """numerator / denominator, nan where the denominator is 0; numbers or arrays."""
    numerator, denominator = np.asarray(numerator, float), np.asarray(denominator, float)
    return np.divide(numerator, denominator, out=np.full(denominator.shape, np.nan), where=denominator != 0)


def counts(prediction, truth):
    """Two (H, W) masks of 0 and 1 -> (4,) pixels: true positives (hits), false positives (false alarms), false
    negatives (misses), true negatives."""
    p, t = (check_mask(mask).astype(bool) for mask in (prediction, truth))
    hits = np.count_nonzero(p & t)
    false_alarms, misses = np.count_nonzero(p) - hits, np.count_nonzero(t) - hits
    return np.array([hits, false_alarms, misses, p.size - hits - false_alarms - misses])


def counts_by_threshold(probability, truth):
    """(H, W) probability and mask -> (THRESHOLDS, 4) counts, as `counts(probability >= threshold, truth)` gives."""
    thresholds = THRESHOLDS.astype(probability.dtype)  # so that the comparison is that of probability >= threshold
    level = np.searchsorted(thresholds, probability.ravel(), side="right")  # how many thresholds a pixel reaches
    levels = len(thresholds) + 1
    crack = check_mask(truth).ravel().astype(bool)
    pixels = np.bincount(level + levels * crack, minlength=2 * levels).reshape(2, levels)  # of background, of crack
    at_least = pixels[:, ::-1].cumsum(axis=1)[:, ::-1]  # pixels that reach this many thresholds or more
    false_alarms, hits = at_least[:, 1:]
    background, true = at_least[:, 0]
    return np.stack([hits, false_alarms, true - hits, background - false_alarms], axis=1)


def true_pixels(c):
    """Counts (..., 4) -> crack pixels of the ground truth."""
    return c[..., 0] + c[..., 2]


def predicted_pixels(c):
    """Counts (..., 4) -> pixels that are predicted as crack."""
    return c[..., 0] + c[..., 1]


def iou(c):
    """Counts (..., 4) -> IoU of the crack class; nan where neither mask has a crack."""
    return divide(c[..., 0], c[..., 0] + c[..., 1] + c[..., 2])


def dice(c):
    """Counts (..., 4) -> Dice of the crack class, the F1 of its pixels."""
    return divide(2 * c[..., 0], true_pixels(c) + predicted_pixels(c))


def precision(c):
    """Counts (..., 4) -> share of the predicted pixels that are right; nan where none is predicted."""
    return divide(c[..., 0], predicted_pixels(c))


def recall(c):
    """Counts (..., 4) -> share of the true pixels that were found; nan where there is none."""
    return divide(c[..., 0], true_pixels(c))


def tolerant_counts(prediction, truth):
    """Two (H, W) masks -> (4,) pixels: predicted, predicted within 2 pixels of the truth, true, true within 2 pixels of
    the prediction."""
    near_prediction, near_truth = (cv2.dilate(check_mask(mask), TOLERANCE) for mask in (prediction, truth))
    masks = prediction, prediction & near_truth, truth, truth & near_prediction
    return np.array([np.count_nonzero(mask) for mask in masks])


def f1(c):
    """Tolerant or centre-line counts (..., 4) -> harmonic mean of their precision and recall; 0 where nothing agrees,
    nan where neither mask has a pixel."""
    predicted, right, true, found = np.moveaxis(np.asarray(c), -1, 0)
    p = np.nan_to_num(divide(right, predicted))
    r = np.nan_to_num(divide(found, true))
    either = np.nan_to_num(divide(2 * p * r, p + r))
    return np.where(predicted + true > 0, either, np.nan)


def interval(values, limits=(-np.inf, np.inf)):
    """Values of photos -> (low, high), the 95 % interval of their mean over photos of the same kind.

    Student's t: mean ± t · s / √n, cut off at `limits`, 0 and 1 for an IoU. In simulations with 6 to 40 photos it holds
    the true mean in 93 to 96 % of the cases, for IoU-like values and for differences of two runs; the percentile
    bootstrap does so in 84 to 94 %. If a run misses one photo in five completely, Student's t holds the mean in 84 % of
    the cases with 6 photos and in 93 % with 12.
    `python results/coverage.py` prints the tables. Values that are nan are left out; fewer than FEWEST give (nan, nan).
    """
    values = np.asarray(values, float)
    values = values[~np.isnan(values)]
    if len(values) < FEWEST:
        return np.nan, np.nan
    half = stdtrit(len(values) - 1, 0.975) * values.std(ddof=1) / np.sqrt(len(values))
    low, high = np.clip([values.mean() - half, values.mean() + half], *limits)
    return float(low), float(high)


def summary(c):
    """Counts of each photo (photos, 4) -> {key of MEANING: score}, those that need nothing else."""
    c = np.asarray(c).reshape(-1, 4)
    cracked = true_pixels(c) > 0
    empty = predicted_pixels(c) == 0
    pooled, undamaged = c.sum(axis=0), c[~cracked]
    each = np.where(cracked | ~empty, np.nan_to_num(iou(c)), 1.0)  # empty truth: 1 if left empty, else 0
    return {
        "iou_cracked": mean(iou(c[cracked])),
        "iou_all": mean(each),
        "iou_pooled": float(iou(pooled)),
        "dice_cracked": mean(dice(c[cracked])),
        "precision": float(precision(pooled)),
        "recall": float(recall(pooled)),
        "miou_with_background": float((iou(pooled) + iou(pooled[::-1])) / 2),
        "undamaged_correct": mean(empty[~cracked]),
        "undamaged_area": mean(divide(undamaged[:, 1], undamaged.sum(axis=1))),
        "all_black": mean(~cracked),
    }


def mean(values):
    """Mean as a plain float, nan of nothing."""
    return float(np.mean(values)) if len(values) else float("nan")


def centreline_counts(prediction, truth):
    """Two (H, W) masks -> (4,) pixels: the prediction's skeleton, its part inside the truth, the truth's skeleton, its
    part inside the prediction.

    `f1` of these counts is clDice on binary masks (Shit et al., CVPR 2021). As published, the skeletons are those of
    scikit-image, with all their spurs. quantify/skeleton.py, which measures lengths, has another thinning: this one
    shortens some strips at 45 degrees by half.
    """
    predicted_line, true_line = (skeletonize(check_mask(mask) > 0).astype(np.uint8) for mask in (prediction, truth))
    masks = predicted_line, predicted_line & truth, true_line, true_line & prediction
    return np.array([np.count_nonzero(mask) for mask in masks])


def counts_by_width(prediction, truth, true_line):
    """Two (H, W) masks, centre line of the second -> (3, 2): hits and true pixels where the crack is up to 3, 3 to 10,
    over 10 pixels wide. The width at a pixel is that of the nearest point of the true centre line."""
    if not true_line.any():
        return np.zeros((3, 2), int)
    _, nearest = cv2.distanceTransformWithLabels(1 - true_line, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    of_label = np.zeros(nearest.max() + 1, np.float32)
    of_label[nearest[true_line > 0]] = widths(truth, true_line)
    inside = truth > 0
    group = np.digitize(of_label[nearest[inside]], list(WIDTHS.values())[:-1])
    true = np.bincount(group, minlength=3)
    hits = np.bincount(group, weights=prediction[inside], minlength=3).astype(int)
    return np.stack([hits, true], axis=1)


OPTIMISTIC = ("ods", "ois", "miou_papers")  # scores at thresholds chosen on the photos that are scored


def at_best_threshold(c):
    """(photos, thresholds, 4) counts -> {key of OPTIMISTIC: score}; nan without a photo with a crack.

    ods, ois: mean Dice of the photos with a crack, at the best threshold for all and at the best one for each. The
    names, optimal data set and image scale, are from the Berkeley benchmark (Arbelaez et al., PAMI 2011); here they are
    mean Dice per photo, without tolerance. Specks are in the masks behind these counts; dice_cracked is without them.

    miou_papers: as in the code of SCSegamba (Liu et al., CVPR 2025) and of papers that compare with it.
    """
    cracked = c[true_pixels(c[:, 0]) > 0]
    if not len(cracked):
        return dict.fromkeys(OPTIMISTIC, np.nan)
    of_crack = dice(cracked)
    both = (iou(cracked) + iou(cracked[..., ::-1])) / 2
    best = of_crack.mean(axis=0).max(), of_crack.max(axis=1).mean(), both.mean(axis=0).max()
    return dict(zip(OPTIMISTIC, map(float, best), strict=True))


def best_threshold(counts):
    """(photos, thresholds, 4) counts -> threshold with the best mean IoU over photos with a crack; 0.5 without such.

    Among the thresholds within FLAT of the highest IoU, the one nearest to 0.5 is taken: on few photos many thresholds
    score nearly the same, and which of them is highest is chance (measured: results/experiments.md).
    """
    cracked = counts[true_pixels(counts[:, 0]) > 0]
    if not len(cracked):
        return 0.5
    mean_iou = iou(cracked).mean(axis=0)
    good = THRESHOLDS[mean_iou >= mean_iou.max() - FLAT]
    return float(good[np.abs(good - 0.5).argmin()])


def summary_at(counts, threshold):
    """`summary` of (photos, thresholds, 4) counts at one of THRESHOLDS."""
    return summary(counts[:, THRESHOLDS.tolist().index(threshold)])


def label_noise_counts(truth):
    """(H, W) mask -> (2, 2, 4) counts of the mask drawn 1 or 2 pixels (wider, narrower), against the mask itself."""
    found = []
    for pen in (np.ones((2, 2), np.uint8), disk(1)):  # they add 1 and 2 pixels of width
        wider, narrower = cv2.dilate(truth, pen), cv2.erode(truth, pen)
        found.append([counts(wider, truth), counts(narrower, truth)])
    return np.array(found)


def reliability(c):
    """Counts (thresholds, 4) -> (share of true crack, pixels), each (thresholds + 1,): for the pixels whose probability
    lies between two neighbouring thresholds."""
    crack = np.r_[true_pixels(c[0]), c[:, 0], 0]
    pixels = np.r_[c[0].sum(), predicted_pixels(c), 0]
    return divide(np.diff(crack), np.diff(pixels)), -np.diff(pixels)
