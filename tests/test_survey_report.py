"""A survey's tables, budget and report: each test is a sentence that a mistake would break."""

import json
import re
import shutil
from html import unescape

import cv2
import numpy as np
import pytest
from conftest import draw_road, ending, finding_dark, lines_with, painted, table, turn, write_strip

import survey
from command import BadInput
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


def rows_of(out):
    """{photo: its row of cracks.csv}."""
    return {row["photo"]: row for row in table(out / "cracks.csv")}


def page(out):
    return (out / "report.html").read_text(encoding="utf-8")


def write_prices(folder, *rows):
    head = "item,unit,low,central,high,currency,width_from_mm,width_to_mm,minimum_charge,source"
    (folder / "prices.csv").write_text("\n".join([head, *rows, ""]))
    return folder / "prices.csv"


def test_every_millimetre_carries_its_uncertainty_and_follows_the_scale():
    mask = painted((300, 300), np.s_[50:250, 100:120])
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
    mask = painted((60, 80), np.s_[10:50, 30:32])
    for scale, says in ((None, "(under 3 px)"), (Scale(2, 0.05, "test"), "(under 3 px or 6.0 mm)")):
        row = damage(measure(mask), mask.size, scale)["row"]
        assert row["below_measurable"] is True and f"too thin to measure its width {says}" in sentence(row)


def test_every_column_is_explained_and_no_other(strips, run):
    for flags, meaning in (([], PIXELS), (["--mm-per-pixel", "2"], PIXELS | MILLIMETRES)):
        _, out = run(strips, *flags)
        columns = [key for key in rows_of(out)["a.png"] if "_plus_minus_" not in key]
        columns += ["scale_plus_minus_percent"] * bool(flags)
        assert sorted(columns) == sorted(meaning)
        html = page(out)
        assert all(f"<td>{key}</td>" in html for key in meaning)


def test_no_crack_has_a_row_too_and_json_can_hold_it():
    for scale in (None, Scale(1, 0.05, "test")):
        result = damage(measure(np.zeros((50, 60), np.uint8)), 3000, scale)
        json.dumps(result, allow_nan=False)
        assert result["row"]["length_px"] == 0 and result["row"]["width_max_px"] is None
        assert sum(result["length_by_width"]) == 0


def test_the_histogram_holds_all_the_length():
    mask = painted((200, 200), np.s_[20:180, 50:54], np.s_[20:180, 100:112])
    for scale, unit in ((None, "length_px"), (Scale(2, 0.05, "test"), "length_m")):
        result = damage(measure(mask), mask.size, scale)
        assert sum(result["length_by_width"]) == pytest.approx(result["row"][unit])


def test_a_folder_becomes_a_table_and_a_report_that_needs_nothing_else(strips, run, capsys):
    code, out = run(strips)
    assert code == 0 and "--mm-per-pixel" in capsys.readouterr().out  # the flag that would give millimetres
    rows = rows_of(out)
    assert list(rows) == ["a.png", "b.png", "c.png", "d.png"]
    assert float(rows["b.png"]["width_median_px"]) == pytest.approx(21, abs=1)
    assert float(rows["c.png"]["crack_percent"]) == pytest.approx(100 * 900 / (120 * 160))
    assert not any("mm" in key or "severity" in key or key.endswith("_m") for key in rows["a.png"])
    assert [r["row"]["photo"] for r in json.loads((out / "cracks.json").read_text())["photos"]] == list(rows)
    html = page(out)
    captions = re.findall(r"<figcaption>(\w)\.png", html)
    assert captions == ["b", "c", "a", "d"]  # the worst first
    assert [value["crack"] for value in photo_values(html)] == ["yes", "yes", "yes", "no"]  # to filter by
    assert "Budget" not in html and "severity" not in html
    assert "2 px and less" in html and "32 px and more" in html  # what the colours stand for
    assert not re.search(r"(src|href)=\"(?!data:|#)", html) and "--mm-per-pixel" in html and " mm" not in html
    assert html.count('class="plain"') == 4 and str(strips) not in html and str(out) not in html


def test_with_a_scale_there_are_metres_severity_and_a_budget_for_the_photographed_area(strips, run, tmp_path, capsys):
    prices = write_prices(tmp_path, "seal,m,100,200,400,EUR,0,,,x", "patch,m2,1,2,3,EUR,,,,x")
    code, out = run(strips, "--mm-per-pixel", "2", "--prices", prices)
    said, rows = capsys.readouterr().out, rows_of(out)
    assert code == 0
    assert float(rows["c.png"]["length_m"]) == pytest.approx(0.2, rel=0.05)
    assert rows["b.png"]["indicative_severity"] == "medium" and rows["d.png"]["indicative_severity"] == "none"
    content = json.loads((out / "cracks.json").read_text())
    total = sum(float(row["length_m"]) for row in rows.values())
    assert content["quantities"]["seal_m"] == pytest.approx(total, rel=1e-3)
    budget = content["budget"]
    assert budget["central"] == pytest.approx(200 * total, rel=1e-3)
    amounts = [budget[key] for key in ("low", "central", "high")]
    (line,) = lines_with(said, "EUR")
    assert amounts == sorted(set(amounts)) and all(f"{amount:.0f}" in re.findall(r"\d+", line) for amount in amounts)
    html = page(out)
    assert "--mm-per-pixel" in html and "assumption" in html and "ndicative severity" in html
    assert re.findall(r"<figcaption>(\w)\.png", html)[0] == "b"


@pytest.mark.parametrize("charge,applies", [("", False), ("1000", True)])
def test_a_minimum_charge_that_decides_is_said_on_the_screen_in_the_report_and_in_the_json(
    strips, run, tmp_path, capsys, charge, applies
):
    prices = write_prices(tmp_path, f"seal,m,1,2,3,EUR,0,,{charge},x")
    _, out = run(strips, "--mm-per-pixel", "2", "--prices", prices)
    assert ("; minimum charge applies" in capsys.readouterr().out) == applies
    html = page(out)
    assert ("(minimum charge)" in html) == ("The minimum charge applies" in html) == applies
    budget = json.loads((out / "cracks.json").read_text())["budget"]
    assert budget["minimum_applied"] == budget["lines"][0]["minimum_applied"] == applies
    assert (budget["low"] == budget["central"] == budget["high"] == 1000) == applies


def test_a_reference_line_gives_the_scale(strips, run):
    _, out = run(strips, "--reference", "0,10,100,10,50")
    assert float(rows_of(out)["a.png"]["mm_per_pixel"]) == pytest.approx(0.5)


def test_a_sheet_that_is_not_there_is_named(strips, run, capsys):
    code, out = run(strips, "--find-sheet", "a4")
    assert code == 2 and capsys.readouterr().err.count("no A4 sheet") == 4  # all of them are bad input


def test_after_ctrl_c_the_same_command_goes_on_with_every_photo_whose_files_are_not_all_written(
    strips, run, monkeypatch, capsys
):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(survey, "overlay", interrupted)
        code, said = ending(lambda: run(strips), capsys)
    assert code == 130 and said[-1].startswith("interrupted: run the same command again")
    code, out = run(strips)
    assert code == 0 and len(run.seen) == 4 and (out / "a_overlay.jpg").is_file()


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
    assert "Places" not in page(out)
    shutil.rmtree(out)
    monkeypatch.setattr(survey, "exif", lambda path: {"gps": (48.1, 11.5), "focal_35mm": None})
    run(strips)
    assert "Places" in page(out) and rows_of(out)["a.png"]["latitude"] == "48.100000"


def test_totals_add_up_quantities_and_uncertainties():
    mask = painted((200, 200), np.s_[20:180, 50:60])
    one = damage(measure(mask), mask.size, Scale(1, 0.05, "test"))["quantities"]
    once, thrice = (records.total_quantities([one] * times) for times in (1, 3))
    assert thrice["seal_m"] == pytest.approx(3 * once["seal_m"]) and thrice["seal"][-1]["width_to_mm"] == np.inf
    assert thrice["seal"][1]["plus_minus_m"] == pytest.approx(3 * once["seal"][1]["plus_minus_m"])


def test_a_photo_seen_at_an_angle_is_measured_from_above(strips, run, monkeypatch):
    """A homography that halves the width: the mask keeps the photo's size, the measured crack is half as wide."""
    squeeze = np.diag([0.5, 1.0, 1.0])
    monkeypatch.setattr(survey, "find_scale", lambda *_: Scale(1, 0.01, "A4 sheet", squeeze, 0.0))
    _, out = run(strips)
    assert read_photo(out / "b_mask.png").shape == (120, 160, 3)
    row = rows_of(out)["b.png"]
    assert float(row["width_median_mm"]) == pytest.approx(10.5, abs=1.5)
    assert float(row["photographed_m2"]) == pytest.approx(120 * 80 / 1e6, rel=0.05)
    html = page(out)
    assert html.count('class="marked"') == 4 and 'class="plain"' not in html  # there is no photo to compare it with
    assert "assumption" not in html


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
    assert code == 1 and len(rows_of(out)) == 1 and len(json.loads((out / "cracks.json").read_text())["failed"]) == 3
    html = page(out)
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
    assert said in page(out)


def test_an_uncertainty_never_reads_as_none():
    assert give_or_take(0.07, 0.0043) == "0.07 ± 0.01" and give_or_take(1, 4e-6) == "1.00 ± 0.01"
    assert give_or_take(0, 0) == "0.00 ± 0.00"
    assert give_or_take(4e-4, 1.2e-4) == "0.0004 ± 0.0002"  # a few square centimetres
    assert give_or_take(0.003, 0.02) == "0.003 ± 0.020"
    assert give_or_take(24, 2.4, 1) == "24.0 ± 2.4" and give_or_take(1, 0.1) == "1.00 ± 0.10"


def test_every_uncertainty_of_a_row_follows_from_the_scale_and_the_tilt():
    measured = measure(painted((60, 100), np.s_[20:24, 10:90]))
    keys = [f"{name}_plus_minus_{unit}" for name, unit in (("seal_low", "m"), ("width_median", "mm"), ("length", "m"))]

    def unsure(relative, tilt):
        return damage(measured, 6000, Scale(1, relative, "given", tilt_deg=tilt))["row"]

    good, rough, tilted = unsure(0.0, 0.0), unsure(0.3, 0.0), unsure(0.0, 40.0)
    assert all(good[key] < min(rough[key], tilted[key]) for key in keys)
    assert rough["photographed_plus_minus_m2"] == pytest.approx(2 * 0.3 * rough["photographed_m2"])


def test_what_has_no_price_is_said_with_its_metres_where_the_budget_is(tmp_path, strips, run, capsys):
    run(strips, "--mm-per-pixel", "2", "--prices", write_prices(tmp_path, "patch,m2,1,2,3,EUR,,,0,me"))
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
    html = page(out)
    order = 'class="cards"', 'class="gallery"', "<h2>Budget", "<h2>All photos"
    places = [html.index(words) for words in order]
    assert places == sorted(places) and "<details" in html
    cards = dict(re.findall(r'<div class="card">([^<]*)<b>([^<]*)</b>', html))
    rows = rows_of(out).values()
    assert cards["photos"] == "4" and cards["with cracks"] == "3" and cards["severity"] == "2 medium"
    assert cards["length of cracks"] == f"{sum(float(row['length_m']) for row in rows):.2f} m"
    budget = json.loads((out / "cracks.json").read_text())["budget"]
    assert f"{budget['low']:,.0f}" in cards["budget, USD"] and f"{budget['high']:,.0f}" in cards["budget, USD"]
    values = photo_values(html)
    assert [value["severity"] for value in values] == ["medium", "medium", "low", "none"]
    assert values[0]["largest width, mm"] == pytest.approx(42, abs=3)
    severities = re.search(r'data-key="severity">(.*?)</select>', html)[1]
    assert re.findall(r"<option>(\w+)", severities) == ["high", "medium", "low", "none"]


def test_what_speaks_against_a_scale_is_on_the_page(strips, run, monkeypatch):
    doubtful = Scale(2, 0.05, "test", note="the marker has no white rim")
    monkeypatch.setattr(survey, "find_scale", lambda *_: doubtful)
    _, out = run(strips)
    notices = re.findall(r'<p class="notice">([^<]*)', page(out))
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
    said, rows = capsys.readouterr().out, rows_of(out)
    assert float(rows["mesh.png"]["patch_m2"]) > 0 == float(rows["plain.png"]["patch_m2"])
    length = sum(float(row["length_m"]) for row in rows.values())
    seal = json.loads((out / "cracks.json").read_text())["quantities"]["seal_m"]
    assert 0 < seal < length and f"the other {length - seal:.2f} m" in said
    html = page(out)
    assert "the rest in networks" in html and "0.00\u00a0±\u00a00.00" not in html
    _, out = run(photos / "plain.png", "--mm-per-pixel", "2", out="plain")
    assert "the other" not in capsys.readouterr().out
    assert "the rest in networks" not in page(out)
