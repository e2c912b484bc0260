"""Scores of a mask against its ground truth: counts first, divided last, undefined is nan."""

import cv2
import numpy as np

THRESHOLDS = np.arange(5, 100, 5) / 100  # tried on validation
TOLERANCE = 2  # pixels, at the photo's own size
DISK = np.array([[0, 0, 1, 0, 0], [0, 1, 1, 1, 0], [1, 1, 1, 1, 1], [0, 1, 1, 1, 0], [0, 0, 1, 0, 0]], np.uint8)


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
    """Tolerant counts (..., 4) -> harmonic mean of tolerant precision and recall."""
    p, r = divide(c[..., 1], c[..., 0]), divide(c[..., 3], c[..., 2])
    return divide(2 * p * r, p + r)


def interval(values, seed=0, draws=2000):
    """95 % bootstrap interval of the mean over photos; values that are nan are left out."""
    values = np.asarray(values, float)
    values = values[~np.isnan(values)]
    if not len(values):
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

    The width at a pixel is that of the nearest point of the true centre line, twice the distance to the road - 1.
    """
    if not true_line.any():
        return np.zeros((3, 2), int)
    width = 2 * cv2.distanceTransform(truth, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) - 1
    _, nearest = cv2.distanceTransformWithLabels(1 - true_line, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    of_label = np.zeros(nearest.max() + 1, np.float32)
    of_label[nearest[true_line > 0]] = width[true_line > 0]
    inside = truth > 0
    group = np.digitize(of_label[nearest[inside]], [3.5, 10.5])
    true = np.bincount(group, minlength=3)
    hits = np.bincount(group, weights=prediction[inside], minlength=3).astype(int)
    return np.stack([hits, true], axis=1)
