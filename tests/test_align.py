"""data/align.py: labels that were moved are moved back, others stay."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import painted, table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from command import BadInput
from data import align, convert
from data.synthesize import draw_photo
from formats.coco import JSON_NAME, digest, read_export

SIZE = (360, 480)


def shifted(mask, down, right):
    return align.moved(mask, align.Shift(down, right, 0.0, False))


@pytest.fixture(scope="module")
def drawn():
    """[(photo, mask)] of eight drawn roads with a crack."""
    return [draw_photo(np.random.default_rng([7, seed]), SIZE, True) for seed in range(8)]


@pytest.mark.parametrize("off", [(0, 0), (2, 0), (-1, 3), (3, -2)])
def test_a_known_shift_is_found(drawn, off):
    down, right = off
    errors = []
    for photo, mask in drawn:
        found = align.find_shift(photo, shifted(mask, down, right))
        if not found.doubtful:
            errors.append(np.hypot(found.down + down, found.right + right))
    assert len(errors) >= 6
    assert np.median(errors) < 0.5


def test_a_shift_is_given_in_the_photos_own_pixels(drawn):
    photo, mask = next((photo, mask) for photo, mask in drawn if not align.find_shift(photo, mask).doubtful)
    large = cv2.resize(photo, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    large_mask = cv2.resize(mask, None, fx=3, fy=3, interpolation=cv2.INTER_NEAREST)
    found = align.find_shift(large, shifted(large_mask, 0, 8))
    assert abs(found.right + 8) < 3 and abs(found.down) < 3


def test_a_label_on_plain_road_is_doubtful_or_stays():
    """Nothing in an even photo says where a crack is."""
    photo = np.full((*SIZE, 3), 128, np.uint8)
    mask = painted(SIZE, np.s_[150:160, 50:400])
    found = align.find_shift(photo, mask)
    assert found.doubtful or found.length < 0.1


def test_moving_a_mask_drops_what_leaves_the_photo():
    mask = painted((20, 20), np.s_[0:2])
    assert not shifted(mask, -3, 0).any()
    assert shifted(mask, 3, 0)[3:5].all()


def write(folder, pairs):
    """COCO export of (photo, mask) pairs in a folder."""
    folder.mkdir()
    rows = []
    for number, (photo, mask) in enumerate(pairs):
        cv2.imwrite(str(folder / f"{number}.png"), photo[..., ::-1])
        rows.append((f"{number}.png", *mask.shape, convert.mask_to_annotations(mask)))
    convert.write_annotations(folder, rows, "a test")


def test_the_command_writes_an_export_whose_labels_fit_better(tmp_path, drawn):
    write(tmp_path / "off", [(photo, shifted(mask, 2, -2)) for photo, mask in drawn[:4]])
    shifts = tmp_path / "shifts.csv"
    align.main([str(tmp_path / "off"), "--out", str(tmp_path / "aligned"), "--table", str(shifts)])
    assert [row["photo"] for row in table(shifts)] == [f"{number}.png" for number in range(4)]
    before, after = (
        [np.mean(item.mask() == mask) for item, (_, mask) in zip(read_export(folder).photos, drawn[:4], strict=True)]
        for folder in (tmp_path / "off", tmp_path / "aligned")
    )
    assert np.mean(after) > np.mean(before)


def test_the_parts_of_a_split_export_stay_apart(tmp_path, drawn):
    for part, pair in zip(("train", "valid"), drawn[:2], strict=True):
        (tmp_path / "split").mkdir(exist_ok=True)
        write(tmp_path / "split" / part, [pair])
    align.main([str(tmp_path / "split"), "--out", str(tmp_path / "out"), "--table", str(tmp_path / "shifts.csv")])
    assert sorted(item.part for item in read_export(tmp_path / "out").photos) == ["train", "valid"]


def test_photos_without_a_crack_are_refused_and_the_export_itself_is_never_overwritten(tmp_path, drawn):
    write(tmp_path / "sound", [(photo, np.zeros(SIZE, np.uint8)) for photo, _ in drawn[:2]])
    write(tmp_path / "mine", drawn[:1])
    for name, out in (("sound", "out"), ("mine", "mine")):
        given = [str(tmp_path / name), "--out", str(tmp_path / out), "--table", str(tmp_path / "shifts.csv")]
        with pytest.raises(BadInput, match=name):
            align.main(given)


def test_what_the_aligned_export_lacks_is_said_and_masks_of_the_network_do_not_become_labels(tmp_path, drawn, capsys):
    folder = tmp_path / "mine"
    write(folder, drawn[:3])
    file = folder / JSON_NAME
    content = json.loads(file.read_text())
    (folder / content["images"][2]["file_name"]).unlink()
    for annotation in content["annotations"]:
        if annotation["image_id"] == content["images"][0]["id"]:
            annotation["segmentation"] = []
    file.write_text(json.dumps(content))
    flags = ["--out", str(tmp_path / "out"), "--table", str(tmp_path / "shifts.csv")]
    align.main([str(folder), *flags])
    said = capsys.readouterr().out
    assert len(read_export(tmp_path / "out").photos) == 1
    assert all(content["images"][i]["file_name"] in said for i in (0, 2))

    content["info"] = {"uncorrected": digest(content["annotations"])}
    file.write_text(json.dumps(content))
    with pytest.raises(BadInput, match="masks of inference.py"):
        align.main([str(folder), *flags])
