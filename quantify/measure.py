"""Measure a crack mask: centre line, length, width, pattern; with a scale, severity and quantities.

A mask is (H, W) uint8, 0 road and 1 crack. Pixel centres lie at whole (x, y); a crack of three rows is 3 px wide.
Without a scale all is in pixels. Undefined is nan. How exact it is: python results/accuracy.py
"""

from itertools import pairwise

import cv2
import numpy as np

from quantify.centreline import centre_lines
from quantify.skeleton import MEASURABLE_PX, check_mask, depth, junctions, prune, thin

WIDTH_EDGES_MM = (10, 75)  # low | medium | high in ASTM D6433
ALLIGATOR_PIECE_MM = 500  # ASTM D6433: larger pieces are block cracking
SEVERITIES = ("low", "medium", "high")
LENGTH_RELATIVE = 0.03  # lengths of smooth cracks are closer than this on average: results/accuracy.py checks it
JAGGED = 2  # the traced line cuts corners, too, so its extra length counts twice: results/accuracy.py checks it


def measure(mask):
    """(H, W) uint8 0/1 -> dict of what the mask shows. TypeError, ValueError: see check_mask.

    area_px, length_px, traced_length_px, width_median_px, width_p95_px, width_max_px, width_max_xy, junctions, cells,
    below_measurable (the median width is under MEASURABLE_PX), pattern (the one with the most length, or "none")
    branches: dicts of length_px, traced_length_px, width_median_px, crack (index of the list below), pattern, patched
        (does it border or lie in a cell of a network? What is not patched is sealed.)
    cracks (connected pieces): dicts of junctions, cells (pieces of road that they enclose), cell_side_px (of the
        median cell), filled_area_px (cells included), perimeter_px, network (is it block or alligator cracking?),
        enclosed (does it lie in a cell of a network?)
    points: arrays (N,) a pixel apart: x_px, y_px, width_px (nan near junctions and ends), width_rough_px (never
        nan), step_px (the length that it stands for: they sum to length_px), branch, crack (indices of the lists)

    length_px is that of smoothed centre lines between the middles of junctions and the tips of cracks: the way that a
    sealing crew drives. traced_length_px follows every turn of the centre line; a jagged crack is longer by it.

    A crack is a network if it encloses three cells or more and has, on average, a junction within three cell sides: a
    long crack with small loops is none. Any other branch is longitudinal (the photo's up is the direction of travel)
    or transverse, each within 30 degrees, by the direction of its crack, or by its own where the crack has none (a
    cross); between them it is diagonal, and a ring is closed. Holes under the mean width squared are filled first.
    """
    padded = np.pad(_fill_pinholes(check_mask(mask)), 1)
    deep = depth(padded)
    crack_of_pixel = cv2.connectedComponents(padded)[1]
    _, chains, degree = prune(thin(padded), deep)
    junction_of_pixel, hubs, chains = junctions(chains, degree, deep)

    # the junction at both ends of each chain; number 0 is none, the end is free
    first_and_last = np.array([(chain[0], chain[-1]) for chain in chains], int).reshape(-1, 2)
    ends = junction_of_pixel.ravel()[first_and_last]
    hubs[0] = np.nan

    lines = centre_lines(padded, deep, chains, hubs[ends])
    crack_of_line = crack_of_pixel.ravel()[first_and_last[:, 0]].astype(int) - 1
    branches = _branches(lines, crack_of_line)
    cracks = _outlines(padded, crack_of_pixel)
    for index, crack in enumerate(cracks):
        mine = np.flatnonzero(crack_of_line == index)
        junction_count = np.count_nonzero(np.unique(ends[mine]))
        _classify(crack, [branches[k] for k in mine], junction_count)
    _find_enclosed(cracks)
    _find_patched(branches, cracks, _lead_nowhere(ends))
    astray = [k for k, branch in enumerate(branches) if cracks[branch["crack"]]["network"] and not branch["patched"]]
    for k, in_cell in zip(astray, _in_cell(padded, deep, _middles(lines, astray)), strict=True):
        branches[k]["patched"] = in_cell
    points = {
        "x_px": lines["xy"][:, 0] - 1,  # without the border
        "y_px": lines["xy"][:, 1] - 1,
        "width_px": lines["width_px"],
        "width_rough_px": lines["width_rough_px"],
        "step_px": lines["step_px"],
        "branch": lines["branch"],
        "crack": crack_of_line[lines["branch"]],
    }
    return _summary(mask, branches, cracks, points)


def _fill_pinholes(mask):
    """A copy without the holes smaller than the square of the mean width: they are noise of the mask, not road."""
    contours, tree = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    perimeter = sum(cv2.arcLength(contour, True) for contour in contours)
    mean_width = 2 * np.count_nonzero(mask) / max(perimeter, 1)
    holes = [contours[k] for k in _inner(contours, tree) if cv2.contourArea(contours[k]) < mean_width**2]
    return cv2.drawContours(mask.copy(), holes, -1, 1, cv2.FILLED)


def _inner(contours, tree):
    """Indices of the contours that lie in another one: OpenCV's tree names their parent in its last column."""
    return [k for k in range(len(contours)) if tree[0, k, 3] >= 0]


def _outlines(filled, crack_of_pixel):
    """-> list of crack dicts: outline, perimeter_px, filled_area_px and, as "cells", the areas of road they enclose.

    A contour goes through the middles of pixels. By Pick's theorem the polygon's area is that of the pixels inside
    it, plus half of those on it, less one.
    """
    contours, tree = cv2.findContours(filled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cracks = [{"cells": []} for _ in range(crack_of_pixel.max(initial=0))]
    inner = set(_inner(contours, tree))
    for k, contour in enumerate(contours):
        x, y = contour[0, 0]
        crack = cracks[crack_of_pixel[y, x] - 1]
        polygon_area = cv2.contourArea(contour)
        if k in inner:
            crack["cells"].append(polygon_area - len(contour) / 2 + 1)  # the contour of a hole lies on the crack
        else:
            crack["filled_area_px"] = int(polygon_area + len(contour) / 2 + 1)
            crack["perimeter_px"] = cv2.arcLength(contour, True)
            crack["outline"] = contour
    return cracks


def _lead_nowhere(ends):
    """(n, 2) junctions at the ends of each branch, 0 a free end -> (n,) bool: those that are part of no way around.

    A branch with a free end leads nowhere, and so does one that ends at a junction where all others do.
    """
    nowhere = np.zeros(len(ends), bool)
    while True:
        meeting = np.bincount(ends[~nowhere].ravel(), minlength=ends.max(initial=0) + 1)
        meeting[0] = 1  # at a free end nothing meets
        found = ~nowhere & (meeting[ends] == 1).any(axis=1)
        if not found.any():
            return nowhere
        nowhere |= found


def _find_enclosed(cracks):
    """Put "enclosed" in the place of each crack's outline: pieces do not touch, so one point says where it lies."""
    outlines = [crack.pop("outline") for crack in cracks]
    networks = [outline for crack, outline in zip(cracks, outlines, strict=True) if crack["network"]]
    for crack, outline in zip(cracks, outlines, strict=True):
        point = outline[0, 0].tolist()  # on its own outline, so not inside that
        crack["enclosed"] = any(cv2.pointPolygonTest(network, point, False) > 0 for network in networks)


def _find_patched(branches, cracks, nowhere):
    """Fill in "patched" of the branches, without looking for those that lead nowhere inside a cell: see _in_cell."""
    for branch, leads_nowhere in zip(branches, nowhere.tolist(), strict=True):
        crack = cracks[branch["crack"]]
        branch["patched"] = crack["enclosed"] or (crack["network"] and not leads_nowhere)


def _middles(lines, numbers):
    """What centre_lines gave, numbers of n branches -> (n, 2) whole x, y of the point in the middle of each."""
    starts, ends = (np.searchsorted(lines["branch"], numbers, side) for side in ("left", "right"))
    return np.rint(lines["xy"][(starts + ends) // 2]).astype(int)


def _in_cell(padded, deep, places):
    """(n, 2) whole x, y on cracks -> [bool]: is the road nearest to it a cell?

    The road outside all cells reaches the border that `padded` has; road that touches only at corners is apart.
    """
    if not len(places):  # most masks have no network, and looking for cells takes time
        return []
    road = cv2.connectedComponents(1 - padded, connectivity=4)[1]
    nearest = []
    for x, y in places:
        reach = int(1.1 * deep[y, x]) + 2  # the distance to the road, and what its algorithm may be off
        top, left = max(y - reach, 0), max(x - reach, 0)
        window = road[top : y + reach + 1, left : x + reach + 1]
        rows, columns = np.nonzero(window)
        closest = np.argmin((rows + top - y) ** 2 + (columns + left - x) ** 2)
        nearest.append(bool(window[rows[closest], columns[closest]] != road[0, 0]))
    return nearest


def _branches(lines, crack_of_line):
    """What centre_lines gave -> measure's branches, each with its axis for _classify instead of a pattern."""
    count = len(crack_of_line)
    medians = _medians(lines["width_px"], lines["branch"], count)
    starts = np.searchsorted(lines["branch"], np.arange(count + 1))
    return [
        {
            "length_px": float(lines["length_px"][k]),
            "traced_length_px": float(lines["traced_length_px"][k]),
            "width_median_px": float(medians[k]),
            "crack": int(crack_of_line[k]),
            "axis": _axis(lines["xy"][starts[k] : starts[k + 1]]),
        }
        for k in range(count)
    ]


def _axis(xy):
    """(n, 2) points of a line -> complex number whose angle is twice the line's, clockwise from up.

    A line has no beginning: its direction and the opposite one are the same axis. Twice the angle is the same for
    both, so doubled angles can be added up where directions would cancel (Mardia and Jupp, "Directional Statistics",
    2000, section 1.1). Squaring a complex number doubles its angle. Its length is the sum of the chords of the line's
    four quarters, less what their directions differ: 0 for a ring.
    """
    places = ((len(xy) - 1) * np.linspace(0, 1, 5)).astype(int)
    chords = np.diff(xy[places], axis=0)
    directions = -chords[:, 1] + 1j * chords[:, 0]  # up + i right; y points down
    return complex(np.sum(directions**2 / np.maximum(np.abs(directions), 1e-9)))


def _medians(values, group, count):
    """(N,) values, those that are nan left out, and their sorted groups -> (count,) medians, nan of nothing."""
    known = ~np.isnan(values)
    values, group = values[known], group[known]
    edges = np.searchsorted(group, np.arange(count + 1))
    parts = [values[start:end] for start, end in pairwise(edges)]
    return np.array([np.median(part) if part.size else np.nan for part in parts])


def _classify(crack, branches, junction_count):
    """Fill in, in place, a crack's numbers and the patterns of its branches (rules: see measure)."""
    cells = crack["cells"]
    length = sum(branch["length_px"] for branch in branches)
    side = float(np.sqrt(np.median(cells))) if cells else np.nan
    crack["junctions"] = int(junction_count)
    crack["cells"] = len(cells)
    crack["cell_side_px"] = side
    crack["network"] = len(cells) >= 3 and length < 3 * side * junction_count
    crack_axis = sum(branch["axis"] for branch in branches)
    for branch in branches:
        own_axis = branch.pop("axis")
        if crack["network"]:
            branch["pattern"] = "block/alligator"
        elif abs(crack_axis) >= 0.5 * length:
            branch["pattern"] = _direction(crack_axis)
        elif abs(own_axis) < 0.1 * branch["length_px"]:
            branch["pattern"] = "closed"
        else:
            branch["pattern"] = _direction(own_axis)


def _direction(axis):
    """What _axis gave -> longitudinal, transverse or diagonal."""
    from_up = abs(np.degrees(np.angle(axis)) / 2)
    if from_up <= 30:
        return "longitudinal"
    return "transverse" if from_up >= 60 else "diagonal"


def _summary(mask, branches, cracks, points):
    """The photo's numbers, then the lists and points they come from."""
    by_pattern = {}
    for branch in branches:
        by_pattern[branch["pattern"]] = by_pattern.get(branch["pattern"], 0) + branch["length_px"]
    width = points["width_px"]
    median, p95, widest = (_quantile(width, percent) for percent in (50, 95, 100))
    at = np.flatnonzero(width == widest)
    widest_xy = (float(points["x_px"][at[0]]), float(points["y_px"][at[0]])) if at.size else (np.nan, np.nan)
    return {
        "area_px": int(np.count_nonzero(mask)),
        "length_px": float(sum(by_pattern.values())),
        "traced_length_px": float(sum(branch["traced_length_px"] for branch in branches)),
        "width_median_px": median,
        "width_p95_px": p95,
        "width_max_px": widest,
        "width_max_xy": widest_xy,
        "below_measurable": median < MEASURABLE_PX,
        "junctions": sum(crack["junctions"] for crack in cracks),
        "cells": sum(crack["cells"] for crack in cracks),
        "pattern": max(by_pattern, key=by_pattern.get, default="none"),
        "branches": branches,
        "cracks": cracks,
        "points": points,
    }


def _quantile(values, percent):
    """Percentile of what is not nan; nan of nothing."""
    values = values[~np.isnan(values)]
    return float(np.percentile(values, percent)) if values.size else np.nan


def full_width_px(measured):
    """Width at every point (N,): where there is none, its branch's median, or else the rough one."""
    points = measured["points"]
    medians = np.array([branch["width_median_px"] for branch in measured["branches"]])
    width = np.where(np.isnan(points["width_px"]), medians[points["branch"]], points["width_px"])
    return np.where(np.isnan(width), points["width_rough_px"], width)


def length_relative(length, traced_length):
    """Relative uncertainty, 1 sigma, of a length in pixels.

    It covers the error of the method and, for a jagged crack, the length that you would find along every turn.
    """
    if not length:
        return LENGTH_RELATIVE
    jagged = JAGGED * max(traced_length / length - 1, 0)
    return float(np.hypot(LENGTH_RELATIVE, jagged))


def quantities(measured, mm, scale_relative=0.05, tilt_deg=10.0, width_edges_mm=WIDTH_EDGES_MM):
    """What measure gave, millimetres a pixel -> dict: metres to seal by width class and m² to patch, with plus_minus.

    The cells of a network are patched, with the branches around and in them; all else is sealed. The uncertainty is
    the root of the sum of squares of: what all metres share (scale, tilt, length_relative; a photo tilted by t shortens
    one direction by 1 - cos t), and the metres that change class if mask edge (1 px of width), scale and tilt all go
    one way. For an area: 1 px around the network, twice the scale, tilt.
    """
    tilt = 1 - np.cos(np.radians(tilt_deg))

    sealed = _sealed(measured)
    width = full_width_px(measured)[sealed] * mm
    metres = measured["points"]["step_px"][sealed] * mm / 1000

    def by_class(side):
        """Metres in each class if all widths are off to this side: -1, 0 or 1."""
        moved = (width + side * mm) * (1 + side * (scale_relative + tilt))
        return np.bincount(np.digitize(moved, width_edges_mm), metres, len(width_edges_mm) + 1)

    likely = by_class(0)
    moved = np.maximum(np.abs(by_class(-1) - likely), np.abs(by_class(1) - likely))
    relative = np.sqrt(scale_relative**2 + tilt**2 + _sealed_length_relative(measured) ** 2)
    unsure = np.hypot(likely * relative, moved)
    limits = pairwise([0, *width_edges_mm, np.inf])

    networks = [crack for crack in measured["cracks"] if crack["network"] and not crack["enclosed"]]
    area = sum(crack["filled_area_px"] for crack in networks) * mm**2 / 1e6
    rim = sum(crack["perimeter_px"] for crack in networks) * mm**2 / 1e6
    median = measured["width_median_px"] * mm
    return {
        "seal": [
            {"width_from_mm": low, "width_to_mm": high, "length_m": float(length), "plus_minus_m": float(plus_minus)}
            for (low, high), length, plus_minus in zip(limits, likely, unsure, strict=True)
        ],
        "seal_m": float(likely.sum()),
        "seal_plus_minus_m": float(likely.sum() * relative),
        "patch_m2": float(area),
        "patch_plus_minus_m2": float(np.hypot(rim, area * np.hypot(2 * scale_relative, tilt))),
        "width_median_mm": median,
        "width_plus_minus_mm": float(np.hypot(mm, median * np.hypot(scale_relative, tilt))),
    }


def _sealed_length_relative(measured):
    """length_relative of the branches that are sealed."""
    branches = [branch for branch in measured["branches"] if not branch["patched"]]
    return length_relative(sum(b["length_px"] for b in branches), sum(b["traced_length_px"] for b in branches))


def indicative_severity(measured, mm):
    """What measure gave, millimetres a pixel -> "none", "low", "medium" or "high".

    After ASTM D6433 (Roads and Parking Lots Pavement Condition Index Surveys), never a PCI: longitudinal and
    transverse cracks under 10 mm are low, to 75 mm medium, above high. A photo cannot show all of it: filling
    makes a crack low, random cracking or broken road around it raises it. D6433 grades alligator cracking by
    spalling; here it is medium, high once its median width reaches 10 mm; block cracking goes by width. The
    answer is the highest level that 5 % of the length, or any network, has.
    """
    points = measured["points"]
    grades = np.digitize(full_width_px(measured) * mm, WIDTH_EDGES_MM)
    sealed = _sealed(measured)
    length = np.bincount(grades[sealed], points["step_px"][sealed], len(SEVERITIES))
    found = np.flatnonzero(length > 0.05 * length.sum()).tolist()
    for index, crack in enumerate(measured["cracks"]):
        if crack["network"]:
            grade = int(np.median(grades[points["crack"] == index]))
            is_alligator = crack["cell_side_px"] * mm < ALLIGATOR_PIECE_MM
            found.append(min(grade + 1, 2) if is_alligator else grade)
    return SEVERITIES[max(found)] if found else "none"


def _sealed(measured):
    """(N,) bool: the points on branches that are sealed, not patched."""
    patched = np.array([branch["patched"] for branch in measured["branches"]], bool)
    return ~patched[measured["points"]["branch"]]
