"""Scores of masks against their ground truth, from counts of pixels; undefined is nan.

What is said to be of all photos together is their counts summed first and divided last; the rest are means over photos.
"""

import cv2
import numpy as np

from quantify.skeleton import widths

THRESHOLDS = np.arange(5, 100, 5) / 100  # tried on validation
FEWEST = 6  # values of which a mean has an interval: of fewer, all of one sign are not rare (sign test: 2 / 2^5 = 6 %)
WIDTHS = {"recall_to_3px": 3.5, "recall_3_to_10px": 10.5, "recall_over_10px": np.inf}  # upper bounds, pixels
# the tolerance of 2 pixels, at the photo's own size
DISK = np.array([[0, 0, 1, 0, 0], [0, 1, 1, 1, 0], [1, 1, 1, 1, 1], [0, 1, 1, 1, 0], [0, 0, 1, 0, 0]], np.uint8)
CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))

MEANING = {
    "iou_cracked": "IoU of the crack, mean over photos that have one (headline)",
    "iou_all": "mean over all photos; an undamaged photo counts 1 if left empty, else 0",
    "iou_pooled": "IoU of all pixels of the split together",
    "dice_cracked": "Dice of the crack, mean over photos that have one",
    "precision": "share of predicted crack pixels that are right, all photos together",
    "recall": "share of true crack pixels that were found, all photos together",
    "f1_2px": "F1 with 2 pixels of tolerance at the photo's own size, all photos together",
    "cldice": "centre-line Dice, mean over photos with a crack",
    "recall_to_3px": "recall where the true crack is up to 3 pixels wide",
    "recall_3_to_10px": "recall where it is 3 to 10 pixels wide",
    "recall_over_10px": "recall where it is over 10 pixels wide",
    "miou_with_background": "only to compare with papers that average the background in",
    "undamaged_correct": "share of undamaged photos left empty",
    "undamaged_area": "mean predicted area on undamaged photos",
    "all_black": "iou_all of an answer without any crack: the number to beat",
    "ods": "dice_cracked had the best threshold for these very photos been known, which is optimistic; specks stay in",
    "ois": "dice_cracked had the best threshold for each single photo been known, more optimistic; specks stay in",
    "label_noise_1px": "iou_cracked of labels that are 1 pixel wider or narrower than these (mean)",
    "label_noise_2px": "iou_cracked of labels that are 2 pixels wider or narrower than these (mean)",
}


def divide(numerator, denominator):
    """numerator / denominator, nan where the denominator is 0; numbers or arrays."""
    numerator, denominator = np.asarray(numerator, float), np.asarray(denominator, float)
    return np.divide(numerator, denominator, out=np.full(denominator.shape, np.nan), where=denominator != 0)


def counts(prediction, truth):
    """Two (H, W) masks of 0 and 1 -> hits, false alarms, misses, correct background (TP, FP, FN, TN) in pixels."""
    p, t = prediction.astype(bool), truth.astype(bool)
    hits = np.count_nonzero(p & t)
    false_alarms, misses = np.count_nonzero(p) - hits, np.count_nonzero(t) - hits
    return np.array([hits, false_alarms, misses, p.size - hits - false_alarms - misses])


def counts_by_threshold(probability, truth, thresholds=THRESHOLDS):
    """(H, W) probability and mask -> (thresholds, 4) counts, as `counts(probability >= threshold, truth)` gives."""
    thresholds = thresholds.astype(probability.dtype)  # as >= compares
    level = np.searchsorted(thresholds, probability.ravel(), side="right")  # thresholds that the pixel reaches
    bins = np.bincount(level + (len(thresholds) + 1) * truth.ravel().astype(bool), minlength=2 * len(thresholds) + 2)
    reached = bins.reshape(2, -1)[:, ::-1].cumsum(axis=1)[:, ::-1]
    (false_alarms, hits), (background, crack) = reached[:, 1:], reached[:, 0]
    return np.stack([hits, false_alarms, crack - hits, background - false_alarms], axis=1)


def iou(c):
    """Counts (..., 4) -> IoU of the crack class; nan where neither mask has a crack."""
    return divide(c[..., 0], c[..., 0] + c[..., 1] + c[..., 2])


def dice(c):
    return divide(2 * c[..., 0], 2 * c[..., 0] + c[..., 1] + c[..., 2])


def precision(c):
    return divide(c[..., 0], c[..., 0] + c[..., 1])


def recall(c):
    return divide(c[..., 0], c[..., 0] + c[..., 2])


def tolerant_counts(prediction, truth):
    """Predicted pixels, those within 2 pixels of truth, true pixels, those within 2 pixels of the prediction."""
    near_truth, near_prediction = cv2.dilate(truth, DISK), cv2.dilate(prediction, DISK)
    return np.array(
        [np.count_nonzero(m) for m in (prediction, prediction & near_truth, truth, truth & near_prediction)]
    )


def f1(c):
    """Tolerant counts (..., 4) -> harmonic mean of tolerant precision and recall: like Dice 0 where nothing agrees, nan
    where neither mask has a pixel."""
    p, r = (np.nan_to_num(divide(c[..., near], c[..., every])) for near, every in ((1, 0), (3, 2)))
    return np.where(c[..., 0] + c[..., 2] > 0, np.nan_to_num(divide(2 * p * r, p + r)), np.nan)


def interval(values, seed=0, draws=2000):
    """95 % bootstrap interval of the mean over photos; values that are nan are left out; nan of less than FEWEST."""
    values = np.asarray(values, float)
    values = values[~np.isnan(values)]
    if len(values) < FEWEST:
        return np.nan, np.nan
    sample = np.random.default_rng(seed).integers(len(values), size=(draws, len(values)))
    return tuple(np.percentile(values[sample].mean(axis=1), [2.5, 97.5]).tolist())


def summary(c):
    """Counts of each photo (photos, 4) -> the scores that need nothing else."""
    c = np.asarray(c).reshape(-1, 4)
    cracked, empty = c[:, 0] + c[:, 2] > 0, c[:, 0] + c[:, 1] == 0
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


def centreline_counts(prediction, truth, predicted_line, true_line):
    """Predicted centre line's pixels, those inside truth, true line's pixels, those inside the prediction.

    `f1` of these counts is clDice (Shit et al., CVPR 2021), in its hard form on binary masks.
    """
    masks = (predicted_line, predicted_line & truth, true_line, true_line & prediction)
    return np.array([np.count_nonzero(mask) for mask in masks])


def counts_by_width(prediction, truth, true_line):
    """(3, 2): hits and true pixels where the crack is up to 3, 3-10, over 10 pixels wide.

    The width at a pixel is that of the nearest point of the true centre line.
    """
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


def at_best_threshold(c):
    """(photos, thresholds, 4) counts -> mean Dice of photos with a crack: at one best threshold (ODS), at each photo's.

    Named after the optimal data set and image scale of the Berkeley benchmark (Arbelaez et al., PAMI 2011), but Dice
    per photo without tolerance. The masks behind these counts have their specks, those behind dice_cracked do not.
    """
    cracked = dice(c[c[:, 0, 0] + c[:, 0, 2] > 0])
    if not len(cracked):
        return np.nan, np.nan
    return float(cracked.mean(axis=0).max()), float(cracked.max(axis=1).mean())


def label_noise_counts(truth):
    """(H, W) mask -> (2, 2, 4) counts of it drawn 1 and 2 pixels wider, and as much narrower, against itself."""
    pens = np.ones((2, 2), np.uint8), CROSS  # one pixel of width is half a pixel on either side
    return np.array([[counts(change(truth, pen), truth) for change in (cv2.dilate, cv2.erode)] for pen in pens])


def reliability(c):
    """Counts (thresholds, 4) -> (share of true crack, pixels) in each bin of probability that the thresholds bound."""
    crack = np.r_[c[0, 0] + c[0, 2], c[:, 0], 0]
    pixels = np.r_[c[0].sum(), c[:, 0] + c[:, 1], 0]
    return divide(np.diff(crack), np.diff(pixels)), -np.diff(pixels)
