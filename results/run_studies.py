"""Train and score all runs of the studies and rewrite the tables and figures of results/README.md.

    python results/run_studies.py --data DIR --encoder-weights FILE --drawn FILE    # takes hours; may be interrupted
    python results/run_studies.py --data DIR --only base --again                    # repeat one of them
    python results/run_studies.py --tables                                          # only the tables, from the records

DIR holds the exports cfd, sut and deepcrack (data/README.md says where to get them); a run is not scored on a set that
is missing. A finished run leaves a record in results/studies/ and is not repeated without --again, which leaves the
record as it is; an interrupted run is continued. All runs of one seed are made before the next seed, so every study has
its first numbers early.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # so that it runs as a script

from augment import UNCHANGED
from command import PARTS, SEED, BadInput, Parser, execute, read_csv, write_json
from data import merge
from data.split import stratified, write_splits
from formats.coco import read_export
from results.tables import RECORDS, record, write_tables
from runs import Run, read_facts

COURSE = HERE / "splits" / "cfd_course.json"  # CrackForest: 35 photos to train, 7 to validate, 84 to test

EPOCHS = 15  # of 53 steps; the run "twice as long" shows how far that is from the plateau
STEPS_RATIO = 53 / 9  # steps an epoch with and without the five versions: 210 and 35 photos in batches of 4


PLAIN = ("--versions", "0", "--epochs", str(round(EPOCHS * STEPS_RATIO)))
ENCODER = ("--encoder", "mobilenet_v2")
OWN = ("cfd-test", "cfd-train")
UNSEEN = (*OWN, "sut-test", "deepcrack-test")


@dataclass(frozen=True)
class Study:
    """A kind of run: how it is trained and what it is scored on."""

    flags: tuple = ()  # of train.py; ENCODER and DRAWN stand for files on the command line
    data: str = "cfd"
    seeds: int = 3  # how many of the seeds
    start: str = ""  # the run of the same seed that it fine-tunes
    tests: tuple = OWN  # part of a set, with -flips for averaged mirror images


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
    "from-drawn-short": Study(("--from", "DRAWN", "--epochs", "3")),  # as good in a fifth of the steps?
    "sut": Study(("--epochs", "12"), "sut", tests=UNSEEN),
    "both": Study(("--versions", "2", "--epochs", "13"), "both", tests=UNSEEN),
    "deepcrack": Study(("--versions", "1", "--epochs", "6"), "deepcrack", tests=UNSEEN),
    "once": Study(("--once",)),
    **{f"without-{name}": Study(("--without", name), seeds=1) for name in UNCHANGED},
    "weight-decay": Study(("--weight-decay", "0.05"), tests=UNSEEN),
    "average": Study(("--ema", "0.98"), tests=UNSEEN),
    "twice-as-long": Study(("--epochs", str(2 * EPOCHS))),
}


def arguments(argv):
    parser = Parser("results/run_studies.py", description=__doc__)
    add = parser.add_argument
    add("--data", type=Path, help="folder with the exports cfd, sut and deepcrack")
    add("--encoder-weights", type=Path, metavar="FILE", help="ImageNet weights of mobilenet_v2, for the encoder runs")
    add("--drawn", type=Path, metavar="FILE", help="network trained on drawn roads, for the from-drawn runs")
    add("--runs", type=Path, default=Path("runs/studies"), help="folder for the run folders (default: %(default)s)")
    add("--seeds", type=SEED, nargs="+", default=[0, 1, 2], help="random seeds (default: 0 1 2)")
    add("--again", action="store_true", help="also train runs that have a record; the record is kept")
    add("--only", nargs="+", choices=RUNS, metavar="NAME", help=f"only these runs; choose from {', '.join(RUNS)}")
    add("--tables", action="store_true", help="train nothing, only rewrite the tables")
    args = parser.parse_args(argv)
    if not args.tables and not args.data:
        parser.error("--data is needed for training; --tables only rewrites the tables")
    return args


def flags_of_sets(data, runs, with_both):
    """{set: flags for train.py and evaluate.py} of the sets in the folder `data`.

    Splits SUT-Crack 45/9/36 and, if with_both, merges it with CrackForest, each once. Raises BadInput if one of these
    two is missing then.
    """
    splits = {"cfd": ["--splits", str(COURSE)], "sut": ["--splits", str(runs / "sut.json")], "deepcrack": []}
    sets = {name: ["--data", str(data / name), *flags] for name, flags in splits.items() if (data / name).is_dir()}
    if "sut" in sets and not (runs / "sut.json").is_file():
        photos = read_export(data / "sut").photos
        shares = {"train": 50, "valid": 11, "test": 39}
        write_splits(runs / "sut.json", stratified([[photo] for photo in photos], shares, 0))
    if with_both:
        sets["both"] = ["--data", str(runs / "both"), "--splits", str(runs / "both.json")]
        merge_both(data, runs)
    return sets


def merge_both(data, runs):
    """Write CrackForest and SUT-Crack as one export, and its split. Raises BadInput."""
    both = runs / "both"
    if not both.is_dir():
        merge.main([str(data / "cfd"), str(data / "sut"), "--out", str(both)])
    parts = merged_parts({"cfd": COURSE, "sut": runs / "sut.json"}, read_export(both).photos)
    write_splits(runs / "both.json", parts)


def merged_parts(splits, photos):
    """{set: its splits.json} and the photos of both sets, their names as merge.py changed them -> {part: [Photo]}."""
    part_of = {}
    for name, file in splits.items():
        for part, photo_names in json.loads(file.read_text(encoding="utf-8")).items():
            if part in PARTS:
                part_of |= {f"{name}_{photo}": part for photo in photo_names}
    return {part: [photo for photo in photos if part_of[photo.name] == part] for part in PARTS}


def finished(run):
    """Has this run made all its epochs?"""
    return run.history_file.is_file() and len(read_csv(run.history_file)) == read_facts(run)["epochs"]


def call(script, *flags):
    """Run a command of this repository. Raises BadInput if it fails; the command has said why."""
    print(">", script, *flags, flush=True)
    with subprocess.Popen([sys.executable, str(HERE.parent / script), *map(str, flags)]) as process:
        code = process.wait()  # subprocess.run would kill it a quarter of a second after Ctrl-C, while it saves
    if code:
        raise BadInput(
            f"{script}: failed with exit code {code}, see above; start again afterwards, finished runs are kept"
        )


def train(name, seed, folder_of_runs, files, sets):
    """Train a run to its end, and before it the run that it starts from -> its run folder.

    files: {"ENCODER": path, "DRAWN": path}, what these words in the flags of a Study stand for. Raises BadInput.
    """
    study, folder = RUNS[name], folder_of_runs / f"{name}-{seed}"
    if finished(Run(folder)):
        return folder
    if Run(folder).last.is_file():
        call("train.py", "--resume", folder)
        return folder
    for word, file in files.items():
        if word in study.flags and not file:
            raise BadInput(f"{name}: needs a file that is not given; see --encoder-weights and --drawn")
    flags = [str(files.get(flag, flag)) for flag in study.flags]
    if study.start:
        flags += ["--from", train(study.start, seed, folder_of_runs, files, sets)]
    if study.data not in sets:
        raise BadInput(f"{name}: trains on the export {study.data}, which --data has no folder for; see data/README.md")
    call("train.py", *sets[study.data], "--epochs", EPOCHS, *flags, "--seed", seed, "--out", folder)
    return folder


def score(folder, tests, sets):
    """Write scores.json of the run on its tests, named set-part or set-part-flips -> the tests whose set is missing."""
    skipped = []
    for test in tests:
        name, part, *flips = test.split("-")
        out = folder / test
        if (out / "scores.json").is_file():
            continue
        if name not in sets:
            skipped.append(test)
        else:
            call("evaluate.py", folder, *sets[name], "--split", part, "--out", out, *(f"--{flag}" for flag in flips))
    return skipped


def chosen(names, seeds, again):
    """[(run, seed)] to train: all seeds that the runs have; without `again` those that have no record yet."""
    found = []
    for place, seed in enumerate(seeds):
        for name in names:
            if place >= RUNS[name].seeds:
                continue
            if record_of(name, seed).is_file() and not again:
                print(f"{name}-{seed}: not trained, as results/studies holds its record; --again trains it once more")
            else:
                found.append((name, seed))
    return found


def record_of(name, seed):
    """Where the record of a run is kept."""
    return RECORDS / f"{name}-{seed}.json"


def make(name, seed, folder_of_runs, files, sets):
    """Train and score a run, and keep its record unless it has one or a set to score it on is missing."""
    folder = train(name, seed, folder_of_runs, files, sets)
    skipped = score(folder, RUNS[name].tests, sets)
    if skipped:
        print(f"{name}-{seed}: no record is kept, as --data has no folder to score it on {', '.join(skipped)}")
    elif not record_of(name, seed).is_file():
        write_json(record_of(name, seed), record(folder, RUNS[name].tests))


def main(argv=None):
    args = arguments(argv)
    if not args.tables:
        args.runs.mkdir(parents=True, exist_ok=True)
        files = {"ENCODER": args.encoder_weights, "DRAWN": args.drawn}
        runs = chosen(args.only or RUNS, args.seeds, args.again)
        sets = flags_of_sets(args.data, args.runs, with_both=any(RUNS[name].data == "both" for name, _ in runs))
        for name, seed in runs:
            make(name, seed, args.runs, files, sets)
    if args.tables or not args.only:
        write_tables()
    return 0


if __name__ == "__main__":
    execute(main)
