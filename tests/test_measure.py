"""Each test is a sentence about measure.py that a mistake would break."""

import json

import cv2
import numpy as np
import pytest
from conftest import painted, write_export

from quantify import measure
from quantify.centreline import smoothed
from quantify.skeleton import check_mask, depth, junctions, skeleton
from results import accuracy
from results.accuracy import arc, cross, draw, ring, strip, zigzag, zigzag_length


@pytest.fixture(scope="module")
def wriggle():
    """A rough crack with branches, a loop and a speck, as masks really are."""
    rng = np.random.default_rng(3)
    mask = np.zeros((200, 240), np.uint8)
    for points, width in (
        ([(0, 90), (80, 100), (150, 60), (239, 80)], 9),
        ([(80, 100), (110, 199)], 5),
        ([(150, 60), (190, 20), (239, 80)], 4),
        ([(20, 20), (26, 22)], 3),
    ):
        cv2.polylines(mask, [np.array(points)], False, 1, width)
    noise = 0.8 * cv2.GaussianBlur(rng.standard_normal(mask.shape), (0, 0), 1.5)
    return (cv2.GaussianBlur(mask.astype(float), (0, 0), 1) + noise > 0.5).astype(np.uint8)


def grid(lines=5, pitch=40, width=5):
    """lines x lines strips that enclose (lines - 1) ** 2 square cells, with a margin."""
    side = pitch * (lines - 1) + 20 + width
    mask = np.zeros((side, side), np.uint8)
    for k in range(lines):
        at = 10 + k * pitch
        mask[at : at + width, 10 : side - 10] = 1
        mask[10 : side - 10, at : at + width] = 1
    return mask


def pieces(mask):
    return cv2.connectedComponents(mask)[0] - 1


def holes(mask):
    return cv2.connectedComponents(1 - np.pad(mask, 1), connectivity=4)[0] - 2


@pytest.mark.parametrize("wrong", [np.zeros((4, 4), bool), np.zeros((4, 4)), np.zeros((4, 4, 3), np.uint8), [[0, 1]]])
@pytest.mark.parametrize("function", [check_mask, measure.measure, skeleton])
def test_only_two_dimensional_uint8_is_a_mask(function, wrong):
    with pytest.raises(TypeError):
        function(wrong)


def test_a_mask_of_0_and_255_is_refused():
    with pytest.raises(ValueError):
        measure.measure(np.full((4, 4), 255, np.uint8))


@pytest.mark.parametrize("width", [2, 3, 8, 20])
def test_a_45_degree_strip_keeps_its_length(width):
    mask = draw(strip(150, width), 45)
    y, x = np.nonzero(skeleton(mask))
    assert np.hypot(np.ptp(x), np.ptp(y)) >= 150 - 1.1 * width - 2
    assert measure.measure(mask)["length_px"] == pytest.approx(150, rel=0.02)


@pytest.mark.parametrize("width", [2, 5])
def test_length_does_not_depend_on_the_angle(width):
    masks = [draw(strip(150, width), angle, (0.2, 0.1)) for angle in (0, 20, 45, 70, 90)]
    lengths = [measure.measure(mask)["length_px"] for mask in masks]
    assert max(lengths) / min(lengths) < 1.02


def test_turning_the_photo_by_a_quarter_keeps_length_and_width_and_swaps_the_patterns(wriggle):
    straight, turned = measure.measure(wriggle), measure.measure(np.rot90(wriggle).copy())
    assert turned["length_px"] == pytest.approx(straight["length_px"], rel=0.02)
    assert turned["width_median_px"] == pytest.approx(straight["width_median_px"], abs=0.3)
    assert (straight["pattern"], turned["pattern"]) == ("transverse", "longitudinal")


def test_a_quarter_turn_keeps_each_cracks_width_where_the_median_of_all_lies_between_two_widths():
    mask = np.vstack([draw(strip(180, 4)), draw(strip(180, 30))])
    turns = [measure.measure(np.rot90(mask, k).copy()) for k in range(4)]
    for found in turns:
        assert sorted(b["width_median_px"] for b in found["branches"]) == pytest.approx([4, 30], abs=0.5)


def test_a_crack_measures_the_same_alone_and_among_others(wriggle):
    others = [draw(ring(60, 6)), draw(cross(180, 8), 30), np.eye(260, dtype=np.uint8)[:, ::-1], draw(strip(1, 1))]
    masks = [wriggle, *others, wriggle[::-1]]
    side = max(max(mask.shape) for mask in masks)
    masks = [np.pad(m, [(1, side - n) for n in m.shape]) for m in masks]
    together, alone = measure.measure(np.hstack(masks)), [measure.measure(mask) for mask in masks]
    for key in ("length_px", "traced_length_px", "junctions", "cells"):
        assert together[key] == pytest.approx(sum(found[key] for found in alone))
    assert sum(np.nansum(found["points"]["width_px"]) for found in alone) == pytest.approx(
        np.nansum(together["points"]["width_px"])
    )
    per_branch = np.sort([b["width_median_px"] for found in alone for b in found["branches"]])  # nan last
    assert np.sort([b["width_median_px"] for b in together["branches"]]) == pytest.approx(per_branch, nan_ok=True)


def test_the_skeleton_is_thin_lies_in_the_mask_and_keeps_its_pieces_and_holes(wriggle):
    line = skeleton(wriggle)
    assert line.dtype == np.uint8 and line.shape == wriggle.shape
    assert not np.any(line & ~wriggle & 1)
    assert pieces(line) == pieces(wriggle)
    assert holes(line) == holes(wriggle) > 0
    assert cv2.filter2D(line, cv2.CV_8U, np.ones((2, 2)), borderType=cv2.BORDER_CONSTANT).max() < 4
    assert np.array_equal(skeleton(line), line)


def test_the_depth_is_the_distance_to_the_nearest_road_wherever_the_crack_lies(rng):
    for _ in range(20):
        mask = np.zeros((90, 120), np.uint8)
        x, y = rng.integers(0, (100, 70))
        mask[y : y + 20, x : x + 20] = rng.random((20, 20)) > 0.1
        roads = np.argwhere(mask == 0)
        expected = [np.hypot(*(roads - place).T).min() for place in np.argwhere(mask)]
        assert depth(mask)[mask > 0] == pytest.approx(expected, abs=1e-4) and not depth(mask)[mask == 0].any()
    assert not depth(np.zeros((5, 7), np.uint8)).any()


def test_close_junctions_are_one_in_their_middle(rng):
    forks = rng.random((40, 50)) > 0.8
    forks[[0, -1]] = forks[:, [0, -1]] = False
    pixels = np.flatnonzero(forks)
    degree, depths = 3 * forks.astype(np.uint8).ravel(), np.zeros(forks.shape, np.float32)
    number, middles, rest = junctions([[pixel, pixel] for pixel in pixels.tolist()], degree, depths)
    assert len(rest) == len(pixels) and number.max() == len(middles) - 1 > 20
    for k in range(1, len(middles)):
        y, x = np.nonzero(number == k)
        assert middles[k, :2] == pytest.approx((x.mean(), y.mean()))


@pytest.mark.parametrize("side", [1, 2, 3, 7])
def test_a_square_dot_has_a_skeleton_and_its_side_as_length(side):
    mask = painted((15, 15), np.s_[4 : 4 + side, 4 : 4 + side])
    assert skeleton(mask).sum() >= 1
    assert measure.measure(mask)["length_px"] == pytest.approx(side, abs=0.6)


def test_a_crack_to_the_photos_border_is_as_long_as_the_photo_and_one_all_over_it_has_an_area():
    found = measure.measure(painted((60, 120), np.s_[20:31]))
    assert found["length_px"] == pytest.approx(120, abs=1)
    assert found["width_max_px"] == pytest.approx(11, abs=0.1)
    assert measure.measure(np.ones((30, 40), np.uint8))["area_px"] == 30 * 40


def test_an_empty_mask_has_length_zero_and_no_width():
    found = measure.measure(np.zeros((30, 40), np.uint8))
    assert (found["length_px"], found["area_px"], found["pattern"]) == (0, 0, "none")
    assert all(np.isnan(found[key]) for key in ("width_median_px", "width_p95_px", "width_max_px"))
    assert not found["below_measurable"] and found["branches"] == found["cracks"] == []
    assert measure.quantities(found, 1)["seal_m"] == 0
    assert measure.indicative_severity(found, 1) == "none"


@pytest.mark.parametrize("count", [1, 2, 5, 40])
def test_smoothing_leaves_the_ends_of_an_open_line_and_knows_no_beginning_of_a_closed_one(rng, count):
    line = rng.normal(size=(count, 2)).cumsum(axis=0)
    open_line = smoothed(line, 2.0, closed=False)
    assert open_line[[0, -1]] == pytest.approx(line[[0, -1]])
    turned = smoothed(np.roll(line, 3, axis=0), 2.0, closed=True)
    assert turned == pytest.approx(np.roll(smoothed(line, 2.0, closed=True), 3, axis=0))
    straight = np.linspace((0, 0), (30, 10), 40)
    assert smoothed(straight, 2.0, closed=False) == pytest.approx(straight)


def test_a_branch_has_the_median_of_its_own_points(wriggle):
    found = measure.measure(wriggle)
    for index, branch in enumerate(found["branches"]):
        width = found["points"]["width_px"][found["points"]["branch"] == index]
        known = width[~np.isnan(width)]
        assert branch["width_median_px"] == pytest.approx(np.median(known) if known.size else np.nan, nan_ok=True)


def test_a_ring_is_one_closed_branch_around_one_cell_that_bends_evenly_also_where_its_chain_begins():
    found = measure.measure(draw(ring(30, 12)))
    assert (len(found["branches"]), found["junctions"], found["cells"], found["pattern"]) == (1, 0, 1, "closed")
    xy = np.stack([found["points"]["x_px"], found["points"]["y_px"]], 1)
    heading = np.unwrap(np.arctan2(*np.diff(np.vstack([xy, xy[1]]), axis=0).T))
    assert np.abs(np.diff(heading)).max() < 0.08  # radians a pixel; a circle of radius 30 bends by 0.033
    assert not np.isnan(found["points"]["width_px"]).any()


@pytest.mark.parametrize("width", [3, 12, 20])
@pytest.mark.parametrize("angle", [0, 30, 45])
def test_a_cross_has_one_junction_and_four_branches(width, angle):
    found = measure.measure(draw(cross(180, width), angle))
    assert (found["junctions"], len(found["branches"])) == (1, 4)
    assert found["length_px"] == pytest.approx(360, rel=0.02)


def test_spurs_under_the_local_width_are_cut_and_longer_side_cracks_kept():
    bump, side = draw(strip(180, 12)), draw(strip(180, 12))
    bump[118:124, 130:133] = 1
    side[106:124, 130:133] = 1
    assert measure.measure(bump)["junctions"] == 0
    found = measure.measure(side)
    assert (found["junctions"], len(found["branches"])) == (1, 3)
    assert found["length_px"] == pytest.approx(180 + 130 - 106, rel=0.03)


def test_a_pinhole_is_no_cell_and_changes_no_length():
    mask = draw(strip(180, 12))
    whole = measure.measure(mask)
    mask[130, 100] = mask[129:131, 150] = 0
    holed = measure.measure(mask)
    assert holed["cells"] == 0 and holed["length_px"] == whole["length_px"]
    assert whole["area_px"] - holed["area_px"] == 3


def test_a_dot_is_about_as_wide_as_it_is_though_no_place_of_it_is_clear_of_an_end():
    found = measure.measure(painted((40, 40), np.s_[16:23, 16:23]))
    assert np.isnan(found["width_max_px"]) and measure.full_width_px(found).max() == pytest.approx(7, abs=1)


def test_a_curve_is_measured_along_itself():
    assert measure.measure(draw(arc(100, 50, 8)))["length_px"] == pytest.approx(100 * np.radians(100), rel=0.02)


@pytest.mark.parametrize("width", [2, 4, 9, 16])
def test_the_median_width_is_the_drawn_width(width):
    assert measure.measure(draw(strip(150, width), 33))["width_median_px"] == pytest.approx(width, abs=0.4)


def test_the_widest_place_is_where_the_crack_is_wide():
    wide = draw(lambda x, y: (np.abs(x) <= 90) & (np.abs(y) <= 4 + 6 * np.exp(-(((x - 30) / 15) ** 2))))
    found = measure.measure(wide)
    assert found["width_max_px"] == pytest.approx(20, abs=1)
    assert found["width_max_xy"] == pytest.approx((159.5, 129.5), abs=4)
    assert found["width_median_px"] < found["width_p95_px"] < found["width_max_px"]


def test_width_is_undefined_at_ends_and_junctions_only_and_never_taken_across_a_side_crack():
    points = measure.measure(draw(cross(180, 8)))["points"]
    from_middle = np.hypot(points["x_px"] - 129.5, points["y_px"] - 129.5)
    undefined = np.isnan(points["width_px"])
    assert undefined[from_middle < 6].all() and undefined[from_middle > 89].all()
    assert not undefined[(from_middle > 20) & (from_middle < 75)].any()
    assert np.nanmax(points["width_px"]) < 10


@pytest.mark.parametrize("width, below", [(2, True), (4, False)])
def test_under_three_pixels_is_below_measurable(width, below):
    assert measure.measure(draw(strip(150, width)))["below_measurable"] is below


@pytest.mark.parametrize("angle", [0, 20, 45])
@pytest.mark.parametrize("step, amplitude, width", [(20, 10, 5), (14, 5, 3), (9, 8, 2)])
def test_of_a_jagged_crack_the_traced_length_is_nearer_and_the_uncertainty_covers_the_path(
    step, amplitude, width, angle
):
    path = zigzag_length(step, amplitude, 14)
    found = measure.measure(draw(zigzag(step, amplitude, 14, width), angle))
    assert found["length_px"] < found["traced_length_px"] < 1.02 * path
    assert path - found["length_px"] < 2 * found["length_px"] * measure.length_relative(
        found["length_px"], found["traced_length_px"]
    )
    exact = measure.quantities(found, 1, scale_relative=0, tilt_deg=0)
    assert abs(exact["seal_m"] - path / 1000) < 2 * exact["seal_plus_minus_m"]


@pytest.mark.parametrize("inside", [strip(180, 6), ring(60, 6), arc(100, 50, 3)])
def test_of_a_smooth_crack_the_traced_length_is_the_length_and_the_uncertainty_is_that_of_the_method(inside):
    found = measure.measure(draw(inside, 20))
    assert found["traced_length_px"] == pytest.approx(found["length_px"], rel=0.01)
    relative = measure.length_relative(found["length_px"], found["traced_length_px"])
    assert measure.LENGTH_RELATIVE <= relative < 1.3 * measure.LENGTH_RELATIVE


def test_the_parts_sum_to_the_whole(wriggle):
    found = measure.measure(wriggle)
    points, whole = found["points"], pytest.approx(found["length_px"])
    assert points["step_px"].sum() == whole
    assert sum(b["length_px"] for b in found["branches"]) == whole
    per_branch = np.bincount(points["branch"], points["step_px"])
    assert per_branch == pytest.approx([b["length_px"] for b in found["branches"]])
    assert [found["branches"][b]["crack"] for b in points["branch"]] == points["crack"].tolist()
    assert sum(b["traced_length_px"] for b in found["branches"]) == pytest.approx(found["traced_length_px"])
    assert sum(m["length_m"] for m in measure.quantities(found, 2)["seal"]) == pytest.approx(found["length_px"] * 0.002)


def test_points_lie_on_the_crack_and_every_one_has_a_full_width(wriggle):
    found = measure.measure(wriggle)
    x, y = (np.clip(np.rint(found["points"][k]).astype(int), 0, n) for k, n in (("x_px", 239), ("y_px", 199)))
    assert cv2.dilate(wriggle, np.ones((3, 3)))[y, x].all()
    assert len(found["points"]["x_px"]) == len(measure.full_width_px(found)) > 0
    assert np.all(measure.full_width_px(found) > 0)


PATTERNS = [
    ("transverse", (0, 20, 28)),
    ("diagonal", (32, 45, 58, 135)),
    ("longitudinal", (62, 75, 90, 110)),
]


@pytest.mark.parametrize("name, angles", PATTERNS)
def test_the_direction_gives_the_pattern(name, angles):
    assert {measure.measure(draw(strip(150, 5), angle))["pattern"] for angle in angles} == {name}


def test_a_cross_is_longitudinal_one_way_and_transverse_the_other():
    patterns = [b["pattern"] for b in measure.measure(draw(cross(180, 5)))["branches"]]
    assert sorted(patterns) == ["longitudinal"] * 2 + ["transverse"] * 2


def test_a_grid_is_a_network_with_all_its_cells_and_its_area():
    found = measure.measure(grid())
    (crack,) = found["cracks"]
    assert (found["pattern"], found["cells"], crack["network"]) == ("block/alligator", 16, True)
    assert crack["filled_area_px"] == 165**2 and crack["cell_side_px"] == pytest.approx(35, abs=0.5)


def test_a_network_in_a_cell_of_another_adds_nothing_to_the_area_and_one_beside_it_does():
    large, small = grid(pitch=250), grid()
    size = large.shape[0]
    both = np.hstack([large, np.zeros_like(large)])
    inside, beside = both.copy(), both.copy()
    corner = np.argwhere(large)[0] + 40
    inside[corner[0] : corner[0] + len(small), corner[1] : corner[1] + len(small)] |= small
    beside[40 : 40 + len(small), size + 40 : size + 40 + len(small)] |= small
    alone, within, apart = (measure.quantities(measure.measure(mask), 1) for mask in (both, inside, beside))
    assert within["patch_m2"] == pytest.approx(alone["patch_m2"])
    assert apart["patch_m2"] == pytest.approx(
        alone["patch_m2"] + measure.quantities(measure.measure(small), 1)["patch_m2"]
    )
    assert [crack["enclosed"] for crack in measure.measure(inside)["cracks"]] == [False, True]


def test_a_branch_of_a_network_is_sealed_unless_it_goes_around_a_cell_or_into_one():
    net = np.pad(grid(), 150)
    top, left = np.argwhere(net).min(axis=0)
    bottom, right = np.argwhere(net).max(axis=0)
    tail, fork, thorn, island = net.copy(), net.copy(), net.copy(), net.copy()
    tail[bottom - 4 : bottom + 1, right : right + 60] = 1
    fork[bottom - 4 : bottom + 1, right : right + 60] = fork[bottom - 42 : bottom + 38, right + 55 : right + 60] = 1
    thorn[top + 20 : top + 22, left : left + 22] = 1
    island[top + 15 : top + 25, left + 18 : left + 20] = 1
    alone, *found = (measure.quantities(measure.measure(mask), 1) for mask in (net, tail, fork, thorn, island))
    assert [one["seal_m"] for one in found] == pytest.approx([0.06, 0.14, 0, 0], abs=0.003)
    assert [one["patch_m2"] for one in found] == pytest.approx([alone["patch_m2"]] * 4, rel=0.03)


def test_one_cell_with_many_junctions_is_no_network():
    lines = np.s_[30:35, 10:90], np.s_[65:70, 10:90], np.s_[10:90, 30:35], np.s_[10:90, 65:70]
    found = measure.measure(painted((100, 100), *lines))  # a # with one cell
    assert (found["cells"], found["junctions"], found["cracks"][0]["network"]) == (1, 4, False)


def test_a_side_branch_has_the_direction_of_its_crack():
    mask = painted((120, 220), np.s_[100:105, 20:200], np.s_[60:100, 110:115])
    assert {branch["pattern"] for branch in measure.measure(mask)["branches"]} == {"transverse"}


def test_a_long_crack_with_small_loops_is_no_network():
    mask = painted((80, 600), np.s_[40:43])
    for x in (100, 300, 500):
        cv2.ellipse(mask, (x, 41), (12, 10), 0, 0, 360, 1, 2)
    found = measure.measure(mask)
    assert found["cells"] >= 3 and found["pattern"] == "transverse"
    assert not any(crack["network"] for crack in found["cracks"])


def test_lengths_in_metres_are_linear_and_areas_square_in_the_scale():
    line, net = measure.measure(draw(strip(150, 6))), measure.measure(grid())
    one, three = measure.quantities(line, 1), measure.quantities(line, 3)
    assert three["seal_m"] == pytest.approx(3 * one["seal_m"]) and one["seal_m"] == pytest.approx(0.15, rel=0.02)
    assert three["width_median_mm"] == pytest.approx(18)
    assert measure.quantities(net, 3)["patch_m2"] == pytest.approx(9 * measure.quantities(net, 1)["patch_m2"])
    assert measure.quantities(net, 1)["seal_m"] == 0  # what is patched is not sealed as well


def test_the_width_decides_the_class_and_unsure_edges_show_in_the_uncertainty():
    found = measure.measure(draw(strip(150, 10)))
    sure, edge = measure.quantities(found, 0.5), measure.quantities(found, 1.01)
    assert [row["length_m"] for row in sure["seal"]] == pytest.approx([0.075, 0, 0], rel=0.02)
    assert sure["seal"][0]["plus_minus_m"] < 0.1 * sure["seal"][0]["length_m"]
    assert edge["seal"][1]["length_m"] > 0.8 * edge["seal_m"] and edge["seal"][1]["plus_minus_m"] > 0.5 * edge["seal_m"]
    exact = measure.quantities(found, 1.01, scale_relative=0, tilt_deg=0)
    assert exact["seal"][1]["plus_minus_m"] > 0.5 * exact["seal_m"]  # one pixel of mask edge is enough
    assert [r["width_to_mm"] for r in measure.quantities(found, 1, width_edges_mm=(5,))["seal"]] == [5, np.inf]
    for relative, tilt, moved in ((0, 0, False), (0.25, 0, True), (0, 42, True)):  # 8 mm may be 10 by scale or tilt
        low = measure.quantities(found, 0.8, relative, tilt)["seal"][0]
        assert (low["plus_minus_m"] > 0.9 * low["length_m"]) == moved


@pytest.mark.parametrize("key", ["seal_plus_minus_m", "patch_plus_minus_m2", "width_plus_minus_mm"])
def test_a_worse_scale_and_a_steeper_tilt_widen_every_uncertainty(key):
    mask = np.hstack([grid(), draw(strip(150, 7), 0, side=185)])
    found = measure.measure(mask)
    best = measure.quantities(found, 1, scale_relative=0, tilt_deg=0)[key]
    assert 0 < best < measure.quantities(found, 1, scale_relative=0.1, tilt_deg=0)[key]
    assert best < measure.quantities(found, 1, scale_relative=0, tilt_deg=30)[key]


@pytest.mark.parametrize("mm_per_pixel, level", [(0.5, "low"), (2, "medium"), (12, "high")])
def test_severity_follows_the_width_in_millimetres(mm_per_pixel, level):
    assert measure.indicative_severity(measure.measure(draw(strip(150, 8))), mm_per_pixel) == level


@pytest.mark.parametrize("wide, level", [(8, "low"), (70, "medium")])
def test_a_place_of_less_than_a_twentieth_of_the_length_does_not_decide_the_severity(wide, level):
    mask = painted((200, 440), np.s_[100:108, 20:420], np.s_[97:111, 200 : 200 + wide])  # 8 mm, and for a while 14
    assert measure.indicative_severity(measure.measure(mask), 1) == level


def test_a_network_is_alligator_with_small_pieces_and_block_with_large_ones():
    small, large = measure.measure(grid()), measure.measure(grid(pitch=120))
    assert small["pattern"] == large["pattern"] == "block/alligator"
    assert measure.indicative_severity(small, 1) == "medium"  # 5 mm wide, pieces of 35 mm
    assert measure.indicative_severity(small, 2.5) == "high"  # 12 mm wide
    assert measure.indicative_severity(large, 5) == "medium"  # 25 mm wide, but pieces of 575 mm


def test_the_mask_is_not_written_to_and_the_numbers_are_plain(wriggle):
    before = wriggle.copy()
    found = measure.measure(wriggle)
    assert np.array_equal(wriggle, before)
    json.dumps({key: value for key, value in found.items() if key != "points"})
    json.dumps([measure.quantities(found, 1), measure.indicative_severity(found, 1)])


# ------------------------------------------------------------------------------------------------ accuracy.py real
def test_agreement_is_the_bias_and_its_limits_over_what_both_know():
    truth, found = np.array([10, 20, 30, np.nan, 5]), np.array([11, 23, 32, 7, np.nan])
    a = accuracy.agreement(truth, found)
    assert (a["n"], a["mean_truth"], a["bias"]) == (3, 20, 2)
    assert (a["low"], a["high"]) == pytest.approx((2 - 1.96, 2 + 1.96))  # 1, 3 and 2 px more: a deviation of 1


def test_a_prediction_that_is_two_pixels_fatter_has_two_pixels_more_bias(tmp_path, monkeypatch, capsys):
    def bias(kernel):
        def dark(model, preprocess, photo):
            return cv2.dilate((photo.max(axis=2) < 60).astype(np.float32), kernel)

        monkeypatch.setattr(accuracy, "predict", dark)
        assert accuracy.main(["real", *words]) == 0
        said = capsys.readouterr().out
        (line,) = (line.split() for line in said.splitlines() if line.startswith("median width"))
        assert "6 photos" in said and line[3] == "5"
        return float(line[5])

    write_export(tmp_path / "roads", cracked=5, undamaged=1)
    words = ["--checkpoint", "x", "--data", str(tmp_path / "roads")]
    monkeypatch.setattr(accuracy, "open_model", lambda *_: (None, None, 0.5))
    cross_of_3 = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    assert bias(cross_of_3) - bias(np.ones((1, 1))) == pytest.approx(2, abs=0.3)


def test_an_area_is_twice_as_unsure_as_its_scale():
    measured = measure.measure(grid())
    rim = measure.quantities(measured, 1.0, 0, 0)["patch_plus_minus_m2"]
    unsure = measure.quantities(measured, 1.0, 0.1, 0)
    assert np.sqrt(unsure["patch_plus_minus_m2"] ** 2 - rim**2) == pytest.approx(0.2 * unsure["patch_m2"])
