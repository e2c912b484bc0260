"""A survey's tables, budget and report: each test is a sentence that a mistake would break."""

import csv
import json
import re
import shutil
from html import unescape

import cv2
import numpy as np
import pytest
from conftest import draw_road, finding_dark, turn, write_strip

import survey
from command import BadInput, execute
from formats.photo import at_most, read_photo
from quantify.budget import estimate, read_prices, width_edges
from quantify.columns import MILLIMETRES, PIXELS
from quantify.damage import damage, give_or_take, sentence
from quantify.measure import measure, quantities
from quantify.scale import Scale
from report import records
from report.survey import GALLERY_PX, budget_rows, unmarked


@pytest.fixture
def run(tmp_path, monkeypatch):
    return finding_dark(survey, tmp_path, monkeypatch)


def table(out):
    with open(out / "cracks.csv", newline="", encoding="utf-8-sig") as file:
        return {row["photo"]: row for row in csv.DictReader(file)}


def test_every_millimetre_carries_its_uncertainty_and_follows_the_scale():
    mask = np.zeros((300, 300), np.uint8)
    mask[50:250, 100:120] = 1
    exact, loose = (damage(measure(mask), mask.size, Scale(0.5, r, "test"))["row"] for r in (0.01, 0.2))
    assert exact["length_m"] == pytest.approx(0.1, rel=0.05) and exact["width_max_mm"] == pytest.approx(10, abs=0.5)
    assert exact["photographed_m2"] == pytest.approx(0.0225)
    assert exact["width_max_plus_minus_mm"] >= 0.5  # the mask's edge: a pixel
    assert loose["length_plus_minus_m"] > 0.2 * exact["length_m"] > 2 * exact["length_plus_minus_m"]
    numbers = [key for key in exact if key.endswith(("_m", "_mm", "_m2")) and "plus_minus" not in key]
    assert len(numbers) == 8
    for key in numbers:
        stem, unit = key.rsplit("_", 1)
        assert exact[f"{stem}_plus_minus_{unit}"] >= 0


def test_a_crack_under_three_pixels_has_no_width_but_a_bound():
    mask = np.zeros((60, 80), np.uint8)
    mask[10:50, 30:32] = 1
    for scale, says in ((None, "(under 3 px)"), (Scale(2, 0.05, "test"), "(under 3 px or 6.0 mm)")):
        row = damage(measure(mask), mask.size, scale)["row"]
        assert row["below_measurable"] is True and f"too thin to measure its width {says}" in sentence(row)


def test_every_column_is_explained_and_no_other(strips, run):
    for flags, meaning in (([], PIXELS), (["--mm-per-pixel", "2"], PIXELS | MILLIMETRES)):
        _, out = run(strips, *flags)
        columns = [key for key in table(out)["a.png"] if "_plus_minus_" not in key]
        columns += ["scale_plus_minus_percent"] * bool(flags)
        assert sorted(columns) == sorted(meaning)
        html = (out / "report.html").read_text(encoding="utf-8")
        assert all(f"<td>{key}</td>" in html for key in meaning)


def test_no_crack_has_a_row_too_and_json_can_hold_it():
    for scale in (None, Scale(1, 0.05, "test")):
        result = damage(measure(np.zeros((50, 60), np.uint8)), 3000, scale)
        json.dumps(result, allow_nan=False)
        assert result["row"]["length_px"] == 0 and result["row"]["width_max_px"] is None
        assert sum(result["length_by_width"]) == 0


def test_the_histogram_holds_all_the_length():
    mask = np.zeros((200, 200), np.uint8)
    mask[20:180, 50:54], mask[20:180, 100:112] = 1, 1
    for scale, unit in ((None, "length_px"), (Scale(2, 0.05, "test"), "length_m")):
        result = damage(measure(mask), mask.size, scale)
        assert sum(result["length_by_width"]) == pytest.approx(result["row"][unit])


def test_a_folder_becomes_a_table_and_a_report_that_needs_nothing_else(strips, run, capsys):
    code, out = run(strips)
    assert code == 0 and "--mm-per-pixel" in capsys.readouterr().out  # the flag that would give millimetres
    rows = table(out)
    assert list(rows) == ["a.png", "b.png", "c.png", "d.png"]
    assert float(rows["b.png"]["width_median_px"]) == pytest.approx(21, abs=1)
    assert float(rows["c.png"]["crack_percent"]) == pytest.approx(100 * 900 / (120 * 160))
    assert not any("mm" in key or "severity" in key or key.endswith("_m") for key in rows["a.png"])
    assert [r["row"]["photo"] for r in json.loads((out / "cracks.json").read_text())["photos"]] == list(rows)
    html = (out / "report.html").read_text(encoding="utf-8")
    captions = re.findall(r"<figcaption>(\w)\.png", html)
    assert captions == ["b", "c", "a", "d"]  # the worst first
    assert "2 px and less" in html and "32 px and more" in html  # what the colours stand for
    assert not re.search(r"(src|href)=\"(?!data:|#)", html) and "--mm-per-pixel" in html and " mm" not in html
    assert html.count('class="plain"') == 4 and str(strips) not in html and str(out) not in html


def test_with_a_scale_there_are_metres_severity_and_a_budget_for_the_photographed_area(strips, run, tmp_path, capsys):
    head = "item,unit,low,central,high,currency,width_from_mm,width_to_mm,minimum_charge,source\n"
    (tmp_path / "prices.csv").write_text(head + "seal,m,100,200,400,EUR,0,,,x\npatch,m2,1,2,3,EUR,,,,x\n")
    code, out = run(strips, "--mm-per-pixel", "2", "--prices", tmp_path / "prices.csv")
    said, rows = capsys.readouterr().out, table(out)
    assert code == 0
    assert float(rows["c.png"]["length_m"]) == pytest.approx(0.2, rel=0.05)
    assert rows["b.png"]["indicative_severity"] == "medium" and rows["d.png"]["indicative_severity"] == "none"
    content = json.loads((out / "cracks.json").read_text())
    total = sum(float(row["length_m"]) for row in rows.values())
    assert content["quantities"]["seal_m"] == pytest.approx(total, rel=1e-3)
    budget = content["budget"]
    assert budget["central"] == pytest.approx(200 * total, rel=1e-3)
    amounts = [budget[key] for key in ("low", "central", "high")]
    (line,) = [line for line in said.splitlines() if "EUR" in line]
    assert amounts == sorted(set(amounts)) and all(f"{amount:.0f}" in re.findall(r"\d+", line) for amount in amounts)
    html = (out / "report.html").read_text(encoding="utf-8")
    assert "--mm-per-pixel" in html and "assumption" in html and "ndicative severity" in html
    assert re.findall(r"<figcaption>(\w)\.png", html)[0] == "b"


@pytest.mark.parametrize("charge,applies", [("", False), ("1000", True)])
def test_a_minimum_charge_that_decides_is_said_on_the_screen_in_the_report_and_in_the_json(
    strips, run, tmp_path, capsys, charge, applies
):
    head = "item,unit,low,central,high,currency,width_from_mm,width_to_mm,minimum_charge,source\n"
    (tmp_path / "prices.csv").write_text(f"{head}seal,m,1,2,3,EUR,0,,{charge},x\n")
    _, out = run(strips, "--mm-per-pixel", "2", "--prices", tmp_path / "prices.csv")
    assert ("; minimum charge applies" in capsys.readouterr().out) == applies
    html = (out / "report.html").read_text(encoding="utf-8")
    assert ("(minimum charge)" in html) == ("The minimum charge applies" in html) == applies
    budget = json.loads((out / "cracks.json").read_text())["budget"]
    assert budget["minimum_applied"] == budget["lines"][0]["minimum_applied"] == applies
    assert (budget["low"] == budget["central"] == budget["high"] == 1000) == applies


def test_a_reference_line_gives_the_scale(strips, run):
    _, out = run(strips, "--reference", "0,10,100,10,50")
    assert float(table(out)["a.png"]["mm_per_pixel"]) == pytest.approx(0.5)


def test_a_sheet_that_is_not_there_is_named(strips, run, capsys):
    code, out = run(strips, "--find-sheet", "a4")
    assert code == 2 and capsys.readouterr().err.count("no A4 sheet") == 4  # all of them are bad input


def test_started_again_it_does_only_what_is_missing_or_changed(strips, run, capsys):
    _, out = run(strips)
    first = (out / "cracks.csv").read_text()
    (out / "b_cracks.json").unlink()
    write_strip(strips / "c.png", width=15)
    run(strips)
    assert len(run.seen) == 2 and "2 of 4 are finished" in capsys.readouterr().out
    assert (out / "cracks.csv").read_text() != first and float(table(out)["c.png"]["width_median_px"]) > 14
    run(strips, "--threshold", "0.3")
    assert len(run.seen) == 4  # other flags, other results


def test_a_photo_counts_as_done_only_once_all_its_files_are_written(strips, run, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(survey, "overlay", killed)
        with pytest.raises(KeyboardInterrupt):
            run(strips)
    code, out = run(strips)
    assert code == 0 and len(run.seen) == 4 and (out / "a_overlay.jpg").is_file()


def test_ctrl_c_says_that_the_same_command_goes_on(strips, run, monkeypatch, capsys):
    monkeypatch.setattr(survey, "overlay", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(SystemExit) as end:
        execute(lambda: run(strips))
    assert end.value.code == 130
    assert capsys.readouterr().err.splitlines()[-1].startswith("interrupted: run the same command again")


def test_the_photo_beside_its_overlay_is_as_large_and_as_upright_as_that(tmp_path, rng):
    for width, height in ((2400, 1200), (1500, 900), (300, 200)):
        photo = cv2.resize(rng.integers(0, 256, (6, 12, 3), np.uint8), (width, height))
        cv2.imwrite(str(tmp_path / "a.jpg"), photo)
        turn(tmp_path / "a.jpg", 6)
        row = {"second": None, "photo_width": width, "photo_height": height}
        picture = unmarked(tmp_path / "a.jpg", {"row": row, "from_above": False}).astype(int)
        expected = at_most(photo[..., ::-1], GALLERY_PX)
        assert picture.shape == expected.shape and np.abs(picture - expected).mean() < 3


def test_gps_positions_become_a_plain_scatter(strips, run, monkeypatch):
    _, out = run(strips)
    assert "Places" not in (out / "report.html").read_text()
    shutil.rmtree(out)
    monkeypatch.setattr(survey, "exif", lambda path: {"gps": (48.1, 11.5), "focal_35mm": None})
    run(strips)
    assert "Places" in (out / "report.html").read_text() and table(out)["a.png"]["latitude"] == "48.100000"


def test_totals_add_up_quantities_and_uncertainties():
    mask = np.zeros((200, 200), np.uint8)
    mask[20:180, 50:60] = 1
    result = damage(measure(mask), mask.size, Scale(1, 0.05, "test"))
    once, thrice = (
        records.total_quantities([result["quantities"]]),
        records.total_quantities([result["quantities"]] * 3),
    )
    assert thrice["seal_m"] == pytest.approx(3 * once["seal_m"]) and thrice["seal"][-1]["width_to_mm"] == np.inf
    assert thrice["seal"][1]["plus_minus_m"] == pytest.approx(3 * once["seal"][1]["plus_minus_m"])


def test_a_photo_seen_at_an_angle_is_measured_from_above(strips, run, monkeypatch):
    """A homography that halves the width: the mask keeps the photo's size, the measured crack is half as wide."""
    squeeze = np.diag([0.5, 1.0, 1.0])
    found = Scale(1, 0.01, "test sheet", squeeze, 0.0)
    monkeypatch.setattr(survey, "find_scale", lambda *_: found)
    _, out = run(strips / "b.png", strips / "c.png")
    assert read_photo(out / "b_mask.png").shape == (120, 160, 3)
    row = table(out)["b.png"]
    assert float(row["width_median_mm"]) == pytest.approx(10.5, abs=1.5)
    assert float(row["photographed_m2"]) == pytest.approx(120 * 80 / 1e6, rel=0.05)


@pytest.mark.parametrize("scale", [["--mm-per-pixel", "3"], ["--reference", "0,0,30,40,100"]])
def test_one_scale_for_a_photo_that_was_resized_is_said_on_screen_and_page(strips, run, capsys, scale):
    """A photo on its side has the same size, and pixels alone need no scale."""
    cv2.imwrite(str(strips / "a.png"), cv2.rotate(cv2.imread(str(strips / "a.png")), cv2.ROTATE_90_CLOCKWISE))
    _, out = run(strips, *scale)
    assert "WARNING" not in capsys.readouterr().out and "2 sizes" not in (out / "report.html").read_text()
    cv2.imwrite(str(strips / "b.png"), cv2.resize(cv2.imread(str(strips / "b.png")), (80, 60)))
    _, out = run(strips, *scale)
    assert re.search("WARNING: .*2 sizes.*160×120.*80×60", capsys.readouterr().out)
    assert "2 sizes (160×120, 80×60 pixels)" in (out / "report.html").read_text()
    run(strips)
    assert "WARNING" not in capsys.readouterr().out


def test_a_folder_of_which_one_photo_was_readable_has_its_tables_and_says_what_failed(strips, run):
    for name in ("b.png", "c.png", "d.png"):
        (strips / name).write_text("no photo")
    code, out = run(strips)
    assert code == 1 and len(table(out)) == 1 and len(json.loads((out / "cracks.json").read_text())["failed"]) == 3
    html = (out / "report.html").read_text()
    assert "3 files could not be used" in html and str(strips) not in html
    assert all(f"<p>{name}.png: " in html for name in "bcd")


def test_prices_without_a_scale_and_a_folder_that_cannot_be_are_refused_before_any_work(strips, run, tmp_path):
    with pytest.raises(BadInput, match="--prices .*--mm-per-pixel"):
        run(strips, "--prices", "data/prices.csv")
    (tmp_path / "out").write_text("a file")
    with pytest.raises(BadInput, match="--out .*out: is a file"):
        run(strips)
    assert not run.seen


def test_a_place_on_earth_is_written_to_a_decimetre(tmp_path):
    row = {"photo": "=a.jpg", "latitude": 35.689487, "longitude": -139.691706, "length_px": 1234.56789, "copy_of": None}
    records.write_tables(tmp_path, records.Findings([{"row": row, "quantities": None}], [], [], [], "", None))
    lines = (tmp_path / "cracks.csv").read_text(encoding="utf-8-sig").splitlines()
    assert lines[1] == "'=a.jpg,35.689487,-139.691706,1234.57,"


def test_a_mask_over_most_of_a_photo_is_warned_of_on_the_screen_and_in_the_report(strips, run, capsys):
    code, out = run(strips)
    assert "WARNING" not in capsys.readouterr().out
    code, out = run(strips, "--threshold", "0")
    said = "of their photo"
    assert "WARNING: " in (shown := capsys.readouterr().out) and said in shown
    assert said in (out / "report.html").read_text(encoding="utf-8")


def test_an_uncertainty_never_reads_as_none():
    assert (
        give_or_take(0.07, 0.0043) == "0.07 ± 0.01"
        and give_or_take(1, 4e-6) == "1.00 ± 0.01"
        and give_or_take(0, 0) == "0.00 ± 0.00"
    )
    assert give_or_take(4e-4, 1.2e-4) == "0.0004 ± 0.0002"  # a few square centimetres
    assert give_or_take(0.003, 0.02) == "0.003 ± 0.020"
    assert give_or_take(24, 2.4, 1) == "24.0 ± 2.4" and give_or_take(1, 0.1) == "1.00 ± 0.10"


def test_every_uncertainty_of_a_row_follows_from_the_scale_and_the_tilt():
    measured = strip(np.zeros((60, 100), np.uint8))
    keys = [f"{name}_plus_minus_{unit}" for name, unit in (("seal_low", "m"), ("width_median", "mm"), ("length", "m"))]

    def unsure(relative, tilt):
        return damage(measured, 6000, Scale(1, relative, "given", tilt_deg=tilt))["row"]

    good, rough, tilted = unsure(0.0, 0.0), unsure(0.3, 0.0), unsure(0.0, 40.0)
    assert all(good[key] < min(rough[key], tilted[key]) for key in keys)
    assert rough["photographed_plus_minus_m2"] == pytest.approx(2 * 0.3 * rough["photographed_m2"])


def strip(mask):
    mask[20:24, 10:90] = 1
    return measure(mask)


def test_what_has_no_price_is_said_with_its_metres_where_the_budget_is(tmp_path, strips, run, capsys):
    header = "item,unit,low,central,high,currency,width_from_mm,width_to_mm,minimum_charge,source"
    (tmp_path / "prices.csv").write_text(f"{header}\npatch,m2,1,2,3,EUR,,,0,me\n")
    run(strips, "--mm-per-pixel", "2", "--prices", tmp_path / "prices.csv")
    said = capsys.readouterr().out
    assert re.search(r"no price: seal cracks .* wide: \d+\.\d\d ± \d+\.\d\d m", said)


def test_the_table_of_the_budget_holds_all_the_work_and_the_currency(tmp_path):
    """The page of demo.py shows this table alone."""
    header = "item,unit,low,central,high,currency,width_from_mm,width_to_mm,minimum_charge,source"
    table = "seal,m,1,2,3,CHF,0,10,,\nseal,m,4,5,6,CHF,20,,,\n"
    (tmp_path / "prices.csv").write_text(f"{header}\n{table}")
    prices = read_prices(tmp_path / "prices.csv")
    mask = np.zeros((300, 300), np.uint8)
    for column, width in ((50, 5), (120, 15), (200, 40)):
        mask[20:280, column : column + width] = 1
    needed = quantities(measure(mask), 1, width_edges_mm=width_edges(prices))
    rows = {row[0]: row[1:] for row in budget_rows(estimate(needed, prices))}
    assert "no price" in rows["seal cracks 10 to 20 mm wide"] and rows["seal cracks 10 to 20 mm wide"][0] != "0.00 m"
    assert all("no price" not in rows[f"seal cracks {widths} wide"] for widths in ("0 to 10 mm", "20 mm and more"))
    assert list(rows)[-1] == "total of what has a price, CHF"
    complete = budget_rows(estimate(needed | {"seal": needed["seal"][:1]}, prices))
    assert [row[0] for row in complete] == ["seal cracks 0 to 10 mm wide", "total, CHF"]


def photo_values(html):
    """What the gallery sorts and filters by, of each picture in the page's order."""
    found = re.findall(r'<figure class="picture" data-values="([^"]*)"', html)
    return [json.loads(unescape(text)) for text in found]


def test_the_page_begins_with_cards_then_photos_to_sort_and_filter_then_tables(strips, run):
    _, out = run(strips, "--mm-per-pixel", "2", "--prices", "data/prices.csv")
    html = (out / "report.html").read_text(encoding="utf-8")
    places = [
        html.index(words) for words in ('class="cards"', 'class="gallery"', "<h2>Budget", "<h2>All photos", "<details")
    ]
    assert places[:4] == sorted(places[:4])
    cards = dict(re.findall(r'<div class="card">([^<]*)<b>([^<]*)</b>', html))
    rows = table(out).values()
    assert cards["photos"] == "4" and cards["with cracks"] == "3" and cards["severity"] == "2 medium"
    assert cards["length of cracks"] == f"{sum(float(row['length_m']) for row in rows):.2f} m"
    budget = json.loads((out / "cracks.json").read_text())["budget"]
    assert f"{budget['low']:,.0f}" in cards["budget, USD"] and f"{budget['high']:,.0f}" in cards["budget, USD"]
    values = photo_values(html)
    assert [value["severity"] for value in values] == ["medium", "medium", "low", "none"]
    assert values[0]["largest width, mm"] == pytest.approx(42, abs=3)
    severities = re.search(r'data-key="severity">(.*?)</select>', html)[1]
    assert re.findall(r"<option>(\w+)", severities) == ["high", "medium", "low", "none"]


def test_without_a_scale_the_page_has_no_budget_and_filters_by_crack(strips, run):
    _, out = run(strips)
    html = (out / "report.html").read_text(encoding="utf-8")
    assert [value["crack"] for value in photo_values(html)] == ["yes", "yes", "yes", "no"]
    assert "Budget" not in html and "severity" not in html


def test_a_photo_shown_from_above_has_no_photo_to_compare_with_and_its_scale_is_no_assumption(strips, run, monkeypatch):
    monkeypatch.setattr(survey, "find_scale", lambda *_: Scale(1, 0.01, "A4 sheet", np.diag([0.5, 1.0, 1.0]), 0.0))
    _, out = run(strips)
    html = (out / "report.html").read_text(encoding="utf-8")
    assert html.count('class="marked"') == 4 and 'class="plain"' not in html and "assumption" not in html


def test_what_speaks_against_a_scale_is_on_the_page(strips, run, monkeypatch):
    doubtful = Scale(2, 0.05, "test", note="the marker has no white rim")
    monkeypatch.setattr(survey, "find_scale", lambda *_: doubtful)
    _, out = run(strips)
    notices = re.findall(r'<p class="notice">([^<]*)', (out / "report.html").read_text(encoding="utf-8"))
    assert any("4 photos" in text and doubtful.note in text for text in notices)


def test_metres_in_a_network_are_told_apart_and_a_photo_without_one_has_no_area_to_patch(run, tmp_path, capsys):
    photos = tmp_path / "photos"
    photos.mkdir()
    write_strip(photos / "plain.png", 9)
    mesh = draw_road(np.random.default_rng(1), 300, 300)
    for at in (40, 100, 160, 220):
        mesh[30:230, at : at + 8], mesh[at : at + 8, 30:230] = 0, 0
    cv2.imwrite(str(photos / "mesh.png"), mesh)
    _, out = run(photos, "--mm-per-pixel", "2")
    said, rows = capsys.readouterr().out, table(out)
    assert float(rows["mesh.png"]["patch_m2"]) > 0 == float(rows["plain.png"]["patch_m2"])
    length = sum(float(row["length_m"]) for row in rows.values())
    seal = json.loads((out / "cracks.json").read_text())["quantities"]["seal_m"]
    assert 0 < seal < length and f"the other {length - seal:.2f} m" in said
    html = (out / "report.html").read_text(encoding="utf-8")
    assert "the rest in networks" in html and "0.00\u00a0±\u00a00.00" not in html
    _, out = run(photos / "plain.png", "--mm-per-pixel", "2", out="plain")
    assert "the other" not in capsys.readouterr().out
    assert "the rest in networks" not in (out / "report.html").read_text(encoding="utf-8")
