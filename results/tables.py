"""Tables and figures of the studies, from the records of finished runs in results/studies/.

A record holds everything that the tables need: run folders may be deleted, and another machine may continue.
"""

import json
import re
from collections import defaultdict
from functools import cache, partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import metrics
from command import BadInput, read_csv, some, written_whole
from formats.pictures import save_figure
from runs import Run, read_facts

HERE = Path(__file__).resolve().parent
PAGE, RECORDS = HERE / "README.md", HERE / "studies"
BASE = "CrackNet, five new versions of each photo every epoch"
TABLES = {  # table: {row: run}; the first run is the one that the others are compared with
    "augmentation": {
        BASE: "base",
        "no augmentation": "plain",
        "five versions, drawn only once": "once",
        "without rotation": "without-rotation",
        "without scale": "without-scale",
        "without brightness": "without-brightness",
        "without contrast": "without-contrast",
        "without noise": "without-noise",
        "trained twice as long": "twice-as-long",
    },
    "dropout": {
        BASE: "base",
        "dropout 0.2": "dropout-0.2",
        "dropout 0.5": "dropout-0.5",
        "no augmentation": "plain",
        "no augmentation, dropout 0.2": "plain-dropout-0.2",
        "no augmentation, dropout 0.5": "plain-dropout-0.5",
    },
    "transfer": {
        BASE: "base",
        "CrackNet, trained twice as long": "twice-as-long",
        "MobileNetV2, random weights": "encoder-random",
        "MobileNetV2, ImageNet weights, frozen": "encoder-frozen",
        "the same, then fine-tuned for as long again": "encoder-tuned",
        "CrackNet, pretrained on drawn roads": "from-drawn",
        "the same, 3 epochs instead of 15": "from-drawn-short",
    },
}
TRAINED = {
    "CrackForest, 35 photos": "base",
    "SUT-Crack, 45": "sut",
    "DeepCrack, 255": "deepcrack",
    "CrackForest + SUT-Crack": "both",
}
TESTED = {"CrackForest": "cfd-test", "SUT-Crack": "sut-test", "DeepCrack": "deepcrack-test"}
REMEDIES = {  # row: (run, suffix of its tests)
    BASE: ("base", ""),
    "mirror images averaged (`--flips`)": ("base", "-flips"),
    "average of the weights (`--ema`)": ("average", ""),
    "weight decay 0.05": ("weight-decay", ""),
    "dropout 0.2": ("dropout-0.2", ""),
    "no augmentation": ("plain", ""),
    "trained on SUT-Crack as well (so it is not unseen)": ("both", ""),
    "pretrained on drawn roads": ("from-drawn", ""),
}


def record(folder, tests):
    """Run folder -> its record: facts, validation IoU by epoch, and for each test the score sheet and the IoU of each
    photo with a crack."""
    run = Run(folder)
    history, facts = read_csv(run.history_file), read_facts(run)
    facts = {key: facts.get(key) for key in ("commit", "torch", "device", "precision", "epochs")}
    facts["seconds"] = sum(float(row["seconds"]) for row in history)
    content = {"facts": facts, "valid_iou": [float(row["iou_cracked"]) for row in history], "tests": {}}
    for test in tests:
        photos = read_csv(folder / test / "photos.csv")
        each = {row["photo"]: float(row["iou"]) for row in photos if float(row["true_pixels"])}
        scores = json.loads((folder / test / "scores.json").read_text(encoding="utf-8"))
        content["tests"][test] = {"scores": scores, "photos": each}
    return content


@cache
def scored(records, name, test):
    """{seed: (scores, {photo with a crack: IoU}, validation IoU by epoch)} of the run's records that have this test."""
    found = {}
    for file in sorted(records.glob(f"{name}-[0-9]*.json")):
        content = json.loads(file.read_text(encoding="utf-8"))
        if test in content["tests"]:
            part, seed = content["tests"][test], int(file.stem.rsplit("-", 1)[1])
            found[seed] = part["scores"], part["photos"], content["valid_iou"]
    return found


def spread(values):
    """A score of each seed, None where undefined -> "mean (lowest to highest)", or "-" if there is none."""
    values = [value for value in values if value is not None]
    if not values:
        return "-"
    if len(values) == 1:
        return f"{values[0]:.3f}"
    return f"{np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def of_key(records, name, test, key):
    """One score of each seed of a run."""
    return [sheet[key] for sheet, _, _ in scored(records, name, test).values()]


def difference(records, name, first, test, first_test=None):
    """How much higher a run's IoU is than the first's: (mean over photos, 95 % interval, mean of each seed), or None.

    Paired by photo, over the seeds that both have. Each photo's IoU is averaged over these seeds first, so that chance
    in training counts less.
    """
    ours, theirs = scored(records, name, test), scored(records, first, first_test or test)
    seeds = ours.keys() & theirs.keys()
    if not seeds or (name, test) == (first, first_test or test):
        return None
    photos = sorted(next(iter(ours.values()))[1])
    gain = np.array([[ours[seed][1][photo] - theirs[seed][1][photo] for photo in photos] for seed in sorted(seeds)])
    return float(gain.mean()), metrics.interval(gain.mean(axis=0)), gain.mean(axis=1).tolist()


def in_words(found):
    """What `difference` returned, as a cell.

    "within noise" if the interval holds 0 or the seeds disagree: the interval knows about other photos, not about
    other trainings.
    """
    if found is None:
        return ""
    gain, (low, high), each = found
    if np.isnan(low):
        return f"{gain:+.3f}, too few photos"
    words = f"{gain:+.3f} ({low:+.3f} to {high:+.3f})"
    if low <= 0 <= high or min(each) <= 0 <= max(each):
        return f"{words}, within noise"
    if len(each) == 1:
        return f"{words}, one seed"
    return words


def table(header, rows):
    """Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def steps_to_95(records, name):
    """How much of the training it took to reach 95 % of the best validation IoU, mean over seeds, as text."""
    shares = []
    for _, _, history in scored(records, name, "cfd-test").values():
        first = next(epoch for epoch, iou in enumerate(history, 1) if iou >= 0.95 * max(history))
        shares.append(first / len(history))
    if not shares:
        return "-"
    return f"{np.mean(shares):.0%}"


def study_table(records, content):
    """{row: run} -> table of the runs on CrackForest's course split."""
    first = next(iter(content.values()))
    scores = ["`iou_cracked`", "difference from the first", "`f1_2px`", "on the 35 train photos"]
    header = ["run", "seeds", *scores, "95 % reached after"]
    rows = []
    for words, name in content.items():
        seeds = len(scored(records, name, "cfd-test"))
        if not seeds:
            continue
        iou, f1 = (spread(of_key(records, name, "cfd-test", key)) for key in ("iou_cracked", "f1_2px"))
        gain = in_words(difference(records, name, first, "cfd-test"))
        train = spread(of_key(records, name, "cfd-train", "iou_cracked"))
        rows.append([words, seeds, iou, gain, f1, train, steps_to_95(records, name)])
    return table(header, rows)


def unseen_table(records):
    """Trained on one set, tested on all."""
    rows = []
    for words, name in TRAINED.items():
        cells = []
        for test in TESTED.values():
            iou, f1 = (spread(of_key(records, name, test, key)) for key in ("iou_cracked", "f1_2px"))
            cells.append(f"{iou}; {f1}")
        rows.append([words, *cells])
    return table(["trained on", *(f"{name}: `iou_cracked`; `f1_2px`" for name in TESTED)], rows)


def remedies_table(records):
    """What helps on sets that training never saw."""
    rows = []
    for words, (name, flips) in REMEDIES.items():
        cells = []
        for test in TESTED.values():
            value = spread(of_key(records, name, test + flips, "iou_cracked"))
            gain = in_words(difference(records, name, "base", test + flips, test))
            cells.append("; ".join(part for part in (value, gain) if part))
        rows.append([words, *cells])
    return table(["run", "CrackForest (its own roads)", "SUT-Crack", "DeepCrack"], rows)


def cost(records):
    """How many runs there are and how long they took on each kind of machine, as a sentence."""
    seconds = defaultdict(list)
    for file in sorted(records.glob("*.json")):
        facts = json.loads(file.read_text(encoding="utf-8"))["facts"]
        how = f"on {facts['device']} in {facts['precision']}, torch {facts['torch'].split('+')[0]}"
        seconds[how].append(facts["seconds"])
    parts = [f"{len(each)} runs {how}, {sum(each) / 3600:.1f} hours" for how, each in sorted(seconds.items())]
    return f"Training time in total: {'; '.join(parts)}."


def figure(records, name, content):
    """Figure: a row for each run, a dot for each seed, a bar at their mean; on the train and the test photos."""
    content = {words: run for words, run in content.items() if scored(records, run, "cfd-test")}
    fig = Figure(figsize=(9, 1.2 + 0.4 * len(content)), layout="constrained")
    axes = fig.subplots()
    for test, colour, label in (("cfd-train", "#999999", "35 train photos"), ("cfd-test", "#0072b2", "84 test photos")):
        for row, run in enumerate(content.values()):
            values = of_key(records, run, test, "iou_cracked")
            axes.plot(values, [row] * len(values), "o", color=colour, alpha=0.7)
            axes.plot([np.mean(values)] * 2, [row - 0.3, row + 0.3], color=colour)
        axes.plot([], [], "o", color=colour, label=label)
    first = next(iter(content.values()))
    axes.axvline(np.mean(of_key(records, first, "cfd-test", "iou_cracked")), color="#0072b2", ls=":")
    axes.set_yticks(range(len(content)), content)
    axes.invert_yaxis()
    axes.set_xlabel("iou_cracked: a dot for each seed, a bar at the mean; dotted line: the first run on test photos")
    axes.set_title(f"{name.capitalize()}: CrackForest, course split")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(loc="lower left", bbox_to_anchor=(1, 0))
    return fig


def replaced(page, name, text):
    """The page with the text between <!-- name --> and the next <!-- end --> replaced. Raises BadInput."""
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
    if not pattern.search(page):
        raise BadInput(f"{PAGE}: no place for the table {name}; put <!-- {name} --> and <!-- end --> where it belongs")
    return pattern.sub(lambda found: f"{found[1]}\n{text}\n\n{found[2]}", page)


def without_record(records, runs):
    """Those of the runs that have no record yet."""
    return [name for name in runs if not list(records.glob(f"{name}-[0-9]*.json"))]


def write_tables(records=RECORDS, page=PAGE):
    """Rewrite the tables in the page and the figures beside it from the records.

    A table stays as it is while one of its runs has no record, and a line says so. Raises BadInput.
    """
    text = replaced(page.read_text(encoding="utf-8"), "cost", cost(records))
    tables = {name: (content.values(), partial(study_table, records, content)) for name, content in TABLES.items()}
    tables["unseen"] = TRAINED.values(), partial(unseen_table, records)
    tables["remedies"] = [name for name, _ in REMEDIES.values()], partial(remedies_table, records)
    for name, (runs, make) in tables.items():
        missing = without_record(records, runs)
        if missing:
            print(f"table {name} is not rewritten: no record of {some(missing)}")
            continue
        text = replaced(text, name, make())
        if name in TABLES:
            save_figure(page.parent / f"{name}.png", figure(records, name, TABLES[name]))
    with written_whole(page) as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(f"written: {page} and its figures")
