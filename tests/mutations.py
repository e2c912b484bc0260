"""Break one line at a time in a copy of the repository and see the suite fail: python tests/mutations.py

A mutation that survives is a sentence about the code that no test says. Exit code 1 if any survives.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from command import Parser, execute

MUTATIONS = {  # what breaks: (file, the line's text, what it becomes, the test file that should notice)
    "colour order": ("formats/photo.py", "cv2.COLOR_BGR2RGB) if photo", "cv2.COLOR_BGR2RGB)[..., ::-1] if photo", "photo"),
    "mask interpolated smoothly": ("formats/photo.py", "cv2.INTER_NEAREST_EXACT", "cv2.INTER_LINEAR", "photo"),
    "mask resized half a pixel off": ("formats/photo.py", "cv2.INTER_NEAREST_EXACT", "cv2.INTER_NEAREST", "photo"),
    "normalisation left out": ("formats/photo.py", "(values - np.float32(self.mean)) / np.float32(self.std)", "values", "photo"),
    "pad not removed": ("formats/photo.py", "probability[:h, :w]", "probability", "photo"),
    "off by one on the way back": ("formats/photo.py", "probability[:h, :w]", "probability[1 : h + 1, :w]", "photo"),
    "specks shipped": ("inference.py", "without_specks((probability >= threshold).astype(np.uint8))",
                       "((probability >= threshold).astype(np.uint8), 0)", "inference"),
    "average of the weights never updated": ("train.py", "average.update_parameters(model)", "pass", "train"),
    "mirrored answers not turned back": ("inference.py", "np.ascontiguousarray(photo[turn]), size)[turn]",
                                         "np.ascontiguousarray(photo[turn]), size)", "inference"),
    "versions never drawn once": ("dataset.py", "epoch = 0 if self.once else epoch", "pass", "train"),
    "batch norm merged into the network that learns": ("model.py", "model = copy.deepcopy(model).eval()",
                                                       "model = model.eval()", "model"),
    "worst threshold chosen": ("evaluate.py", "iou.max() - FLAT", "iou.min() - FLAT", "train"),
    "validation photos augmented": ("train.py", 'CrackDataset(parts["valid"], preprocess)',
                                    'CrackDataset(parts["valid"], preprocess, augment, 1)', "train"),
    "misses and false alarms swapped": ("metrics.py", "np.array([hits, false_alarms, misses,",
                                        "np.array([hits, misses, false_alarms,", "metrics"),
    "skip connection dropped": ("model.py", "self.merge4(x4 + double", "self.merge4(double", "model"),
    "empty photo counts 1 whatever is predicted": ("metrics.py", "np.where(cracked | ~empty,", "np.where(cracked,",
                                                   "metrics"),
    "augmentation without seed": ("dataset.py", "default_rng([self.seed, epoch, k])", "default_rng()", "dataset"),
    "epoch ignored": ("dataset.py", "default_rng([self.seed, epoch, k])", "default_rng([self.seed, k])", "dataset"),
    "copies dealt to any part": ("data/split.py", "signs @ others >= 256 - 2 * ALIKE", "signs @ others >= 999", "split"),
    "Dice per photo": ("train.py", "(probability * mask).sum(), probability.sum() + mask.sum()",
                       "(probability * mask)[0].sum(), probability[0].sum() + mask[0].sum()", "train"),
    "dropout not addressed by the step": (
        "train.py", "torch.manual_seed(int(np.random.SeedSequence(where).generate_state(1)[0]))", "pass", "faults"),
    "checkpoint may hold code": ("model.py", "weights_only=True", "weights_only=False", "model"),
    "split without seed": ("data/split.py", "default_rng(seed).permutation(len(stratum))",
                           "default_rng().permutation(len(stratum))", "split"),
    "any size of photo decoded": ("formats/photo.py", "width * height > MEGAPIXELS * 10**6", "False", "photo"),
    "mask one row too low": ("formats/shapes.py", "np.ascontiguousarray(coco_mask.decode(runs[0]))",
                             "np.roll(coco_mask.decode(runs[0]), 2, axis=0)", "fuzz"),
    "shapes dropped in silence": ("formats/coco.py", 'export.problems += [f"{photo.name}: {problem}; dropped"',
                                  'export.problems += [] and [f"{photo.name}: {problem}; dropped"', "coco"),
    "photos read outside the export": ("formats/coco.py", "not path.resolve().is_relative_to(folder)", "False", "fuzz"),
    "zip entries written anywhere": ("formats/archive.py", 'if ".." in parts or', "if", "archive"),
    "changed folder taken for the zip": ("formats/archive.py", " or path.stat().st_size != entry.file_size", "",
                                         "archive"),
    "zip bombs unpacked": ("formats/archive.py", "elif size > MOST_RATIO * packed", "elif False",
                           "archive"),
    "names in a report not escaped": ("report/page.py", "Html(html.escape(str(text)))", "Html(str(text))", "fuzz"),
    "bfloat16 emulated by a CPU without it": ("model.py", "torch.bfloat16 if has_instructions() else torch.float32",
                                              "torch.bfloat16", "model"),
    "labels without an outline pass for undamaged": ("formats/coco.py", "if not cracks and", "if False and", "coco"),
    "missing masks buy a tie": ("report/ranking.py", "level if not problems[run.name]]", "level]", "ranking"),
    "the last epoch kept": ("runs.py", "if max(history, key=merit) is history[-1]:", "if True:", "train"),
    "gradients not clipped": ("train.py", "model.parameters(), 1.0)", "model.parameters(), 1e6)", "train"),
    "an interval of five photos": ("metrics.py", "FEWEST = 6", "FEWEST = 1", "metrics"),
    "hidden files of others deleted": ("runs.py", 'folder.glob(f"{HALF_WRITTEN}*")', 'folder.glob(".*")', "train"),
    "corrected labels written over": ("formats/annotate.py", "not uncorrected(read_json(path))", "False", "collection"),
    "typed flags of a resumed run ignored": ("runs.py", 'args.typed - MACHINE - {"data"}', "set()", "train"),
    "results of another photo replaced": ("segment.py", "other.exists()", "False", "segment"),
    "results begun again under another name": ("segment.py", "(kept or own", "(own", "segment"),
    "a batch system's signal ends the workers": ("dataset.py", "(signal.SIGINT, signal.SIGTERM)", "(signal.SIGINT,)",
                                                 "dataset"),
    "only the same bytes are a leak": ("data/split.py", " or alike(signs, look).any()", "", "split"),
    "transparent masks read by their colours": ("formats/photo.py", "by_transparency(grey, opacity(data, header))", "grey", "photo"),
    "groups of copies dealt like single photos": ("data/split.py", "quota[part] -= len(group)", "quota[part] -= 1", "split"),
    "validation larger than train": ("data/split.py", '{"train": 85, "valid": 15}', '{"train": 15, "valid": 85}', "split"),
    "weights of another network loaded in part": ("model.py", 'model.load_state_dict(content["weights"])',
                                                  'model.load_state_dict(content["weights"], strict=False)', "model"),
    "mean of the batches' means": ("train.py", '"loss": loss * photos', '"loss": loss', "train"),
    "the epoch chosen at 0.5": ("runs.py", 'row.get("iou_at_threshold", row["iou_cracked"])', 'row["iou_cracked"]',
                                "train"),
    "even widths one too small": ("quantify/skeleton.py", "np.max([deep", "np.min([deep", "metrics"),
    "mask not turned with the photo": ("augment.py", "warp(mask, affine, cv2.INTER_NEAREST)", "mask", "augment"),
}  # fmt: skip


def survives(file, old, new, test):
    """Does the test file still pass with `old` replaced by `new` in `file`?"""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", ".venv", "runs", "sample", "__pycache__"))
        text = (copy / file).read_text(encoding="utf-8")
        if text.count(old) < 1:
            sys.exit(f"{file} no longer has {old!r}: bring tests/mutations.py up to date")
        (copy / file).write_text(text.replace(old, new), encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-x", "-n", "0", "-p", "no:cacheprovider", f"tests/test_{test}.py"]
        return subprocess.run(command, cwd=copy, capture_output=True).returncode == 0


def main():
    Parser("tests/mutations.py", description=__doc__).parse_args()
    alive = []
    for name, mutation in MUTATIONS.items():
        alive += [name] * survives(*mutation)
        print(f"{'SURVIVES' if name in alive else 'caught  '}  {name} ({mutation[0]})", flush=True)
    print(f"{len(MUTATIONS) - len(alive)} of {len(MUTATIONS)} caught")
    return 1 if alive else 0


if __name__ == "__main__":
    execute(main)
