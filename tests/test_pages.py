"""Every command of the pages is run: in a copy of the repository, on small drawn photos, and with short trainings.

The numbers in SMALLER are all that differs from the real scripts; the splits of CrackForest and benchmark.json are cut
to what the small photos need. What a command writes is there for the next one, in the order of the page, as for a
reader who types them.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
from conftest import copy_repository, write_export, write_strip
from mutations import mutated
from test_frames import walk, write_video
from test_readme import COMMAND, PAGES, ROOT, code, name_of
from test_scale import A4_MM, photograph, write_exif

SMALLER = {  # file: [(function, code in it, what that becomes)]
    "formats/photo.py": [("", "size: int = 512", "size: int = 96")],
    "train.py": [
        ("", "STEPS_A_PHOTO = 30\nFEWEST_STEPS = 1000", "STEPS_A_PHOTO = 1\nFEWEST_STEPS = 4"),
        ("", "MOST_STEPS = 8000", "MOST_STEPS = 8"),
    ],
    "data/synthesize.py": [("arguments", "default=(480, 640)", "default=(96, 128)")],
    "results/run_studies.py": [
        ("", "EPOCHS = 15", "EPOCHS = 1"),
        ("arguments", "default=[0, 1, 2]", "default=[0]"),
    ],
    "results/benchmark.py": [
        ("", "(886, 1182)", "(88, 118)"),
        ("", "(1732, 2309)", "(173, 231)"),
        ("", "(3000, 4000)", "(300, 400)"),
        ("", "(6000, 8000)", "(480, 640)"),
    ],
    "results/quality.py": [("Budget.steps", "60 * self.minutes", "0.01 * self.minutes")],
    "results/coverage.py": [("arguments", "default=1500", "default=20")],
    "tests/mutations.py": [("main", "arguments(argv).names", 'arguments(argv).names or ["colour order"]')],
}
STANDS_FOR = {  # the first that is found in a command
    "my-export --classes Riss": "riss --classes Riss",
    "SUBMISSION --data EXPORT": "submissions/anna --data hidden-export",
    "submissions/*": "submissions/anna submissions/ben",
    "EXPORT": "my-export",
    "RUN": "runs/mine",
    "PHOTO": "photo.jpg",
    "FOLDER": "photos",
    "VIDEO": "drive.mp4",
}
ENVIRONMENT = os.environ | {"TQDM_DISABLE": "1", "OMP_NUM_THREADS": "1"}
SERVERS = {"demo.py"}  # test_demo.py starts it


def small_copy(folder):
    """The repository with the numbers of SMALLER and without the trainings in benchmark.json."""
    copy_repository(folder)
    for file, changes in SMALLER.items():
        path = folder / file
        text = path.read_text(encoding="utf-8")
        for function, old, new in changes:
            text = mutated(text, function, old, new)
        path.write_text(text, encoding="utf-8")
    file = folder / "results" / "benchmark.json"
    known = json.loads(file.read_text(encoding="utf-8"))
    del known["quality"]  # quality.py repeats no training that it finds there
    file.write_text(json.dumps(known), encoding="utf-8")


def keep_few(folder):
    """Shortens both splits of CrackForest to the same few photos -> their names."""
    files = [folder / "cfd_course.json", folder / "cfd_70_15_15.json"]
    course, other = (json.loads(file.read_text(encoding="utf-8")) for file in files)
    kept = [name for names in course.values() for name in names[:6]]
    for file, parts in zip(files, (course, other), strict=True):
        parts = {part: [name for name in names if name in kept] for part, names in parts.items()}
        file.write_text(json.dumps(parts), encoding="utf-8")
    return kept


def answers(folder, photos):
    """A submission: a mask for each photo, with everything dark as crack."""
    folder.mkdir(parents=True)
    for path in photos:
        dark = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) < 60
        cv2.imwrite(str(folder / f"{path.stem}_mask.png"), 255 * dark.astype(np.uint8))


def lay_out(here):
    """What the pages take for granted: photos, exports, videos and submissions, all small."""
    for folder in ("photos", "my-photos"):
        (here / folder).mkdir()
    for number in range(3):
        write_strip(here / "my-photos" / f"{number}.jpg", 5 + number, seed=number)
        write_exif(here / "photos" / f"{number}.jpg", photograph(A4_MM, 10 * number))
    write_strip(here / "photo.jpg")
    write_export(here / "my-export", cracked=10, undamaged=3)
    write_export(here / "riss", categories=[{"id": 1, "name": "Riss", "supercategory": "none"}])
    shutil.make_archive(str(here / "my-export"), "zip", here / "my-export")
    for seed, name in enumerate(("anna", "ben", "carla")):
        write_export(here / name, seed=seed + 1)
    shutil.make_archive(str(here / "ben"), "zip", here / "ben")
    write_export(here / "hidden-export", seed=9)
    hidden = sorted((here / "hidden-export").glob("*.jpg"))
    answers(here / "submissions" / "anna", hidden)
    answers(here / "submissions" / "ben", hidden[:-1])
    (here / "masks").mkdir()
    for path in (here / "photos").iterdir():
        mask = np.zeros(cv2.imread(str(path)).shape[:2], np.uint8)
        mask[10:-10, 20:30] = 255
        cv2.imwrite(str(here / "masks" / f"{path.stem}.png"), mask)
    write_video(here / "walk.mp4", walk())
    write_video(here / "drive.mp4", walk()[:45])
    kept = keep_few(here / "results" / "splits")
    write_export(here / "DIR" / "cfd", cracked=len(kept), undamaged=0, seed=1, names=kept)
    write_export(here / "DIR" / "sut", cracked=12, undamaged=0, seed=2)
    for seed, part in enumerate(("train", "test")):
        write_export(here / "DIR" / "deepcrack" / part, seed=seed + 3)
    write_export(here / "DIR" / "uav_concrete", seed=5)


def commands():
    """(page, command) in the order of the pages, each command once."""
    seen = set()
    for page in PAGES:
        for piece in code(page):
            piece = piece.strip()
            found = COMMAND.fullmatch(piece)
            if found and piece not in seen and found[1] not in SERVERS and "..." not in piece:
                seen.add(piece)
                yield name_of(page), piece


def words_of(command):
    """ "python inference.py PHOTO" -> [this Python, "inference.py", "photo.jpg"]."""
    wanted = next((word for word in STANDS_FOR if word in command), "")
    program, *words = shlex.split(command.replace(wanted, STANDS_FOR.get(wanted, "")))
    start = [] if program == "python" else ["-m", "torch.distributed.run"]  # what torchrun calls
    return [sys.executable, *start, *words]


@pytest.mark.slow
def test_every_command_of_the_pages_runs(tmp_path):
    here = tmp_path / "copy"
    small_copy(here)
    lay_out(here)

    def run(words):
        return subprocess.run(words, cwd=here, env=ENVIRONMENT, capture_output=True, text=True)

    assert run([sys.executable, "train.py", "--data", "my-export", "--out", "runs/mine"]).returncode == 0
    failed, ran = [], 0
    for page, command in commands():
        ended = run(words_of(command))
        ran += 1
        print(f"exit code {ended.returncode}: {command}", flush=True)  # seen with -s
        if ended.returncode:
            failed.append(f"{page}: {command}: exit code {ended.returncode}\n{(ended.stdout + ended.stderr)[-600:]}")
    assert not failed, "\n\n".join(failed)
    assert ran > 50


@pytest.mark.slow
def test_make_sh_makes_weights_from_nothing_and_repeats_nothing(tmp_path):
    here = tmp_path / "copy"
    small_copy(here)
    script = here / "weights" / "make.sh"
    few = re.sub(r"--photos \d+", "--photos 12", script.read_text(encoding="utf-8"))
    script.write_text(re.sub(r"--steps \d+", "--steps 3", few), encoding="utf-8")
    for seed, name in enumerate(("sut", "sut_undamaged", "cpri_undamaged", "paveseg")):
        cracked = 0 if name.endswith("undamaged") else 12
        write_export(here / "data" / name, cracked=cracked, undamaged=12, seed=seed, size=(256, 320))
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    environment = ENVIRONMENT | {"PATH": os.pathsep.join([str(python.parent), os.environ["PATH"]])}

    def make():
        """-> bytes of the weights, {stage: when it was trained}."""
        ended = subprocess.run(["sh", "weights/make.sh"], cwd=here, env=environment, capture_output=True, text=True)
        assert ended.returncode == 0, (ended.stdout + ended.stderr)[-2000:]
        trained = {path.parent.name: path.stat().st_mtime_ns for path in here.glob("runs/stage*/best.pt")}
        return (here / "weights" / "crack.pt").read_bytes(), trained

    weights, trained = make()
    assert weights != (ROOT / "weights" / "crack.pt").read_bytes() and len(trained) == 6
    assert make() == (weights, trained)
