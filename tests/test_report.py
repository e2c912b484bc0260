"""The pages and pictures that a person looks at; the slow check opens them in a real browser."""

import base64
import html
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib.figure import Figure

from evaluate import robustness, score, write_results
from formats.coco import read_export
from report import evaluation, page
from report.comparison import compare
from report.ranking import Entry, Problem, rank

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
    return replace(score(photos, guess, "guess", "drawn, all, 10 photos"), threshold=0.5)


def nothing(item, photo):
    return np.zeros(photo.shape[:2], np.uint8), None


def little_page():
    """Every block of page.py, with a name that would run as a script if it were not escaped."""
    narrow, wide = Figure(figsize=(2, 2)), Figure(figsize=(11, 2))
    narrow.subplots().set_title(EVIL)
    photo = np.zeros((4, 6, 3), np.uint8)
    pictures = [page.picture(photo, f"{EVIL} {i}", plain=photo, values={EVIL: EVIL, "crack, %": i}) for i in (2, 10, 1)]
    bars = [page.Bar(EVIL, 0.5, 0.4, 0.7), page.Bar("ceiling", 0.8, note=EVIL, reference=True)]
    rows = [[EVIL, 1, 0.5], ["x10", 20, float("nan")], ["x9", 3, None], ["", -4, page.Cell(EVIL, -2)]]
    return page.page(
        EVIL,
        page.cards([(EVIL, EVIL, EVIL)]),
        page.notice(EVIL),
        page.bars(bars, marks=(0.6,)),
        page.section(EVIL, page.gallery(pictures, sort_by=["crack, %", EVIL], filter_by={EVIL: [EVIL, "other"]})),
        page.group(EVIL, page.paragraph(EVIL), page.figure(narrow, EVIL), page.figure(wide, EVIL)),
        page.legend({EVIL: (1, 2, 3)}),
        page.details(EVIL, page.group(EVIL, page.table([EVIL, "v"], [[EVIL, 0.5]], "in groups"))),
        page.table([EVIL, "n", "v"], rows, f"table {EVIL}"),
        EVIL,
    )


def test_whatever_a_photo_is_called_it_stays_text():
    parsed = Parsed(little_page())
    assert parsed.tags.count("script") == 1  # the page's own
    assert ("img", "alt", f"{EVIL} 10") in parsed.attributes
    assert "alert(" not in re.sub(r"&lt;script&gt;alert\(", "", little_page())


def test_a_page_fetches_nothing():
    parsed = Parsed(little_page())
    fetched = [value for _, name, value in parsed.attributes if name in ("src", "href", "xlink:href", "action")]
    assert fetched and all(value.startswith(("data:", "#")) for value in fetched)
    assert "url(http" not in little_page() and "@import" not in little_page()


def test_what_scrolls_is_reached_by_keyboard_and_every_region_has_its_own_name():
    parsed = Parsed(little_page())
    assert parsed.tags.count("main") == 1
    scrolling = parsed.attributes.count(("div", "tabindex", "0"))
    names = [value for tag, name, value in parsed.attributes if (tag, name) == ("div", "aria-label")]
    assert scrolling == len(names) == len(set(names)) == 3  # two tables and the wide chart


def test_a_bar_is_drawn_where_its_value_lies_between_the_limits():
    drawn = page.line(page.Bar("a", 0.02, -0.1, 0.06), (-0.2, 0.2), marks=(0,))
    assert 'cx="55.00%"' in drawn and 'x1="25.00%" x2="65.00%"' in drawn and 'x1="50.00%" x2="50.00%"' in drawn
    assert "0.020 (-0.100 to 0.060)" in drawn
    assert 'cx="100.00%"' in page.line(page.Bar("beyond", 7), (0, 1))
    assert "<circle" not in page.line(page.Bar("undefined", float("nan")), (0, 1))


def test_a_cell_shows_three_decimals_and_sorts_by_the_full_number():
    assert page.cell(0.12345) == '<td class="number" data-value="0.12345">0.123</td>'
    assert page.cell(-660.8182) == '<td class="number" data-value="-660.8182">-660.8</td>'
    assert page.cell(np.int64(7)) == '<td class="number" data-value="7">7</td>'
    assert page.cell(np.float32("nan")) == page.cell(None) == "<td></td>"
    assert page.cell(page.Cell("±", 0.25)) == '<td data-value="0.25">±</td>'
    assert page.cell(page.Cell("±", float("nan"))) == '<td data-value="">±</td>'


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
    write_results(scored, tmp_path)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    parsed = Parsed(text)
    assert "0 of 2" in text  # undamaged photos left empty: guess has a false alarm on every photo
    assert "guess on drawn, all, 10 photos" in text and f"{scored.sheet['iou_cracked']:.3f}" in text
    assert all(
        key in text and evaluation.page.escaped(said) in text for key, said in evaluation.metrics.MEANING.items()
    )
    assert all(evaluation.page.escaped(photo.name) in text for photo in scored.photos)
    charts, bars, scale = 4, 4, 1
    assert parsed.tags.count("svg") == charts + bars + scale
    top, strips, alarms = 3 * 2, 2 + 2 + 2, 2  # at the top each with the photo alone, too
    assert parsed.tags.count("img") == top + strips + alarms
    assert all(alt for tag, name, alt in parsed.attributes if (tag, name) == ("img", "alt"))
    write_results(scored, tmp_path)
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == text  # the same scores, the same bytes


def test_a_report_without_any_crack_says_so(scored, tmp_path):
    sound = [i for i in range(10) if i not in scored.cracked]
    empty = score([scored.photos[i] for i in sound], guess, "guess", "sound")
    write_results(empty, tmp_path)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "scores.json").read_text())["iou_cracked_interval"] == [None, None]
    assert "No photo has a crack" in text and "nan" not in re.sub(r"base64,[^\"]+|<script>.*</script>", "", text)


# Does what a reader does and notes what is there: sorts the last table by each column, up and down; enlarges the first
# picture, goes on with an arrow key, closes; shows a photo without its marks; sorts and filters the gallery.
CLICKS = """
const heads = [...[...document.querySelectorAll('table')].at(-1).querySelectorAll('th button')];
const column = i => [...heads[0].closest('table').tBodies[0].rows].map(row => row.cells[i].textContent);
const click = i => { heads[i].click(); return column(i); };
const said = { up: heads.map((_, i) => click(i)), down: [] };
heads.forEach((_, i) => { click(i); said.down.push(click(i)); });
const captions = () => [...document.querySelectorAll('dialog figcaption')].map(one => one.textContent);
document.querySelector('.enlarge').click();
said.enlarged = captions();
dialog.dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowRight' }));
said.next = captions();
dialog.querySelector('button[value=close]').click();
said.closed = !dialog.open;
const seen = () => [...document.querySelectorAll('main .picture')].map(
  one => [...one.querySelectorAll('img')].filter(img => img.offsetParent).map(img => img.className).join());
document.querySelector('.toggle')?.click();
said.toggled = seen();
const choose = (name, value) => {
  const select = document.querySelector(`select[name=${name}]`);
  select.value = value;
  select.dispatchEvent(new Event('change', { bubbles: true }));
  return [...document.querySelectorAll('.gallery > figure')].filter(one => !one.hidden).map(
    one => one.querySelector('figcaption').textContent);
};
if (document.querySelector('select')) {
  said.sorted = choose('sort', 'crack, %');
  said.filtered = choose('filter', 'other');
}
said.wide = document.documentElement.scrollWidth > window.innerWidth;
document.body.dataset.said = JSON.stringify(said);
"""


def in_browser(text, folder, width, script=CLICKS):
    """What a script noted on a page in headless Chromium; fails where the console has anything to say."""
    if not shutil.which("chromium"):
        pytest.skip("chromium is not installed (apt-get install chromium): the page was not opened in a browser")
    page.write(folder / "clicked.html", text.replace("</body>", f"<script>{script}</script></body>"))
    quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic"]
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", *quiet]
    command += [f"--window-size={width},900", f"--user-data-dir={folder / f'profile{width}'}"]
    command += ["--enable-logging=stderr", "--virtual-time-budget=60000", "--dump-dom"]
    command += [(folder / "clicked.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert not [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return json.loads(html.unescape(re.search(r'data-said="([^"]*)"', done.stdout).group(1)))


def accessibility_findings(text, folder):
    """[id of the rule] of what axe-core calls serious or critical, everything opened."""
    axe = pytest.importorskip("axe_core_python", reason="axe-core-python is not installed: axe-core did not look")
    rules = (Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
    run = """
    for (const block of document.querySelectorAll('details')) block.open = true;
    axe.run(document).then(found => { document.body.dataset.said = JSON.stringify(found.violations); });
    """
    found = in_browser(text, folder, 1280, f"{rules}</script><script>{run}")
    return [one["id"] for one in found if one["impact"] in ("serious", "critical")]


@pytest.mark.slow
@pytest.mark.parametrize("width", [1300, 500])
def test_the_report_works_in_a_browser(scored, tmp_path, width):
    write_results(scored, tmp_path, harder=robustness(scored, guess, tmp_path, seed=0))
    said = in_browser((tmp_path / "report.html").read_text(encoding="utf-8"), tmp_path, width)
    assert len(said["enlarged"]) == 1 and said["enlarged"] != said["next"] and said["closed"] and not said["wide"]
    assert sorted(said["up"][0]) == sorted(photo.name for photo in scored.photos)


@pytest.mark.slow
def test_a_reader_sorts_enlarges_toggles_and_filters(tmp_path):
    said = in_browser(little_page(), tmp_path, 900)
    assert said["up"] == [[EVIL, "x9", "x10", ""], ["-4", "1", "3", "20"], [EVIL, "0.500", "", ""]]
    assert said["down"] == [["x10", "x9", EVIL, ""], ["20", "3", "1", "-4"], ["0.500", EVIL, "", ""]]
    assert said["enlarged"] == [f"{EVIL} 2"] and said["next"] == [f"{EVIL} 10"] and said["closed"]
    assert said["toggled"] == ["plain", "marked", "marked"]
    assert said["sorted"] == [f"{EVIL} 10", f"{EVIL} 2", f"{EVIL} 1"] and said["filtered"] == []


@pytest.mark.slow
def test_axe_core_finds_nothing_serious(scored, tmp_path):
    write_results(scored, tmp_path)
    other = score(scored.photos, nothing, "nothing", scored.title)
    compare([scored, other], tmp_path)
    problems = [Problem(scored.photos[0].name, "missing", EVIL)]
    rank([Entry(scored, []), Entry(other, problems)], [EVIL], tmp_path)
    pages = [little_page()]
    pages += [(tmp_path / f"{name}.html").read_text(encoding="utf-8") for name in ("report", "comparison", "ranking")]
    assert [accessibility_findings(text, tmp_path) for text in pages] == [[], [], [], []]
