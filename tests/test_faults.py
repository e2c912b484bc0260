"""A training that is killed, interrupted or out of disk space loses nothing, and ends as if nothing had happened."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ending, table, write_export

import runs
import train
from command import number_of
from model import read_checkpoint

ROOT = Path(__file__).parent.parent
FLAGS = ["--epochs", "2", "--size", "64", "--versions", "1", "--batch-size", "4", "--dropout", "0.2", "--lr", "0.01"]
FLAGS += ["--device", "cpu", "--workers", "0", "--ema", "0.8"]
STEPS = 3  # of an epoch, with these flags and the export of conftest.py


def same(first, second):
    """Are two values out of a checkpoint equal to the last bit?"""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second or first != first and second != second


def without_seconds(folder):
    rows = table(folder / "history.csv")
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def assert_same_run(whole, cut):
    for name in ("best.pt", "last.pt"):
        first, second = read_checkpoint(whole / name), read_checkpoint(cut / name)
        for saved in (first, second):
            for row in (saved["training"] or {}).get("history", []):
                row.pop("seconds")
        assert same(first, second), name
    assert without_seconds(whole) == without_seconds(cut)
    assert (whole / "curves.png").read_bytes() == (cut / "curves.png").read_bytes()
    assert {path.name for path in whole.iterdir()} == {path.name for path in cut.iterdir()}  # nothing half-written


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """(flags of a run, its folder) of a training that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    flags = ["--data", str(write_export(folder / "roads")), *FLAGS]
    train.main([*flags, "--out", str(folder / "run")])
    return flags, folder / "run"


def before(monkeypatch, module, name, call, action):
    """Let `action` happen before the `call`-th call, from 1, of a function."""
    function, calls = getattr(module, name), []

    def disturbed(*args, **kwargs):
        calls.append(0)
        if len(calls) == call:
            action()
        return function(*args, **kwargs)

    monkeypatch.setattr(module, name, disturbed)


class Killed(BaseException):
    """Nothing catches it."""


def kill():
    raise Killed


@pytest.mark.parametrize(
    "number, where, saved",  # signal; module, function and call; epochs and steps that are saved then
    [
        (signal.SIGINT, (train, "train_step", 2), (0, 2)),
        (signal.SIGTERM, (train, "train_step", STEPS), (0, STEPS)),
        (signal.SIGTERM, (train, "predict", 1), (0, STEPS)),
        (signal.SIGINT, (train, "train_step", STEPS + 1), (1, 1)),
    ],
)
def test_ctrl_c_saves_says_how_to_go_on_and_nothing_is_lost(whole, number, where, saved, tmp_path, monkeypatch, capsys):
    flags, undisturbed = whole
    with monkeypatch.context() as patch:
        before(patch, *where, lambda: os.kill(os.getpid(), number))
        code, said = ending(lambda: train.main([*flags, "--out", str(tmp_path / "run")]), capsys)
    assert code == 130 and f"python train.py --resume {tmp_path / 'run'}" in said[-1]
    training = read_checkpoint(tmp_path / "run" / "last.pt")["training"]
    assert (len(training["history"]), training["progress"]["steps"]) == saved
    torch.manual_seed(99)
    train.main(["--resume", str(tmp_path / "run")])
    out = capsys.readouterr().out
    assert f"after {saved[0]} epoch" in out and f"and {number_of(saved[1], 'step')} of the next" in out
    assert_same_run(undisturbed, tmp_path / "run")


@pytest.mark.parametrize(
    "where",
    [
        (train, "train_step", STEPS + 2),
        (runs, "save_checkpoint", STEPS + 2),  # best.pt has been written, last.pt not
        (runs, "write_history", 1),
    ],
)
def test_a_run_that_dies_anywhere_goes_on_bit_for_bit(whole, where, tmp_path, monkeypatch):
    flags, undisturbed = whole
    with monkeypatch.context() as patch, pytest.raises(Killed):
        before(patch, *where, kill)
        train.main([*flags, "--out", str(tmp_path / "run"), "--save-minutes", "0"])
    train.main(["--resume", str(tmp_path / "run")])
    assert_same_run(undisturbed, tmp_path / "run")


def test_a_long_epoch_is_saved_every_few_minutes(whole, tmp_path, monkeypatch):
    flags, _ = whole
    clock = iter(range(0, 10**6, 50))  # a step takes 50 seconds
    monkeypatch.setattr(runs.time, "monotonic", lambda: next(clock))
    before(monkeypatch, train, "train_step", STEPS, kill)
    with pytest.raises(Killed):
        train.main([*flags, "--out", str(tmp_path / "run"), "--save-minutes", "1.6"])
    assert read_checkpoint(tmp_path / "run" / "last.pt")["training"]["progress"]["steps"] == 2


def test_after_a_save_the_minutes_begin_anew(monkeypatch):
    clock, saves = iter(range(0, 10**6, 50)), []
    monkeypatch.setattr(runs.time, "monotonic", lambda: next(clock))
    with runs.autosave(lambda: saves.append(0), 1.6, torch.device("cpu")) as after_step:
        for _ in range(6):
            after_step()  # 50, 100 | 50, 100 | 50, 100 seconds after the last save
        assert len(saves) == 3
    assert len(saves) == 4  # at the end, so that validation may be interrupted


def test_killed_while_it_writes_the_checkpoint(whole, tmp_path):
    """The process is gone between the bytes and the rename, so that the half-written file stays behind."""
    flags, undisturbed = whole
    code = "import os, sys, torch, train; torch.set_num_threads(1); calls = []; rename = os.replace\n"
    code += "def die(old, new):\n calls.extend([0] * str(new).endswith('last.pt'))\n"
    code += " len(calls) == 5 and os._exit(9)\n rename(old, new)\n"
    code += "os.replace = die; train.main(sys.argv[1:])"
    killed = [sys.executable, "-c", code, *flags, "--out", str(tmp_path / "run"), "--save-minutes", "0"]
    assert subprocess.run(killed, cwd=ROOT, capture_output=True).returncode == 9
    assert any(path.name.endswith("last.pt") and path.name != "last.pt" for path in (tmp_path / "run").iterdir())
    train.main(["--resume", str(tmp_path / "run")])
    assert_same_run(undisturbed, tmp_path / "run")


def test_a_full_disk_is_one_line_and_leaves_the_last_good_checkpoint(whole, tmp_path, monkeypatch, capsys):
    resource = pytest.importorskip("resource")
    flags, undisturbed = whole
    folder = tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(Killed):
        before(patch, train, "train_step", STEPS + 2, kill)
        train.main([*flags, "--out", str(folder)])
    good = {path.name: path.read_bytes() for path in folder.iterdir()}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(good["best.pt"]) + 1000, limits[1]))  # last.pt is three times that
    try:
        code, said = ending(lambda: train.main(["--resume", str(folder), "--save-minutes", "0"]), capsys)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert code == 1 and said[-1].startswith(f"error: {folder / 'last.pt'}: ")
    assert "Traceback" not in said[-1] and {path.name: path.read_bytes() for path in folder.iterdir()} == good
    train.main(["--resume", str(folder)])
    assert_same_run(undisturbed, folder)


@pytest.mark.parametrize(
    "fault, code, says",
    [
        ("train.train_step = None", 1, "TypeError"),
        ("import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (50000, 50000))", 2, "give --workers 0"),
    ],
    ids=["a mistake in the code", "no shared memory"],
)
def test_an_error_ends_a_training_with_workers(whole, fault, code, says, tmp_path):
    flags, _ = whole
    script = f"import sys, command, train; {fault}; command.execute(lambda: train.main(sys.argv[1:]))"
    failing = [sys.executable, "-c", script, *flags, "--workers", "2", "--out", str(tmp_path / "run")]
    with open(tmp_path / "said", "w") as said:  # a pipe would be held open by workers that are left over
        ended = subprocess.run(failing, cwd=ROOT, stdout=said, stderr=said, timeout=100)
    assert ended.returncode == code and says in (tmp_path / "said").read_text().strip().splitlines()[-1]


def test_a_run_folder_that_cannot_be_written_is_found_out_before_the_work(whole, tmp_path, monkeypatch, capsys):
    flags, _ = whole
    (tmp_path / "file").write_text("mine")
    monkeypatch.setattr(train, "train_step", None)
    code, said = ending(lambda: train.main([*flags, "--out", str(tmp_path / "file" / "run")]), capsys)
    assert code == 1 and said[-1].startswith("error: ") and str(tmp_path / "file") in said[-1]
    assert (tmp_path / "file").read_text() == "mine"


def started(*flags):
    """A training in a process of its own that has read its photos and begins."""
    command = [sys.executable, str(ROOT / "train.py"), *flags]
    training = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert any("run folder" in line or "already finished" in line for line in training.stdout)
    return training


def half_done(folder):
    """In words, what a kill left in the run folder."""
    if not (folder / "last.pt").exists():
        return "before anything was saved"
    saved = read_checkpoint(folder / "last.pt")["training"]
    epoch, batches = len(saved["history"]) + 1, saved["progress"]["steps"]
    writing = [path.name.rpartition("-")[2] for path in folder.glob(".*")]
    return f"epoch {epoch}, {batches} batches saved" + (f", while writing {', '.join(writing)}" if writing else "")


@pytest.mark.slow
def test_killed_at_20_random_moments_and_still_the_same_to_the_last_bit(tmp_path):
    data = write_export(tmp_path / "roads", cracked=12, undamaged=4)
    names = [f"road{i:03d}.jpg" for i in range(16)]
    parts = {"train": names[:3] + names[12:], "valid": names[3:11], "test": [names[11]]}  # validation takes time too
    (tmp_path / "splits.json").write_text(json.dumps(parts))
    flags = ["--data", str(data), "--splits", str(tmp_path / "splits.json"), "--epochs", "4", "--size", "96"]
    flags += ["--versions", "2", "--batch-size", "2", "--dropout", "0.2", "--workers", "1", "--device", "cpu"]
    flags += ["--save-minutes", "0"]

    training, began = started(*flags, "--out", str(tmp_path / "whole")), time.monotonic()
    training.communicate()
    seconds = time.monotonic() - began
    rng, kills, runs, folder = np.random.default_rng(0), 0, 0, tmp_path / "run0"
    while kills < 20 or training.returncode:
        again = (folder / "last.pt").exists()
        over = again and len(read_checkpoint(folder / "last.pt")["training"]["history"]) == 4
        training = started(*(["--resume", str(folder)] if again else [*flags, "--out", str(folder)]))
        if kills < 20 and not over:
            with contextlib.suppress(subprocess.TimeoutExpired):
                training.wait(rng.uniform(0, seconds / 4))
            training.kill()
        training.communicate()
        if training.returncode:
            assert training.returncode == -signal.SIGKILL
            kills += 1
            print(f"kill {kills:2}: run {runs}, {half_done(folder)}")
        else:
            assert_same_run(tmp_path / "whole", folder)
            print(f"run {runs} ended, the same to the last bit")
            runs, folder = runs + 1, tmp_path / f"run{runs + 1}"
