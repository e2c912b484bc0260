"""Try the network in a browser: one photo with its numbers, or many photos with one report.

Here is what the page looks like; web/actions.py is what happens when somebody uses it.
"""

import atexit
import os
import sys
import tempfile
from functools import partial
from pathlib import Path

from command import BadInput, choose_device, execute, flags, number
from dataset import find_export
from quantify.budget import COLUMNS
from runs import newest_run, weights_file

try:
    import gradio as gr

    from web import actions
except ImportError:
    print("error: demo.py needs Gradio; run pip install -r requirements-demo.txt", file=sys.stderr)
    sys.exit(2)

LARGEST = "60mb"  # of one upload


def page(device, examples):
    """The page, ready to be started."""
    with gr.Blocks(title="Cracks in asphalt", analytics_enabled=False, delete_cache=(600, 3600)) as blocks:
        gr.Markdown("# Cracks in asphalt\nGive a photo. The page marks the cracks and measures them.")
        checkpoint = gr.Dropdown(actions.checkpoints(), value=str(weights_file(newest_run())), label="Network")
        with gr.Accordion("Unit prices for the budget: an example, replace them with your own", open=False):
            rows = actions.price_rows()
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
            choice = gr.Radio(list(actions.SCALES), value=actions.NOT_GIVEN, label="Scale")
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
        partial(actions.look, device),
        [photo, checkpoint],
        [seen, threshold, points, clickable],
        api_name="look",
    )
    looked.success(actions.show, controls, outputs)
    for change in (threshold.release, number.submit, prices.input):
        change(actions.show, controls, outputs)
    choice.change(actions.scale_fields, choice, [number, clickable]).then(actions.show, controls, outputs)
    clickable.select(actions.add_point, [seen, points], [points, clickable]).then(actions.show, controls, outputs)
    pack.click(actions.take_away, controls, zip_file)


def many_photos(device, checkpoint, prices):
    """The second tab: what survey.py does."""
    files = gr.File(file_count="multiple", label="Photos, or a zip of photos")
    scales = [name for name in actions.SCALES if name != "two points"]  # which differ from photo to photo
    choice = gr.Radio(scales, value=actions.NOT_GIVEN, label="Scale of all photos")
    number = gr.Number(label="Millimetres", visible=False)
    start = gr.Button("Measure all", variant="primary")
    results = gr.File(label="Masks, overlays, tables and report")
    report = gr.HTML()
    choice.change(actions.scale_fields, choice, [number, gr.Image(visible=False)])
    start.click(
        partial(actions.survey_files, device),
        [checkpoint, files, choice, number, prices],
        [report, results],
        api_name="survey_files",
    )


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
