"""Train and score all runs of the studies, one after the other, and rewrite the tables and figures of results/README.md.

    python results/run_studies.py --data DIR --encoder-weights FILE --drawn FILE    # hours; stop and start it at will
    python results/run_studies.py --tables                                          # from the records that are there

DIR holds the exports cfd, sut and deepcrack (data/README.md says where they come from). A finished run leaves a record in
results/studies/ and is not repeated, on whatever machine; a stopped one goes on. Seed by seed, so that every study has
its first numbers early.
"""

import csv
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from command import BadInput, Parser, answer_flags, execute, write_json

EPOCHS = 15  # of 53 steps; the run "twice as long" shows how far that is from the plateau
STEPS_RATIO = 53 / 9  # steps an epoch with and without the five versions: 210 and 35 photos in batches of 4


def arguments(argv):
    parser = Parser("results/run_studies.py", description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with the exports cfd, sut and deepcrack")
    parser.add_argument("--encoder-weights", type=Path, metavar="FILE", help="mobilenet_v2 as learnt on ImageNet")
    parser.add_argument(
        "--drawn", type=Path, metavar="FILE", help="best.pt of drawn roads: runs/drawn of weights/make.sh"
    )
    parser.add_argument(
        "--runs",
        type=Path,
        default=Path("runs/studies"),
        help="run folders, needed until their records are written (default: %(default)s)",
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default: 0 1 2")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these runs, to share the work among machines")
    parser.add_argument("--tables", action="store_true", help="train nothing")
    args = parser.parse_args(argv)
    if not args.tables and not (args.data and args.encoder_weights and args.drawn):
        parser.error("--data, --encoder-weights and --drawn are needed for training; --tables only rewrites the tables")
    return args


if __name__ == "__main__":
    answer_flags(arguments)  # --help and wrong flags at once: the imports below take seconds


from augment import UNCHANGED
from data import merge
from data.split import stratified, write_splits
from formats.coco import read_export
from results.tables import RECORDS, record, write_tables

PLAIN = ("--versions", "0", "--epochs", str(round(EPOCHS * STEPS_RATIO)))
ENCODER = ("--encoder", "mobilenet_v2")
OWN = ("cfd-test", "cfd-train")
UNSEEN = (*OWN, "sut-test", "deepcrack-test")


@dataclass(frozen=True)
class Study:
    """A kind of run: flags of train.py, what it is trained on, how many of the seeds, what it is scored on."""

    flags: tuple = ()
    data: str = "cfd"
    seeds: int = 3
    start: str = ""  # the run of the same seed that it fine-tunes
    tests: tuple = OWN


RUNS = {
    "base": Study(tests=(*UNSEEN, "cfd-test-flips", "sut-test-flips", "deepcrack-test-flips")),
    "plain": Study(PLAIN, tests=UNSEEN),
    "dropout-0.2": Study(("--dropout", "0.2"), tests=UNSEEN),
    "dropout-0.5": Study(("--dropout", "0.5")),
    "plain-dropout-0.2": Study((*PLAIN, "--dropout", "0.2")),
    "plain-dropout-0.5": Study((*PLAIN, "--dropout", "0.5")),
    "encoder-frozen": Study((*ENCODER, "--encoder-weights", "ENCODER", "--encoder-rate", "0")),
    "encoder-tuned": Study(("--encoder-rate", "0.1", "--lr", "0.003"), start="encoder-frozen"),
    "encoder-random": Study(ENCODER),
    "from-drawn": Study(("--from", "DRAWN"), tests=UNSEEN),
    "from-drawn-short": Study(("--from", "DRAWN", "--epochs", "3")),  # does it get as far in a fifth of the steps?
    "sut": Study(("--epochs", "12"), "sut", tests=UNSEEN),
    "both": Study(("--versions", "2", "--epochs", "13"), "both", tests=UNSEEN),
    "deepcrack": Study(("--versions", "1", "--epochs", "6"), "deepcrack", tests=UNSEEN),
    "once": Study(("--once",)),
    **{f"without-{name}": Study(("--without", name), seeds=1) for name in UNCHANGED},
    "weight-decay": Study(("--weight-decay", "0.05"), tests=UNSEEN),
    "average": Study(("--ema", "0.98"), tests=UNSEEN),
    "twice-as-long": Study(("--epochs", str(2 * EPOCHS))),
}


def flags_of_sets(data, runs):
    """{set: flags of train.py and evaluate.py}; splits SUT-Crack 45/9/36 and merges it with CrackForest, once."""
    course = data / "cfd" / "splits_course.json"
    half, both = runs / "sut.json", runs / "both"
    if not half.is_file():
        photos = read_export(data / "sut").photos
        write_splits(half, stratified(photos, range(len(photos)), {"train": 50, "valid": 11, "test": 39}, 0))
    if not both.is_dir():
        merge.main([str(data / "cfd"), str(data / "sut"), "--out", str(both)])
    known = {name: json.loads(file.read_text()) for name, file in (("cfd", course), ("sut", half))}
    names = {
        f"{name}_{photo}": part for name in known for part in ("train", "valid", "test") for photo in known[name][part]
    }
    photos = read_export(both).photos
    parts = {part: [p for p in photos if names[p.name] == part] for part in ("train", "valid", "test")}
    write_splits(runs / "both.json", parts)
    return {
        "cfd": ["--data", str(data / "cfd"), "--splits", str(course)],
        "sut": ["--data", str(data / "sut"), "--splits", str(half)],
        "both": ["--data", str(both), "--splits", str(runs / "both.json")],
        "deepcrack": ["--data", str(data / "deepcrack")],
    }


def finished(folder):
    """Has this run made all its epochs?"""
    if not (folder / "history.csv").is_file():
        return False
    with open(folder / "history.csv", newline="") as file:
        return len(list(csv.DictReader(file))) == json.loads((folder / "arguments.json").read_text())["epochs"]


def call(script, *flags):
    """Run a command of the repository. Raises BadInput where it fails; it has said why."""
    print(">", script, *flags, flush=True)
    with subprocess.Popen([sys.executable, str(HERE.parent / script), *map(str, flags)]) as process:
        code = process.wait()  # subprocess.run would kill it a quarter of a second after Ctrl-C, while it saves
    if code:
        raise BadInput(f"{script} ended with exit code {code}; mend that and start again, finished runs are kept")


def train(name, study, seed, args, sets):
    """The run folder, trained to the end; the run that it starts from first, where that is not here."""
    folder = args.runs / f"{name}-{seed}"
    if finished(folder):
        return folder
    if (folder / "last.pt").is_file():
        call("train.py", "--resume", folder)
    else:
        files = {"ENCODER": args.encoder_weights, "DRAWN": args.drawn}
        flags = [str(files.get(flag, flag)) for flag in study.flags]
        start = ["--from", train(study.start, RUNS[study.start], seed, args, sets)] if study.start else []
        call("train.py", *sets[study.data], "--epochs", EPOCHS, *flags, *start, "--seed", seed, "--out", folder)
    return folder


def score(folder, tests, sets):
    """scores.json of the run on each of its tests, named set-part or set-part-flips."""
    for test in tests:
        name, part, *flips = test.split("-")
        out = folder / test
        if not (out / "scores.json").is_file():
            call("evaluate.py", folder, *sets[name], "--split", part, "--out", out, *(f"--{flag}" for flag in flips))


def main(argv=None):
    args = arguments(argv)
    if unknown := sorted(set(args.only or ()) - RUNS.keys()):
        raise BadInput(f"--only {', '.join(unknown)}: no such run; choose from {', '.join(RUNS)}")
    if not args.tables:
        args.runs.mkdir(parents=True, exist_ok=True)
        sets = flags_of_sets(args.data, args.runs)
        for place, seed in enumerate(args.seeds):
            for name, study in RUNS.items():
                kept = RECORDS / f"{name}-{seed}.json"
                if place < study.seeds and name in (args.only or RUNS) and not kept.is_file():
                    score(folder := train(name, study, seed, args, sets), study.tests, sets)
                    write_json(kept, record(folder, study.tests))
    if args.tables or not args.only:
        write_tables()
    return 0


if __name__ == "__main__":
    execute(main)
