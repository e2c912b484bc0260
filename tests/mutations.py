"""Break one place of the code at a time, in a copy of the repository, and see the tests fail: python tests/mutations.py

A mutation that survives is a sentence about the code that no test says. Exit code 1 if any survives.

An entry names the file, the function (or Class.function; "" for the top of the file), the code in it, what it becomes,
and the test file that must notice. Code is compared without its white space and line breaks.
"""

import ast
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from conftest import copy_repository

from command import BadInput, Parser, execute

MUTATIONS = {  # what breaks: (file, function, code in it, what that becomes, test file)
    # photos and masks
    "colour order": ("formats/photo.py", "read_photo", "COLOR_BGR2RGB", "COLOR_BGR2HSV", "photo"),
    "mask interpolated": ("formats/photo.py", "Preprocess.resize", "NEAREST_EXACT", "LINEAR", "photo"),
    "mask half a pixel off": ("formats/photo.py", "Preprocess.resize", "NEAREST_EXACT", "NEAREST", "photo"),
    "deviation left out": ("formats/photo.py", "Preprocess.normalise", "/ np.float32(self.std)", "", "photo"),
    "padding kept": ("formats/photo.py", "Preprocess.to_photo", "probability[:h, :w]", "probability", "photo"),
    "any size decoded": ("formats/photo.py", "read_header", "width * height <= MEGAPIXELS * 10**6", "True", "photo"),
    "12 bits in 16 read as black": ("formats/photo.py", "eight_bit", "brightest <= 64", "False", "photo"),
    "signed values read": ("formats/photo.py", "eight_bit", "pixels.dtype != np.uint16", "False", "photo"),
    "one colour is a photo": ("formats/photo.py", "check_picture", "high - low < SPAN", "False", "photo"),
    "TIFF turned twice": ("formats/photo.py", "load", 'header.kind == "TIFF"', "False", "photo"),
    "cut JPEG read": ("formats/photo.py", "load", "not reaches_its_end(data)", "False", "photo"),
    "thumbnail's end ends the photo": ("formats/photo.py", "reaches_its_end", "found.end() + length)", "found.end())", "photo"),
    "third level read as black": ("formats/photo.py", "read_mask", "third is not None", "False", "photo"),
    "edges of cracks refused": ("formats/photo.py", "third_level", "& ~near_white", "", "photo"),
    "Mac's twins are photos": ("formats/photo.py", "visible", 'path.name.startswith(".")', "False", "photo"),
    "masks of our own are photos": ("formats/photo.py", "photos_in", "if path not in ours", "", "photo"),
    "place on the wrong side": ("formats/exif.py", "degrees", "-value", "value", "exif"),
    "time counted in frames": ("formats/video.py", "time_of_frame", "    return second", "    return number / rate", "video"),
    # exports
    "photos read outside the export": ("formats/coco.py", "literal", "path.is_relative_to(listing.top) and", "", "coco"),
    "no outline passes for undamaged": ("formats/coco.py", "add_photo", "reasons and not cracks", "False", "coco"),
    "denials count as crack": ("formats/categories.py", "says_crack", "is_denial(words)", "False", "coco"),
    "zip entries written anywhere": ("formats/archive.py", "what_is_wrong", '".." in parts or', "", "archive"),
    "zip bombs unpacked": ("formats/archive.py", "check_amount", "size > MOST_RATIO * packed", "False", "archive"),
    "changed folder taken for the zip": ("formats/archive.py", "is_same", "!= entry.file_size", "< 0", "archive"),
    "corrected labels overwritten": ("formats/annotate.py", "check_coco_file", "not uncorrected", "False and not", "collection"),
    # several processes
    "shares of several processes cut": ("distributed.py", "gathered", "itertools.zip_longest(*lists, fillvalue=ended)",
                                        "zip(*lists)", "distributed"),
    "a run with a setting that is gone goes on": ("runs.py", "own_settings", "if strange:", "if False:", "train"),
    # splits and data set
    "split without seed": ("data/split.py", "stratified", "default_rng(seed)", "default_rng()", "split"),
    "copies in different parts": ("data/split.py", "alike", "256 - 2 * ALIKE", "999", "split"),
    "groups of copies count once": ("data/split.py", "stratified", "-= len(group)", "-= 1", "split"),
    "validation larger than train": ("data/split.py", "split", '"train": 85, "valid": 15', '"train": 15, "valid": 85',
                                     "split"),
    "augmentation without seed": ("dataset.py", "CrackDataset.__getitem__", "[self.seed, epoch, k]", "", "dataset"),
    "epoch ignored": ("dataset.py", "CrackDataset.__getitem__", "self.seed, epoch, k", "self.seed, k", "dataset"),
    "versions never drawn once": ("dataset.py", "CrackDataset.__getitem__", "if self.once", "if False", "train"),
    "SIGTERM ends the workers": ("dataset.py", "ignore_signals", "signal.SIGTERM, signal.SIG_IGN",
                                 "signal.SIGTERM, signal.SIG_DFL", "dataset"),
    "mask not turned with the photo": ("augment.py", "apply", "warp(mask, affine, cv2.INTER_NEAREST)", "mask", "augment"),
    # network and training
    "skip connection dropped": ("model.py", "Decoder.forward", "x4 + double", "double", "model"),
    "checkpoint may hold code": ("model.py", "read_checkpoint", "weights_only=True", "weights_only=False", "model"),
    "weights loaded in part": ("model.py", "load_checkpoint", 'content["weights"])', 'content["weights"], strict=False)',
                               "model"),
    "batch norm merged into what learns": ("model.py", "fused", "copy.deepcopy(model)", "model", "model"),
    "bfloat16 emulated": ("model.py", "precision", "bfloat16 if has_instructions()", "bfloat16 if True", "model"),
    "Dice per photo": ("train.py", "dice_bce", "(probability * mask).sum()", "(probability * mask)[0].sum()", "train"),
    "gradients not clipped": ("train.py", "train_step", "parameters(), 1.0", "parameters(), 1e6", "train"),
    "EMA never updated": ("train.py", "train_step", "if state.average:", "if False:", "train"),
    "dropout not seeded by the step": ("train.py", "seed_step", "int(np.random.SeedSequence(where).generate_state(1)[0])",
                                       "torch.seed()", "faults"),
    "validation photos augmented": ("train.py", "loaders", 'CrackDataset(parts["valid"], preprocess)',
                                    'CrackDataset(parts["valid"], preprocess, augment, 1)', "train"),
    "mean of the batches' means": ("train.py", "train_one_epoch", "loss * photos", "loss", "train"),
    "worst threshold chosen": ("metrics.py", "best_threshold", "mean_iou.max() - FLAT", "mean_iou.min() - FLAT", "train"),
    "last epoch kept": ("runs.py", "save_epoch", "best_epoch(state.history) is newest", "True", "train"),
    "epoch chosen at 0.5": ("runs.py", "merit", '"iou_at_threshold"', '"iou_cracked"', "train"),
    "flags of a resumed run ignored": ("runs.py", "own_settings", "value != own[name]", "False", "train"),
    "others' hidden files deleted": ("runs.py", "write_facts", 'f"{HALF_WRITTEN}*"', '".*"', "train"),
    # inference, scores and pages
    "specks shipped": ("inference.py", "crack_mask", "without_specks(", "(lambda mask: (mask, 0))(", "inference"),
    "mirrored answers not turned back": ("model.py", "predict", "np.flip(answer, axes)", "answer", "inference"),
    "COCO file without a photo": ("inference.py", "main", "if args.coco and rows", "if args.coco", "inference"),
    "success said of no photo": ("inference.py", "main", "if rows:", "if True:", "inference"),
    "a mask segmented like a photo": ("formats/photo.py", "read_one", "is_mask(photo)", "False", "inference"),
    "a full disk tried for every photo": ("formats/batch.py", "error_line", "error.errno in HOPELESS", "False", "inference"),
    "some failed, exit code 0": ("formats/batch.py", "exit_code", "return 1 if", "return 0 if", "inference"),
    "limits of a number ignored": ("command.py", "number", "above < value < below", "True", "scale"),
    "first column of a table misread": ("command.py", "read_csv", '"utf-8-sig"', '"utf-8"', "studies"),
    "a run without an epoch is no run": ("runs.py", "weights_file", "run.last.exists()", "False", "train"),
    "a formula in a table": ("command.py", "csv_cell", 'return f"\'{value}"', "return value", "commands"),
    "square centimetres read as 0": ("quantify/damage.py", "give_or_take", "0 < value < 10**-decimals", "False", "survey_report"),
    "copies counted": ("report/records.py", "Findings.originals", "is None", "!= 0", "survey"),
    "results begun again under another name": ("report/records.py", "names_in", "names[path] = name", "pass", "survey"),
    "old records kept": ("survey.py", "Options.made_with", '"version": VERSION,', "", "survey"),
    "seconds matter for photos": ("survey.py", "Options.made_with", "if is_video(path)", "if True", "survey"),
    "all of a road from above": ("survey.py", "assess", "int(shows_road.sum())", "shows_road.size", "survey"),
    "a path of the machine on the page": ("report/survey.py", "report", "line.replace(str(path), path.name)", "line", "survey_report"),
    "colours of a shrunk picture's widths": ("report/figure.py", "overlay", "ticks = width_ticks(max(mask.shape), row)", "ticks = width_ticks(OVERLAY_PX, row)", "figure"),
    "misses and false alarms swapped": ("metrics.py", "counts", "[hits, false_alarms, misses,", "[hits, misses, false_alarms,", "metrics"),
    "two classes counted as one": ("metrics.py", "counts", "check_mask(mask)", "mask", "metrics"),
    "empty photo always counts 1": ("metrics.py", "summary", "cracked | ~empty", "cracked", "metrics"),
    "interval of a normal distribution": ("metrics.py", "interval", "stdtrit(len(values) - 1, 0.975)", "1.96", "metrics"),
    "clDice of one side": ("metrics.py", "centreline_counts", "predicted_line & truth", "predicted_line", "metrics"),
    "clDice with another thinning": ("metrics.py", "centreline_counts", "skeletonize(check_mask(mask) > 0)", "skeletonize(mask > 0, method='lee')", "metrics"),
    "papers' mIoU at each photo's best": ("metrics.py", "at_best_threshold", "both.mean(axis=0).max()", "both.max(axis=1).mean()", "metrics"),
    "masks of another size scored": ("formats/masks.py", "MaskFolder.__call__", "mask.shape != photo.shape[:2]", "0", "rank"),
    "missing masks called unusable": ("rank.py", "Forgiving.__call__", "MISSING", "UNUSABLE", "rank"),
    "equal scores get two places": ("report/ranking.py", "place", "other.points >", "other.points >=", "rank"),
    "the photos that differ least shown": ("report/comparison.py", "most_different", "-np.ptp", "np.ptp", "evaluate"),
    "interval of five photos": ("metrics.py", "", "FEWEST = 6", "FEWEST = 1", "metrics"),
    "names in a page not escaped": ("report/page.py", "escaped", "html.escape(str(text))", "str(text)", "report"),
    "results of another photo replaced": ("report/records.py", "names_in", "other != str(path.resolve())", "False", "survey"),
    # scale, length and money
    "stranger's marker used": ("quantify/scale.py", "_from_marker", "printed or markers", "markers", "scale"),
    "contradicting markers used": ("quantify/scale.py", "_contradict", "return True", "return False", "scale"),
    "markers without a rim measured": ("quantify/sheet.py", "_has_white_rim", ">= 0.8", ">= -1", "scale"),
    "rival papers not in the error": ("quantify/scale.py", "_from_sheet", "np.hypot(scale.relative, off)", "scale.relative", "scale"),
    "focal length after a crop used": ("quantify/scale.py", "_focal_35mm", "None not in taken and", "False and", "scale"),
    "corners found exactly": ("quantify/plane.py", "size_errors", "CORNER_PX *", "0 *", "scale"),
    "jagged cracks as sure as straight ones": ("quantify/measure.py", "", "JAGGED = 2", "JAGGED = 0", "measure"),
    "opposite directions cancel": ("quantify/measure.py", "_axis", "directions**2", "directions", "measure"),
    "smoothing pulls in the ends": ("quantify/centreline.py", "smoothed", '"odd"', '"even"', "measure"),
    "spurs kept": ("quantify/skeleton.py", "_shortest_spurs", "2 * depth[junction]", "0 * depth[junction]", "measure"),
    "even widths one too small": ("quantify/skeleton.py", "widths", "np.max(quarters", "np.min(quarters", "metrics"),
    "minimum charge forgotten": ("quantify/budget.py", "_cost", "max(quantity * unit_price, minimum_charge)", "quantity * unit_price", "budget"),
}  # fmt: skip


def place(tree, function):
    """The node of a function, "Class.function" or "" for the whole file; None if there is none of that name."""
    node = tree
    for name in filter(None, function.split(".")):
        inside = [child for child in node.body if getattr(child, "name", None) == name]
        if not inside:
            return None
        (node,) = inside
    return node


def mutated(text, function, old, new):
    """The text of a file with `old` replaced inside a function. Raises BadInput where it is not there exactly once."""
    lines, node = text.splitlines(keepends=True), place(ast.parse(text), function)
    if node is None:
        raise BadInput(f"{function}: no such function")
    start, end = (node.lineno - 1, node.end_lineno) if function else (0, len(lines))
    before, body, after = "".join(lines[:start]), "".join(lines[start:end]), "".join(lines[end:])
    pattern = r"\s*".join(map(re.escape, re.findall(r"\w+|[^\w\s]", old)))
    body, count = re.subn(pattern, lambda _: new, body)
    if count != 1:
        raise BadInput(f"{function}: {old!r} is there {count} times, not once")
    return before + body + after


def survives(file, function, old, new, test):
    """Does the test file still pass with this mutation?"""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        copy_repository(copy)
        path = copy / file
        path.write_text(mutated(path.read_text(encoding="utf-8"), function, old, new), encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-x", "-n", "0", "-p", "no:cacheprovider", f"tests/test_{test}.py"]
        return subprocess.run(command, cwd=copy, capture_output=True).returncode == 0


def arguments(argv):
    parser = Parser("tests/mutations.py", description=__doc__)
    parser.add_argument("names", nargs="*", help="only mutations whose name holds one of these words (default: all)")
    return parser.parse_args(argv)


def main(argv=None):
    words = arguments(argv).names
    chosen = [name for name in MUTATIONS if not words or any(word in name for word in words)]
    alive = []
    for name in chosen:
        if survives(*MUTATIONS[name]):
            alive.append(name)
        print("SURVIVES " if name in alive else "caught   ", f"{name} ({MUTATIONS[name][0]})", flush=True)
    print(f"{len(chosen) - len(alive)} of {len(chosen)} caught")
    return 1 if alive else 0


if __name__ == "__main__":
    execute(main)
