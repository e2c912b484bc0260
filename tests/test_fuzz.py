"""Whatever is put in, it works and says what it left out, or it is refused in one line; nothing in it ever runs."""

import json
import time
from dataclasses import asdict, replace

import fuzz
import numpy as np
import pytest
import torch
from conftest import CATEGORIES, edit_json, write_export
from test_report import Parsed

import dataset
import evaluate
import survey
from command import BadInput
from formats.coco import read_export
from formats.photo import Preprocess
from model import CrackNet, load_checkpoint, save_checkpoint

EVIL = '"><img src=x onerror=alert(1)><script>alert(2)<script>.jpg'


def test_spoilt_exports_and_photos_work_or_are_refused_in_one_line(tmp_path):
    table, failures = fuzz.run_cases(2 * len(fuzz.KINDS), tmp_path)
    assert failures == []
    assert set(table["name of any letters"]) == {"worked"}
    assert set(table["photo cut short"]) == {"refused"}
    for kind in ("polygon of 0 to 2 points", "name that points outside"):
        assert set(table[kind]) == {"said"}, kind


@pytest.mark.slow
def test_two_thousand_spoilt_exports_and_photos_work_or_are_refused_in_one_line(tmp_path):
    assert fuzz.run_cases(2000, tmp_path, seed=1)[1] == []


@pytest.mark.parametrize(
    "name,change",
    [("a wrong mask", lambda photos: [Upset(photo) for photo in photos]),
     ("a photo left out in silence", lambda photos: photos[1:]),
     ("annotations dropped in silence", lambda photos: [replace(photo, annotations=()) for photo in photos])],
)  # fmt: skip
def test_the_fuzzer_itself_notices(tmp_path, monkeypatch, name, change):
    def broken(folder):
        found = read_export(folder)
        return replace(found, photos=change(found.photos))

    monkeypatch.setattr(fuzz, "read_export", broken)
    number = list(fuzz.KINDS).index("name of any letters")  # a case where nothing is wrong
    assert fuzz.run_case(number, 0, tmp_path, audited=False)[1] == "FAILED"


class Upset:
    """A photo whose mask stands on its head."""

    def __init__(self, photo):
        self.photo = photo

    def __getattr__(self, name):
        return getattr(self.photo, name)

    def read(self):
        photo, mask = self.photo.read()
        return photo, mask[::-1, ::-1]


# --------------------------------------------------------------------------------------- the commands


def save_network(path):
    torch.manual_seed(0)
    save_checkpoint(path, CrackNet(8, (1, 1, 1)), asdict(Preprocess(size=96)), 0.5)
    return path


def all_outside(content):
    for image in content["images"]:
        image["file_name"] = f"../photo{image['id']}.jpg"


BAD = {
    "no JSON": lambda folder: (folder / "_annotations.coco.json").unlink(),
    "cut JSON": lambda folder: (folder / "_annotations.coco.json").write_text('{"images": ['),
    "unknown class": lambda folder: edit_json(folder, lambda c: c["categories"][1].update(name="objects")),
    "no name": lambda folder: edit_json(folder, lambda c: c["images"][0].pop("file_name")),
    "outside": lambda folder: edit_json(folder, all_outside),
    "transposed": lambda folder: edit_json(folder, lambda c: c["images"][0].update(height=128, width=96)),
    "cut photo": lambda folder: (folder / "road000.jpg").write_bytes((folder / "road000.jpg").read_bytes()[:900]),
    "text": lambda folder: (folder / "road000.jpg").write_text("no photo"),
}


@pytest.mark.parametrize("change", BAD.values(), ids=BAD)
def test_the_commands_refuse_in_one_line_that_names_the_file(export, tmp_path, change, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checkpoint = save_network(tmp_path / "best.pt")
    masks = tmp_path / "masks"
    masks.mkdir()
    change(export)
    for flags in (["--predictions", str(masks)], [str(checkpoint), "--out", str(tmp_path / "out")]):
        with pytest.raises(BadInput, match=str(export)) as caught:
            evaluate.main([*flags, "--data", str(export)])
        assert len(str(caught.value).splitlines()) == 1
    if not (export / "_annotations.coco.json").exists():
        return  # photos without labels are looked at in another way
    try:  # the audit goes on after a bad photo and lists it
        assert dataset.main([str(export)]) == 1  # training would stop at it
        assert str(export / "road000.jpg") in capsys.readouterr().out
    except BadInput as error:
        fuzz.check_line(error, export)


@pytest.mark.slow
def test_a_json_of_200_megabytes_is_read(tmp_path):
    folder = write_export(tmp_path / "big", cracked=8, undamaged=0)
    file = folder / "_annotations.coco.json"
    content = json.loads(file.read_text())
    masks = [photo.mask() for photo in read_export(folder).photos]
    for annotation in content["annotations"]:  # 160 points each, as outlines that a program draws have
        corners = np.reshape(annotation["segmentation"][0], (-1, 2))
        annotation["segmentation"] = [np.repeat(corners, 40, axis=0).ravel().tolist()]
    content["annotations"] *= 200_000_000 // len(json.dumps(content["annotations"]))
    file.write_text(json.dumps(content))
    assert file.stat().st_size > 190e6
    began = time.process_time()
    photos = read_export(folder).photos
    print(f"{time.process_time() - began:.1f} s of computing for {len(content['annotations'])} annotations")
    assert all(np.array_equal(photo.mask(), mask) for photo, mask in zip(photos[:1], masks[:1], strict=True))


# ---------------------------------------------------------------------------------------- checkpoints


def test_a_checkpoint_that_is_cut_damaged_or_of_another_version_loads_whole_or_is_refused_in_one_line(tmp_path, rng):
    whole = save_network(tmp_path / "good.pt").read_bytes()
    content, path = torch.load(tmp_path / "good.pt", weights_only=True), tmp_path / "bad.pt"
    for number in range(60):
        data = bytearray(whole)
        if number % 2:
            del data[int(rng.integers(len(data))) :]
        for at in rng.integers(len(data), size=0 if number % 2 or not data else 40):
            data[at] = rng.integers(256)
        path.write_bytes(data)
        load_or_line(path)
    for key in content:
        for value in (None, 0, "x", {}, [], float("nan"), {"size": -1}, {"width": 10**6}):
            torch.save(content | {key: value}, path)
            load_or_line(path)
        torch.save({k: v for k, v in content.items() if k != key}, path)
        load_or_line(path)


def load_or_line(path):
    try:
        load_checkpoint(path)
    except BadInput as error:
        assert len(str(error).splitlines()) == 1 and str(path) in str(error)


# -------------------------------------------------------------------------------------------- reports


def check_page(file):
    text = file.read_text(encoding="utf-8")
    parts = Parsed(text)
    assert "alert" in text  # a name is there, as text; a script that it opened would swallow what follows
    assert parts.tags.count("script") == parts.tags.count("dialog") == 1 and parts.tags[-1] == "script"
    assert not [name for _, name, _ in parts.attributes if name.startswith("on")]
    assert all(value.startswith(("data:", "#")) for _, name, value in parts.attributes if name in ("src", "href"))


def test_a_photo_class_or_folder_with_a_script_for_a_name_does_nothing_in_any_report(tmp_path):
    evil = [CATEGORIES[0], {"id": 1, "name": "crack<script>alert(3)</script>", "supercategory": "x"}]
    folder = write_export(tmp_path / "<script>alert(4)", cracked=2, undamaged=0, categories=evil)
    (folder / "road000.jpg").rename(folder / EVIL)
    edit_json(folder, lambda c: c["images"][0].update(file_name=EVIL))
    runs = [tmp_path / "runs" / name for name in ("<script>a", "b onload=alert(5)")]
    for run in runs:
        run.mkdir(parents=True)
        save_network(run / "best.pt")
    flags = ["--device", "cpu", "--out", str(tmp_path / "scores"), "--classes", evil[1]["name"]]
    assert evaluate.main([*map(str, runs), "--data", str(folder), *flags]) == 0
    (folder / "bad<script>alert(6)<script>.jpg").write_text("no photo")
    flags = ["--checkpoint", str(runs[0]), "--device", "cpu", "--out", str(tmp_path / "survey")]
    assert survey.main([str(folder), *flags]) == 1
    pages = sorted(tmp_path.glob("s*/**/*.html"))
    assert len(pages) == 4  # two reports, their comparison, the survey
    for file in pages:
        check_page(file)
