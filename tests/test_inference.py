"""Big photos in tiles, folders, reports, scale and money: each test is a sentence that a mistake would break."""

import csv
import json
import re
import shutil

import cv2
import numpy as np
import pytest
import torch
from conftest import draw_road

import dataset
import inference
import segment
from command import BadInput, execute
from formats import labels
from inference import crack_mask, look, predict, tiles, viewing_sizes
from measure import measure
from model import CrackNet, save_checkpoint
from photo import Preprocess, read_photo
from quantify.columns import MILLIMETRES, PIXELS
from quantify.damage import damage, sentence
from quantify.scale import Scale
from report import survey
from report.figure import colours_of, emptier, figure, nice, overlay, width_map, width_ticks


def tiny_network():
    """A small CrackNet whose fixed random weights give clearly different answers from pixel to pixel."""
    torch.manual_seed(3)
    model = CrackNet(8, (1, 1, 1, 1)).eval()
    with torch.no_grad():
        list(model.head.parameters())[-2].mul_(20)  # the last weights
    return model


def write_photo(path, width=9, size=(120, 160), seed=0, crack=True):
    """A road with a vertical black strip `width` pixels wide, 100 long, or without one."""
    photo = draw_road(np.random.default_rng(seed), *size)
    if crack:
        photo[10:110, 40 : 40 + width] = 0
    cv2.imwrite(str(path), photo)
    return photo


@pytest.fixture
def folder(tmp_path):
    """Three photos with strips of 5, 9 and 21 pixels, one without a crack."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, width in (("a.png", 5), ("b.png", 21), ("c.png", 9)):
        write_photo(photos / name, width)
    write_photo(photos / "d.png", crack=False)
    return photos


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The command with a network that answers 1 where the photo is black; returns (exit code, folder of results)."""
    model = CrackNet(4, (1, 1, 1, 1))
    save_checkpoint(tmp_path / "best.pt", model, {"size": 64, "mean": [0.5] * 3, "std": [0.2] * 3}, 0.5)
    seen = []

    def by_darkness(model, preprocess, photo, size=None, flips=False):
        seen.append(size)
        return (photo.max(axis=2) < 40).astype(np.float32)

    def command(*arguments):
        arguments = [*map(str, arguments), "--checkpoint", str(tmp_path / "best.pt"), "--out", str(tmp_path / "out")]
        return inference.main(arguments), tmp_path / "out"

    monkeypatch.setattr(inference, "predict", by_darkness)
    monkeypatch.setattr(inference, "FEW", 0)  # a figure takes a second
    command.seen = seen
    return command


def table(out):
    with open(out / "cracks.csv", newline="", encoding="utf-8") as file:
        return {row["photo"]: row for row in csv.DictReader(file)}


# ------------------------------------------------------------------------------------------------ tiles
@pytest.mark.parametrize("length", [1, 255, 1023, 1024, 1025, 1792, 1793, 4032])
def test_tiles_cover_all_with_weights_that_add_up_to_one(length):
    total = np.zeros(length)
    for where, weight in tiles(length):
        assert where.start % 32 == 0 and len(weight) <= inference.TILE
        total[where] += weight
    assert np.allclose(total, 1, atol=1e-6)


def test_the_outermost_quarter_of_an_overlap_has_no_weight_but_at_the_photos_own_border():
    (_, first), *_, (_, last) = tiles(2500)
    quarter = inference.OVERLAP // 4
    assert first[:quarter].all() and not first[-quarter:].any() and first[-quarter - 1] > 0
    assert last[-quarter:].all() and not last[:quarter].any() and last[quarter] > 0


def test_tiles_give_what_the_whole_gives_without_seams(monkeypatch, rng):
    photo = cv2.GaussianBlur(rng.integers(0, 256, (300, 900, 3)).astype(np.uint8), (0, 0), 1)
    model, preprocess = tiny_network(), Preprocess()
    whole = predict(model, preprocess, photo, size=900)
    monkeypatch.setattr(inference, "TILE", 512)
    assert len(list(tiles(900))) == 3
    tiled = predict(model, preprocess, photo, size=900)
    assert np.ptp(whole) > 0.3 and np.abs(tiled - whole).max() < 0.01


def test_memory_is_bounded_by_the_tile():
    shapes, model = [], tiny_network()
    model.register_forward_pre_hook(lambda _, inputs: shapes.append(inputs[0].shape[-2:]))
    predict(model, Preprocess(), np.zeros((64, 2500, 3), np.uint8), size=2500)
    assert len(shapes) == 3 and max(max(shape) for shape in shapes) <= inference.TILE


def test_the_rule_looks_at_the_training_size_and_at_large_photos_closer():
    preprocess = Preprocess(size=512)
    shapes = (80, 60), (1024, 700), (1025, 700), (3024, 4032, 3)
    assert [viewing_sizes(preprocess, shape) for shape in shapes] == [(512,), (512,), (512, 1024), (512, 1024)]


def test_small_photos_are_enlarged_only_where_the_training_did_so():
    shapes = (200, 300), (512, 300), (700, 600)
    for enlarges, expected in ((True, [512, 512, 512]), (False, [300, 512, 512])):
        preprocess = Preprocess(size=512, enlarges=enlarges)
        assert [viewing_sizes(preprocess, shape) for shape in shapes] == [(size,) for size in expected]
        assert [max(preprocess.shape(*shape)) for shape in shapes] == expected


def test_a_given_size_enlarges_a_photo_whatever_the_training_did():
    shapes, model = [], tiny_network()
    model.register_forward_pre_hook(lambda _, inputs: shapes.append(max(inputs[0].shape[-2:])))
    predict(model, Preprocess(enlarges=False), np.zeros((64, 96, 3), np.uint8), size=384)
    assert shapes == [384]


def test_only_wide_cracks_are_taken_from_the_half_size_view():
    probability = np.zeros((80, 120), np.float32)
    probability[10:14] = 0.9
    probability[40 : 40 + 2 * inference.WIDE] = 0.8
    wide = inference.wide_cracks(probability)
    assert not wide[:30].any()
    np.testing.assert_array_equal(wide[30:], probability[30:])


def test_a_wide_crack_that_only_the_half_size_view_sees_is_found(monkeypatch):
    def answer_at(model, view, photo):
        answer = np.zeros(view.resize(photo).shape[:2], np.float32)
        answer[10:40] = 0.9 if view.size == 64 else 0.2
        return answer

    monkeypatch.setattr(inference, "answer_at", answer_at)
    found = predict(tiny_network(), Preprocess(size=128), np.zeros((96, 128, 3), np.uint8))
    assert found[40:60].min() > 0.85 and not found[:15].max() > 0.5


def test_a_large_photo_is_answered_by_the_mean_of_two_views(monkeypatch):
    monkeypatch.setattr(inference, "wide_cracks", np.zeros_like)
    model, preprocess = tiny_network(), Preprocess(size=64)
    photo = np.random.default_rng(0).integers(0, 256, (130, 200, 3), dtype=np.uint8)
    views = [look(model, Preprocess(size=size), photo) for size in (64, 128)]
    assert np.allclose(predict(model, preprocess, photo), (views[0] + views[1]) / 2, atol=1e-6)
    assert not np.allclose(*views)


def test_scale_is_a_factor_of_the_photos_own_size(folder, run):
    run(folder / "a.png", "--scale", "0.5")
    run(folder / "a.png", "--scale", "1")
    run(folder / "a.png")
    assert run.seen == [80, 160, None]


# ------------------------------------------------------------------------------------------------ pictures
def found(mask, scale=None):
    """What overlay takes besides photo and mask."""
    measured = measure(mask)
    return measured, damage(measured, mask.size, scale)["row"] | {"photo": "road.jpg"}


def test_the_width_of_each_pixel_is_that_of_its_crack():
    mask = np.zeros((100, 100), np.uint8)
    mask[10:90, 20:25], mask[10:90, 60:75] = 1, 1
    width = width_map(mask, measure(mask))
    assert np.array_equal(width > 0, mask > 0)
    assert width[30:70, 20:25] == pytest.approx(5, abs=0.7) and width[30:70, 60:75] == pytest.approx(15, abs=0.7)


def test_the_overlay_colours_by_width_and_leaves_the_road_alone():
    mask = np.zeros((200, 250), np.uint8)
    mask[10:190, 40:45], mask[10:190, 150:165] = 1, 1
    photo = np.full((200, 250, 3), 120, np.uint8)
    drawn = overlay(photo, mask, *found(mask)).astype(int)
    assert np.abs(drawn[100, 42] - drawn[100, 157]).max() > 60
    assert (drawn[:, 60:140] == 120).all() and (drawn[mask > 0] != 120).any(axis=1).all()


def test_the_legend_speaks_millimetres_only_with_a_scale(monkeypatch):
    said = []
    monkeypatch.setattr("report.figure.write_text", lambda drawn, text, *_: said.append(text))
    mask = np.zeros((400, 500), np.uint8)
    mask[20:380, 100:110] = 1
    overlay(np.zeros((400, 500, 3), np.uint8), mask, *found(mask))
    assert said == ["10 px", "1", "2", "4", "8", "16+", "crack width, px", "100 px"]
    said.clear()
    overlay(np.zeros((400, 500, 3), np.uint8), mask, *found(mask, Scale(0.5, 0.05, "test")))
    assert said == ["5.0 ± 0.6 mm", "1", "3", "10", "30", "75+", "crack width, mm", "50 mm ± 5 %"]


@pytest.mark.parametrize("scale", [None, Scale(2, 0.05, "test")])
def test_a_crack_has_the_colour_of_its_width_whatever_else_a_photo_of_the_folder_shows(scale):
    colours = []
    for beside in (3, 40):
        mask = np.zeros((200, 250), np.uint8)
        mask[10:190, 40:47], mask[10:190, 150 : 150 + beside] = 1, 1
        colours.append(overlay(np.zeros((200, 250, 3), np.uint8), mask, *found(mask, scale))[60:140, 42:45])
    assert np.abs(np.subtract(*colours, dtype=int)).max() <= 3


def test_the_colours_of_a_photo_of_four_times_the_side_stand_for_widths_four_times_as_large():
    assert width_ticks(4 * 512, {}) == tuple(4 * width for width in width_ticks(512, {})) == (4, 8, 16, 32, 64)
    assert width_ticks(480, {}) == width_ticks(640, {}) and width_ticks(60, {})[0] == 1
    assert width_ticks(480, {"mm_per_pixel": 2}) == width_ticks(4032, {"mm_per_pixel": 2})
    thin, middle, thick = colours_of([0.1, 4, 500], width_ticks(512, {})).astype(int)
    assert thin[2] > middle[2] > thick[2] and thin[1] < middle[1] < thick[1]  # from purple to yellow


@pytest.mark.parametrize("value,bar", [(99, 50), (100, 100), (0.7, 0.5), (2.1, 2), (1999, 1000)])
def test_scale_bars_have_round_lengths(value, bar):
    assert nice(value) == pytest.approx(bar)


# ------------------------------------------------------------------------------------------------ numbers
def test_every_millimetre_carries_its_uncertainty_and_follows_the_scale():
    mask = np.zeros((300, 300), np.uint8)
    mask[50:250, 100:120] = 1
    exact, loose = (damage(measure(mask), mask.size, Scale(0.5, r, "test"))["row"] for r in (0.01, 0.2))
    assert exact["length_m"] == pytest.approx(0.1, rel=0.05) and exact["width_max_mm"] == pytest.approx(10, abs=0.5)
    assert exact["photographed_m2"] == pytest.approx(0.0225)
    assert exact["width_max_plus_minus_mm"] >= 0.5  # the mask's edge: a pixel
    assert loose["length_plus_minus_m"] > 0.2 * exact["length_m"] > 2 * exact["length_plus_minus_m"]
    numbers = [key for key in exact if key.endswith(("_m", "_mm", "_m2")) and "plus_minus" not in key]
    assert set(numbers) == {
        "length_m", "width_median_mm", "width_max_mm", "seal_low_m", "seal_medium_m", "seal_high_m", "patch_m2",
        "photographed_m2",
    }  # fmt: skip
    for key in numbers:
        stem, unit = key.rsplit("_", 1)
        assert exact[f"{stem}_plus_minus_{unit}"] >= 0


def test_the_figures_title_has_every_uncertainty_and_says_where_the_scale_is_from():
    mask = np.zeros((60, 80), np.uint8)
    mask[10:50, 30:42] = 1
    for scale, says in (
        (None, ["crack 40 px long", "up to 12 px wide", "no scale, so no millimetres"]),
        (
            Scale(2, 0.05, "A4 sheet"),
            ["crack 0.08 ± 0.01 m long", "up to 24.0 ± 2.4 mm", "A4 sheet, 2 mm a pixel ± 5 %"],
        ),
    ):
        title = figure(np.zeros((60, 80, 3), np.uint8), mask * 1.0, mask, *found(mask, scale)).get_suptitle()
        assert all(words in title for words in ["road.jpg", *says])


def test_a_crack_under_three_pixels_has_no_width_but_a_bound():
    mask = np.zeros((60, 80), np.uint8)
    mask[10:50, 30:32] = 1
    for scale, says in ((None, "(under 3 px)"), (Scale(2, 0.05, "test"), "(under 3 px or 6.0 mm)")):
        row = found(mask, scale)[1]
        assert row["below_measurable"] is True and f"too thin to measure its width {says}" in sentence(row)


def test_specks_are_counted_and_are_in_no_mask_and_no_polygon(folder, run):
    photo = cv2.imread(str(folder / "a.png"))
    photo[60:62, 100:102] = photo[20, 120] = 0  # the photo is 160 pixels wide: 3.2 are 2 %
    photo[80, 100:104] = 0
    cv2.imwrite(str(folder / "a.png"), photo)
    _, out = run(folder, "--coco", folder / "to-correct.json")
    row = table(out)["a.png"]
    assert row["specks"] == "2" and float(row["crack_area_px"]) == 500 + 4
    assert np.count_nonzero(read_photo(out / "a_mask.png")[..., 0]) == 500 + 4
    assert len(dataset.read_export(folder).photos[0].annotations) == 2
    assert "2 specks left out" in (out / "report.html").read_text()


def test_an_answer_of_specks_alone_is_an_empty_mask_and_a_whole_one_is_no_speck():
    mask = np.zeros((300, 400), np.uint8)
    mask[::40, ::40] = 1
    clean, count = crack_mask(0.7 * mask, 0.6)
    assert not clean.any() and count == 80
    assert sentence(found(clean)[1] | {"specks": 80}).startswith("no crack found (80")
    for whole in (mask | 1, np.eye(300, 400, dtype=np.uint8), mask * 0):
        clean, count = crack_mask(np.float32(0.5) * whole, 0.5)
        assert count == 0 and clean.dtype == np.uint8 and np.array_equal(clean, whole)


def test_every_column_is_explained_and_no_other(folder, run):
    for flags, meaning in (([], PIXELS), (["--mm-per-pixel", "2"], PIXELS | MILLIMETRES)):
        _, out = run(folder, *flags)
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


# ------------------------------------------------------------------------------------------------ folders
def test_a_folder_becomes_a_table_and_a_report_that_needs_nothing_else(folder, run, capsys):
    code, out = run(folder)
    assert code == 0 and "no millimetres" in capsys.readouterr().out
    rows = table(out)
    assert list(rows) == ["a.png", "b.png", "c.png", "d.png"]
    assert float(rows["b.png"]["width_median_px"]) == pytest.approx(21, abs=1)
    assert float(rows["c.png"]["crack_percent"]) == pytest.approx(100 * 900 / (120 * 160))
    assert not any("mm" in key or "severity" in key or key.endswith("_m") for key in rows["a.png"])
    assert [r["row"]["photo"] for r in json.loads((out / "cracks.json").read_text())["photos"]] == list(rows)
    html = (out / "report.html").read_text(encoding="utf-8")
    captions = re.findall(r"<figcaption>(\w)\.png", html)
    assert captions == ["b", "c", "a", "d"]  # the worst first
    assert "purple is a width of 1 px or less, yellow one of 16 px or more" in html
    assert not re.search(r"(src|href)=\"(?!data:|#)", html) and "no millimetres" in html and " mm" not in html


def test_names_are_escaped_in_the_report(folder, run):
    (folder / "a.png").rename(folder / "<script>alert(1)&.png")
    _, out = run(folder)
    html = (out / "report.html").read_text(encoding="utf-8")
    assert "<script>alert" not in html and "&lt;script&gt;alert(1)&amp;.png" in html


def test_with_a_scale_there_are_metres_severity_and_a_budget_for_the_photographed_area(folder, run, tmp_path, capsys):
    head = "item,unit,low,central,high,currency,width_from_mm,width_to_mm,minimum_charge,source\n"
    (tmp_path / "prices.csv").write_text(head + "seal,m,100,200,400,EUR,0,,,x\npatch,m2,1,2,3,EUR,,,,x\n")
    code, out = run(folder, "--mm-per-pixel", "2", "--prices", tmp_path / "prices.csv")
    said, rows = capsys.readouterr().out, table(out)
    assert code == 0 and "for the photographed area" in said and "low " in said and "high " in said
    assert float(rows["c.png"]["length_m"]) == pytest.approx(0.2, rel=0.05)
    assert rows["b.png"]["indicative_severity"] == "medium" and rows["d.png"]["indicative_severity"] == "none"
    content = json.loads((out / "cracks.json").read_text())
    total = sum(float(row["length_m"]) for row in rows.values())
    assert content["quantities"]["seal_m"] == pytest.approx(total, rel=1e-3)
    budget = content["budget"]
    assert budget["central"] == pytest.approx(200 * total, rel=1e-3) and budget["low"] < budget["central"]
    html = (out / "report.html").read_text(encoding="utf-8")
    assert "--mm-per-pixel" in html and "assumption" in html and "ndicative severity" in html
    assert re.findall(r"<figcaption>(\w)\.png", html)[0] == "b"


@pytest.mark.parametrize("charge,applies", [("", False), ("1000", True)])
def test_a_minimum_charge_that_decides_is_said_on_the_screen_in_the_report_and_in_the_json(
    folder, run, tmp_path, capsys, charge, applies
):
    head = "item,unit,low,central,high,currency,width_from_mm,width_to_mm,minimum_charge,source\n"
    (tmp_path / "prices.csv").write_text(f"{head}seal,m,1,2,3,EUR,0,,{charge},x\n")
    _, out = run(folder, "--mm-per-pixel", "2", "--prices", tmp_path / "prices.csv")
    assert ("; minimum charge applies" in capsys.readouterr().out) == applies
    html = (out / "report.html").read_text(encoding="utf-8")
    assert ("(minimum charge)" in html) == ("The minimum charge applies" in html) == applies
    budget = json.loads((out / "cracks.json").read_text())["budget"]
    assert budget["minimum_applied"] == budget["lines"][0]["minimum_applied"] == applies
    assert (budget["low"] == budget["central"] == budget["high"] == 1000) == applies


def test_a_reference_line_gives_the_scale(folder, run):
    _, out = run(folder, "--reference", "0,10,100,10,50")
    assert float(table(out)["a.png"]["mm_per_pixel"]) == pytest.approx(0.5)


def test_a_sheet_that_is_not_there_is_named(folder, run, capsys):
    code, out = run(folder, "--find-a4")
    assert code == 2 and capsys.readouterr().err.count("no A4 sheet") == 4  # all of them are bad input


def test_started_again_it_does_only_what_is_missing_or_changed(folder, run, capsys):
    _, out = run(folder)
    first = (out / "cracks.csv").read_text()
    (out / "b_cracks.json").unlink()
    write_photo(folder / "c.png", width=15)
    run.seen.clear()
    run(folder)
    assert len(run.seen) == 2 and "2 of 4 were done before" in capsys.readouterr().out
    assert (out / "cracks.csv").read_text() != first and float(table(out)["c.png"]["width_median_px"]) > 14
    run.seen.clear()
    run(folder, "--threshold", "0.3")
    assert len(run.seen) == 4  # other flags, other results


def test_a_photo_counts_as_done_only_once_all_its_files_are_written(folder, run, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(segment, "overlay", killed)
        with pytest.raises(KeyboardInterrupt):
            run(folder)
    run.seen.clear()
    code, out = run(folder)
    assert code == 0 and len(run.seen) == 4 and (out / "a_overlay.jpg").is_file()


def test_ctrl_c_says_that_the_same_command_goes_on(folder, run, monkeypatch, capsys):
    monkeypatch.setattr(segment, "overlay", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(SystemExit) as end:
        execute(lambda: run(folder))
    assert end.value.code == 130
    assert capsys.readouterr().err.splitlines()[-1] == "interrupted: the same command goes on with what is missing"


def test_a_bad_photo_is_named_at_the_end_and_in_the_report(folder, run, capsys):
    (folder / "b.png").write_text("no photo")
    code, out = run(folder)
    assert code == 1 and "b.png" in capsys.readouterr().err
    assert list(table(out)) == ["a.png", "c.png", "d.png"] and "b.png" in (out / "report.html").read_text()


def test_photos_of_the_same_name_do_not_overwrite_each_other(folder, run, tmp_path):
    shutil.copytree(folder, tmp_path / "more")
    write_photo(folder / "a.jpg", 13)
    _, out = run(folder, tmp_path / "more")
    assert len(list(out.glob("*_mask.png"))) == 9 and (out / "more_a.png_mask.png").is_file()


def test_many_photos_get_figures_only_when_asked(folder, run, monkeypatch):
    monkeypatch.setattr(inference, "FEW", 3)
    _, out = run(folder)
    assert not list(out.glob("*_figure.png"))
    shutil.rmtree(out)
    run(folder, "--figures")
    assert len(list(out.glob("*_figure.png"))) == 4


def test_photos_are_decoded_ahead_but_never_all_at_once(folder, monkeypatch):
    paths, started = [folder / "a.png"] * 12, []
    monkeypatch.setattr(segment, "read_photo", lambda path: started.append(path))
    for done, (_, photo) in enumerate(segment.read_ahead(paths), start=1):
        photo()
        assert len(started) <= done + 3
    assert len(started) == 12


def test_gps_positions_become_a_plain_scatter(folder, run, monkeypatch):
    _, out = run(folder)
    assert "Places" not in (out / "report.html").read_text()
    shutil.rmtree(out)
    monkeypatch.setattr(segment, "exif", lambda path: {"gps": (48.1, 11.5), "focal_35mm": None})
    run(folder)
    assert "Places" in (out / "report.html").read_text() and table(out)["a.png"]["latitude"] == "48.100000"


def test_totals_add_up_quantities_and_uncertainties():
    mask = np.zeros((200, 200), np.uint8)
    mask[20:180, 50:60] = 1
    result = damage(measure(mask), mask.size, Scale(1, 0.05, "test"))
    result["row"] |= {"second": None, "copy_of": None}
    once, thrice = survey.total_quantities([result]), survey.total_quantities([result] * 3)
    assert thrice["seal_m"] == pytest.approx(3 * once["seal_m"]) and thrice["seal"][-1]["width_to_mm"] == np.inf
    assert thrice["seal"][1]["plus_minus_m"] == pytest.approx(3 * once["seal"][1]["plus_minus_m"])


# ------------------------------------------------------------------------------------------------ COCO
def wild_mask(rng, size=(240, 320)):
    """Thin, thick, branching cracks, a ring, an alligator's grid and a speck."""
    mask = np.zeros(size, np.uint8)
    for _ in range(5):
        points = np.cumsum(np.vstack([rng.integers(20, 200, 2), rng.integers(-25, 26, (9, 2))]), axis=0)
        cv2.polylines(mask, [points.astype(np.int32)], False, 1, int(rng.integers(2, 7)))
    cv2.circle(mask, (270, 60), 30, 1, 3)
    for at in (0, 20, 40):
        cv2.line(mask, (230 + at, 150), (230 + at, 190), 1, 3)
        cv2.line(mask, (230, 150 + at), (270, 150 + at), 1, 3)
    mask[230, 5] = 1
    return mask


def test_polygons_read_back_give_the_mask_and_have_no_holes(tmp_path):
    masks = {f"{k}.png": wild_mask(np.random.default_rng(k)) for k in range(3)} | {"n.png": np.zeros((9, 9), np.uint8)}
    for name, mask in masks.items():
        cv2.imwrite(str(tmp_path / name), 0 * mask)
    labels.write_coco(tmp_path / "out.json", [(tmp_path / name, mask) for name, mask in masks.items()])
    export = dataset.read_export(tmp_path)
    assert [photo.name for photo in export.photos] == list(masks) and len(export.problems) == 1  # no labels yet
    corners = 0
    for photo in export.photos:
        mask, read = masks[photo.name], photo.mask()
        assert np.count_nonzero(mask & read) >= 0.95 * np.count_nonzero(mask | read)
        assert all(isinstance(a["segmentation"], list) for a in photo.annotations)
        corners += sum(len(p) // 2 for a in photo.annotations for p in a["segmentation"])
    outlines = [len(c) for m in masks.values() for c in cv2.findContours(m, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)[0]]
    assert corners < 0.5 * sum(outlines)  # simplified: few enough to drag by hand


def test_pieces_add_up_to_the_mask(monkeypatch):
    monkeypatch.setattr(labels, "LARGEST", 50)
    mask, total = wild_mask(np.random.default_rng(1)), np.zeros((240, 320), int)
    for x, y, part in labels.pieces(mask):
        assert max(part.shape) <= 50
        total[y : y + part.shape[0], x : x + part.shape[1]] += part
    assert np.array_equal(total, mask)


def test_the_command_writes_coco_beside_the_photos(folder, run):
    code, out = run(folder, "--coco", folder / "to-correct.json")
    export = dataset.read_export(folder)
    assert code == 0 and len(export.photos) == 4
    for photo in export.photos:
        saved = cv2.imread(str(out / f"{photo.path.stem}_mask.png"), 0) // 255
        union = np.count_nonzero(saved | photo.mask())
        assert np.count_nonzero(saved & photo.mask()) >= 0.95 * union


def test_a_coco_file_that_tools_would_not_find_the_photos_from_is_refused_before_any_work(folder, run, tmp_path):
    with pytest.raises(BadInput, match="tools look for photos beside it; write it to the photos' folder"):
        run(folder, "--coco", tmp_path / "elsewhere" / "to-correct.json")
    assert not run.seen
    run(folder, "--coco", tmp_path / "to-correct.json")  # above them is fine, too
    images = json.loads((tmp_path / "to-correct.json").read_text())["images"]
    assert [image["file_name"] for image in images] == [f"photos/{name}.png" for name in "abcd"]


# ------------------------------------------------------------------------------------------------ flags
@pytest.mark.parametrize(
    "flags,says",
    [
        (["--scale", "0", "x.jpg"], "--scale 0"),
        (["--every", "-1", "x.mp4"], "--every -1"),
        (["--threshold", "2", "x.jpg"], "--threshold 2"),
        ([], "give photos"),
        (["x.jpg", "--export", "x.onnx"], "--export alone"),
    ],
)
def test_senseless_flags_are_one_line_and_exit_code_2(flags, says, capsys):
    with pytest.raises(SystemExit) as end:
        execute(lambda: inference.main(flags))
    assert end.value.code == 2 and says in capsys.readouterr().err.splitlines()[-1]


def test_every_flag_has_an_example_in_the_help(capsys):
    with pytest.raises(SystemExit):
        inference.main(["--help"])
    flags, examples = capsys.readouterr().out.split("examples:")
    missing = [f for f in re.findall(r"^  (?:-\w, )?(--[\w-]+)", flags, re.MULTILINE) if f not in examples]
    assert set(missing) <= {"--seed", "--help"}  # nothing is drawn at random here


def test_a_photo_seen_at_an_angle_is_measured_from_above(folder, run, monkeypatch):
    """A homography that halves the width: the mask keeps the photo's size, the measured crack is half as wide."""
    squeeze = np.diag([0.5, 1.0, 1.0])
    found = Scale(1, 0.01, "test sheet", squeeze, 0.0)
    monkeypatch.setattr(segment, "find_scale", lambda *_: found)
    _, out = run(folder / "b.png", folder / "c.png")
    assert read_photo(out / "b_mask.png").shape == (120, 160, 3)
    row = table(out)["b.png"]
    assert float(row["width_median_mm"]) == pytest.approx(10.5, abs=1.5)
    assert float(row["photographed_m2"]) == pytest.approx(120 * 80 / 1e6, rel=0.05)


def test_with_flips_a_mirrored_photo_gets_the_mirrored_answer_and_each_mirror_image_its_say(rng):
    model, preprocess = tiny_network(), Preprocess(size=96)
    photo = rng.integers(0, 255, (91, 96, 3), np.uint8)  # odd, and padded below only
    alone, averaged = predict(model, preprocess, photo), predict(model, preprocess, photo, flips=True)
    for axes in (0, 1, (0, 1)):
        mirrored = predict(model, preprocess, np.flip(photo, axes).copy(), flips=True)
        np.testing.assert_allclose(np.flip(mirrored, axes), averaged, atol=1e-5)
    images = [np.flip(predict(model, preprocess, np.flip(photo, axes).copy()), axes) for axes in (0, 1, (0, 1))]
    np.testing.assert_allclose(averaged, np.mean([alone, *images], axis=0), atol=1e-5)
    assert averaged.dtype == np.float32 and np.abs(averaged - alone).max() > 1e-3


def test_a_folder_gives_its_photos_and_not_what_was_written_there_and_says_what_else_it_holds(folder, run, capsys):
    (folder / "e.heic").touch()
    (folder / "walk.mp4").touch()
    for name in ("a_mask.png", "a_overlay.jpg", "a_cracks.json", "b_mask.png"):
        shutil.copy(folder / "a.png", folder / name)  # b_mask.png without its record may be a photo
    assert [path.name for path in segment.photos_in(folder)] == ["a.png", "b.png", "b_mask.png", "c.png", "d.png"]
    said = capsys.readouterr().out
    assert "1 × .heic" in said and "1 × .mp4" in said


def test_a_folder_of_which_one_photo_was_readable_has_its_tables_and_says_what_failed(folder, run):
    for name in ("b.png", "c.png", "d.png"):
        (folder / name).write_text("no photo")
    code, out = run(folder)
    assert code == 1 and len(table(out)) == 1 and len(json.loads((out / "cracks.json").read_text())["failed"]) == 3
    assert "3 more could not be used" in (out / "report.html").read_text()


def test_prices_without_a_scale_and_a_folder_that_cannot_be_are_refused_before_any_work(folder, run, tmp_path):
    with pytest.raises(BadInput, match="--prices .*without a scale.*--mm-per-pixel"):
        run(folder, "--prices", "data/prices.csv")
    (tmp_path / "out").write_text("a file")
    with pytest.raises(BadInput, match="--out .*out: cannot be made a folder"):
        run(folder)
    assert not run.seen


def test_a_place_on_earth_is_written_to_a_decimetre(tmp_path):
    survey.write_csv(tmp_path / "a.csv", [{"latitude": 35.689487, "longitude": -139.691706, "length_px": 1234.56789}])
    assert (tmp_path / "a.csv").read_text().splitlines()[1] == "35.689487,-139.691706,1234.57"


def test_the_legend_stands_where_less_of_the_crack_lies():
    for at, below in ((380, False), (20, True)):
        points = {"x_px": np.full(9, 350.0), "y_px": np.full(9, float(at))}
        x, y = emptier(points, (400, 400, 3), 140, 8, 40)
        assert (x, y) == (260, 392 if below else 48)
    assert emptier({"x_px": np.zeros(9), "y_px": np.full(9, 380.0)}, (400, 400, 3), 140, 8, 40) == (260, 392)
    both = {"x_px": np.full(9, 380.0), "y_px": np.linspace(0, 399, 9)}  # all along the right border
    assert emptier(both, (400, 400, 3), 140, 8, 40) == (8, 48)


def test_a_mask_over_most_of_a_photo_is_warned_of_on_the_screen_and_in_the_report(folder, run, capsys):
    code, out = run(folder)
    assert "WARNING" not in capsys.readouterr().out
    code, out = run(folder, "--threshold", "0")
    said = "of their photo"
    assert "WARNING: " in (shown := capsys.readouterr().out) and said in shown
    assert said in (out / "report.html").read_text(encoding="utf-8")


def test_one_photo_with_prices_has_a_budget_in_a_file_too(folder, run, tmp_path):
    _, out = run(folder / "c.png", "--mm-per-pixel", "2", "--prices", "data/prices.csv")
    assert json.loads((out / "cracks.json").read_text())["budget"]["high"] > 0


def test_what_lies_beside_photos_and_is_none_is_left_out_of_several_and_replaced_results_are_said(folder, run, capsys):
    (folder / "to-correct.json").write_text("{}")
    code, out = run(*sorted(folder.iterdir()))
    assert code == 0 and f"left out {folder / 'to-correct.json'}" in (said := capsys.readouterr().out)
    assert "replaced" not in said
    run(*sorted(folder.iterdir()))
    assert "replaced" not in capsys.readouterr().out
    run(*sorted(folder.iterdir()), "--threshold", "0.6")
    count = len(list(folder.iterdir())) - 1
    assert f"results of {count} of them in {out}, of another network or other flags, are replaced" in (
        capsys.readouterr().out
    )
    assert run(folder / "to-correct.json")[0] == 2
