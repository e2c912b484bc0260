"""One photo's result as numbers: a flat row for tables, the quantities behind it, one sentence for people."""

import math

import numpy as np

from command import number_of, plain, some
from quantify.measure import (
    SEVERITIES,
    WIDTH_EDGES_MM,
    full_width_px,
    indicative_severity,
    length_relative,
    quantities,
)
from quantify.skeleton import MEASURABLE_PX

NO_SCALE = (
    "No scale, so no millimetres and no budget: give --mm-per-pixel or --reference x1,y1,x2,y2,MM, or lay a sheet of "
    "paper or a printed marker on the road and give --find-sheet or --marker-mm."
)
PLAUSIBLE = 30  # percent of a photo: the most that is crack in DeepCrack is 20, in SUT-Crack 12, in CrackForest 6
BINS_PX = [0, 3, 5, 7, 10, 15, 20, 30, 50, math.inf]  # of the histogram; 3 px: the narrowest that can be measured
BINS_MM = [0, 2, 5, 10, 20, 30, 50, 75, math.inf]  # holds the class limits of ASTM D6433


def damage(measured, valid_px, scale, width_edges_mm=WIDTH_EDGES_MM, specks=0):
    """What `measure` gave, pixels that show road, Scale or None -> dict of plain values, None where undefined.

    row: as in columns.py; quantities: by width_edges_mm, for the budget, None without a scale; length_by_width: the
    crack's metres (or pixels) in each of BINS_MM (or BINS_PX).
    """
    row = in_pixels(measured, valid_px, specks)
    width, steps = full_width_px(measured), measured["points"]["step_px"]
    if scale is None:
        amounts = None
        by_width = np.histogram(width, BINS_PX, weights=steps)[0]
    else:
        mm = scale.mm_per_pixel
        row |= in_millimetres(measured, valid_px, scale)
        amounts = quantities(measured, mm, scale.relative, scale.tilt_deg, width_edges_mm)
        by_width = np.histogram(width * mm, BINS_MM, weights=steps * (mm / 1000))[0]
    return plain({"row": row, "quantities": amounts, "length_by_width": by_width.tolist()})


def in_pixels(measured, valid_px, specks):
    """What `measure` gave, pixels that show road, specks left out -> the part of the row that needs no scale."""
    x, y = measured["width_max_xy"]
    return {
        "crack_percent": 100 * measured["area_px"] / valid_px,
        "crack_area_px": measured["area_px"],
        "length_px": measured["length_px"],
        "traced_length_px": measured["traced_length_px"],
        "width_median_px": measured["width_median_px"],
        "width_p95_px": measured["width_p95_px"],
        "width_max_px": measured["width_max_px"],
        "width_max_x": x,
        "width_max_y": y,
        "below_measurable": bool(measured["below_measurable"]),
        "pattern": measured["pattern"],
        "junctions": measured["junctions"],
        "cells": measured["cells"],
        "specks": specks,
    }


def in_millimetres(measured, valid_px, scale):
    """The part of the row that a scale adds."""
    mm = scale.mm_per_pixel
    amounts = quantities(measured, mm, scale.relative, scale.tilt_deg)  # by the classes of ASTM D6433
    road = valid_px * mm**2 / 1e6
    length = measured["length_px"] * mm / 1000
    length_unsure = length * length_relative(measured["length_px"], measured["traced_length_px"])
    widest = measured["width_max_px"] * mm
    row = {
        "indicative_severity": indicative_severity(measured, mm),
        "mm_per_pixel": mm,
        "scale_plus_minus_percent": 100 * scale.relative,
        "scale_source": scale.source,
        "scale_note": scale.note,
        "photographed_m2": road,
        "photographed_plus_minus_m2": 2 * uncertainty(road, scale),  # an area is twice as unsure as a length
        "length_m": length,
        "length_plus_minus_m": uncertainty(length, scale, length_unsure),
        "width_median_mm": amounts["width_median_mm"],
        "width_median_plus_minus_mm": amounts["width_plus_minus_mm"],
        "width_max_mm": widest,
        "width_max_plus_minus_mm": uncertainty(widest, scale, mm),  # the mask's edge: 1 px
    }
    for name, part in zip(SEVERITIES, amounts["seal"], strict=True):
        row[f"seal_{name}_m"] = part["length_m"]
        row[f"seal_{name}_plus_minus_m"] = part["plus_minus_m"]
    row["patch_m2"] = amounts["patch_m2"]
    row["patch_plus_minus_m2"] = amounts["patch_plus_minus_m2"]
    return row


def uncertainty(length, scale, own=0.0):
    """Plus and minus of a length with this scale: scale and tilt by their share, `own` in the length's unit."""
    tilt = 1 - np.cos(np.radians(scale.tilt_deg))
    return float(np.hypot(length * np.hypot(scale.relative, tilt), own))


def give_or_take(value, unsure, decimals=2):
    """0.07, 0.0043 -> "0.07 ± 0.01": the uncertainty is rounded up, so that it never reads as none.

    A value that would read as 0 gets the decimals that show it and its uncertainty: "0.0004 ± 0.0002".
    """
    if 0 < value < 10**-decimals:
        smallest = min(value, unsure) if unsure > 0 else value
        decimals = max(decimals, min(6, -math.floor(math.log10(smallest))))
    unsure = math.ceil(unsure * 10**decimals - 1e-9) / 10**decimals
    return f"{value:.{decimals}f} ± {unsure:.{decimals}f}"


def sentence(row):
    """A row -> its finding in words, with uncertainties where there is a scale, and warnings."""
    specks = f" ({number_of(row['specks'], 'speck')} left out)" if row["specks"] else ""
    if not row["crack_area_px"]:
        return f"no crack found{specks}"
    if "length_m" not in row:
        length = f"crack {row['length_px']:.0f} px long"
        return f"{length}{width_words(row)}, {row['crack_percent']:.2f} % of the photo{specks}"
    length = f"crack {give_or_take(row['length_m'], row['length_plus_minus_m'])} m long"
    doubt = f"; check the scale: {row['scale_note']}" if row["scale_note"] else ""
    return f"{length}{width_words(row)}, indicative severity {row['indicative_severity']}{specks}{doubt}"


def film_sentence(rows):
    """Rows of a video's frames -> what was found in them, in words."""
    cracked = [row for row in rows if row["crack_area_px"]]
    analysed = f"{number_of(len(rows), 'frame')} analysed, {len(cracked) or 'none'} with a crack"
    clear = [row for row in cracked if row["width_max_px"] is not None]
    if not clear:
        return analysed
    most = max(clear, key=lambda row: row["width_max_px"])
    return f"{analysed}; the widest place {widest(most)}, at second {most['second']:.1f}"


def width_words(row):
    """The largest width of a row in words; nothing if every place is near a junction or an end."""
    if row["width_max_px"] is None:
        return ""
    if row["width_max_px"] < MEASURABLE_PX:
        mm = f" or {MEASURABLE_PX * row['mm_per_pixel']:.1f} mm" if "mm_per_pixel" in row else ""
        return f", too thin to measure its width (under {MEASURABLE_PX} px{mm})"
    where = " between junctions" if row["junctions"] else ""
    return f", up to {widest(row)} wide{where}"


def widest(row):
    """Width of a row's widest place with its unit, and its uncertainty where there is a scale."""
    if "width_max_mm" not in row:
        return f"{row['width_max_px']:.0f} px"
    return f"{give_or_take(row['width_max_mm'], row['width_max_plus_minus_mm'], 1)} mm"


def scale_words(row):
    """Where the millimetres of a row come from, and how sure they are."""
    if "scale_source" not in row:
        return "no scale, so no millimetres"
    size = f"{row['mm_per_pixel']:.3g} mm a pixel ± {row['scale_plus_minus_percent']:.2g} %"
    return f"scale: {row['scale_source']}, {size}"


def worst_first(row):
    """Sorting key: severity, then share of the photo."""
    levels = {"high": 3, "medium": 2, "low": 1}
    return -levels.get(row.get("indicative_severity"), 0), -row["crack_percent"]


def too_much(rows):
    """Rows -> a warning in words if masks cover more of their photo than cracks do; else ""."""
    over = [row["photo"] for row in rows if row["crack_percent"] > PLAUSIBLE]
    if not over:
        return ""
    return (
        f"{len(over)} of {number_of(len(rows), 'mask')} cover more than {PLAUSIBLE} % of their photo, {over[0]} for "
        "one. Cracks hardly ever do, so these numbers mean nothing: the network is not trained enough, or the photos "
        "are unlike its training photos."
    )


def warnings_about(rows):
    """Rows of a survey -> [warning in words]: what makes all their numbers doubtful."""
    return [warning for warning in (too_much(rows), one_scale_for_sizes(rows)) if warning]


def one_scale_for_sizes(rows):
    """Rows -> a warning in words if photos of different sizes were measured with one size of a pixel; else "".

    Upright or on its side, a photo has the same size.
    """
    scales = {row.get("mm_per_pixel") for row in rows}
    sizes = {tuple(sorted((row["photo_width"], row["photo_height"]), reverse=True)) for row in rows}
    if len(scales) > 1 or len(sizes) < 2 or None in scales:
        return ""
    named = some([f"{longer}×{shorter}" for longer, shorter in sorted(sizes, reverse=True)], 3)
    return (
        f"Photos of {len(sizes)} sizes ({named} pixels) were all measured with {scales.pop():.3g} mm a pixel. That is "
        "wrong for a photo that was resized, or taken with another camera or zoom: survey each size on its own."
    )


def fact_rows(row):
    """A row -> [[what, value in words]]: what people ask for first, with uncertainties where there is a scale."""
    rows = [["crack, share of the road in the photo", f"{row['crack_percent']:.2f} %"], ["pattern", row["pattern"]]]
    names = [("length", "length", "m", 2), ("median width", "width_median", "mm", 1), ("widest", "width_max", "mm", 1)]
    for name, key, unit, decimals in names:
        if row[f"{key}_px"] is None:
            continue
        value = f"{row[f'{key}_px']:.0f} px"
        if f"{key}_{unit}" in row:
            value = f"{give_or_take(row[f'{key}_{unit}'], row[f'{key}_plus_minus_{unit}'], decimals)} {unit}"
        rows.append([name, value])
    if row["width_max_px"] is not None:
        rows.append(["where it is widest (the ring)", f"x {row['width_max_x']:.0f}, y {row['width_max_y']:.0f} px"])
    if "indicative_severity" in row:
        rows.append(["indicative severity (no PCI)", row["indicative_severity"]])
    return rows
