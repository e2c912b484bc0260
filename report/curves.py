"""Charts of a scored run: precision and recall, reliability, IoU by crack width and photo."""

import numpy as np
from matplotlib.figure import Figure

import metrics


def precision_recall(axes, scored):
    """Precision against recall at every threshold, all photos together; the chosen threshold is marked."""
    c = np.sum([row["thresholds"] for row in scored.rows], axis=0)
    axes.plot(metrics.recall(c), metrics.precision(c), marker=".", color="#0072b2", label="thresholds 0.05 to 0.95")
    chosen = scored.sheet["recall"], scored.sheet["precision"]
    axes.plot(*chosen, "o", ms=9, color="#e69f00", label=f"chosen on validation: {scored.threshold:.2f}")
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision", title="Precision and recall")
    axes.legend(loc="lower left", framealpha=0)


def reliability(axes, scored):
    """Share of true crack among the pixels of about the same probability: on the diagonal it is as predicted."""
    share, pixels = metrics.reliability(np.sum([row["thresholds"] for row in scored.rows], axis=0))
    middle = (np.r_[0, metrics.THRESHOLDS] + np.r_[metrics.THRESHOLDS, 1]) / 2
    axes.plot([0, 1], [0, 1], color="#888888", linestyle="--", label="as predicted")
    axes.plot(middle, share, marker=".", color="#0072b2", label=f"{pixels.sum() / 1e6:.1f} million pixels")
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="predicted probability", ylabel="share that is crack")
    axes.set_title("Is the probability right?")
    axes.legend(loc="upper left", framealpha=0)


def by_width(axes, scored):
    """IoU of every cracked photo against its mean crack width: crack pixels per pixel of centre line."""
    length = np.array([row["length"] for row in scored.rows])[scored.cracked]
    width = metrics.divide(metrics.true_pixels(scored.counts[scored.cracked]), length)
    axes.plot(width, scored.iou(), ".", ms=8, color="#0072b2")
    axes.set(ylim=(0, 1), xlabel="mean width of the true crack, pixels", ylabel="IoU of the photo")
    axes.set_title("Are thin cracks harder?")


def histogram(axes, scored):
    """How many photos have which IoU; the mean and its interval."""
    axes.hist(scored.iou(), np.arange(0, 1.01, 0.05), color="#0072b2", alpha=0.8)
    if not np.isnan(scored.interval[0]):
        axes.axvspan(*scored.interval, color="#e69f00", alpha=0.4, label="95 % interval")
    axes.axvline(scored.sheet["iou_cracked"], color="#e69f00", label=f"mean {scored.sheet['iou_cracked']:.3f}")
    axes.set(xlim=(0, 1), xlabel="IoU of the photo", ylabel="photos with a crack", title="How much do photos differ?")
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.margins(y=0.35)  # room above the bars
    axes.legend(loc="upper left", framealpha=0)


def charts(scored):
    """[(Figure, caption)]: of probabilities if there are any, of cracks if a photo has one."""
    drawn = {}
    if scored.threshold is not None:
        drawn[precision_recall] = (
            "The best corner is the upper right one. Specks are removed from the masks of the chosen point, not from "
            "those of the curve, so the point may lie a little above it."
        )
        drawn[reliability] = "Below the dashed line the network is overconfident, above it underconfident."
    if len(scored.cracked):
        drawn[by_width] = "Each dot is a photo. Its width is that of the ground truth, pixels per pixel of centre line."
        drawn[histogram] = "The interval is that of the mean, for other photos of the same kind."
    result = []
    for draw, caption in drawn.items():
        fig = Figure(figsize=(5, 3.6), layout="constrained")
        axes = fig.subplots()
        axes.grid(alpha=0.3)
        draw(axes, scored)
        result.append((fig, caption))
    return result
