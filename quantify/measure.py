"""Measure a crack mask: centre line, length, width, pattern; with a scale, severity and quantities.

A mask is (H, W) uint8, 0 road and 1 crack. Pixel centres lie at whole (x, y); three rows are 3 px wide.
Without a scale all is in pixels. Undefined is nan. How exact it is: python results/accuracy.py
"""

from itertools import pairwise

import cv2
import numpy as np

from quantify.centreline import centre_lines
from quantify.skeleton import check_mask, depth, junctions, prune, skeleton, thin  # noqa: F401  (measure.skeleton is public)

MEASURABLE_PX = 3  # below, one pixel of mask edge is more than a third of the width
WIDTH_EDGES_MM = (10, 75)  # low | medium | high in ASTM D6433
ALLIGATOR_PIECE_MM = 500  # ASTM D6433: larger pieces are block cracking
LENGTH_RELATIVE = 0.03  # bound of the length method's mean error, held by results/accuracy.py
SEVERITIES = ("low", "medium", "high")


def _fill_pinholes(mask):
    """A copy without the holes smaller than the square of the mean width: they are edge noise, not road."""
    contours, tree = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    width = 2 * np.count_nonzero(mask) / max(sum(cv2.arcLength(c, True) for c in contours), 1)
    holes = [c for k, c in enumerate(contours) if tree[0, k, 3] >= 0 and cv2.contourArea(c) < width**2]
    return cv2.drawContours(mask.copy(), holes, -1, 1, cv2.FILLED)


def _outlines(filled, labels):
    """-> list of crack dicts in the order of the labels; "cells" is their areas, by Pick's theorem."""
    contours, tree = cv2.findContours(filled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cracks = [{"cells": []} for _ in range(labels.max(initial=0))]
    for k, outline in enumerate(contours):
        crack, area = cracks[labels[outline[0, 0, 1], outline[0, 0, 0]] - 1], cv2.contourArea(outline)
        if tree[0, k, 3] >= 0:
            crack["cells"].append(area - len(outline) / 2 + 1)
        else:
            crack |= {"filled_area_px": int(area + len(outline) / 2 + 1), "perimeter_px": cv2.arcLength(outline, True)}
    return cracks


def _classify(crack, branches, junctions):
    """Fill in a crack's numbers and its branches' angles and patterns (rules: see measure)."""
    cells, length = crack["cells"], sum(b["length_px"] for b in branches)
    side = float(np.sqrt(np.median(cells))) if cells else np.nan
    network = len(cells) >= 3 and length < 3 * side * junctions
    crack |= {
        "length_px": length,
        "area_px": int(crack["filled_area_px"] - sum(cells)),
        "junctions": junctions,
        "cells": len(cells),
        "cell_side_px": side,
        "network": network,
    }
    whole = sum(b["way"] for b in branches)
    for branch in branches:
        own = branch.pop("way")
        way, closed = whole if abs(whole) >= 0.5 * length else own, abs(own) < 0.1 * branch["length_px"]
        off = abs(np.degrees(np.angle(way)) / 2)
        name = "longitudinal" if off <= 30 else "transverse" if off >= 60 else "diagonal"
        branch["angle_deg"] = np.nan if closed else float(np.degrees(np.angle(own)) / 2)
        branch["pattern"] = "block/alligator" if network else "closed" if closed and way is own else name


def _squared_ways(lines, travel_deg):
    """(C,) complex: direction from the chords of a line's quarters, up + i right, squared: its reverse agrees."""
    first, last = np.cumsum(lines["points"]) - lines["points"], lines["points"] - 1
    at = first[:, None] + (last[:, None] * np.linspace(0, 1, 5)).astype(int)
    quarters = np.diff(lines["xy"][at], axis=1) @ (1j, -1)
    squares = quarters**2 / np.maximum(np.abs(quarters), 1e-9)
    return squares.sum(1) * np.exp(-2j * np.radians(travel_deg))


def _medians(values, group, count):
    """(N,) values, those that are nan left out, and their groups -> (count,) medians, nan of nothing."""
    values, group = values[~np.isnan(values)], group[~np.isnan(values)]
    values, number = values[np.lexsort((values, group))], np.bincount(group, minlength=count)
    start, out, some = np.cumsum(number) - number, np.full(count, np.nan), number > 0
    out[some] = (values[(start + (number - 1) // 2)[some]] + values[(start + number // 2)[some]]) / 2
    return out


def _branches(lines, owner, travel_deg):
    """Centre lines and the crack (C,) each belongs to -> measure's branches, with their squared way for _classify."""
    return [
        {"length_px": length, "width_median_px": width, "crack": crack, "free_ends": free, "way": way}
        for length, width, crack, free, way in zip(
            lines["length_px"].tolist(),
            _medians(lines["width_px"], lines["branch"], len(owner)).tolist(),
            owner.tolist(),
            lines["free_ends"].tolist(),
            _squared_ways(lines, travel_deg).tolist(),
            strict=True,
        )
    ]


def _quantile(values, percent):
    """Percentile of what is not nan; nan of nothing."""
    values = values[~np.isnan(values)]
    return float(np.percentile(values, percent)) if values.size else np.nan


def measure(mask, travel_deg=0.0):
    """(H, W) uint8 0/1 -> dict. travel_deg: the direction of travel, clockwise from the photo's up.

    area_px, area_percent, length_px, width_median_px, width_p95_px, width_max_px, width_max_xy, junctions,
    free_ends, cells, junctions_per_px, below_measurable (the median width is under MEASURABLE_PX),
    network_area_px (block and alligator cracking, its cells included), pattern (with the most length, or "none")
    branches: dicts of length_px, width_median_px, angle_deg (from travel, clockwise), free_ends, crack, pattern
    cracks (connected pieces): dicts of length_px, area_px, junctions, cells (road they enclose), cell_side_px
        (of the median cell), filled_area_px (cells included), perimeter_px, network (is it block or alligator?)
    points: arrays (N,) a pixel apart: x_px, y_px, width_px (nan near junctions and ends), width_rough_px (never
        nan), step_px (the length it stands for: they sum to length_px), branch, crack (indices of the lists)

    Length is that of smoothed centre lines between junction middles and crack tips. A crack is a network if it
    encloses three cells or more and has, on average, a junction within three cell sides: a long crack with
    small loops is none. Else a branch is longitudinal or transverse, within 30 degrees, by the direction of its
    crack, or its own where the crack has none (a cross), diagonal between, closed if a ring. Holes under the
    mean width squared are filled first. TypeError, ValueError: see check_mask.
    """
    padded = np.pad(_fill_pinholes(check_mask(mask)), 1)
    deep, labels = depth(padded), cv2.connectedComponents(padded)[1]
    number, hubs, chains = junctions(*prune(thin(padded), deep)[1:], deep)
    ends = number.ravel()[np.array([(c[0], c[-1]) for c in chains], int).reshape(-1, 2)]
    hubs[0] = np.nan  # the end is free
    lines = centre_lines(padded, deep, chains, hubs[ends])
    owner = labels.ravel()[[c[0] for c in chains]].astype(int) - 1 if chains else np.zeros(0, int)
    branches = _branches(lines, owner, travel_deg)
    cracks = _outlines(padded, labels)
    mine, joins = [[] for _ in cracks], [set() for _ in cracks]
    for branch, pair in zip(branches, ends.tolist(), strict=True):
        mine[branch["crack"]].append(branch)
        joins[branch["crack"]].update(pair)
    for crack, own, join in zip(cracks, mine, joins, strict=True):
        _classify(crack, own, len(join - {0}))
    points = {key: lines[key] for key in ("width_px", "width_rough_px", "step_px", "branch")}
    points |= {"x_px": lines["xy"][:, 0] - 1, "y_px": lines["xy"][:, 1] - 1, "crack": owner[lines["branch"]]}
    return _summary(mask, branches, cracks, points)


def _summary(mask, branches, cracks, points):
    """The photo's numbers, then the lists and points they come from."""
    width, totals = points["width_px"], {}
    for branch in branches:
        totals[branch["pattern"]] = totals.get(branch["pattern"], 0) + branch["length_px"]
    length, junctions = float(sum(totals.values())), sum(c["junctions"] for c in cracks)
    median, p95, widest = (_quantile(width, percent) for percent in (50, 95, 100))
    at = np.flatnonzero(width == widest)[:1]
    return {
        "area_px": int(np.count_nonzero(mask)),
        "area_percent": 100 * np.count_nonzero(mask) / mask.size,
        "length_px": length,
        "width_median_px": median,
        "width_p95_px": p95,
        "width_max_px": widest,
        "width_max_xy": tuple(float(points[k][at[0]]) if at.size else np.nan for k in ("x_px", "y_px")),
        "below_measurable": median < MEASURABLE_PX,
        "junctions": junctions,
        "free_ends": sum(b["free_ends"] for b in branches),
        "cells": sum(c["cells"] for c in cracks),
        "junctions_per_px": junctions / length if length else np.nan,
        "network_area_px": sum(c["filled_area_px"] for c in cracks if c["network"]),
        "pattern": max(totals, key=totals.get, default="none"),
        "branches": branches,
        "cracks": cracks,
        "points": points,
    }


def full_width_px(measured):
    """Width at every point (N,): where there is none, its branch's median, or else the rough one."""
    points, medians = measured["points"], np.array([b["width_median_px"] for b in measured["branches"]])
    width = np.where(np.isnan(points["width_px"]), medians[points["branch"]], points["width_px"])
    return np.where(np.isnan(width), points["width_rough_px"], width)


def quantities(measured, mm_per_pixel, scale_relative=0.05, tilt_deg=10.0, width_edges_mm=WIDTH_EDGES_MM):
    """What measure gave -> dict: metres to seal by width class, square metres to patch, each with plus_minus.

    Networks are patched, all else is sealed. The uncertainty is the root of the sum of squares of: what all
    metres share (scale, tilt, LENGTH_RELATIVE; a photo tilted by t shortens one direction by 1 - cos t), and the
    metres that change class if mask edge (1 px of width), scale and tilt all go one way. For an area: 1 px round
    the network, twice the scale, tilt. ValueError without a scale above 0.
    """
    mm, tilt, cracks = _scale(mm_per_pixel), 1 - np.cos(np.radians(tilt_deg)), measured["cracks"]
    seal = _sealed(measured)
    width, step = full_width_px(measured)[seal] * mm, measured["points"]["step_px"][seal] * mm / 1000

    def metres(side):
        classes = np.digitize((width + side * mm) * (1 + side * (scale_relative + tilt)), width_edges_mm)
        return np.bincount(classes, step, len(width_edges_mm) + 1)

    middle, moved = metres(0), np.max([np.abs(metres(side) - metres(0)) for side in (-1, 1)], 0)
    relative = np.sqrt(scale_relative**2 + tilt**2 + LENGTH_RELATIVE**2)
    area, rim = (sum(c[k] for c in cracks if c["network"]) * mm**2 / 1e6 for k in ("filled_area_px", "perimeter_px"))
    limits, median = pairwise([0, *width_edges_mm, np.inf]), measured["width_median_px"] * mm
    unsure = np.hypot(middle * relative, moved)
    return {
        "seal": [
            {"width_from_mm": a, "width_to_mm": b, "length_m": float(m), "plus_minus_m": float(u)}
            for (a, b), m, u in zip(limits, middle, unsure, strict=True)
        ],
        "seal_m": float(middle.sum()),
        "seal_plus_minus_m": float(middle.sum() * relative),
        "patch_m2": float(area),
        "patch_plus_minus_m2": float(np.hypot(rim, area * np.hypot(2 * scale_relative, tilt))),
        "width_median_mm": median,
        "width_plus_minus_mm": float(np.hypot(mm, median * np.hypot(scale_relative, tilt))),
    }


def indicative_severity(measured, mm_per_pixel):
    """What measure gave -> dict: linear_m, alligator_m2, block_m2, each by low, medium, high; indicative_severity.

    After ASTM D6433 (Roads and Parking Lots Pavement Condition Index Surveys), never a PCI: longitudinal and
    transverse cracks under 10 mm are low, to 75 mm medium, above high. A photo can't show all of it: filling
    makes a crack low, random cracking or broken road around it raises it. D6433 grades alligator cracking by
    spalling; here it is medium, high once its median width reaches 10 mm; block cracking goes by width. The one
    word is the highest level that 5 % of the length, or any network, has. ValueError without a scale above 0.
    """
    mm, points = _scale(mm_per_pixel), measured["points"]
    width = full_width_px(measured) * mm
    levels = {kind: dict.fromkeys(SEVERITIES, 0.0) for kind in ("linear_m", "alligator_m2", "block_m2")}
    grades, seal = np.digitize(width, WIDTH_EDGES_MM), _sealed(measured)
    metres = np.bincount(grades[seal], points["step_px"][seal] * mm / 1000, 3)
    levels["linear_m"] = dict(zip(SEVERITIES, metres.tolist(), strict=True))
    for index, crack in enumerate(measured["cracks"]):
        if crack["network"]:
            grade = int(np.median(grades[points["crack"] == index]))
            alligator = crack["cell_side_px"] * mm < ALLIGATOR_PIECE_MM
            name = SEVERITIES[min(grade + 1, 2) if alligator else grade]
            levels["alligator_m2" if alligator else "block_m2"][name] += crack["filled_area_px"] * mm**2 / 1e6
    least = 0.05 * sum(levels["linear_m"].values())
    found = [
        name
        for name in SEVERITIES
        if levels["linear_m"][name] > least or levels["alligator_m2"][name] or levels["block_m2"][name]
    ]
    return {**levels, "indicative_severity": found[-1] if found else "none"}


def _sealed(measured):
    """(N,) bool: the points that are not in a network, which is patched as a whole."""
    return ~np.array([c["network"] for c in measured["cracks"]], bool)[measured["points"]["crack"]]


def _scale(mm_per_pixel):
    """Give it back as float; ValueError if there is none."""
    if not mm_per_pixel or not 0 < mm_per_pixel < np.inf:
        raise ValueError(f"millimetres need mm_per_pixel above 0, got {mm_per_pixel}; without, give pixels and percent")
    return float(mm_per_pixel)
