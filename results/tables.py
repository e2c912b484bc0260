"""Tables and figures of the studies, from the records of finished runs in results/studies/.

A record holds all that the tables need: the run folder may be gone, and another machine may go on with the studies.
"""

import csv
import json
import re
from collections import defaultdict
from functools import cache, partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import metrics
from command import BadInput, written_whole
from report.figure import save_figure

HERE = Path(__file__).resolve().parent
PAGE, RECORDS = HERE / "README.md", HERE / "studies"
BASE = "CrackNet, five new versions a photo each epoch"
TABLES = {  # name: {words: run}, the first is what the others are compared with
    "augmentation": {
        BASE: "base",
        "no augmentation": "plain",
        "five versions drawn once": "once",
        "without rotation": "without-rotation",
        "without scale": "without-scale",
        "without brightness": "without-brightness",
        "without contrast": "without-contrast",
        "without noise": "without-noise",
        "twice as long": "twice-as-long",
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
        "CrackNet, twice as long": "twice-as-long",
        "MobileNetV2, random weights": "encoder-random",
        "MobileNetV2 of ImageNet, frozen": "encoder-frozen",
        "the same, then tuned at a tenth of the rate": "encoder-tuned",
        "CrackNet, learnt on drawn roads before": "from-drawn",
        "the same in 3 epochs instead of 15": "from-drawn-short",
    },
}
TRAINED = {
    "CrackForest, 35 photos": "base",
    "SUT-Crack, 45": "sut",
    "DeepCrack, 255": "deepcrack",
    "CrackForest + SUT-Crack": "both",
}
TESTED = {"CrackForest": "cfd-test", "SUT-Crack": "sut-test", "DeepCrack": "deepcrack-test"}
REMEDIES = {
    BASE: ("base", ""),
    "mirror images averaged": ("base", "-flips"),
    "average of the weights": ("average", ""),
    "weight decay 0.05": ("weight-decay", ""),
    "dropout 0.2": ("dropout-0.2", ""),
    "no augmentation": ("plain", ""),
    "trained on SUT-Crack's photos, too (so not unseen there)": ("both", ""),
    "learnt on drawn roads before": ("from-drawn", ""),
}


def record(folder, tests):
    """Run folder -> what is kept of it: facts, validation IoU by epoch, and for each test the score sheet and the IoU of
    each photo with a crack."""
    with open(folder / "history.csv", newline="") as rows:
        history = list(csv.DictReader(rows))
    facts = json.loads((folder / "arguments.json").read_text(encoding="utf-8"))
    facts = {key: facts.get(key) for key in ("commit", "torch", "device", "precision", "epochs")}
    facts["seconds"] = sum(float(row["seconds"]) for row in history)
    content = {"facts": facts, "valid_iou": [float(row["iou_cracked"]) for row in history], "tests": {}}
    for test in tests:
        with open(folder / test / "photos.csv", newline="", encoding="utf-8-sig") as photos:
            each = {row["photo"]: float(row["iou"]) for row in csv.DictReader(photos) if float(row["true_pixels"])}
        scores = json.loads((folder / test / "scores.json").read_text(encoding="utf-8"))
        content["tests"][test] = {"scores": scores, "photos": each}
    return content


@cache
def scored(records, name, test):
    """{seed: (scores, {photo with a crack: IoU}, validation IoU by epoch)} of the run's records with this test."""
    found = {}
    for file in sorted(records.glob(f"{name}-[0-9]*.json")):
        content = json.loads(file.read_text(encoding="utf-8"))
        if part := content["tests"].get(test):
            found[int(file.stem.rsplit("-", 1)[1])] = part["scores"], part["photos"], content["valid_iou"]
    return found


def spread(values):
    """Numbers of the seeds, None where undefined -> "mean (lowest to highest)"; "-" of nothing."""
    values = [value for value in values if value is not None]
    if not len(values):
        return "-"
    words = f"{np.mean(values):.3f}"
    return words if len(values) == 1 else f"{words} ({min(values):.3f} to {max(values):.3f})"


def of_key(records, name, test, key):
    return [sheet[key] for sheet, _, _ in scored(records, name, test).values()]


def difference(records, name, first, test, first_test=None):
    """(mean over photos of the IoU that a run has more than the first, its 95 % interval, the same for each
    seed that both have), or None.

    Each photo's IoU is first averaged over these seeds, so that chance in training counts less.
    """
    ours, theirs = scored(records, name, test), scored(records, first, first_test or test)
    seeds = ours.keys() & theirs.keys()
    if not seeds or (name, test) == (first, first_test or test):
        return None
    photos = sorted(next(iter(ours.values()))[1])
    gain = np.array([[ours[seed][1][photo] - theirs[seed][1][photo] for photo in photos] for seed in sorted(seeds)])
    return float(gain.mean()), metrics.interval(gain.mean(axis=0)), gain.mean(axis=1).tolist()


def in_words(found):
    """What `difference` gave, as a cell: the interval knows other photos only, so the seeds must agree as well."""
    if found is None:
        return ""
    gain, (low, high), each = found
    if np.isnan(low):
        return f"{gain:+.3f}, too few photos"
    noise = low <= 0 <= high or min(each) <= 0 <= max(each)
    verdict = ", within noise" if noise else ", one seed" if len(each) == 1 else ""
    return f"{gain:+.3f} ({low:+.3f} to {high:+.3f}){verdict}"


def table(header, rows):
    """Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def steps_to_95(records, name, test="cfd-test"):
    """Share of the training after which validation IoU first reached 95 % of its best, mean over seeds, as text."""
    shares = []
    for _, _, history in scored(records, name, test).values():
        first = next(epoch for epoch, iou in enumerate(history, 1) if iou >= 0.95 * max(history))
        shares.append(first / len(history))
    return f"{np.mean(shares):.0%}" if shares else "-"


def study_table(records, content):
    """{words: run} -> table of the runs on CrackForest's course split."""
    first, rows = next(iter(content.values())), []
    for words, name in content.items():
        if not scored(records, name, "cfd-test"):
            continue
        cells = [
            spread(of_key(records, name, "cfd-test", key)) for key in ("iou_cracked", "f1_2px", "precision", "recall")
        ]
        gain = in_words(difference(records, name, first, "cfd-test"))
        train = spread(of_key(records, name, "cfd-train", "iou_cracked"))
        rows.append([words, len(scored(records, name, "cfd-test")), cells[0], gain, *cells[1:], train,
                     steps_to_95(records, name)])  # fmt: skip
    header = ["run", "seeds", "`iou_cracked`", "difference from the first", "`f1_2px`", "precision", "recall",
              "`iou_cracked` on train", "of the training to 95 %"]  # fmt: skip
    return table(header, rows)


def unseen_table(records):
    """Trained on one set, tested on all."""
    rows = []
    for words, name in TRAINED.items():
        cells = [
            f"{spread(of_key(records, name, test, 'iou_cracked'))}; {spread(of_key(records, name, test, 'f1_2px'))}"
            for test in TESTED.values()
        ]
        rows.append([words, *cells])
    return table(["trained on", *(f"{name}: `iou_cracked`; `f1_2px`" for name in TESTED)], rows)


def remedies_table(records):
    """What narrows the gap on sets that training never saw."""
    rows = []
    for words, (name, flips) in REMEDIES.items():
        if not any(scored(records, name, test + flips) for test in TESTED.values()):
            continue
        cells = []
        for test in TESTED.values():
            value = spread(of_key(records, name, test + flips, "iou_cracked"))
            gain = in_words(difference(records, name, "base", test + flips, test))
            cells.append(value + (f"; {gain}" if gain else ""))
        rows.append([words, *cells])
    return table(["run", "CrackForest (its own roads)", "SUT-Crack", "DeepCrack"], rows)


def cost(records):
    """How many runs the records are of, and what they took on each kind of machine, as a sentence."""
    seconds = defaultdict(list)
    for file in sorted(records.glob("*.json")):
        facts = json.loads(file.read_text(encoding="utf-8"))["facts"]
        how = f"on {facts['device']} in {facts['precision']}, torch {facts['torch'].split('+')[0]}"
        seconds[how].append(facts["seconds"])
    parts = [f"{len(each)} runs {how}: {sum(each) / 3600:.1f} hours" for how, each in sorted(seconds.items())]
    return f"Training and validation, added up: {'; '.join(parts)}."


def figure(records, name, content):
    """Figure: a row for each run, its seeds as dots, their mean as a bar; test and train."""
    content = {words: run for words, run in content.items() if scored(records, run, "cfd-test")}
    fig = Figure(figsize=(9, 1.2 + 0.4 * len(content)), layout="constrained")
    axes = fig.subplots()
    for row, run in enumerate(content.values()):
        for test, colour, label in (
            ("cfd-train", "#999999", "35 train photos"),
            ("cfd-test", "#0072b2", "84 test photos"),
        ):
            values = of_key(records, run, test, "iou_cracked")
            axes.plot(values, [row] * len(values), "o", color=colour, alpha=0.7, label=None if row else label)
            axes.plot([np.mean(values)] * 2, [row - 0.3, row + 0.3], color=colour)
    axes.axvline(
        np.mean(of_key(records, next(iter(content.values())), "cfd-test", "iou_cracked")), color="#0072b2", ls=":"
    )
    axes.set_yticks(range(len(content)), content)
    axes.invert_yaxis()
    axes.set_xlabel("iou_cracked, one dot a seed, a bar at the mean; dotted: the first run on test")
    axes.set_title(f"{name.capitalize()}: CrackForest, course split")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(loc="lower left", bbox_to_anchor=(1, 0))
    return fig


def replaced(page, name, text):
    """The page with what stands between <!-- name --> and <!-- end --> replaced. Raises BadInput."""
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(\n<!-- end -->)", re.DOTALL)
    if not pattern.search(page):
        raise BadInput(f"{PAGE}: no place for the table {name}; put <!-- {name} --> and <!-- end --> where it belongs")
    return pattern.sub(lambda found: f"{found[1]}\n{text}\n{found[2]}", page)


def every_run(records):
    """{words: run} of all runs with a record, the first the one that others are compared with. Raises BadInput."""
    names = {file.stem.rsplit("-", 1)[0] for file in records.glob("*-[0-9]*.json")}
    if "base" not in names:
        raise BadInput(f"{records}: no record of base, which the others are compared with; train it first")
    return {"`base`": "base"} | {f"`{name}`": name for name in sorted(names - {"base"})}


def without_record(records, runs):
    """Those of the runs that a table needs and that have no record yet."""
    return [name for name in runs if not list(records.glob(f"{name}-[0-9]*.json"))]


def write_tables(records=RECORDS, page=PAGE):
    """Rewrite the tables in the page and the figures beside it from the records; a table of which a run has none yet
    stays as it is, and that is said. Raises BadInput."""
    text = page.read_text(encoding="utf-8")
    text = replaced(text, "runs", study_table(records, every_run(records)))
    text = replaced(text, "cost", cost(records))
    tables = {name: (content.values(), partial(study_table, records, content)) for name, content in TABLES.items()}
    tables["unseen"] = TRAINED.values(), partial(unseen_table, records)
    tables["remedies"] = [name for name, _ in REMEDIES.values()], partial(remedies_table, records)
    for name, (runs, made) in tables.items():
        if missing := without_record(records, runs):
            print(f"table {name} stays as it is: no record of {', '.join(missing)}")
            continue
        text = replaced(text, name, made())
        if name in TABLES:
            save_figure(page.parent / f"{name}.png", figure(records, name, TABLES[name]))
    with written_whole(page) as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(f"{page} and its figures rewritten")
