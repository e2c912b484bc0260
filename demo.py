"""Try the network in a browser: one photo with its numbers, or many photos with one report.

First comes what happens when somebody uses the page: each function turns what the controls hold into what they show.
Nothing is computed here; it calls the functions that inference.py and survey.py call. Then comes what the page looks
like.
"""

import atexit
import csv
import html
import os
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

import survey
from command import BadInput, choose_device, execute, flags, number, write_csv
from dataset import find_export
from formats.annotate import write_coco
from formats.archive import unpacked
from formats.photo import at_most, read_one, write_image
from inference import open_model
from model import fused, predict
from quantify.budget import COLUMNS, estimate, price_lines, read_prices, width_edges
from quantify.damage import fact_rows, scale_words, sentence
from quantify.measure import WIDTH_EDGES_MM
from quantify.scale import ScaleOptions, find_scale
from report.figure import overlay
from report.records import total_quantities
from report.survey import budget_rows
from runs import SHIPPED, best_checkpoints, newest_run, weights_file

try:
    import gradio as gr
except ImportError:
    print("error: demo.py needs Gradio; run pip install -r requirements-demo.txt", file=sys.stderr)
    sys.exit(2)

LARGEST = "60mb"  # of one upload
PRICES = Path(__file__).parent / "data" / "prices.csv"
PROGRESS = gr.Progress(track_tqdm=True)  # shows the progress bar of the survey on the page
SHOWN_PX = 1400  # longer side of the pictures on the page
NO_SCALE_HERE = "No scale yet, so pixels and percent only. Choose under *Scale* where the millimetres come from."
NOT_GIVEN = "no scale"
# what the user can choose: the scale's option, and what the number beside it means
SCALES = {
    NOT_GIVEN: (None, ""),
    "size of a pixel": ("mm_per_pixel", "millimetres per pixel"),
    "two points": ("reference", "millimetres between the two points"),
    "A4 sheet": ("sheet", ""),
    "Letter sheet": ("sheet", ""),
    "printed marker": ("marker_mm", "side of the marker's black square, millimetres"),
}


# -------------------------------------------------------------------------------------------------------- what happens


@dataclass(frozen=True)
class Seen:
    """A photo and its crack probability, kept so that moving the threshold does not run the network again."""

    path: Path
    photo: np.ndarray  # (H, W, 3) uint8 RGB
    probability: np.ndarray  # (H, W) float32


def checkpoints():
    """[(what the user reads, file)]: every run, the newest first, then the shipped weights."""
    runs = [(file.parent.name, str(file)) for file in reversed(best_checkpoints())]
    return [*runs, ("shipped weights", str(SHIPPED))]


def one_line(error, path):
    """BadInput -> its line, safe to show on a page, with the file's name instead of where it lies on the server."""
    return html.escape(str(error).replace(str(path), Path(path).name))


def look(device, path, checkpoint):
    """Uploaded file, checkpoint -> (Seen, the checkpoint's threshold, no points, the photo to click on)."""
    if path is None:
        return None, gr.skip(), [], None
    try:
        photo = read_one(Path(path))
        model, preprocess, threshold = open_model(checkpoint, device)
    except BadInput as error:
        raise gr.Error(one_line(error, path), print_exception=False) from None
    probability = predict(fused(model), preprocess, photo)
    return Seen(Path(path), photo, probability), threshold, [], at_most(photo, SHOWN_PX)


def add_point(seen, points, event: gr.SelectData):
    """A click on the photo -> (the last two points in the photo's own pixels, the photo with crosses there)."""
    shown = at_most(seen.photo, SHOWN_PX)
    factor = seen.photo.shape[1] / shown.shape[1]
    points = [*points[-1:], [factor * (coordinate + 0.5) - 0.5 for coordinate in event.index]]
    for x, y in points:
        at = round((x + 0.5) / factor - 0.5), round((y + 0.5) / factor - 0.5)
        cv2.drawMarker(shown, at, (255, 255, 255), cv2.MARKER_CROSS, 40, 5)
        cv2.drawMarker(shown, at, (204, 0, 153), cv2.MARKER_CROSS, 40, 2)
    return points, shown


def scale_of(choice, number, points):
    """What the user chose -> ScaleOptions. Raises BadInput where something is missing."""
    option, meaning = SCALES[choice]
    if option is None:
        return ScaleOptions()
    if option == "sheet":
        return ScaleOptions(sheet=choice.split()[0].lower())
    if not number or number <= 0:
        raise BadInput(f"{choice}: enter the {meaning}")
    if option != "reference":
        return ScaleOptions(**{option: float(number)})
    if len(points) < 2:
        raise BadInput("two points: click two points on the photo first")
    (x1, y1), (x2, y2) = points
    return ScaleOptions(reference=(x1, y1, x2, y2, float(number)))


def assess(seen, threshold, choice, number, points, prices):
    """The controls -> (survey.Examined, list of Price or None, in words where the millimetres come from).

    Without a scale, or with one that cannot be had, there are only pixels; the words say why. A wrong price costs only
    the budget.
    """
    scale, prices_used, edges, words = None, None, WIDTH_EDGES_MM, NO_SCALE_HERE
    try:
        scale = find_scale(seen.photo, seen.path, scale_of(choice, number, points))
    except BadInput as error:
        words = f"No millimetres: {one_line(error, seen.path)}"
    no_budget = ""
    if scale:
        try:
            prices_used = prices_of(prices)
            edges = width_edges(prices_used)
        except BadInput as error:
            no_budget = f". No budget: {one_line(error, seen.path)}"
    found = survey.assess(seen.photo, seen.probability, scale, threshold, edges)
    if scale:
        words = scale_words(found.result["row"]) + no_budget
    return found, prices_used, words


def prices_of(cells):
    """Rows of the price table on the page -> list of Price. Raises BadInput for a wrong cell."""
    with tempfile.TemporaryDirectory() as folder:
        file = write_prices(Path(folder), cells)
        try:
            return read_prices(file)
        except BadInput as error:
            raise BadInput(str(error).replace(str(file), "prices")) from None


def write_prices(folder, cells):
    """Rows of the price table on the page -> the file in this folder that has them as survey.py reads them."""
    rows = [["" if cell is None else str(cell) for cell in row] for row in cells if any(row)]
    write_csv(folder / "prices.csv", COLUMNS, rows)
    return folder / "prices.csv"


def show(seen, threshold, choice, number, points, prices):
    """The controls -> (photo and overlay, probability map, finding in words, numbers, budget)."""
    if seen is None:
        return None, None, "", None, None
    found, prices, scale = assess(seen, threshold, choice, number, points, prices)
    row = found.result["row"]
    marked = overlay(found.photo, found.flat_mask, found.measured, row)
    heat = cv2.applyColorMap((255 * found.probability).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    words = f"**{sentence(row).capitalize()}.**\n\n{scale}"
    budget = []
    if prices:
        budget = budget_rows(estimate(total_quantities([found.result["quantities"]]), prices))
    before, after, heat = (at_most(picture, SHOWN_PX) for picture in (found.photo, marked, heat))
    return (before, after), heat, words, fact_rows(row), budget


def take_away(seen, threshold, choice, number, points, prices):
    """The controls -> path of a zip: mask, overlay, outlines as COCO, and the numbers as one row of CSV."""
    if seen is None:
        raise gr.Error("Give a photo first.", print_exception=False)
    found, *_ = assess(seen, threshold, choice, number, points, prices)
    row = found.result["row"]
    folder = Path(tempfile.mkdtemp(dir=os.environ["GRADIO_TEMP_DIR"]))
    name = seen.path.stem
    write_image(folder / f"{name}_mask.png", 255 * found.mask)
    write_image(folder / f"{name}_overlay.jpg", overlay(found.photo, found.flat_mask, found.measured, row))
    write_coco(folder / f"{name}_coco.json", [(folder / seen.path.name, found.mask)])
    write_csv(folder / f"{name}.csv", ["photo", *row], [[seen.path.name, *row.values()]])
    return zipped(folder, f"{name}.zip")


def zipped(folder, name):
    """Folder -> path of a zip of that name beside it, which holds the folder's files."""
    path = Path(tempfile.mkdtemp(dir=folder.parent)) / name
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, file.name)
    return str(path)


def survey_files(device, checkpoint, files, choice, number, prices, progress=PROGRESS):
    """Several photos or a zip -> (the survey's report for the page, zip of everything that survey.py wrote)."""
    folder = Path(tempfile.mkdtemp(dir=os.environ["GRADIO_TEMP_DIR"]))
    out = folder / "survey-results"
    words = [*uploaded(files or [], folder), "--checkpoint", checkpoint, "--out", str(out), "--device", device.type]
    words.append("--no-places")  # what people upload does not tell where they were
    try:
        options = scale_of(choice, number, [])
        flag = SCALES[choice][0]
        if options.given:
            value = options.sheet or number
            words += [f"--{'find-sheet' if flag == 'sheet' else flag.replace('_', '-')}", str(value)]
            words += ["--prices", str(write_prices(folder, prices))]
        survey.main(words)
    except BadInput as error:
        raise gr.Error(one_line(error, folder), print_exception=False) from None
    report = out / "report.html"
    if not report.is_file():
        raise gr.Error("None of these files is a photo that can be used.", print_exception=False)
    content = html.escape(report.read_text(encoding="utf-8"))
    frame = f'<iframe title="survey report" sandbox="allow-scripts" style="width:100%;height:80vh" srcdoc="{content}">'
    return f"{frame}</iframe>", zipped(out, "survey.zip")


def uploaded(files, folder):
    """Uploaded files -> [path]: photos as they are, and the folder of each zip."""
    paths = []
    for position, file in enumerate(map(Path, files)):
        if file.suffix.lower() == ".zip":
            paths.append(str(unpacked(file, keep=(), into=folder / f"zip-{position}")))
        else:
            paths.append(str(file))
    return paths


def scale_fields(choice):
    """What the user chose -> the fields that this scale needs."""
    option, meaning = SCALES[choice]
    number = gr.Number(label=meaning.capitalize(), visible=bool(meaning))
    return number, gr.Image(visible=option == "reference")


def price_rows():
    """data/prices.csv as rows of the page's table, cells as text."""
    return list(csv.reader(line for _, line in price_lines(PRICES)))[1:]  # the first holds the names of the columns


# ------------------------------------------------------------------------------------------------------------ the page


def page(device, examples):
    """The page, ready to be started."""
    with gr.Blocks(title="Cracks in asphalt", analytics_enabled=False, delete_cache=(600, 3600)) as blocks:
        gr.Markdown("# Cracks in asphalt\nGive a photo. The page marks the cracks and measures them.")
        checkpoint = gr.Dropdown(checkpoints(), value=str(weights_file(newest_run())), label="Network")
        with gr.Accordion("Unit prices for the budget: an example, replace them with your own", open=False):
            rows = price_rows()
            prices = gr.Dataframe(rows, headers=COLUMNS, interactive=True, type="array", show_label=False)
        with gr.Tab("One photo"):
            one_photo(device, checkpoint, prices, examples)
        with gr.Tab("Many photos"):
            many_photos(device, checkpoint, prices)
    return blocks


def one_photo(device, checkpoint, prices, examples):
    """The first tab: controls on the left, results on the right."""
    seen, points = gr.State(None, time_to_live=3600), gr.State([])
    with gr.Row():
        with gr.Column(min_width=320):
            photo = gr.Image(type="filepath", label="Photo", sources=["upload", "clipboard", "webcam"], height=280)
            photo.preprocess = lambda upload: upload and upload.path  # read_photo alone decides what is a photo
            gr.Examples(examples, photo, label="Drawn examples")
            threshold = gr.Slider(0.05, 0.95, 0.5, step=0.01, label="Threshold: crack from this probability on")
            choice = gr.Radio(list(SCALES), value=NOT_GIVEN, label="Scale")
            number = gr.Number(label="Millimetres", visible=False)
            ask = "For the scale: click two points"
            clickable = gr.Image(label=ask, interactive=False, visible=False, buttons=[], elem_id="clickable")
        with gr.Column(min_width=320, scale=2):
            words = gr.Markdown()
            slider = gr.ImageSlider(label="Photo and cracks, coloured by width", interactive=False, format="jpeg")
            facts = gr.Dataframe(headers=["", "value"], label="Numbers", interactive=False)
            heads = ["work", "amount", "low", "central", "high"]
            budget = gr.Dataframe(headers=heads, label="Budget for the photographed area", interactive=False)
            heat = gr.Image(
                label="Crack probability: black 0, yellow 1", interactive=False, format="jpeg", buttons=["fullscreen"]
            )
            pack = gr.Button("Make a zip: mask, overlay, COCO outlines, CSV row")
            zip_file = gr.File(label="Zip")
    controls = [seen, threshold, choice, number, points, prices]
    outputs = [slider, heat, words, facts, budget]
    looked = gr.on(
        [photo.change, checkpoint.change],
        partial(look, device),
        [photo, checkpoint],
        [seen, threshold, points, clickable],
        api_name="look",
    )
    looked.success(show, controls, outputs)
    for change in (threshold.release, number.submit, prices.input):
        change(show, controls, outputs)
    choice.change(scale_fields, choice, [number, clickable]).then(show, controls, outputs)
    clickable.select(add_point, [seen, points], [points, clickable]).then(show, controls, outputs)
    pack.click(take_away, controls, zip_file)


def many_photos(device, checkpoint, prices):
    """The second tab: what survey.py does."""
    files = gr.File(file_count="multiple", label="Photos, or a zip of photos")
    scales = [name for name in SCALES if name != "two points"]  # which differ from photo to photo
    choice = gr.Radio(scales, value=NOT_GIVEN, label="Scale of all photos")
    number = gr.Number(label="Millimetres", visible=False)
    start = gr.Button("Measure all", variant="primary")
    results = gr.File(label="Masks, overlays, tables and report")
    report = gr.HTML()
    choice.change(scale_fields, choice, [number, gr.Image(visible=False)])
    start.click(
        partial(survey_files, device),
        [checkpoint, files, choice, number, prices],
        [report, results],
        api_name="survey_files",
    )


# ------------------------------------------------------------------------------------------------------------- command


def arguments(argv):
    parser = flags(
        "Try the network in a browser, on this computer only.",
        "python demo.py",
        "python demo.py --port 8000",
        common=["device"],
    )
    parser.add_argument(
        "--port", type=number(int, 1, 65535), help="port of the page (default: the first free one from 7860)"
    )
    parser.add_argument(
        "--share", action="store_true", help="also give it a public address for 72 hours: anyone who has it can use it"
    )
    return parser.parse_args(argv)


def started(blocks, port, share, folder):
    """Start the page, which may show files of this folder -> its address on this computer. Raises BadInput."""
    no_font_from_elsewhere = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])
    try:
        _, address, _ = blocks.launch(
            server_name="127.0.0.1",
            server_port=port,
            share=share,
            max_file_size=LARGEST,
            allowed_paths=[str(folder)],
            state_session_capacity=20,
            theme=no_font_from_elsewhere,
            footer_links=[],
            prevent_thread_lock=True,
            quiet=True,
        )
    except OSError:
        raise BadInput(f"--port {port or '7860 to 7959'}: in use or not allowed; give another") from None
    return address


def main(argv=None):
    args = arguments(argv)
    examples = [[str(photo.path)] for photo in find_export().photos if photo.cracked][:3]
    uploads = tempfile.TemporaryDirectory(prefix="crack-demo-")
    atexit.register(uploads.cleanup)  # not at the end of this function: in a notebook the page outlives it
    os.environ["GRADIO_TEMP_DIR"] = uploads.name
    blocks = page(choose_device(args.device), examples).queue(max_size=50)
    address = started(blocks, args.port, args.share, Path(examples[0][0]).parent)
    print(f"open {address} in a browser; Ctrl-C ends it", flush=True)
    if not hasattr(sys, "ps1"):  # in a notebook the next cell can run while the page is open
        blocks.block_thread()
    return 0


if __name__ == "__main__":
    execute(main)
