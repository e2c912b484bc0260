"""Each test is a sentence about budget.py that a mistake would break."""

import json
from pathlib import Path

import numpy as np
import pytest

from command import BadInput
from quantify.budget import COLUMNS, estimate, read_prices, width_edges
from quantify.measure import measure, quantities
from results.accuracy import draw, strip

HEAD = ",".join(COLUMNS)
EXAMPLE = Path(__file__).resolve().parent.parent / "data" / "prices.csv"
NARROW = "seal,m,2,4,8,EUR,0,10,0,mine"
WIDE = "seal,m,4,8,16,EUR,10,40,0,mine"
PATCH = "patch,m2,30,60,120,EUR,,,0,mine"


@pytest.fixture
def prices(tmp_path):
    """Lines of a table -> what read_prices makes of them."""

    def read(*lines, head=HEAD):
        (tmp_path / "prices.csv").write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
        return read_prices(tmp_path / "prices.csv")

    return read


def needs(narrow=(0, 0), wide=(0, 0), widest=(0, 0), patch=(0, 0)):
    """Quantities, each with its uncertainty, as measure gives them for classes with edges 10 and 40 mm."""
    edges = [0, 10, 40, np.inf]
    rows = [
        {"width_from_mm": edges[k], "width_to_mm": edges[k + 1], "length_m": m, "plus_minus_m": u}
        for k, (m, u) in enumerate((narrow, wide, widest))
    ]
    return {"seal": rows, "patch_m2": patch[0], "patch_plus_minus_m2": patch[1]}


def test_the_shipped_table_is_read_and_says_that_it_is_an_example():
    found = read_prices(EXAMPLE)
    assert {p.item for p in found} == {"seal", "patch"}
    assert all("example" in p.source for p in found) and EXAMPLE.read_text().startswith("# EXAMPLE")
    assert all(0 < p.low < p.central < p.high for p in found)


def test_each_width_has_its_own_price_and_the_totals_are_the_sum(prices):
    found = estimate(needs(narrow=(100, 0), wide=(10, 0), patch=(2, 0)), prices(NARROW, WIDE, PATCH))
    assert (found["low"], found["central"], found["high"]) == (200 + 40 + 60, 400 + 80 + 120, 800 + 160 + 240)
    assert [line["cost_central"] for line in found["lines"]] == [400, 80, 120]
    assert (found["currency"], found["scope"], found["not_priced"]) == ("EUR", "for the photographed area", [])


def test_an_unsure_quantity_widens_low_and_high_but_not_the_middle(prices):
    table = prices(NARROW, WIDE, PATCH)
    sure, unsure = (estimate(needs(narrow=(100, u)), table) for u in (0, 25))
    assert unsure["central"] == sure["central"] == 400
    assert (unsure["low"], unsure["high"]) == (75 * 2, 125 * 8)
    assert estimate(needs(narrow=(1, 5)), table)["low"] == 0  # there may be nothing, never less


def test_a_small_job_costs_the_minimum_and_no_job_costs_nothing(prices):
    table = prices(NARROW.replace(",0,mine", ",300,mine"), WIDE)
    small, large, none = (estimate(needs(narrow=(m, 0)), table) for m in (1, 100, 0))
    assert (small["low"], small["central"], small["high"]) == (300, 300, 300)
    assert (large["low"], large["central"], large["high"]) == (300, 400, 800)
    assert [found["lines"][0]["minimum_applied"] for found in (small, large)] == [True, False]
    assert (none["central"], none["high"], none["lines"]) == (0, 0, [])


def test_a_lump_sum_without_a_unit_price_is_a_minimum_charge(prices):
    found = estimate(needs(patch=(3, 1)), prices("patch,m2,0,0,0,EUR,,,900,mine"))
    assert (found["low"], found["central"], found["high"]) == (900, 900, 900)
    assert found["minimum_applied"] and found["lines"][0]["minimum_applied"]


def test_what_is_perhaps_needed_costs_its_minimum_only_at_the_high_end(prices):
    found = estimate(needs(narrow=(0, 1)), prices(NARROW.replace(",0,mine", ",300,mine")))
    assert (found["low"], found["central"], found["high"]) == (0, 0, 300)


def test_widths_and_items_without_a_price_are_named(prices):
    found = estimate(needs(narrow=(5, 0), widest=(3, 1), patch=(2, 0.5)), prices(NARROW, WIDE))
    keys = "item", "unit", "width_from_mm", "quantity", "plus_minus"
    named = [tuple(lacking[key] for key in keys) for lacking in found["not_priced"]]
    assert named == [("seal", "m", 40, 3, 1), ("patch", "m2", 0, 2, 0.5)]
    assert found["central"] == 20


def test_a_class_that_two_prices_share_is_named_and_the_right_edges_avoid_that(prices):
    table, measured = prices(NARROW, WIDE), measure(draw(strip(150, 10)))
    assert estimate(quantities(measured, 2, width_edges_mm=(75,)), table)["lines"] == []
    found = estimate(quantities(measured, 2, width_edges_mm=width_edges(table)), table)
    assert width_edges(table) == (10, 40)
    assert found["central"] == pytest.approx(0.3 * 8, rel=0.02)


def test_an_empty_width_is_no_limit(prices):
    table = prices("seal,m,2,4,8,EUR,,,,mine")
    assert width_edges(table) == ()
    found = estimate(quantities(measure(draw(strip(150, 10))), 2, width_edges_mm=()), table)
    assert found["not_priced"] == [] and found["central"] == pytest.approx(0.3 * 4, rel=0.02)


@pytest.mark.parametrize(
    "line, words",
    [
        (NARROW.replace("4,8", "x,8"), "central"),
        (NARROW.replace("2,4", "-2,4"), "low"),
        (NARROW.replace("2,4", "nan,4"), "low"),
        (NARROW.replace("8,EUR", "inf,EUR"), "high"),
        (NARROW.replace("2,4,8", "5,4,8"), "in this order"),
        (NARROW.replace("2,4,8", "2,9,8"), "in this order"),
        (NARROW.replace("seal,m", "seal,m2"), "seal by m"),
        (NARROW.replace("seal", "paint"), "paint"),
        (NARROW.replace("EUR", ""), "currency"),
        (NARROW.replace("0,10", "10,10"), "width_from_mm"),
        (NARROW.replace("0,10", "ten,20"), "width_from_mm"),
        (NARROW + ",more", "11 cells"),
        (PATCH.replace(",,", ",5,"), "patch has no widths"),
        (PATCH.replace("EUR", "USD"), "one currency"),
        (WIDE.replace("10,40", "9,40"), "a price already"),
    ],
)
def test_a_wrong_cell_is_named_with_file_and_line(prices, line, words):
    with pytest.raises(BadInput, match=rf"prices\.csv, line 4: .*{words}"):
        prices("# a comment, and a line before:", NARROW, line)


@pytest.mark.parametrize("head", ["item;unit;low", HEAD.replace("currency,", ""), ""])
def test_another_head_is_refused_with_the_right_one(prices, head):
    with pytest.raises(BadInput, match="item,unit,low"):
        prices(head=head)


def test_no_file_no_text_and_no_price_are_refused(prices, tmp_path):
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    for name, remedy in (("none.csv", "check the name"), ("binary.csv", "save the table as CSV UTF-8")):
        with pytest.raises(BadInput, match=f"{name}: .*; {remedy}"):
            read_prices(tmp_path / name)
    with pytest.raises(BadInput, match="no price"):
        prices("# only a comment")


def test_a_table_saved_by_a_spreadsheet_is_still_read(tmp_path):
    text = f'"# EXAMPLE, quoted",,,\r\n{HEAD}\r\n{NARROW}\r\n'
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert len(read_prices(tmp_path / "a.csv")) == 1


def test_every_value_is_plain(prices):
    json.dumps(estimate(quantities(measure(draw(strip(150, 10))), 1, width_edges_mm=(10, 40)), prices(NARROW)))
