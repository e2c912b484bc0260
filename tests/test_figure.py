"""Pictures of a result: colours, legend, scale bar; each test is a sentence that a mistake would break."""

from itertools import pairwise

import numpy as np
import pytest
from conftest import painted

import survey
from quantify.damage import damage
from quantify.measure import measure
from quantify.scale import Scale
from report.figure import colours_of, emptier, figure, nice, overlay, text_size, width_map, width_ticks


def found(mask, scale=None):
    """What overlay takes besides photo and mask."""
    measured = measure(mask)
    return measured, damage(measured, mask.size, scale)["row"] | {"photo": "road.jpg"}


def test_the_width_of_each_pixel_is_that_of_its_crack():
    mask = painted((100, 100), np.s_[10:90, 20:25], np.s_[10:90, 60:75])
    width = width_map(mask, measure(mask))
    assert np.array_equal(width > 0, mask > 0)
    assert width[30:70, 20:25] == pytest.approx(5, abs=0.7) and width[30:70, 60:75] == pytest.approx(15, abs=0.7)


def test_the_overlay_colours_by_width_and_leaves_the_road_alone():
    mask = painted((200, 250), np.s_[10:190, 40:45], np.s_[10:190, 150:175])
    photo = np.full((200, 250, 3), 120, np.uint8)
    drawn = overlay(photo, mask, *found(mask)).astype(int)
    assert np.abs(drawn[100, 42] - drawn[100, 157]).max() > 60
    assert (drawn[:, 60:140] == 120).all() and (drawn[mask > 0] != 120).any(axis=1).all()


def test_the_legend_speaks_millimetres_only_with_a_scale(monkeypatch):
    said = []
    monkeypatch.setattr("report.figure.write_text", lambda drawn, text, *_: said.append(text))
    mask = painted((400, 500), np.s_[20:380, 100:110])
    overlay(np.zeros((400, 500, 3), np.uint8), mask, *found(mask))
    assert said == ["10 px", "2", "4", "8", "16", "32+", "crack width, px", "100 px"]
    said.clear()
    overlay(np.zeros((400, 500, 3), np.uint8), mask, *found(mask, Scale(0.5, 0.05, "test")))
    assert said == ["5.0 ± 0.6 mm", "1", "3", "10", "30", "75+", "crack width, mm", "50 mm ± 5 %"]


@pytest.mark.parametrize("scale", [None, Scale(0.5, 0.05, "test")])
@pytest.mark.parametrize("longer", [360, 480, 640, 1400, 3000])
def test_the_numbers_of_the_colour_scale_do_not_touch(monkeypatch, longer, scale):
    placed = []
    monkeypatch.setattr("report.figure.write_text", lambda drawn, text, x, y: placed.append((y, x, text)))
    mask = painted((longer // 2, longer), np.s_[20:-20, 100:110])
    picture = overlay(np.zeros((*mask.shape, 3), np.uint8), mask, *found(mask, scale))
    numbers = placed[1:6]
    for (_, x, text), (_, after, _) in pairwise(numbers):
        assert x + text_size(picture, text)[0] < after - 2
    _, x, text = numbers[-1]
    assert x + text_size(picture, text)[0] < picture.shape[1]  # else it would be moved onto the one before


@pytest.mark.parametrize("scale", [None, Scale(2, 0.05, "test")])
def test_a_crack_has_the_colour_of_its_width_whatever_else_a_photo_of_the_folder_shows(scale):
    colours = []
    for beside in (3, 40):
        mask = painted((200, 250), np.s_[10:190, 40:47], np.s_[10:190, 150 : 150 + beside])
        colours.append(overlay(np.zeros((200, 250, 3), np.uint8), mask, *found(mask, scale))[60:140, 42:45])
    assert np.abs(np.subtract(*colours, dtype=int)).max() <= 3


def test_the_colours_of_a_photo_of_four_times_the_side_stand_for_widths_four_times_as_large():
    assert width_ticks(4 * 512, {}) == tuple(4 * width for width in width_ticks(512, {})) == (8, 16, 32, 64, 128)
    assert width_ticks(480, {}) == width_ticks(640, {}) and width_ticks(60, {})[0] == 2
    assert width_ticks(480, {"mm_per_pixel": 2}) == width_ticks(4032, {"mm_per_pixel": 2})
    thin, middle, thick = colours_of([0.1, 8, 500], width_ticks(512, {})).astype(int)
    assert thin[2] > middle[2] > thick[2] and thin[1] < middle[1] < thick[1]  # from purple to yellow


@pytest.mark.parametrize("value,bar", [(99, 50), (100, 100), (0.7, 0.5), (2.1, 2), (1999, 1000)])
def test_scale_bars_have_round_lengths(value, bar):
    assert nice(value) == pytest.approx(bar)


def test_the_figures_title_has_every_uncertainty_and_says_where_the_scale_is_from():
    mask = painted((60, 80), np.s_[10:50, 30:42])
    for scale, says in (
        (None, ["crack 40 px long", "up to 12 px wide", "no scale, so no millimetres"]),
        (
            Scale(2, 0.05, "A4 sheet"),
            ["crack 0.08 ± 0.01 m long", "up to 24.0 ± 2.4 mm", "A4 sheet, 2 mm a pixel ± 5 %"],
        ),
    ):
        photo, (_, row) = np.zeros((60, 80, 3), np.uint8), found(mask, scale)
        title = figure(photo, mask * 1.0, mask, photo, survey.title_of(row)).get_suptitle()
        assert all(words in title for words in ["road.jpg", *says])


def test_the_legend_stands_where_less_of_the_crack_lies():
    for at, below in ((380, False), (20, True)):
        points = {"x_px": np.full(9, 350.0), "y_px": np.full(9, float(at))}
        x, y = emptier(points, (400, 400, 3), 140, 8, 40)
        assert (x, y) == (260, 392 if below else 48)
    assert emptier({"x_px": np.zeros(9), "y_px": np.full(9, 380.0)}, (400, 400, 3), 140, 8, 40) == (260, 392)
    both = {"x_px": np.full(9, 380.0), "y_px": np.linspace(0, 399, 9)}  # all along the right border
    assert emptier(both, (400, 400, 3), 140, 8, 40) == (8, 48)


def test_an_overlay_of_a_large_photo_is_smaller_with_the_same_colours_in_the_same_places():
    mask = painted((1500, 3000), np.s_[100:1400, 1000:1024], np.s_[100:1400, 2200:2206])
    photo = np.zeros((1500, 3000, 3), np.uint8)
    photo[:700, 400:500] = 255  # what stands there tells where the road is
    drawn = overlay(photo, mask, *found(mask)).astype(int)
    assert drawn.shape == (1024, 2048, 3)
    factor = 2048 / 3000
    for left, right, width in ((1000, 1024, 24), (2200, 2206, 6)):
        middle = drawn[300:600, round(factor * (left + right) / 2)]
        expected = 0.6 * colours_of(width, width_ticks(3000, {}))
        assert np.abs(middle - expected).max() <= 12
    assert drawn[200, round(factor * 450)].min() > 250 and drawn[200, round(factor * 700)].max() < 5


def test_a_bar_is_as_long_as_it_says_in_a_picture_that_was_made_smaller(monkeypatch):
    bars = []
    monkeypatch.setattr("report.figure.cv2.rectangle", lambda drawn, one, other, *_: bars.append(other[0] - one[0]))
    said = []
    monkeypatch.setattr("report.figure.write_text", lambda drawn, text, *_: said.append(text))
    mask = np.zeros((3000, 4096), np.uint8)
    overlay(np.zeros((3000, 4096, 3), np.uint8), mask, *found(mask, Scale(0.5, 0.05, "test")))
    assert said == ["200 mm ± 5 %"] and bars[0] == 200  # a pixel of the picture shows 1 mm
