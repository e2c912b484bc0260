"""The pages and pictures that a person looks at; the slow check opens them in a real browser."""

import base64
import html
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
from matplotlib.figure import Figure

from evaluate import evaluate, robustness, score
from formats.coco import read_export
from report import evaluation, page

EVIL = '<script>alert("1")</script>&.jpg'


class Parsed(HTMLParser):
    """Tags and attributes of a page; fails where a tag is closed that was not opened."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.open = [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attributes]
        if tag not in ("meta", "link", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attributes]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def guess(item, photo):
    """The drawn crack, a few rows too low: hits, misses and false alarms."""
    probability = np.roll((photo[..., 0] < 70).astype(np.float32) * 0.9, 2, axis=1)
    probability[:6, :40] = 0.7  # false alarms on undamaged photos too
    return (probability >= 0.5).astype(np.uint8), probability


@pytest.fixture
def scored(export):
    photos = read_export(export).photos
    photos[0] = replace(photos[0], name=EVIL)
    return score(photos, guess, "guess", "drawn, all, 10 photos", 0.5)


def little_page():
    fig = Figure(figsize=(2, 2))
    fig.subplots().set_title(EVIL)
    rows = [[EVIL, 1, 0.5], ["x10", 20, float("nan")], ["x9", 3, None], ["", -4, -2]]
    parts = page.paragraph(EVIL), page.table([EVIL, "n", "v"], rows), page.figure(fig, EVIL)
    pictures = page.gallery([page.picture(np.zeros((4, 6, 3), np.uint8), EVIL, width=90)])
    return page.page(EVIL, page.section(EVIL, *parts, pictures, EVIL))


def test_whatever_a_photo_is_called_it_stays_text():
    parsed = Parsed(little_page())
    assert parsed.tags.count("script") == 1  # the page's own
    assert ("img", "alt", EVIL) in parsed.attributes
    assert "alert(" not in re.sub(r"&lt;script&gt;alert\(", "", little_page())


def test_a_page_fetches_nothing():
    parsed = Parsed(little_page())
    fetched = [value for _, name, value in parsed.attributes if name in ("src", "href", "xlink:href", "action")]
    assert fetched and all(value.startswith(("data:", "#")) for value in fetched)
    assert "url(http" not in little_page() and "@import" not in little_page()


def test_a_cell_shows_three_decimals_and_sorts_by_the_full_number():
    assert page.cell(0.12345) == '<td class="number" data-value="0.12345">0.123</td>'
    assert page.cell(np.int64(7)) == '<td class="number" data-value="7">7</td>'
    assert page.cell(np.float32("nan")) == page.cell(None) == "<td></td>"


def test_a_picture_keeps_its_colours_and_is_bounded():
    photo = np.zeros((3000, 4000, 3), np.uint8)
    photo[..., 0], photo[:1500, :, 2] = 250, 200
    data = re.search(r"base64,([^\"]+)", page.picture(photo, "a")).group(1)
    image = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert max(image.shape) == page.LONGEST and image.shape[1] / image.shape[0] == pytest.approx(4 / 3, abs=0.01)
    assert np.abs(image[10, 10].astype(int) - (250, 0, 200)).max() < 8
    assert np.abs(image[-10, 10].astype(int) - (250, 0, 0)).max() < 8


def test_hits_misses_and_false_alarms_have_the_colours_of_the_legend():
    photo, truth, prediction = np.full((1, 4, 3), 100, np.uint8), np.array([[1, 1, 0, 0]]), np.array([[1, 0, 1, 0]])
    drawn = evaluation.marked(photo, truth, prediction)[0]
    for pixel, colour in zip(drawn, evaluation.COLOURS.values(), strict=False):
        assert np.abs(pixel - (0.3 * 100 + 0.7 * np.array(colour))).max() <= 1
    assert drawn[3].tolist() == [100, 100, 100]


def test_the_selection_ranks_cracked_photos_and_false_alarms_apart(scored):
    chosen, iou = evaluation.selection(scored), evaluation.metrics.iou(scored.counts)
    assert iou[chosen["worst"]].max() <= np.median(scored.iou()) <= iou[chosen["best"]].min()
    assert chosen["worst"][0] == scored.cracked[scored.iou().argmin()]
    assert min(iou[chosen["median"]]) <= np.median(scored.iou()) <= max(iou[chosen["median"]])
    assert sorted(chosen["false_alarms"]) == sorted(set(range(10)) - set(scored.cracked.tolist()))


def test_the_report_has_every_score_photo_and_figure(scored, tmp_path):
    evaluate(scored, tmp_path)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    parsed = Parsed(text)
    assert "left empty: 0 of 2." in text  # guess has a false alarm on every photo
    assert "guess on drawn, all, 10 photos" in text and f"{scored.sheet['iou_cracked']:.3f}" in text
    assert all(
        key in text and evaluation.page.escaped(said) in text for key, said in evaluation.metrics.MEANING.items()
    )
    assert all(evaluation.page.escaped(photo.name) in text for photo in scored.photos)
    assert parsed.tags.count("svg") == 4 and parsed.tags.count("img") == 2 + 2 + 2 + 2
    assert all(alt for tag, name, alt in parsed.attributes if (tag, name) == ("img", "alt"))
    evaluate(scored, tmp_path)
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == text  # the same scores, the same bytes


def test_a_report_without_any_crack_says_so(scored, tmp_path):
    sound = [i for i in range(10) if i not in scored.cracked]
    empty = score([scored.photos[i] for i in sound], guess, "guess", "sound", 0.5)
    evaluate(empty, tmp_path)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "scores.json").read_text())["iou_cracked_interval"] == [None, None]
    assert "No photo has a crack" in text and "nan" not in re.sub(r"base64,[^\"]+|<script>.*</script>", "", text)


# clicks as a reader would, then says what is there: each column of the last table sorted up and down, the enlarged
CLICKS = """
const heads = [...[...document.querySelectorAll('table')].at(-1).querySelectorAll('th button')];
const column = i => [...heads[0].closest('table').tBodies[0].rows].map(row => row.cells[i].textContent);
const click = i => { heads[i].click(); return column(i); };
const said = { up: heads.map((_, i) => click(i)), down: [] };
heads.forEach((_, i) => { click(i); said.down.push(click(i)); });
document.querySelector('figure button').click();
said.enlarged = document.querySelector('dialog').open && document.querySelectorAll('dialog img').length;
document.querySelector('dialog').click();
said.closed = !document.querySelector('dialog').open;
said.wide = document.documentElement.scrollWidth > window.innerWidth;
document.body.dataset.said = JSON.stringify(said);
"""


def in_browser(text, folder, width):
    """What CLICKS saw of a page in headless Chromium; fails where the console has anything to say."""
    if not shutil.which("chromium"):
        pytest.skip("chromium is not installed (apt-get install chromium): the page was not opened in a browser")
    page.write(folder / "clicked.html", text.replace("</body>", f"<script>{CLICKS}</script></body>"))
    quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic"]
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", *quiet]
    command += [f"--window-size={width},900", f"--user-data-dir={folder / f'profile{width}'}"]
    command += ["--enable-logging=stderr", "--dump-dom", (folder / "clicked.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert not [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return json.loads(html.unescape(re.search(r'data-said="([^"]*)"', done.stdout).group(1)))


@pytest.mark.slow
@pytest.mark.parametrize("width", [1300, 500])
def test_the_report_works_in_a_browser(scored, tmp_path, width):
    evaluate(scored, tmp_path, harder=robustness(scored, guess, tmp_path, seed=0))
    said = in_browser((tmp_path / "report.html").read_text(encoding="utf-8"), tmp_path, width)
    assert said["enlarged"] == 1 and said["closed"] and not said["wide"]
    assert sorted(said["up"][0]) == sorted(photo.name for photo in scored.photos)


@pytest.mark.slow
def test_a_click_sorts_numbers_as_numbers_and_what_is_empty_last(tmp_path):
    said = in_browser(little_page(), tmp_path, 900)
    assert said["up"] == [[EVIL, "x9", "x10", ""], ["-4", "1", "3", "20"], ["-2", "0.500", "", ""]]
    assert said["down"] == [["x10", "x9", EVIL, ""], ["20", "3", "1", "-4"], ["0.500", "-2", "", ""]]
