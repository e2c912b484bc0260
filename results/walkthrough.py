"""Follows one drawn photo through every function; writes results/walkthrough.md, its pictures, and README's picture.

python results/walkthrough.py          # with the weights that ship
python results/walkthrough.py RUN      # with the network of a run
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from command import Parser, answer_flags, execute, number_of, written_whole


def arguments(argv):
    parser = Parser("results/walkthrough.py", description=__doc__)
    parser.add_argument("run", nargs="?", type=Path, help="run folder or checkpoint (default: the weights that ship)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    answer_flags(arguments)  # --help and wrong flags at once: the imports below take seconds

import tempfile
from types import SimpleNamespace

import cv2
import numpy as np
import torch

import evaluate
import inference
import metrics
import runs
import train
from augment import augment, versions
from data import synthesize
from data.split import split
from dataset import CrackDataset, collate
from formats.coco import read_export
from formats.photo import write_image
from quantify.damage import damage, sentence
from quantify.measure import measure
from quantify.scale import GIVEN_RELATIVE, Scale
from report import architecture, evaluation
from report.augmentation import sheet
from report.figure import contact_sheet, outlined, overlay, save_figure

MM_PER_PIXEL = 0.5  # as if the photo had been measured
PAGE = """# One photo through every function

Written by `python results/walkthrough.py` with {network}. The photo, {name}, is one of 30 drawn for this page (none of data/sample), and of the test part.

## 1. File to arrays

`coco.read_export(folder)` checks every entry of the COCO file and gives an `Export`, whose `photos` are a list of `Photo`; this one
has {polygons}.
`Photo.read()` gives `photo` {photo} uint8 RGB, upright (`photo.read_photo`), and `mask` {mask} uint8 of 0 and 1, the
union of all crack annotations; {crack} of it is crack. `dataset.outlined` draws the mask.

![photo, and with its mask outlined](walkthrough/1-photo.jpg)

`split.split(export)` says which photo is in which part ({parts}), copies of one photo together.

## 2. Arrays to batches

`Preprocess(size={size})` stands in `photo.py` and is the only way in and out. `resize` makes the longer side {size} pixels: photo
{resized}. `augment.augment(photo, mask, rng)` gives a changed copy of both; only training photos pass it. Below the
original and five versions.

![original and five versions](walkthrough/2-versions.jpg)

`Preprocess.normalise` subtracts the mean, divides by the deviation and pads to multiples of 32: input {input} float32.
`dataset.CrackDataset` gives (input, mask, index), `dataset.collate` a batch: inputs {batch}, masks {masks}.

## 3. Batch to logits

`model.CrackNet` turns {input} into logits {logits}. `python model.py` prints such a table, `--picture` draws it; "sees" is how
many pixels of the photo in a row one output depends on, the most of all outputs.

```text
{table}
```

![the network](walkthrough/network.png)

What the stages answer to this photo, mean over the channels, bright where strong ({maps}):

![maps](walkthrough/3-maps.jpg)

## 4. Logits to loss

`train.dice_bce(logits, mask)` is one number, here {loss}. `train.train_step` turns it into a step of AdamW;
`train.validate` gives an epoch's IoU and its best threshold, `runs.save_epoch` keeps the epoch that is best at its own, and
`model.save_checkpoint` writes network, preprocessing and threshold with the weights.

## 5. Logits to answer

`inference.predict(model, preprocess, photo)` gives `probability` {probability} float32 at the photo's own size, here {low} to
{high}; a big photo is looked at in tiles. `inference.crack_mask` gives the mask:
`probability >= threshold` ({threshold}, from the checkpoint), without specks.

![probability and mask](walkthrough/4-answer.jpg)

## 6. Answer to score

`evaluate.score_photo(mask, truth, probability)` counts hits, false alarms, misses, background: {counts}. `metrics.iou` of these is
{iou}, `metrics.dice` {dice}, `metrics.f1` with 2 pixels of tolerance {f1}. `evaluate.score_sheet` does so for all photos:
the headline is the mean over photos, pooled scores sum the counts first and divide last. Hits are blue, misses orange, false alarms magenta.

![score](walkthrough/5-score.jpg)

## 7. Mask to numbers

`measure.measure(mask)` finds the centre line: in {branches}, length {length} pixels, median width {width} pixels, pattern
{pattern}. With a scale, here {mm} mm per pixel, `quantify.damage.damage` gives millimetres, in words: "{sentence}"

![crack by width](walkthrough/6-width.jpg)

## What to change for ...

| ... | where | then |
|---|---|---|
| another input size | nothing to write: `python train.py --size 768` | the checkpoint carries it to scoring and inference |
| another loss | `train.py`: a function of (logits, mask) in the place of `dice_bce`, used in the line `loss_of = ...`; with the README's words on it; the flags `--dice` and `--bce` go with it, which stand in `add_optimisation_flags` and twice in `check` | it gets logits and a mask of 0 and 1, both (N, 1, H, W) float32; where several processes train, it must be that of all their photos: sum by `distributed.total`; `grep -r dice_bce` names its other callers (`results/benchmark.py`, `results/walkthrough.py`), and the entry "Dice per photo" of `tests/mutations.py` breaks its line. Of its tests, those of the value worked out by hand, of Dice over the batch and of the two flags go; whatever else in `tests/test_train.py` and `tests/test_distributed.py` names `dice_bce` takes the new one, first the imports |
| a wider or deeper network, another block | the defaults of `CrackNet.__init__`; for another block a new argument whose default is the old one | old checkpoints keep their own arguments and still load; `--from` keeps those of the checkpoint; the budget stands in `tests/test_model.py` |
| one more stage, stride 32 | `model.py`: a fifth width and `lift16`, `merge16` in `WayUp`, `stage32` in `CrackNet`, padding to 32 in `WayUp.forward`, where the dropout moves to the new coarsest map; a fifth map in each row of `TransferNet.MAPS` | raise `CHECKPOINT_FORMAT`: old checkpoints no longer fit, so `inference.py` stops until `sh weights/make.sh` has made `weights/crack.pt` anew. Tests that name all depths want a fifth; those of dropout's place, shifts by 16, merged batch norm and receptive field in `tests/test_model.py`, of the encoders' strides in `tests/test_transfer.py` and of the weights in `tests/test_weights.py` hold the numbers of four |
| another encoder of torchvision | `model.py`: a row in `TransferNet.MAPS`, the names of its maps at 1/2, 1/4, 1/8 and 1/16 of the photo | `python train.py --encoder NAME`; say so in that flag's help |
| an encoder of your own | `model.py`: a class like `CrackNet`, whose `encode` gives maps of c, 2c, 3c and 4c channels at 1/2, 1/4, 1/8 and 1/16 of the photo, and a place in `NETWORKS`; `WayUp` is the decoder for any | `self.arguments` holds what its `__init__` takes (`dropout` only if it has one), as plain numbers and words: the checkpoint builds it again with these; in `train.network` it takes the place of `CrackNet()`; then `python model.py RUN`. Tests that name layers of `CrackNet` (`tests/test_train.py`: average of the weights) or its dropout (there: same seed, a network that has none, which takes the place of `train.CrackNet`; `FLAGS` and the slow test of `tests/test_faults.py`; the studies of `results/run_studies.py`) want the new one's, and `train.py --help` its name |
| one more augmentation | `augment.py`: its range, its neutral value in `UNCHANGED`, its draw in `draw`, its work in `relight` or `matrix`, what it is given in `apply`, its words in `report/augmentation.py`; the lists at the top of `augment.py` and in the README's files | `--without` knows it by itself; add it to the study in `results/tables.py`, and let `python results/walkthrough.py` draw this page anew |
| a second class | nearly everywhere, below | |

### A second class

Say the masks shall hold 0 road, 1 crack, 2 pothole. Road is a class too, so the network answers with three numbers a pixel.
A mask of 0 and 1 is the one thing that all files agree on, so this is the largest change of all: what is left out below
mostly goes wrong without a word. No test covers it; those of each file named are the ones to extend first.

1. **Masks.** `formats/categories.py` (`read_categories`) and `coco.py` (`add_photos`, `Photo.mask`) give 0, 1 and 2. Say what
   `Photo.cracked` means for a photo with a pothole alone: the stratified split and all counts of photos go by it. The audit
   (`dataset.describe`) takes 0 and 1 only: hand it `mask == 1`. So does `mask.mean()` as the crack's share, in `dataset.tile`,
   `augment.main`, `report/augmentation.py` and `results/walkthrough.py`. `photo.is_mask` knows masks by black and white alone.
2. **Network.** `WayUp.head`: three times four channels before the unfolding. The number of classes belongs into `self.arguments`
   of `CrackNet` and `TransferNet`. Raise `CHECKPOINT_FORMAT`, or old checkpoints answer wrongly without a word.
3. **Training.** `cross_entropy` on `masks[:, 0].long()` instead of `dice_bce`, summed over the processes like it
   (`distributed.total`). `train.validate` counts each class of the argmax; with it the threshold has no meaning: take it out of
   `evaluate.threshold_counts`, `best_threshold`, the checkpoint, `--threshold` and the words of the reports.
4. **Answer.** Softmax instead of sigmoid in `inference.look` and `formats/onnx_model.py` (its `HOW_TO_RUN` takes `[0, 0]`, the only
   channel); argmax in `inference.crack_mask` and in the line that `inference.py --export` prints; `quantify/specks.py` for each class.
5. **Files.** Where masks are pictures, 1 is written as 255 (`segment.py`, `inference.saved_mask`): choose other values, and read
   them in `photo.read_mask`, which knows black and white. Where they are annotations, category 1 is written for all:
   `formats/labels.py` (`mask_to_polygons`), `data/convert.py` (`CATEGORIES`), with them `augment.py --out` and `data/merge.py`.
6. **Scores and pictures.** All of `evaluate.score_photo` for each class (the skeletons take 0 and 1 only);
   `report/evaluation.py` draws `255 * truth`, and anything above 0 as crack (`marked`); `report/figure.py` has a panel for one
   probability.
7. **Numbers.** `measure.measure` refuses anything but 0 and 1: call it once a class. `quantify.scale.rectify` makes one class of
   all with its `> 0.5`: hand it each class alone.
"""


def drawn_export(folder):
    """30 drawn photos of 480×360 as a COCO export."""
    synthesize.draw_export(folder, photos=30, seed=11, size=(360, 480))
    return read_export(folder)


def features(model, inputs):
    """(1, 3, h, w) -> {stage: (h, w) uint8}: mean strength of each stage's output, brightest where it is highest."""
    with torch.inference_mode():
        seen = architecture.watch(model, inputs)
    found = {}
    for name, (_, outputs) in seen.items():
        if name.startswith(("stage", "merge")):
            output = outputs[-1]
            strength = output[0].abs().mean(0).numpy()
            low, high = np.percentile(strength, [1, 99])
            grey = (255 * ((strength - low) / (high - low)).clip(0, 1)).astype(np.uint8)
            shape = "x".join(map(str, output.shape[1:]))
            found[f"{name} {shape}"] = cv2.resize(grey, inputs.shape[:1:-1], interpolation=cv2.INTER_NEAREST)
    return found


def row(images, height=240):
    """[(H, W) or (H, W, 3) uint8] side by side, at one height -> (height, W', 3) uint8."""
    shown = []
    for image in images:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB) if image.ndim == 2 else image
        width = round(image.shape[1] * height / image.shape[0])
        shown += [
            cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA),
            np.full((height, 6, 3), 255, np.uint8),
        ]
    return np.hstack(shown[:-1])


def follow(export, run):
    """The photo from its file to its numbers: everything on the way, under the names of the page."""
    torch.manual_seed(0)
    x = SimpleNamespace(parts=split(export, seed=0))
    cracked = (photo for photo in x.parts["test"] if photo.cracked)
    x.item = min(cracked, key=lambda photo: abs(photo.read()[1].mean() - 0.03))  # neither a hairline nor a hole
    x.photo, x.mask = x.item.read()
    x.model, x.preprocess, x.threshold = inference.open_model(run, "cpu")
    x.resized, small = x.preprocess.resize(x.photo, x.mask)
    five = list(versions(x.resized, small, np.random.default_rng(0)))
    x.versions = sheet([((x.resized, small), five)])[:-28]  # without the captions, too small here
    data = CrackDataset([x.item], x.preprocess, augment, versions=5)
    x.batch = collate([data[0], data[1]])
    x.inputs = x.preprocess.to_input(x.photo)[None]
    with torch.inference_mode():
        x.logits = x.model(x.inputs)
    x.loss = train.dice_bce(x.logits, x.batch[1][:1].float())
    x.probability = inference.predict(x.model, x.preprocess, x.photo)
    x.answer, _ = inference.crack_mask(x.probability, x.threshold)
    x.scores = evaluate.score_photo(x.answer, x.mask, x.probability)
    x.measured = measure(x.answer)
    x.row = damage(x.measured, x.mask.size, Scale(MM_PER_PIXEL, GIVEN_RELATIVE, "given"))["row"]
    x.layers, x.maps = architecture.layers(x.model, *x.inputs.shape[2:]), features(x.model, x.inputs)
    return x


def draw(x, out):
    """The pictures of the page."""
    write_image(out / "1-photo.jpg", row([x.photo, outlined(x.photo, x.mask)]))
    write_image(out / "2-versions.jpg", row([x.versions], 140))
    write_image(out / "3-maps.jpg", row(x.maps.values(), 130))
    write_image(out / "4-answer.jpg", row([(255 * x.probability).astype(np.uint8), 255 * x.answer]))
    write_image(out / "5-score.jpg", row([evaluation.marked(x.photo, x.mask, x.answer)]))
    write_image(out / "6-width.jpg", row([overlay(x.photo, x.answer, x.measured, x.row)], 360))
    save_figure(out / "network.png", architecture.picture(x.layers, type(x.model).__name__, *x.inputs.shape[2:]))


def story(x):
    """The picture of the README."""
    hits = evaluation.marked(x.photo, x.mask, x.answer)
    panels = {
        "a drawn photo that was not trained on": x.photo,
        "its ground truth": cv2.cvtColor(255 * x.mask, cv2.COLOR_GRAY2RGB),
        "prediction: hit blue, miss orange, false magenta": cv2.resize(hits, x.photo.shape[1::-1]),
        f"width, at {MM_PER_PIXEL} mm a pixel": overlay(x.photo, x.answer, x.measured, x.row),
    }
    return contact_sheet(list(panels.items()), 4)


def words(x):
    """{field of PAGE: its value}."""
    c = x.scores["counts"]
    return {
        "name": x.item.name, "photo": x.photo.shape, "mask": x.mask.shape, "crack": f"{x.mask.mean():.2%}",
        "polygons": number_of(len(x.item.annotations), "annotation"), "parts": ", ".join(f"{len(p)} {name}" for name, p in x.parts.items()),
        "size": x.preprocess.size, "resized": x.resized.shape, "input": tuple(x.inputs.shape),
        "batch": tuple(x.batch[0].shape), "masks": tuple(x.batch[1].shape), "logits": tuple(x.logits.shape),
        "table": architecture.table(x.layers), "maps": ", ".join(x.maps), "loss": f"{x.loss.item():.3f}",
        "probability": x.probability.shape, "low": f"{x.probability.min():.3f}", "high": f"{x.probability.max():.3f}",
        "threshold": f"{x.threshold:.2f}", "counts": ", ".join(map(str, c.tolist())), "iou": f"{metrics.iou(c):.3f}",
        "dice": f"{metrics.dice(c):.3f}", "f1": f"{metrics.f1(x.scores['near']):.3f}",
        "branches": number_of(len(x.measured["branches"]), "piece"), "length": f"{x.measured['length_px']:.0f}",
        "width": f"{x.measured['width_median_px']:.1f}", "pattern": x.measured["pattern"], "mm": MM_PER_PIXEL,
        "sentence": sentence(x.row),
    }  # fmt: skip


def main(argv=None):
    run = arguments(argv).run or runs.SHIPPED
    with tempfile.TemporaryDirectory() as temporary:
        export = drawn_export(Path(temporary) / "drawn")
        found = follow(export, run)
    draw(found, HERE / "walkthrough")
    write_image(HERE / "story.jpg", story(found))
    with written_whole(HERE / "walkthrough.md") as file:
        file.write_text(PAGE.format(network=f"the network of {run.name}", **words(found)), encoding="utf-8")
    print(f"written: {HERE / 'walkthrough.md'}")
    return 0


if __name__ == "__main__":
    execute(main)
