import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from conftest import edit_json, write_export

from command import BadInput
from data.split import (
    ANEW,
    KEPT,
    PARTS,
    VALID_FROM_TRAIN,
    copies,
    read_splits,
    split,
    stratified,
    trained_on,
    what_is_kept,
    write_splits,
)
from formats.coco import read_export

SHARES = dict(zip(PARTS, (70, 15, 15), strict=True))


def people(cracked, undamaged):
    return [SimpleNamespace(name=f"{i:03d}", cracked=i < cracked) for i in range(cracked + undamaged)]


def test_forty_and_ten_photos_are_dealt_28_6_6_and_7_1_2():
    parts = stratified([[photo] for photo in people(40, 10)], SHARES, seed=3)
    assert [sum(p.cracked for p in parts[part]) for part in PARTS] == [28, 6, 6]
    assert [sum(not p.cracked for p in parts[part]) for part in PARTS] == [7, 1, 2]


def test_every_photo_is_in_exactly_one_part_and_groups_stay_together():
    photos = people(31, 8)
    groups = [photos[i : i + 3] for i in range(0, 39, 3)]
    parts = stratified(groups, SHARES, seed=1)
    assert sorted(p.name for part in PARTS for p in parts[part]) == [p.name for p in photos]
    wanted = {"train": 26, "valid": 6, "test": 7}  # 70/15/15 of 31 and of 8
    assert all(abs(len(parts[part]) - wanted[part]) <= 4 for part in PARTS)  # a group is not torn apart
    where = {p.name: part for part in PARTS for p in parts[part]}
    for group in groups:
        assert len({where[photo.name] for photo in group}) == 1


def test_the_seed_alone_decides_the_split(export):
    photos = read_export(export)
    names = [[p.name for p in split(photos, seed)["train"]] for seed in (1, 1, 2)]
    assert names[0] == names[1] != names[2]


def test_copies_of_a_photo_share_a_group_and_other_photos_do_not(tmp_path):
    folder = write_export(tmp_path / "e", cracked=6, undamaged=0)
    photo = cv2.imread(str(folder / "road000.jpg"))
    brighter = cv2.convertScaleAbs(photo, alpha=1.05, beta=6)
    cv2.imwrite(str(folder / "road001.jpg"), brighter, [cv2.IMWRITE_JPEG_QUALITY, 70])
    (folder / "road002.jpg").write_bytes((folder / "road003.jpg").read_bytes())
    groups = copies(read_export(folder).photos)
    assert [[int(photo.name[4:7]) for photo in group] for group in groups] == [[0, 1], [2, 3], [4], [5]]


def test_roboflow_versions_of_one_photo_share_a_group(tmp_path):
    folder = write_export(tmp_path / "e", cracked=3, undamaged=0)
    names = ["IMG_1_jpg.rf.0a1b2c.jpg", "IMG_1_jpg.rf.9f8e7d.jpg", "IMG_2_jpg.rf.0a1b2c.jpg"]
    for i, name in enumerate(names):
        (folder / f"road{i:03d}.jpg").rename(folder / name)

    def rename(content):
        for image, name in zip(content["images"], names, strict=True):
            image["file_name"] = name

    edit_json(folder, rename)
    groups = copies(read_export(folder).photos)
    assert [[photo.name for photo in group] for group in groups] == [names[:2], names[2:]]


def test_an_export_that_comes_split_is_used_as_it_is_and_a_missing_valid_is_taken_from_train(tmp_path, capsys):
    for part, seed, count in (("train", 0, 14), ("test", 1, 4)):
        write_export(tmp_path / part, cracked=count, undamaged=2, seed=seed)
    parts = split(read_export(tmp_path))
    assert {p.part for p in parts["test"]} == {"test"} and len(parts["test"]) == 6
    assert {p.part for p in parts["valid"]} == {"train"}
    assert (len(parts["train"]), len(parts["valid"])) == (12, 4)  # 15 % of 14 and of 2, rounded up
    assert {p.cracked for p in parts["valid"]} == {True, False}
    assert "WARNING" not in capsys.readouterr().out
    write_export(tmp_path / "valid", cracked=2, undamaged=0, seed=1)  # begins with the photos of test
    assert {p.part for p in split(read_export(tmp_path))["valid"]} == {"valid"}
    assert "WARNING: copies of 2 photos" in capsys.readouterr().out


def test_copies_stay_together_where_valid_is_taken_from_train(tmp_path):
    folder = write_export(tmp_path / "train", cracked=12, undamaged=0)
    for i in range(0, 12, 2):  # six photos, each twice
        (folder / f"road{i + 1:03d}.jpg").write_bytes((folder / f"road{i:03d}.jpg").read_bytes())
    write_export(tmp_path / "test", cracked=2, undamaged=0, seed=1)
    for seed in range(5):
        parts = split(read_export(tmp_path), seed)
        names = [{Path(p.name).stem for p in parts[part]} for part in ("train", "valid")]
        assert all(names) and not {f"road{i:03d}" for i in range(0, 12, 2) for part in [names[0]]
                                   if (f"road{i:03d}" in part) != (f"road{i + 1:03d}" in part)}  # fmt: skip


def test_a_large_group_is_dealt_first_so_that_the_single_photos_even_it_out():
    for seed in range(10):
        photos = people(20, 0)
        parts = stratified([photos[:6], *([photo] for photo in photos[6:])], SHARES, seed)
        assert [len(parts[part]) for part in PARTS] == [14, 3, 3]


@pytest.mark.parametrize(("cracked", "undamaged"), [(1, 0), (0, 2), (1, 1)])
def test_too_few_photos_are_refused_with_their_number(tmp_path, cracked, undamaged):
    export = read_export(write_export(tmp_path / "few", cracked, undamaged))
    with pytest.raises(BadInput, match="of [12] photos? none with a crack is left for train"):
        split(export)


@pytest.mark.parametrize(
    ("parts", "kept", "moves"),
    [
        ("train valid", KEPT, set()),
        ("train test", VALID_FROM_TRAIN, {("train", "valid")}),
        ("train", ANEW, {("train", "valid"), ("train", "test")}),
        ("valid", ANEW, {("valid", "train"), ("valid", "test")}),
    ],
)
def test_what_the_audit_says_of_an_export_that_comes_split_is_what_the_split_does(tmp_path, parts, kept, moves):
    for seed, part in enumerate(parts.split()):
        write_export(tmp_path / part, cracked=7, undamaged=3, seed=seed)
    assert what_is_kept(set(parts.split())) == kept
    dealt = split(read_export(tmp_path))
    assert {(photo.part, part) for part in PARTS for photo in dealt[part] if photo.part != part} == moves


def test_splits_that_are_written_are_read_back(export, tmp_path):
    photos = read_export(export)
    parts = split(photos)
    write_splits(tmp_path / "splits.json", parts)
    assert read_splits(tmp_path / "splits.json", photos) == parts == split(photos, 7, tmp_path / "splits.json")


def test_photos_that_a_splits_file_leaves_out_are_said_in_training(export, tmp_path, capsys):
    found = read_export(export)
    first = replace(found, photos=found.photos[:4] + found.photos[6:])
    write_splits(tmp_path / "splits.json", split(first))
    for training in (False, True):
        capsys.readouterr()
        split(found, 0, tmp_path / "splits.json", for_training=training)
        said = capsys.readouterr().out
        assert [f"road00{i}.jpg" in said for i in (3, 4, 5, 6)] == [False, training, training, False]


@pytest.mark.parametrize(
    "content",
    ["nonsense", "[]", '{"train": []}', '{"train": ["x.jpg"], "valid": [], "test": []}',
     '{"train": ["road000.jpg"], "valid": ["road000.jpg"], "test": []}',
     '{"train": ["road009.jpg"], "valid": [], "test": []}'],
    ids=["no json", "list", "parts missing", "unknown photo", "photo twice", "no crack in train"],
)  # fmt: skip
def test_a_split_that_cannot_be_used_is_refused_by_name(export, tmp_path, content):
    (tmp_path / "mine.json").write_text(content)
    with pytest.raises(BadInput, match="mine.json"):
        split(read_export(export), 0, tmp_path / "mine.json")


def test_a_photo_of_another_size_than_its_export_says_is_refused_before_training(export):
    cv2.imwrite(str(export / "road000.jpg"), np.zeros((128, 96, 3), np.uint8))
    with pytest.raises(BadInput, match="road000.jpg.*96×128"):
        split(read_export(export))


def test_a_photo_that_trained_is_known_again_by_its_bytes_or_by_its_look(export, tmp_path):
    photos = read_export(export).photos
    write_splits(tmp_path / "splits.json", {"train": photos[:3], "valid": [], "test": photos[3:]})
    again = write_export(tmp_path / "again")  # the same photos; as another program saves them
    picture = cv2.convertScaleAbs(cv2.imread(str(again / "road001.jpg")), alpha=1.03, beta=4)
    cv2.imwrite(str(again / "road001.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 70])
    expected = [photo.name for photo in photos[:3]]
    assert trained_on(tmp_path / "splits.json", read_export(again).photos) == expected
    content = json.loads((tmp_path / "splits.json").read_text())
    (tmp_path / "by-hand.json").write_text(json.dumps({part: content[part] for part in PARTS}))
    assert trained_on(tmp_path / "by-hand.json", photos) is None
    del content["fingerprint"]
    (tmp_path / "damaged.json").write_text(json.dumps(content))
    with pytest.raises(BadInput, match="damaged.json"):
        trained_on(tmp_path / "damaged.json", photos)


def test_what_taught_the_run_that_another_begins_with_taught_that_too(export, tmp_path):
    photos = read_export(export).photos
    first, second, third = (tmp_path / f"{name}.json" for name in "abc")
    write_splits(first, {"train": photos[:3], "valid": [], "test": []})
    write_splits(second, {"train": photos[3:5], "valid": [], "test": []}, first)
    write_splits(third, {"train": photos[5:6], "valid": [], "test": []}, second)
    second.unlink()
    write_splits(third, {"train": photos[5:6], "valid": [], "test": []}, second)  # resumed, the others are gone
    assert trained_on(third, photos) == [photo.name for photo in photos[:6]]


def test_a_photo_that_two_runs_learnt_is_noted_once_and_stays_known_where_it_only_validates_now(export, tmp_path):
    photos = read_export(export).photos
    first, second, third = (tmp_path / f"{name}.json" for name in "123")
    write_splits(first, {"train": photos[:4], "valid": [], "test": []})
    write_splits(second, {"train": photos[:3], "valid": photos[3:4], "test": []}, first)
    write_splits(third, {"train": photos[:3], "valid": photos[3:4], "test": []}, second)
    assert json.loads(third.read_text())["before"]["sha1"] == [photos[3].sha1()]
    assert trained_on(third, photos) == [photo.name for photo in photos[:4]]


def test_all_photos_that_cannot_be_used_are_named_at_once(export):
    for name in ("road001.jpg", "road004.jpg"):
        (export / name).write_bytes(b"no photo")
    with pytest.raises(BadInput, match="road001.jpg.*road004.jpg"):
        split(read_export(export))


def test_a_run_that_begins_with_one_of_unknown_origin_is_of_unknown_origin(export, tmp_path):
    photos = read_export(export).photos
    write_splits(tmp_path / "splits.json", {"train": photos[:3], "valid": [], "test": []}, tmp_path / "none.json")
    assert trained_on(tmp_path / "splits.json", photos) is None
