"""Photos in, masks and pictures out: each test is a sentence that a mistake would break."""

import errno
import json
import re
import shutil
import threading

import cv2
import numpy as np
import pytest
import torch
from conftest import error_lines, finding_dark, lines_with, lively_network, painted, write_strip

import dataset
import inference
import model as networks
import survey
from command import BadInput
from formats import photo as photo_format
from formats.batch import AT_A_TIME, in_threads
from formats.photo import OVERLAP, Preprocess, read_photo, tiles
from inference import crack_mask
from model import CrackNet, default_sizes, look, predict
from quantify.damage import damage, sentence
from quantify.measure import measure
from quantify.specks import SPECK_SHARE, without_specks


@pytest.fixture
def run(tmp_path, monkeypatch):
    return finding_dark(inference, tmp_path, monkeypatch)


@pytest.mark.parametrize("length", [1, 255, 1023, 1024, 1025, 1792, 1793, 4032])
def test_tiles_cover_all_with_weights_that_add_up_to_one(length):
    total = np.zeros(length)
    for where, weight in tiles(length):
        assert where.start % 32 == 0 and len(weight) <= photo_format.TILE
        total[where] += weight
    assert np.allclose(total, 1, atol=1e-6)


def test_the_outermost_quarter_of_an_overlap_has_no_weight_but_at_the_photos_own_border():
    (_, first), *_, (_, last) = tiles(2500)
    quarter = OVERLAP // 4
    assert first[:quarter].all() and not first[-quarter:].any() and first[-quarter - 1] > 0
    assert last[-quarter:].all() and not last[:quarter].any() and last[quarter] > 0


def test_tiles_give_what_the_whole_gives_without_seams(monkeypatch, rng):
    photo = cv2.GaussianBlur(rng.integers(0, 256, (300, 900, 3)).astype(np.uint8), (0, 0), 1)
    model, preprocess = lively_network(), Preprocess()
    whole = predict(model, preprocess, photo, size=900)
    monkeypatch.setattr(photo_format, "TILE", 512)
    assert len(list(tiles(900))) == 3
    tiled = predict(model, preprocess, photo, size=900)
    assert np.ptp(whole) > 0.3 and np.abs(tiled - whole).max() < 0.01


def shapes_seen(preprocess, photo, size):
    """(height, width) of every input that the network gets where a photo is looked at with this size."""
    shapes, model = [], lively_network()
    model.register_forward_pre_hook(lambda _, inputs: shapes.append(inputs[0].shape[-2:]))
    predict(model, preprocess, photo, size)
    return shapes


def test_memory_is_bounded_by_the_tile():
    shapes = shapes_seen(Preprocess(), np.zeros((64, 2500, 3), np.uint8), 2500)
    assert len(shapes) == 3 and max(max(shape) for shape in shapes) <= photo_format.TILE


def test_the_rule_looks_at_the_training_size_and_at_large_photos_closer():
    preprocess = Preprocess(size=512)
    shapes = (80, 60), (1024, 700), (1025, 700), (3024, 4032, 3)
    assert [default_sizes(preprocess, shape) for shape in shapes] == [(512,), (512,), (512, 1024), (512, 1024)]


def test_small_photos_are_enlarged_only_where_the_training_did_so_or_a_size_is_given():
    shapes = (200, 300), (512, 300), (700, 600)
    for enlarges, expected in ((True, [512, 512, 512]), (False, [300, 512, 512])):
        preprocess = Preprocess(size=512, enlarges=enlarges)
        assert [default_sizes(preprocess, shape) for shape in shapes] == [(size,) for size in expected]
        assert [max(preprocess.shape(*shape)) for shape in shapes] == expected
    (seen,) = shapes_seen(Preprocess(enlarges=False), np.zeros((64, 96, 3), np.uint8), 384)
    assert max(seen) == 384


def test_a_wide_crack_that_only_the_half_size_view_sees_is_found_and_a_thin_one_is_not(monkeypatch):
    def answer_at(model, view, photo):
        answer = np.zeros(view.resize(photo).shape[:2], np.float32)
        if view.size == 64:
            answer[10:13] = 0.9
            answer[20:40] = 0.9
        return answer

    monkeypatch.setattr(networks, "answer_at", answer_at)
    found = predict(lively_network(), Preprocess(size=128), np.zeros((96, 128, 3), np.uint8))
    assert found[44:76].min() > 0.85 and found[:36].max() < 0.5


def test_a_large_photo_is_answered_by_the_mean_of_two_views(monkeypatch):
    nothing_wide = np.zeros((130, 200), np.float32)
    monkeypatch.setattr(networks, "look_for_wide_cracks", lambda *_: nothing_wide)
    model, preprocess = lively_network(), Preprocess(size=64)
    photo = np.random.default_rng(0).integers(0, 256, (130, 200, 3), dtype=np.uint8)
    views = [look(model, preprocess, photo, size) for size in (64, 128)]
    assert np.allclose(predict(model, preprocess, photo), (views[0] + views[1]) / 2, atol=1e-6)
    assert not np.allclose(*views)


def test_with_flips_a_mirrored_photo_gets_the_mirrored_answer_and_each_mirror_image_its_say(rng):
    model, preprocess = lively_network(), Preprocess(size=96)
    photo = rng.integers(0, 255, (91, 96, 3), np.uint8)  # odd, and padded below only
    alone, averaged = predict(model, preprocess, photo), predict(model, preprocess, photo, flips=True)
    for axes in (0, 1, (0, 1)):
        mirrored = predict(model, preprocess, np.flip(photo, axes).copy(), flips=True)
        np.testing.assert_allclose(np.flip(mirrored, axes), averaged, atol=1e-5)
    images = [np.flip(predict(model, preprocess, np.flip(photo, axes).copy()), axes) for axes in (0, 1, (0, 1))]
    np.testing.assert_allclose(averaged, np.mean([alone, *images], axis=0), atol=1e-5)
    assert averaged.dtype == np.float32 and np.abs(averaged - alone).max() > 1e-3


def test_scale_is_a_factor_of_the_photos_own_size(strips, run):
    for flags, size in ((["--scale", "0.5"], 80), (["--scale", "1"], 160), ([], None)):
        run(strips / "a.png", *flags)
        assert run.seen == [size]


def test_specks_are_counted_and_are_in_no_mask_and_no_polygon(strips, run, monkeypatch, capsys):
    photo = cv2.imread(str(strips / "a.png"))
    photo[60:62, 100:102] = photo[20, 120] = 0  # the photo is 160 pixels wide: 3.2 are 2 %
    photo[80, 100:104] = 0
    cv2.imwrite(str(strips / "a.png"), photo)
    monkeypatch.setattr(inference, "FEW", 20)
    _, out = run(strips, "--coco", strips / "to-correct.json")
    assert np.count_nonzero(read_photo(out / "a_mask.png")[..., 0]) == 500 + 4
    assert len(dataset.read_export(strips).photos[0].annotations) == 2
    assert "2 specks" in capsys.readouterr().out


def test_an_answer_of_specks_alone_is_an_empty_mask_and_a_whole_one_is_no_speck():
    mask = painted((300, 400), np.s_[::40, ::40])
    clean, count = crack_mask(0.7 * mask, 0.6)
    assert not clean.any() and count == 80
    row = damage(measure(clean), clean.size, None, specks=count)["row"]
    assert sentence(row).startswith("no crack found (80")
    for whole in (mask | 1, np.eye(300, 400, dtype=np.uint8), mask * 0):
        clean, count = crack_mask(np.float32(0.5) * whole, 0.5)
        assert count == 0 and clean.dtype == np.uint8 and np.array_equal(clean, whole)


def test_a_piece_is_a_speck_by_the_diagonal_of_its_box_whatever_its_shape(rng):
    specks = 0
    for sigma in (0.5, 1, 2, 2, 2):
        noise = cv2.GaussianBlur(rng.random((180, 240)).astype(np.float32), (0, 0), sigma)
        mask = (noise > np.quantile(noise, 0.8)).astype(np.uint8)
        clean, count = without_specks(mask)
        pieces, labels, boxes, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        small = [k for k in range(1, pieces) if np.hypot(boxes[k, 2], boxes[k, 3]) < SPECK_SHARE * 240]
        assert count == len(small) < pieces - 1
        assert np.array_equal(clean, mask * ~np.isin(labels, small))
        specks += count
    assert specks > 100


def test_one_thread_at_a_time_uses_the_network(rng):
    held, model = [], lively_network()
    model.register_forward_pre_hook(lambda *_: held.append(networks.ONE_THREAD.locked()))
    predict(model, Preprocess(size=64), rng.integers(0, 255, (64, 64, 3), np.uint8))
    assert held == [True, True]


# ------------------------------------------------------------------------------------------------ several photos
def test_two_photos_are_in_work_at_a_time_and_come_back_in_order():
    together, running, most = threading.Barrier(AT_A_TIME, timeout=60), [], []

    def work(path):
        running.append(path)
        together.wait()  # both of a pair are here, or this fails
        most.append(len(running))
        together.wait()
        running.remove(path)
        return path.upper(), torch.get_num_threads()

    before = torch.get_num_threads()
    torch.set_num_threads(2 * AT_A_TIME)
    try:
        done = [(path, *future.result()) for path, future in in_threads(work, list("abcdef"))]
        assert torch.get_num_threads() == 2 * AT_A_TIME
    finally:
        torch.set_num_threads(before)
    assert done == [(letter, letter.upper(), 2) for letter in "abcdef"] and max(most) == AT_A_TIME


def test_a_single_photo_and_a_single_processor_get_no_second_thread(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    shares = []
    monkeypatch.setattr(torch, "set_num_threads", shares.append)
    for threads, paths, share in ((8, "a", 8), (1, "abc", 1), (3, "abc", 1)):
        shares.clear()
        assert [path for path, _ in in_threads(str, paths)] == list(paths)
        assert shares[0] == share and shares[-1] == threads


def test_after_a_failure_the_photos_that_were_not_begun_are_left():
    begun = []
    for path, future in in_threads(begun.append, range(100)):
        future.result()
        if path == 3:
            break
    assert len(begun) <= 4 + AT_A_TIME + 1


# ------------------------------------------------------------------------------------------------ the command
def test_each_photo_gets_a_mask_of_its_size_and_an_overlay_and_one_line_with_its_crack(
    strips, run, monkeypatch, capsys
):
    monkeypatch.setattr(inference, "FEW", 20)
    monkeypatch.setattr(inference, "save_figure", lambda *_: None)  # takes a second
    code, out = run(strips)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith(str(strips))]
    assert code == 0 and len(lines) == 4
    for name, line in zip("abcd", lines, strict=True):
        photo, mask = read_photo(strips / f"{name}.png"), cv2.imread(str(out / f"{name}_mask.png"), -1)
        assert np.array_equal(mask, np.where(photo.max(axis=2) < 40, 255, 0)) and mask.dtype == np.uint8
        assert read_photo(out / f"{name}_overlay.jpg").shape == photo.shape
        assert f"{name}.png" in line
    assert "4.69 % of the photo" in lines[2]  # 9 of 160 columns, 100 of 120 rows
    assert "cracks in 3 of 4" not in lines[2]


def test_bad_photos_are_listed_at_the_end_and_all_others_are_done_and_counted(strips, run, capsys):
    for name in ("0.png", "b.png"):
        (strips / name).write_text("no photo")
    cv2.imwrite(str(strips / "e.png"), 255 * painted((48, 64), np.s_[20:22]))
    code, out = run(strips)
    said = capsys.readouterr()
    assert code == 1 and [path.name[0] for path in sorted(out.glob("*_mask.png"))] == ["a", "c", "d"]
    named = zip(("0.png", "b.png", "e.png"), error_lines(said.err), strict=True)
    assert all(name in line for name, line in named)
    assert "of 3 photos" in said.out and f"in {out}/" in said.out


@pytest.mark.parametrize("count", [1, 4])
def test_where_every_photo_fails_no_mask_is_promised_and_no_coco_file_written(strips, run, capsys, count):
    photos, coco = sorted(strips.iterdir())[:count], strips / "to-correct.json"
    for path in photos:
        path.write_text("no photo")
    code, _ = run(*photos, "--coco", coco)
    said = capsys.readouterr()
    assert code == 2 and len(error_lines(said.err)) == count and not coco.exists()
    assert "cracks in" not in said.out and "masks" not in said.out  # nothing that sounds like a result
    assert (f"{coco}: not written" in said.out) == (count > 1)  # of one photo the error says all


@pytest.mark.parametrize("fault", [cv2.error("too large"), MemoryError(), RuntimeError("a\nb"), OSError(36, "name")])
def test_whatever_fails_with_one_photo_one_line_names_it_and_the_others_are_done(
    strips, run, monkeypatch, capsys, fault
):
    monkeypatch.setattr(inference, "predict", lambda model, preprocess, photo, *_: answer(photo))

    def answer(photo):
        if photo[50, 55].max() == 0:  # only the widest strip
            raise fault
        return np.zeros(photo.shape[:2], np.float32)

    code, out = run(strips)
    (line,) = error_lines(capsys.readouterr().err)
    assert code == 1 and "b.png" in line and type(fault).__name__ in line and len(list(out.glob("*_mask.png"))) == 3


def test_a_full_disk_ends_the_command_at_once(strips, run, monkeypatch):
    tried = []
    for number in range(6):
        shutil.copy(strips / "a.png", strips / f"e{number}.png")

    def full(*_):
        tried.append(1)
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(inference, "write_image", full)
    with pytest.raises(OSError, match="full"):
        run(strips)
    assert len(tried) <= AT_A_TIME + 1  # those that were begun


def test_missing_photos_and_an_out_that_cannot_be_a_folder_are_refused_before_any_work(strips, run, tmp_path):
    with pytest.raises(BadInput, match=f"{strips}: the photos lie there"):
        inference.main([str(strips), "--out", str(strips)])
    with pytest.raises(BadInput, match="nowhere.jpg"):
        run(strips, tmp_path / "nowhere.jpg")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="empty: no photo"):
        run(tmp_path / "empty")
    (tmp_path / "taken").write_text("mine")
    for out in ("taken", "taken/below"):
        with pytest.raises(BadInput, match="--out .*taken.*: is a file"):
            run(strips, out=out)
    assert not run.seen and (tmp_path / "taken").read_text() == "mine"


def test_what_lies_beside_photos_is_passed_over_among_several_files_and_refused_alone(strips, run, capsys):
    photos = len(list(strips.iterdir()))
    (strips / "to-correct.json").write_text("{}")
    for paths in (sorted(strips.iterdir()), [strips]):
        assert run(*paths)[0] == 0
        shown = capsys.readouterr().out
        assert f"{photos} photos" in shown and "json" not in shown
    assert run(strips / "to-correct.json")[0] == 2


@pytest.mark.parametrize("place", ["photos", "photos/masks"])
def test_a_second_run_on_all_that_lies_in_a_folder_takes_the_same_photos(strips, run, place, capsys):
    photos = len(list(strips.iterdir()))
    for _ in range(2):
        code, out = run("--figures", *sorted(strips.iterdir()), out=place)  # as the shell expands photos/*
        assert code == 0 and f"of {photos} photos" in capsys.readouterr().out
        assert len(list(out.glob("*_overlay.jpg"))) == photos
    with pytest.raises(BadInput, match="a mask"):
        inference.read_one(out / "a_mask.png")
    assert run(out / "a_overlay.jpg")[0] == 0  # a lone one is what the user means


@pytest.mark.filterwarnings("error")
def test_a_network_that_calls_everything_crack_is_no_warning(monkeypatch):
    model = CrackNet(4, (1, 1, 1))
    monkeypatch.setattr(model, "forward", lambda photo: torch.full((1, 1, *photo.shape[2:]), 9.0))
    photo = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    assert predict(model, Preprocess(size=64), photo).min() > 0.99


def test_masks_that_are_overwritten_are_counted_and_new_ones_are_not(strips, run, capsys):
    run(strips / "a.png")
    assert "note:" not in capsys.readouterr().out
    run(strips)
    (note,) = lines_with(capsys.readouterr().out, "note:")
    assert "1 earlier mask " in note


def test_labels_among_the_photos_are_passed_over_and_what_may_be_a_photo_is_named(strips, run, capsys):
    (strips / "to-correct.json").write_text("{}")
    run(strips, "--coco", strips / "outlines.json")
    run(strips, out="again")
    assert "note:" not in capsys.readouterr().out
    (strips / "road.heic").write_bytes(b"photo")
    run(strips, out="once more")
    (note,) = lines_with(capsys.readouterr().out, "note:")
    assert "heic" in note and "json" not in note


def test_only_a_survey_speaks_of_the_scale_in_its_figures(strips, tmp_path, monkeypatch):
    for module, says in ((inference, False), (survey, True)):
        titles = []
        command = finding_dark(module, tmp_path, monkeypatch)
        monkeypatch.setattr(module, "save_figure", lambda path, fig, titles=titles: titles.append(fig.get_suptitle()))
        command(strips / "a.png", "--figures", out=module.__name__)
        (title,) = titles
        assert title.startswith("a") and ("millimetres" in title) == says


def test_a_video_is_refused_with_the_command_that_takes_it(run, tmp_path, capsys):
    (tmp_path / "drive.mp4").write_bytes(bytes(100))
    assert run(tmp_path / "drive.mp4")[0] == 2
    (line,) = error_lines(capsys.readouterr().err)
    assert "drive.mp4" in line and "survey.py" in line


def test_a_model_is_opened_from_a_path_or_a_string(run, tmp_path):
    for path in (tmp_path / "best.pt", str(tmp_path / "best.pt"), str(tmp_path)):
        model, preprocess, threshold = inference.open_model(path, "cpu")
        assert isinstance(model, CrackNet) and preprocess.size == 64 and threshold == 0.5


def test_the_command_writes_coco_beside_the_photos(strips, run):
    code, out = run(strips, "--coco", strips / "to-correct.json")
    export = dataset.read_export(strips)
    assert code == 0 and len(export.photos) == 4
    for photo in export.photos:
        saved = cv2.imread(str(out / f"{photo.path.stem}_mask.png"), 0) // 255
        union = np.count_nonzero(saved | photo.mask())
        assert np.count_nonzero(saved & photo.mask()) >= 0.95 * union


def test_a_coco_file_that_tools_would_not_find_the_photos_from_is_refused_before_any_work(strips, run, tmp_path):
    with pytest.raises(BadInput, match="tools look for photos beside it; write it to the photos' folder"):
        run(strips, "--coco", tmp_path / "elsewhere" / "to-correct.json")
    assert not run.seen
    run(strips, "--coco", tmp_path / "to-correct.json")  # above them is fine, too
    images = json.loads((tmp_path / "to-correct.json").read_text())["images"]
    assert [image["file_name"] for image in images] == [f"photos/{name}.png" for name in "abcd"]


@pytest.mark.parametrize("module", [inference, survey])
def test_every_flag_has_an_example_in_the_help(module, capsys):
    with pytest.raises(SystemExit):
        module.main(["--help"])
    flags, examples = capsys.readouterr().out.split("examples:")
    missing = [f for f in re.findall(r"^  (?:-\w, )?(--[\w-]+)", flags, re.MULTILINE) if f not in examples]
    assert set(missing) <= {"--help"}


def test_many_photos_get_figures_only_when_asked(strips, run, monkeypatch):
    monkeypatch.setattr(inference, "FEW", 3)
    _, out = run(strips)
    assert not list(out.glob("*_figure.png"))
    shutil.rmtree(out)
    run(strips, "--figures")
    assert len(list(out.glob("*_figure.png"))) == 4


@pytest.mark.parametrize("module", [inference, survey])
def test_a_figure_never_stands_beside_a_mask_that_it_does_not_show(strips, tmp_path, monkeypatch, module):
    command = finding_dark(module, tmp_path, monkeypatch)
    _, out = command(strips, "--figures")
    before = (out / "a_figure.png").read_bytes()
    write_strip(strips / "a.png", 40)  # the photo is taken again
    command(strips)
    assert not (out / "a_figure.png").exists()
    command(strips, "--figures")
    assert (out / "a_figure.png").read_bytes() != before


def test_photos_of_the_same_name_do_not_overwrite_each_other(strips, run, tmp_path):
    shutil.copytree(strips, tmp_path / "more")
    write_strip(strips / "a.jpg", 13)
    (tmp_path / "more" / "d.png").rename(tmp_path / "more" / "D.PNG")
    _, out = run(strips, tmp_path / "more")
    masks = {mask.name.casefold() for mask in out.glob("*_mask.png")}  # as Windows and a Mac compare names
    assert len(masks) == 9 and (out / "more_a.png_mask.png").is_file()
