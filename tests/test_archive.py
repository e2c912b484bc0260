import stat
import zipfile
import zlib

import numpy as np
import pytest
from conftest import write_export

from command import BadInput
from formats import archive
from formats.coco import read_export


def pack(file, folder, inside="", more=(), how=zipfile.ZIP_DEFLATED):
    """Zip of the folder's content, under a path inside the zip, with further (name, bytes); returns the file."""
    with zipfile.ZipFile(file, "w", how) as target:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            target.write(path, inside + path.relative_to(folder).as_posix())
        for name, content in more:
            target.writestr(name, content)
    return file


@pytest.fixture
def parts(tmp_path):
    """An export as Roboflow delivers it: train, valid and test."""
    for seed, part in enumerate(("train", "valid", "test")):
        write_export(tmp_path / "source" / part, cracked=2, undamaged=1, seed=seed)
    return tmp_path / "source"


def around(file):
    """Names of all that stands beside the zip or in a folder beside it."""
    return {path.relative_to(file.parent).as_posix() for path in file.parent.rglob("*")}


@pytest.mark.parametrize("inside", ["", "My Export/", "a/b/"])
def test_a_zip_gives_the_masks_of_the_folder_it_was_made_of(tmp_path, parts, inside):
    mac = [("__MACOSX/train/._road000.jpg", b"x"), (".DS_Store", b"y"), (inside + "README.roboflow.txt", b"hello")]
    found = read_export(pack(tmp_path / "roads.zip", parts, inside, mac))
    assert found.root == tmp_path / "roads" and not (found.root / "__MACOSX").exists() and not found.problems
    for one, other in zip(found.photos, read_export(parts).photos, strict=True):
        assert (one.name, one.part) == (other.name, other.part)
        assert all(np.array_equal(a, b) for a, b in zip(one.read(), other.read(), strict=True))


def test_a_lone_train_folder_stays_one(tmp_path, parts):
    found = read_export(pack(tmp_path / "roads.zip", parts / "train", "train/"))
    assert {photo.part for photo in found.photos} == {"train"}


def test_names_of_macos_and_windows_are_understood(tmp_path, parts):
    file = pack(tmp_path / "roads.zip", parts, more=[("train\\Straße.txt", b"x")])
    data = file.read_bytes()
    name = "train\\Straße.txt".encode()
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # macOS leaves out the flag that says UTF-8
        at = data.rfind(signature, 0, data.rfind(name) if signature[2] == 1 else data.find(name))
        data = data[: at + flags] + b"\0\0" + data[at + flags + 2 :]
    file.write_bytes(data)
    assert (read_export(file).root / "train" / "Straße.txt").read_bytes() == b"x"


def test_what_was_unpacked_is_used_again_and_never_overwritten(tmp_path, parts):
    file = pack(tmp_path / "roads.zip", parts)
    photo = read_export(file).photos[0].path
    before = photo.stat().st_mtime_ns
    read_export(file)
    assert photo.stat().st_mtime_ns == before
    (tmp_path / "roads" / "splits.json").write_text("{}")  # the user's own file does not matter
    assert len(read_export(file).photos) == 9
    for content in (photo.read_bytes() + b"longer", b"shorter", None):
        if content is None:
            photo.unlink()
        else:
            photo.write_bytes(content)
        with pytest.raises(BadInput, match="roads.*roads.zip.*road000.jpg"):
            read_export(file)
    assert not photo.exists()


def link(name="train/link.jpg"):
    entry = zipfile.ZipInfo(name)
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry


OUTSIDE = ["../evil.jpg", "/evil.jpg", "C:\\evil.jpg", "..\\evil.jpg", "train/../../evil.jpg", "\\\\host\\share\\x.jpg"]
REFUSED = {name: ([(name, b"x")], "points outside") for name in OUTSIDE} | {
    "link": ([(link(), "/etc/hostname")], "link.jpg' is a link"),
    "no name": ([(".", b"x")], "no file can have"),
    "line break": ([("train/a\nb.jpg", b"x")], "no file can have"),
    "long": ([("x" * 260 + ".jpg", b"x")], "no file can have"),
    "twice": ([("train\\road000.jpg", b"x")], "twice"),
    "folder and file": ([("train/road000.jpg/x", b"x")], "damaged"),
    "bomb": ([("zeros.bin", bytes(20_000_000))], "times its size"),
}


@pytest.mark.parametrize("more,words", REFUSED.values(), ids=REFUSED)
def test_a_zip_that_must_not_be_unpacked_is_refused_by_entry_and_leaves_nothing(tmp_path, parts, more, words):
    file = pack(tmp_path / "roads.zip", parts, more=more)
    before = around(file)
    with pytest.raises(BadInput, match="roads.zip.*" + words) as caught:
        read_export(file)
    assert len(str(caught.value).splitlines()) == 1 and around(file) == before


def test_the_limits_on_files_and_bytes_hold(tmp_path, parts, monkeypatch):
    file = pack(tmp_path / "roads.zip", parts)
    for limit, words in (("MOST_FILES", "holds 12 files, more than 11"), ("MOST_GIGABYTES", "GB, more than")):
        with monkeypatch.context() as patch, pytest.raises(BadInput, match=words):
            patch.setattr(archive, limit, 11 if limit == "MOST_FILES" else 1e-5)
            read_export(file)


def test_a_zip_with_a_password_or_another_packing_is_refused(tmp_path, parts):
    with pytest.raises(BadInput, match="lzma.zip.*another way than deflate"):
        read_export(pack(tmp_path / "lzma.zip", parts, how=zipfile.ZIP_LZMA))
    data = bytearray(pack(tmp_path / "secret.zip", parts).read_bytes())
    at = data.find(b"PK\x01\x02")
    data[at + 8] |= 1  # the flag that says encrypted
    (tmp_path / "secret.zip").write_bytes(data)
    with pytest.raises(BadInput, match="secret.zip.*needs a password"):
        read_export(tmp_path / "secret.zip")


def test_a_damaged_zip_is_refused_in_one_line_or_gives_what_was_packed(tmp_path, parts, rng):
    whole = pack(tmp_path / "roads.zip", parts / "train").read_bytes()
    good = {path.name: path.read_bytes() for path in (parts / "train").iterdir()}
    for number in range(80):
        data = bytearray(whole)
        if number % 4 == 0:
            del data[int(rng.integers(len(data))) :]
        else:  # half of the damage in the table of contents at the end
            start = len(data) - 500 if number % 2 else 0
            data[int(rng.integers(start, len(data)))] = rng.integers(256)
        file = tmp_path / f"{number}.zip"
        file.write_bytes(data)
        try:
            read_export(file)
        except BadInput as error:
            assert len(str(error).splitlines()) == 1 and str(tmp_path / f"{number}") in str(error)
        folder = tmp_path / f"{number}"
        found = {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}
        assert all(content == good.get(name, content) for name, content in found.items())


def test_labels_that_changed_and_kept_their_size_are_not_read_from_an_older_folder(tmp_path, parts):
    file = pack(tmp_path / "roads.zip", parts)
    read_export(file)
    labels = parts / "valid" / "_annotations.coco.json"
    content = labels.read_bytes()
    changed = content.replace(b'"height": 96', b'"height": 69')
    assert len(changed) == len(content) and changed != content
    labels.write_bytes(changed)
    pack(file, parts)
    with pytest.raises(BadInput, match="roads: differs from roads.zip, 'valid/_annotations.coco.json'"):
        read_export(file)


def test_photos_of_the_unpacked_folder_are_not_read_again(tmp_path, parts, monkeypatch):
    file = pack(tmp_path / "roads.zip", parts)
    folder = archive.unpacked(file, keep=("train", "valid", "test"))
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_: pytest.fail("read again"))
    checksum = zlib.crc32
    monkeypatch.setattr(zlib, "crc32", lambda data: checksum(data) if data[:1] == b"{" else pytest.fail("of a photo"))
    assert archive.unpacked(file, keep=("train", "valid", "test")) == folder


def test_what_is_no_zip_and_a_zip_without_labels_are_refused(tmp_path, parts):
    for content in (b"", b"hello", b"PK\x03\x04"):
        (tmp_path / "a.zip").write_bytes(content)
        with pytest.raises(BadInput, match="a.zip: damaged"):
            read_export(tmp_path / "a.zip")
    with pytest.raises(BadInput, match="b.zip: holds no COCO file"):
        (parts / "train" / "_annotations.coco.json").unlink()
        read_export(pack(tmp_path / "b.zip", parts / "train"))
    with pytest.raises(BadInput, match="nowhere.zip: no such folder"):
        read_export(tmp_path / "nowhere.zip")


def test_a_run_that_is_stopped_while_unpacking_leaves_no_half_export(tmp_path, parts, monkeypatch):
    file = pack(tmp_path / "roads.zip", parts)
    before, left = around(file), iter(range(3))

    def disk_full(source, target, size):
        target.write(source.read())
        if next(left) == 2:
            raise OSError("disk full")

    monkeypatch.setattr(archive.shutil, "copyfileobj", disk_full)
    with pytest.raises(OSError, match="disk full"):
        read_export(file)
    assert around(file) == before


def test_of_two_that_unpack_at_once_both_get_the_export(tmp_path, parts, monkeypatch):
    file = pack(tmp_path / "roads.zip", parts)
    rename = archive.os.rename

    def late(source, target):
        """Another process is done first."""
        with zipfile.ZipFile(file) as again:
            again.extractall(target)
        rename(source, target)

    monkeypatch.setattr(archive.os, "rename", late)
    assert len(read_export(file).photos) == 9


def test_a_zip_without_a_file_is_refused_and_leaves_nothing(tmp_path):
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as empty:
        empty.writestr("__MACOSX/._a.png", b"junk")
    with pytest.raises(BadInput, match="empty.zip: holds no file"):
        archive.unpacked(tmp_path / "empty.zip", keep=())
    assert around(tmp_path / "empty.zip") == {"empty.zip"}
