"""Folders of photos, some of them bad, some surveys cut short: each test is a sentence that a mistake would break."""

import errno
import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import draw_crack, draw_road, error_lines, finding_dark, lively_network, painted, table, write_strip

import distributed
import survey
from command import BadInput
from formats.batch import AT_A_TIME
from formats.photo import Preprocess
from model import save_checkpoint
from quantify.scale import Scale, ScaleOptions

ROOT = Path(__file__).parent.parent


def bad_bytes(number):
    """The ways in which a file is no photo, one after the other; None: a link to nowhere."""
    photo = cv2.imencode(".jpg", draw_road(np.random.default_rng(0)))[1].tobytes()
    kinds = [b"", b"no photo", photo[: len(photo) // 2], photo[:200] + b"\xff\xd9", bytes(5000), None]
    return kinds[number % len(kinds)]


def write_folder(folder, photos, bad, seed=0):
    """`photos` files in a new folder, of which `bad`, spread evenly, cannot be read; returns the folder."""
    folder.mkdir()
    rng, wrong = np.random.default_rng(seed), set(np.linspace(0, photos - 1, bad).astype(int).tolist())
    for k in range(photos):
        path = folder / f"road{k:04d}.jpg"
        if k not in wrong:
            photo = draw_road(rng)
            draw_crack(photo, rng)
            cv2.imwrite(str(path), photo)
        elif (content := bad_bytes(k)) is None:
            path.symlink_to("nowhere.jpg")
        else:
            path.write_bytes(content)
    return folder


def assert_same_table(one, two):
    """Both cracks.csv hold the same: words to the letter, numbers to 1e-5, as two processes round the sixth digit."""
    cells = [re.split(r"[,\n]", (out / "cracks.csv").read_text(encoding="utf-8")) for out in (one, two)]
    for first, second in zip(*cells, strict=True):
        assert first == second or float(first) == pytest.approx(float(second), rel=1e-5)


@pytest.fixture
def checkpoint(tmp_path):
    """A tiny network that answers something else at each pixel."""
    save_checkpoint(tmp_path / "best.pt", lively_network(), {"size": 96}, 0.5)
    return tmp_path / "best.pt"


@pytest.fixture
def run(tmp_path, monkeypatch):
    return finding_dark(survey, tmp_path, monkeypatch)


# ------------------------------------------------------------------------------------------------ bad photos
def test_of_12_photos_of_which_2_are_bad_10_are_done_and_2_are_named(tmp_path, run, capsys):
    folder = write_folder(tmp_path / "photos", 12, 2)
    code, out = run(folder)
    said = capsys.readouterr().err
    assert code == 1 and len(table(out / "cracks.csv")) == 10 == len(list(out.glob("*_overlay.jpg")))
    assert all(name in line for name, line in zip(("road0000", "road0011"), error_lines(said), strict=True))
    assert said.rstrip().splitlines()[-2:] == error_lines(said)  # after the bar, not between its steps


def test_a_mask_and_a_picture_of_one_colour_that_are_given_as_photos_are_refused(tmp_path, run, capsys):
    folder = write_folder(tmp_path / "photos", 1, 0)
    mask = painted((48, 64), np.s_[20:22, 5:60])
    for name, white in (("dark", 0), ("crack", 255), ("grey", 254)):
        cv2.imwrite(str(folder / f"{name}.png"), white * mask)
    code, out = run(folder)
    crack, dark = error_lines(capsys.readouterr().err)
    assert code == 1 and "crack.png" in crack and "a mask" in crack and "dark.png" in dark
    assert [row["photo"] for row in table(out / "cracks.csv")] == ["grey.png", "road0000.jpg"]


@pytest.mark.parametrize("fault", [cv2.error("too large"), MemoryError(), RuntimeError("a\nb"), OSError(36, "name")])
def test_whatever_fails_with_one_photo_the_others_are_done_and_one_line_names_it(
    tmp_path, run, monkeypatch, capsys, fault
):
    folder, write = write_folder(tmp_path / "photos", 4, 0), survey.overlay

    def sometimes(photo, *rest):
        if len(list((tmp_path / "out").glob("*_mask.png"))) == 2:
            raise fault
        return write(photo, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(survey, "overlay", sometimes)
        code, out = run(folder)
    (line,) = error_lines(capsys.readouterr().err)
    assert code == 1 and "road0001.jpg" in line and type(fault).__name__ in line
    assert [row["photo"] for row in table(out / "cracks.csv")] == ["road0000.jpg", "road0002.jpg", "road0003.jpg"]
    code, out = run(folder)
    assert code == 0 and len(table(out / "cracks.csv")) == 4  # what failed is tried again


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_full_or_locked_disk_ends_the_command_at_once(tmp_path, run, monkeypatch, number):
    folder, tried = write_folder(tmp_path / "photos", 9, 0), []

    def full(*_):
        tried.append(1)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(survey, "write_image", full)
    with pytest.raises(OSError, match=os.strerror(number)):
        run(folder)
    assert len(tried) <= AT_A_TIME + 1  # those that were begun


# ------------------------------------------------------------------------------------------------ started again
@pytest.mark.parametrize("lost", ["road0001_mask.png", "road0001_overlay.jpg", "road0001_cracks.json"])
def test_a_photo_of_which_a_file_is_missing_is_done_again(tmp_path, run, capsys, lost):
    folder = write_folder(tmp_path / "photos", 3, 0)
    _, out = run(folder)
    (out / lost).unlink()
    assert run(folder)[0] == 0 and (out / lost).is_file() and len(run.seen) == 1
    assert "2 of 3 are finished" in capsys.readouterr().out


def test_figures_that_are_asked_for_later_are_made_and_a_name_with_dollars_is_no_formula(tmp_path, run):
    folder = write_folder(tmp_path / "photos", 2, 0)
    (folder / "road0000.jpg").rename(folder / "cost $a_{$.jpg")
    _, out = run(folder)
    run(folder, "--figures")
    assert len(list(out.glob("*_figure.png"))) == 2


def start(checkpoint, folder, out, *launcher):
    """The command as the shell starts it."""
    flags = [str(folder), "--checkpoint", str(checkpoint), "--out", str(out), "--device", "cpu"]
    command = [sys.executable, *launcher, str(ROOT / "survey.py"), *flags]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def done(out):
    return len(list(out.glob("[!.]*_cracks.json")))  # none that is half written


def wait_for(photos, out, process):
    """Until so many are done."""
    while done(out) < photos:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def peak_kib(process):
    """The most memory that a running process has had (Linux), or 0."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


def assert_goes_on(cut, whole, checkpoint, folder, *launcher):
    """A survey that was cut short does what is missing and ends as the whole one did; -> what it says."""
    kept = {file: file.stat().st_mtime_ns for file in cut.glob("[!.]*_cracks.json")}
    process = start(checkpoint, folder, cut, *launcher)
    said, errors = process.communicate(timeout=300)
    assert process.returncode == 1 and f"{len(kept)} of {len(list(folder.iterdir()))} are finished" in said
    assert all(file.stat().st_mtime_ns == when for file, when in kept.items())
    assert_same_table(cut, whole)
    return said, errors


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads memory from /proc")
def test_of_1000_photos_25_bad_ones_cost_25_lines_and_no_memory(tmp_path, checkpoint):
    folder, out = write_folder(tmp_path / "photos", 1000, 25), tmp_path / "out"
    process, peaks = start(checkpoint, folder, out), {}
    while process.poll() is None:
        if not (out / "report.html").exists():  # the interpreter's own end touches 150 MB of PyTorch's libraries
            peaks[done(out)] = peak_kib(process)
        time.sleep(0.05)
    said, errors = process.communicate()
    early = min(n for n in peaks if n >= 100)
    print(f"peak memory: {peaks[early]} KiB after {early} photos, {max(peaks.values())} KiB at the end")
    assert process.returncode == 1 and len(table(out / "cracks.csv")) == 975 == done(out)
    assert len(error_lines(errors)) == 25 and "of 975 photos" in said
    assert max(peaks.values()) < 1.1 * peaks[early]


@pytest.mark.slow
def test_killed_in_the_middle_it_goes_on_with_what_is_missing_and_ends_the_same(tmp_path, checkpoint):
    folder, whole, cut = write_folder(tmp_path / "photos", 100, 4), tmp_path / "whole", tmp_path / "cut"
    _, errors = start(checkpoint, folder, whole).communicate(timeout=300)
    assert len(error_lines(errors)) == 4
    process = start(checkpoint, folder, cut)
    wait_for(40, cut, process)
    process.kill()
    process.communicate()
    assert 40 <= done(cut) < 96
    _, errors = assert_goes_on(cut, whole, checkpoint, folder)
    assert len(error_lines(errors)) == 4


# ------------------------------------------------------------------------------------------------ several processes
@pytest.fixture
def together(run, monkeypatch):
    """The command in two threads, which share a folder as two processes of torchrun do -> their exit codes."""
    here, meet, lists = threading.local(), threading.Barrier(2, timeout=60), {}

    def gather(into, mine):
        lists[here.rank] = mine
        meet.wait()
        into[:] = lists[0], lists[1]
        meet.wait()

    def command(*arguments):
        def one(rank):
            here.rank = rank
            return run(*arguments)[0]

        with monkeypatch.context() as patch, ThreadPoolExecutor(2) as pool:
            patch.setattr(distributed, "rank", lambda: here.rank)
            patch.setattr(distributed, "world", lambda: 2)
            patch.setattr(distributed.distributed, "all_gather_object", gather)
            return list(pool.map(one, (0, 1)))

    return command


def test_two_processes_do_half_of_what_is_missing_each_and_one_merges(tmp_path, run, together, monkeypatch, capsys):
    folder, shares = write_folder(tmp_path / "photos", 9, 2), []
    _, alone = run(folder, out="alone")
    do = survey.survey_all
    monkeypatch.setattr(survey, "survey_all", lambda todo, *rest: shares.append(todo) or do(todo, *rest))
    capsys.readouterr()
    assert together(folder) == [1, 0]  # a process that fails would make torchrun stop the one that merges
    assert sorted(map(len, shares)) == [4, 5] and not set(shares[0]) & set(shares[1])
    assert len(error_lines(capsys.readouterr().err)) == 2
    assert (tmp_path / "out" / "cracks.csv").read_bytes() == (alone / "cracks.csv").read_bytes()
    for k in (0, 2, 4):
        (alone.parent / "out" / f"road000{k}_cracks.json").unlink(missing_ok=True)
    shares.clear()
    together(folder)
    assert sorted(map(len, shares)) == [2, 2]  # 2 were lost, 2 are bad, and neither process has all of them


@pytest.mark.slow
def test_a_process_that_is_killed_loses_no_finished_photo_and_any_number_does_the_rest(tmp_path, checkpoint):
    folder, whole, cut = write_folder(tmp_path / "photos", 120, 5), tmp_path / "whole", tmp_path / "cut"
    start(checkpoint, folder, whole).communicate(timeout=300)
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29517"]
    process = start(checkpoint, folder, cut, *launcher)
    wait_for(30, cut, process)
    ranks = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True)
    os.kill(int(ranks.stdout.split()[-1]), signal.SIGKILL)
    process.communicate(timeout=300)
    assert process.returncode != 0 and 30 <= done(cut) < 115
    said, errors = assert_goes_on(cut, whole, checkpoint, folder, *launcher)
    assert len(error_lines(errors)) == 5 and said.count("cracks in 115 of 115") == 1


def test_results_of_another_photo_of_the_same_name_are_never_replaced(tmp_path, run):
    one, two = (write_folder(tmp_path / name, photos=1, bad=0, seed=seed) for seed, name in enumerate("ab"))
    _, out = run(one)
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    with pytest.raises(BadInput, match="a/road0000.jpg, not of .*b/road0000.jpg; give another --out"):
        run(two)
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before
    one.rename(tmp_path / "c")  # moved: still the same photo
    assert run(tmp_path / "c")[0] == 0
    assert (out / "road0000_mask.png").read_bytes() == before["road0000_mask.png"]


def test_a_photo_keeps_the_name_of_its_results_whoever_joins_or_leaves(tmp_path, run):
    first, second = (write_folder(tmp_path / name, 1, 0, seed) for seed, name in enumerate("ab"))
    assert run(first)[0] == run(first, second)[0] == run(second)[0] == 0
    results = {path.name for path in (tmp_path / "out").glob("*_mask.png")}
    assert results == {"road0000_mask.png", "b_road0000.jpg_mask.png"}


def test_a_changed_photo_also_of_the_same_size_in_bytes_is_done_again(tmp_path, run):
    folder = write_folder(tmp_path / "photos", 2, 0)
    run(folder)
    os.utime(folder / "road0000.jpg", (1e9, 1e9))
    run(folder)
    assert len(run.seen) == 1
    write_strip(folder / "road0000.jpg", width=15)  # and the table says what is there now
    _, out = run(folder)
    assert len(run.seen) == 1 and float(table(out / "cracks.csv")[0]["width_median_px"]) > 14


@pytest.mark.parametrize("change", [Path.unlink, lambda path: os.utime(path, (1e9, 1e9))])
def test_a_photo_that_changes_after_its_turn_is_named_and_is_not_simply_missing(
    tmp_path, run, monkeypatch, capsys, change
):
    folder, save = write_folder(tmp_path / "photos", 3, 0), survey.save_record

    def save_and_change(start, path, *rest):
        record = save(start, path, *rest)
        if path.name == "road0001.jpg":
            change(path)
        return record

    monkeypatch.setattr(survey, "save_record", save_and_change)
    code, out = run(folder)
    (line,) = error_lines(capsys.readouterr().err)
    assert code == 1 and "road0001.jpg" in line
    assert [row["photo"] for row in table(out / "cracks.csv")] == ["road0000.jpg", "road0002.jpg"]
    assert "road0001.jpg" in (out / "report.html").read_text()


def test_records_of_another_version_are_made_again(tmp_path, run, monkeypatch):
    folder = write_folder(tmp_path / "photos", 2, 0)
    run(folder)
    run(folder)
    assert not run.seen
    monkeypatch.setattr(survey, "VERSION", survey.VERSION + 1)
    run(folder)
    assert len(run.seen) == 2


def test_a_copy_of_a_photo_counts_once_in_the_sums(tmp_path, run, capsys):
    folder = write_folder(tmp_path / "photos", 1, 0)
    run(folder, "--mm-per-pixel", "2")
    alone = re.search(r"to seal: \S+ ± \S+ m", capsys.readouterr().out)[0]
    (folder / "road0000 (1).jpg").write_bytes((folder / "road0000.jpg").read_bytes())
    _, out = run(folder, "--mm-per-pixel", "2")
    said = capsys.readouterr().out
    assert alone in said and not alone.startswith("to seal: 0.00")
    assert any("road0000.jpg" in line and "road0000 (1).jpg" in line for line in said.splitlines())
    assert sorted(row["copy_of"] for row in table(out / "cracks.csv")) == ["", "road0000 (1).jpg"]


def test_photos_of_one_name_in_two_folders_are_told_apart_in_the_tables(tmp_path, run):
    folders = [write_folder(tmp_path / name, 2, 0, seed) for seed, name in enumerate("ab")]
    _, out = run(*folders)
    names = {row["photo"] for row in table(out / "cracks.csv")}
    assert names == {f"{name}_road000{k}.jpg" for name in "ab" for k in range(2)}


def test_of_a_road_seen_from_above_only_what_the_photo_shows_counts(monkeypatch):
    valid = painted((60, 100), np.s_[:, :40]).astype(bool)
    mask = painted((60, 100), np.s_[20:24, 10:90])
    monkeypatch.setattr(survey, "find_scale", lambda *what: Scale(2, 0.01, "sheet", np.eye(3), 0.0))
    monkeypatch.setattr(survey, "rectify", lambda image, scale: (image, valid, 2))
    monkeypatch.setattr(survey, "predict", lambda *_: mask.astype(np.float32))
    options = survey.Options(None, Preprocess(), "", 0.5, None, False, ScaleOptions(sheet="a4"), (10, 75), 1.0, False)
    row = survey.examine(np.zeros((60, 100, 3), np.uint8), Path("a.jpg"), options).result["row"]
    assert row["photographed_m2"] == pytest.approx(60 * 40 * 4 / 1e6)
    assert row["crack_percent"] == pytest.approx(100 * mask.sum() / (60 * 40))


def test_a_survey_of_other_flags_replaces_results_and_says_how_many(tmp_path, run, capsys):
    folder = write_folder(tmp_path / "photos", 3, 0)
    _, out = run(folder)
    assert "overwritten" not in capsys.readouterr().out
    run(folder, "--every", "2")  # matters for videos alone
    assert "overwritten" not in capsys.readouterr().out and not run.seen
    run(folder, "--threshold", "0.6")
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "overwritten" in line]
    assert re.findall(r"\d+", line.replace(str(out), "")) == ["3"] and str(out) in line and len(run.seen) == 3


def test_photos_are_called_photos_unless_a_video_is_among_them(tmp_path, run, capsys):
    _, out = run(write_folder(tmp_path / "photos", 3, 0))
    said = capsys.readouterr().out
    assert "3 photos with" in said and "of 3 photos" in said
    assert survey.noun([Path("a.jpg"), Path("drive.MP4")]) == "file"
    assert survey.noun([Path("a.jpg"), Path("drive.MP4")], "picture") == "picture"


def test_no_two_files_get_results_of_one_name(tmp_path, run):
    for folder in ("a/same", "b/same"):
        (tmp_path / folder).mkdir(parents=True)
        write_strip(tmp_path / folder / "road.jpg")
    with pytest.raises(BadInput, match="same_road.jpg"):
        run(tmp_path / "a/same", tmp_path / "b/same")


def test_a_pattern_that_the_shell_left_alone_is_expanded(tmp_path, run):
    folder = write_folder(tmp_path / "photos", 3, 0)
    _, out = run(folder / "road000[01].jpg")
    assert [row["photo"] for row in table(out / "cracks.csv")] == ["road0000.jpg", "road0001.jpg"]
