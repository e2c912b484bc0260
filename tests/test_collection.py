import json
import re
import shutil

import cv2
import numpy as np
import pytest
from conftest import painted
from test_overlap import seen, stones

import dataset
from command import BadInput
from data import collection
from data.collection import unlabelled
from data.overlap import shrunk
from formats.annotate import check_coco_file, write_coco
from formats.coco import NOT_LABELS, read_export
from quantify.skeleton import MEASURABLE_PX


def sharpness(photo):
    return collection.sharpness(shrunk(photo))


def shaken(photo, pixels, angle):
    line = np.zeros((2 * pixels + 1, 2 * pixels + 1), np.float32)
    reach = pixels / 2 * np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])
    cv2.line(line, *(tuple(np.round(pixels + sign * reach).astype(int).tolist()) for sign in (-1, 1)), 1)
    return cv2.filter2D(photo, -1, line / line.sum())


@pytest.mark.parametrize("contrast", [0.2, 1.0])
def test_a_sharp_road_is_sharp_and_a_blurred_one_is_not_whatever_its_contrast(contrast):
    road = cv2.convertScaleAbs(seen(stones(0), 350, 350), alpha=contrast, beta=110 * (1 - contrast))
    assert sharpness(road) > 1.2 * collection.BLURRED
    assert sharpness(cv2.GaussianBlur(road, (0, 0), 2)) < collection.BLURRED


@pytest.mark.parametrize("angle", [0, 45, 90, 135])
def test_a_phone_shaken_along_any_direction_is_noticed(angle):
    assert sharpness(shaken(seen(stones(0), 350, 350), 11, angle)) < collection.BLURRED
    grain = np.random.default_rng(0).normal(128, 40, (512, 512, 1)).clip(0, 255).astype(np.uint8).repeat(3, axis=2)
    assert sharpness(shaken(grain, 15, angle)) < sharpness(grain) / 3


def test_the_same_blur_of_a_larger_photo_is_harmless():
    road = cv2.GaussianBlur(stones(0, 2048, 1024), (0, 0), 2)
    assert sharpness(road) > 1.2 * collection.BLURRED > collection.BLURRED > sharpness(road[:512, :512])


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A collection with one photo of each kind; read only."""
    folder = tmp_path_factory.mktemp("collection")
    (folder / "cracked").mkdir()
    (folder / "undamaged").mkdir()
    good = [seen(stones(seed), 400, 350, size=600) for seed in range(4)]
    pictures = {
        "cracked/a": good[0],
        "cracked/b": good[1],
        "cracked/c_copy": cv2.convertScaleAbs(good[0], alpha=1.04, beta=4),
        "cracked/d_near": seen(stones(1), 700, 350, size=600),
        "cracked/e_blurred": cv2.GaussianBlur(good[2], (0, 0), 3),
        "undamaged/f": good[3],
        "undamaged/g_bright": cv2.convertScaleAbs(seen(stones(5), 400, 350, size=600), alpha=1.5, beta=60),
        "undamaged/h_dark": cv2.convertScaleAbs(seen(stones(6), 400, 350, size=600), alpha=0.35),
        "i_small": seen(stones(7), 400, 350, size=400),
    }
    for name, picture in pictures.items():
        cv2.imwrite(str(folder / f"{name}.jpg"), picture)
    (folder / "cracked" / "j.HEIC").write_bytes(b"phone")
    return folder


@pytest.fixture(scope="module")
def found(photos):
    return {shot.path.stem: shot for shot in collection.check(photos)}


def test_each_doubtful_photo_gets_its_own_verdict_and_a_good_one_none(found):
    verdicts = {name: [doubt.what.split(":")[0] for doubt in shot.doubts] for name, shot in found.items()}
    assert verdicts["a"] == verdicts["b"] == verdicts["f"] == []
    assert verdicts["c_copy"] == ["copy of cracked/a.jpg"]
    assert verdicts["d_near"] == ["same road as cracked/b.jpg"]
    assert verdicts["e_blurred"] == ["blurred"]
    assert verdicts["g_bright"] == ["too bright"] and verdicts["h_dark"] == ["too dark"]
    assert verdicts["i_small"] == ["small"]
    (doubt,) = found["j"].doubts
    assert doubt.kind == "unreadable" and "HEIC" in doubt.what


def test_of_two_copies_the_larger_stays(tmp_path):
    whole = seen(stones(0), 400, 350, size=600)
    cv2.imwrite(str(tmp_path / "a_sent.jpg"), cv2.resize(whole, (520, 520), interpolation=cv2.INTER_AREA))
    cv2.imwrite(str(tmp_path / "b_original.jpg"), whole)
    sent, original = collection.check(tmp_path)
    assert not original.doubts and "copy of b_original.jpg: remove it" in [doubt.what for doubt in sent.doubts]


def test_masks_and_photos_of_a_name_that_folders_leave_out_are_not_good(tmp_path):
    cv2.imwrite(str(tmp_path / "a_mask.png"), 255 * np.eye(600, dtype=np.uint8))
    cv2.imwrite(str(tmp_path / "b.jpg"), seen(stones(0), 400, 350, size=600))
    (tmp_path / "b.jpg").rename(tmp_path / "b.HEIC")
    assert [shot.doubts[0].kind for shot in collection.check(tmp_path)] == ["a mask", "named .heic"]


def test_the_counts_take_good_photos_only_and_say_how_many_are_missing(found):
    lines = collection.counts(list(found.values()))
    assert lines[0].startswith("10 photos, 3 good, 7 doubtful: ")
    assert lines[1:] == ["cracked: 2 of 40, take 38 more", "undamaged: 1 of 10, take 9 more"]


def test_without_sub_folders_the_photos_are_counted_together():
    shots = [collection.Shot(f"{i}.jpg", None) for i in range(51)]
    assert collection.counts(shots)[-1] == "good: 51 of 50"
    assert collection.counts(shots[:49])[-1] == "good: 49 of 50, take 1 more"


def test_where_all_photos_are_small_it_is_said_once_and_none_is_doubtful_for_it(tmp_path):
    for seed in range(2):
        cv2.imwrite(str(tmp_path / f"{seed}.jpg"), seen(stones(seed), 400, 350, size=400))
    lines = collection.table(collection.check(tmp_path)).splitlines()
    assert [line.split()[-1] for line in lines[1:3]] == ["good", "good"] and lines[4].startswith("2 photos, 2 good")
    assert all(f"{column}: " in lines[3] for column in ("sharp", "clipped", "dark"))  # the legend of the columns
    (said,) = [line for line in lines if "small" in line]
    assert re.findall(r"\d+", said) == [str(collection.SMALL), str(MEASURABLE_PX)]


def test_the_sheet_begins_with_the_doubtful_photos_in_an_orange_frame(found):
    tiles = collection.tiles(list(found.values()))
    framed = [tuple(tile[0, 0]) == collection.ORANGE for _, tile in tiles]
    assert len(tiles) == 9 and framed == [True] * 6 + [False] * 3
    assert tiles[2][0] == "d_near, same road as b"


def test_the_command_checks_photos_without_labels_and_audits_an_export_as_before(photos, export, tmp_path, capsys):
    (tmp_path / "new").mkdir()
    for name in ("a.jpg", "e_blurred.jpg"):
        shutil.copy(photos / "cracked" / name, tmp_path / "new")
    assert dataset.main([str(tmp_path / "new"), "--out", str(tmp_path / "sheet.png")]) == 0
    title, good, blurred, *_, last = capsys.readouterr().out.splitlines()
    assert title.split() == ["photo", "size", "sharp", "clipped", "dark", "verdict"]
    assert good.split()[:2] == ["a.jpg", "600×600"] and good.endswith("  good")
    assert blurred.endswith("blurred: take it again, hold still, tap to focus") and last.endswith("sheet.png")
    assert cv2.imread(str(tmp_path / "sheet.png")).shape[1] == 2 * 328
    assert dataset.main([str(export), "--out", str(tmp_path / "audit.png")]) == 0
    assert "8 cracked, 2 undamaged" in capsys.readouterr().out


def test_only_a_json_file_with_images_annotations_and_categories_makes_an_export(photos, tmp_path):
    assert collection.unlabelled(photos) and not collection.unlabelled(tmp_path)
    cv2.imwrite(str(tmp_path / "a.jpg"), np.zeros((9, 9, 3), np.uint8))
    (tmp_path / "train").mkdir()
    (tmp_path / ".ipynb_checkpoints").mkdir()
    content = {"images": [], "annotations": [], "categories": []}
    for name in ("a.jpg.supplemental-metadata.json", "train/settings.json", ".ipynb_checkpoints/labels.json"):
        (tmp_path / name).write_text(json.dumps(content if "labels" in name else {"images": []}))
    assert collection.unlabelled(tmp_path)
    (line,) = collection.not_labels(tmp_path)
    assert "train/settings.json" in line and "metadata" not in line
    (tmp_path / "train" / "labels.json").write_text(json.dumps(content))
    assert not collection.unlabelled(tmp_path)


def test_hidden_twins_and_earlier_results_are_not_checked(tmp_path):
    cv2.imwrite(str(tmp_path / "a.jpg"), seen(stones(0), 400, 350, size=600))
    for name in ("._a.jpg", "a_mask.png", "a_overlay.jpg"):
        shutil.copy(tmp_path / "a.jpg", tmp_path / name)
    (tmp_path / ".ipynb_checkpoints").mkdir()
    shutil.copy(tmp_path / "a.jpg", tmp_path / ".ipynb_checkpoints")
    assert [shot.name for shot in collection.shots(tmp_path)] == ["a.jpg"]


def test_photos_of_folders_in_folders_are_checked_and_the_innermost_name_that_says_so_tells_whether_cracked(tmp_path):
    places = {"": None, "cracked/day 1/phone": True, "day 2/undamaged": False, "cracked/no crack": False, "x/y": None}
    for place in places:
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        (tmp_path / place / "a.jpg").touch()
    found = {shot.name.rpartition("/")[0]: shot.cracked for shot in collection.shots(tmp_path)}
    assert found == places


def test_masks_to_correct_are_no_labels_until_somebody_corrects_them_and_then_are_never_written_over(tmp_path):
    photo, file = tmp_path / "a.jpg", tmp_path / "to-correct.json"
    cv2.imwrite(str(photo), np.full((96, 128, 3), 128, np.uint8))
    mask = painted((96, 128), np.s_[20:30, 10:100])
    write_coco(file, [(photo, mask)])
    (tmp_path / "a_cracks.json").write_text("{}")
    check_coco_file(file, [])
    assert unlabelled(tmp_path) and read_export(tmp_path).problems[0].kind == NOT_LABELS
    with pytest.raises(BadInput, match="to-correct.json: masks of inference.py"):
        dataset.open_data(tmp_path)
    content = json.loads(file.read_text())
    content["annotations"][0]["segmentation"][0][0] += 1
    file.write_text(json.dumps(content))
    assert not unlabelled(tmp_path) and dataset.open_data(tmp_path).photos
    with pytest.raises(BadInput, match="perhaps labels"):
        check_coco_file(file, [])


def test_photos_that_nobody_can_read_have_their_table_and_no_traceback(tmp_path, capsys):
    (tmp_path / "a.heic").touch()
    with pytest.raises(BadInput, match="photos_that_nobody"):
        dataset.main([str(tmp_path), "--out", str(tmp_path / "sheet.png")])
    assert "a.heic" in capsys.readouterr().out and not (tmp_path / "sheet.png").exists()
