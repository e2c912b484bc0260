"""The page of demo.py, used as a visitor would: by Gradio's client, and in a browser where one is installed.

Seen with Gradio 6.31, Selenium 4 and Debian's chromium 150. The browser checks are skipped without chromedriver.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.request import urlopen

import cv2
import numpy as np
import pytest
import torch
from conftest import table

import inference
from command import BadInput
from formats.photo import read_mask, write_image
from quantify.budget import COLUMNS
from runs import SHIPPED

gradio = pytest.importorskip("gradio")
import gradio_client  # noqa: E402

import demo  # noqa: E402

ROOT = Path(__file__).parent.parent
LENGTH, MM = 612, 0.5  # pixels along the crack's centre line; millimetres per pixel


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    """A drawn road with one winding crack from left to right, LENGTH pixels long; its name is hostile."""
    rng = np.random.default_rng(3)
    road = np.full((700, 1000), 120, np.float32)
    for cell, strength in ((2, 8), (5, 6), (30, 4)):
        grain = rng.normal(0, strength, (700 // cell + 2, 1000 // cell + 2)).astype(np.float32)
        road += cv2.resize(grain, None, fx=cell, fy=cell, interpolation=cv2.INTER_CUBIC)[:700, :1000]
    x = np.arange(200, 801, 6)
    y = 350 + 6 * np.sin((x - 200) / 45) + rng.normal(0, 1.5, len(x))
    crack = cv2.polylines(np.zeros((700, 1000), np.uint8), [np.c_[x, y].round().astype(np.int32)], False, 1, 5)
    road *= 1 - 0.7 * cv2.GaussianBlur(crack.astype(np.float32), (0, 0), 1)
    path = tmp_path_factory.mktemp("photo") / "<img src=x onerror=alert(1)>.png"
    write_image(path, np.repeat(np.clip(road, 0, 255).astype(np.uint8)[..., None], 3, axis=2))
    return path


@pytest.fixture(scope="module")
def address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen([sys.executable, "demo.py", "--port", str(port)], cwd=ROOT)
    for _ in range(240):
        time.sleep(0.5)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
    yield f"http://127.0.0.1:{port}/"
    server.terminate()
    server.wait()


@pytest.fixture
def client(address):
    return gradio_client.Client(address, verbose=False)


def prices():
    """The table of prices as the page sends it."""
    return {"headers": COLUMNS, "data": demo.price_rows(), "metadata": None}


def shown(client, *controls):
    """(words, {fact: value}, budget rows) for threshold, kind of scale, millimetres."""
    _, _, words, facts, budget = client.predict(*controls, prices(), api_name="/show")
    return words, dict(facts["data"]), budget["data"]


@pytest.mark.parametrize("port", ["0", "-1", "65536", "99999"])
def test_a_port_that_cannot_be_is_refused(port):
    with pytest.raises(BadInput, match=f"--port: {port}: .*65535"):
        demo.arguments(["--port", port])


def test_a_busy_port_is_one_line_of_our_own(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with gradio.Blocks() as blocks, pytest.raises(BadInput, match=f"^--port {port}: in use"):
            demo.started(blocks, port, False, tmp_path)


def test_the_page_starts_with_its_address_and_no_advice_of_gradio(tmp_path, capsys):
    with gradio.Blocks() as blocks:
        gradio.Markdown("a page")
    address = demo.started(blocks, None, False, tmp_path)
    try:
        with urlopen(address) as answer:
            assert answer.status == 200
        assert capsys.readouterr().out == ""
    finally:
        blocks.close()


def test_the_page_begins_with_the_newest_run_like_the_other_commands(tmp_path, monkeypatch, photo):
    monkeypatch.chdir(tmp_path)
    assert chosen_network(photo) == (str(SHIPPED), [str(SHIPPED)])
    for when, name in ((2000, "newer"), (1000, "older")):
        file = tmp_path / "runs" / name / "best.pt"
        file.parent.mkdir(parents=True)
        file.touch()
        os.utime(file, (when, when))
    newer, older = (str(Path("runs") / name / "best.pt") for name in ("newer", "older"))
    assert chosen_network(photo) == (newer, [newer, older, str(SHIPPED)])


def chosen_network(photo):
    """(file that the page begins with, all files in the order of its list)."""
    blocks = demo.page("cpu", [[str(photo)]])
    (network,) = [block for block in blocks.blocks.values() if getattr(block, "label", None) == "Network"]
    return network.value, [file for _, file in network.choices]


@pytest.mark.slow
def test_the_zip_holds_the_mask_that_inference_writes(client, photo, tmp_path):
    client.predict(gradio_client.handle_file(photo), str(SHIPPED), api_name="/look")
    out = tmp_path / "inference"
    inference.main([str(photo), "--checkpoint", str(SHIPPED), "--out", str(out), "--threshold", "0.4"])
    packed = client.predict(0.4, "size of a pixel", MM, prices(), api_name="/take_away")
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(tmp_path / "zip")
    (mask,) = (tmp_path / "zip").glob("*_mask.png")
    (expected,) = out.glob("*_mask.png")
    assert np.array_equal(read_mask(mask), read_mask(expected)) and read_mask(mask).any()
    (measured,) = (tmp_path / "zip").glob("*.csv")
    (row,) = table(measured)
    assert float(row["mm_per_pixel"]) == MM
    (coco,) = (tmp_path / "zip").glob("*.json")
    assert json.loads(coco.read_text())["annotations"]


@pytest.mark.slow
def test_moving_the_threshold_changes_the_mask_and_a_scale_adds_millimetres(client, photo):
    client.predict(gradio_client.handle_file(photo), str(SHIPPED), api_name="/look")
    low, high = shown(client, 0.05, "no scale", 0), shown(client, 0.95, "no scale", 0)
    assert low[1] != high[1] and low[2] == []
    _, facts, budget = shown(client, 0.5, "size of a pixel", MM)
    length, unsure = (float(text.removesuffix(" m")) for text in facts["length"].split(" ± "))
    assert abs(length - LENGTH * MM / 1000) <= unsure and budget[-1][0].startswith("total")


@pytest.mark.slow
def test_a_scale_that_is_not_in_the_photo_costs_only_the_millimetres(client, photo):
    client.predict(gradio_client.handle_file(photo), str(SHIPPED), api_name="/look")
    words, facts, budget = shown(client, 0.5, "A4 sheet", 0)
    assert "No millimetres" in words and "<img" not in words and facts["length"].endswith("px") and not budget


@pytest.mark.slow
def test_a_bad_file_is_one_line_and_ten_visitors_at_once_are_served(address, photo, tmp_path):
    bad = tmp_path / "holiday.jpg"
    bad.write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    visitor = gradio_client.Client(address, verbose=False)
    with pytest.raises(Exception, match="holiday.jpg: .*HEIC"):
        visitor.predict(gradio_client.handle_file(bad), str(SHIPPED), api_name="/look")

    def visit(_):
        client = gradio_client.Client(address, verbose=False)
        client.predict(gradio_client.handle_file(photo), str(SHIPPED), api_name="/look")
        return shown(client, 0.5, "no scale", 0)[1]

    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(visit, range(10)))
    assert all(answer == answers[0] for answer in answers)


@pytest.mark.slow
def test_many_photos_give_the_report_of_the_survey(client, photo):
    files = [gradio_client.handle_file(photo)]
    report, packed = client.predict(str(SHIPPED), files, "size of a pixel", MM, prices(), api_name="/survey_files")
    assert "srcdoc" in report
    with zipfile.ZipFile(packed) as archive:
        assert {"report.html", "cracks.csv"} <= set(archive.namelist())


def test_many_photos_are_looked_at_on_the_device_of_the_page(monkeypatch, tmp_path):
    words = []
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setattr(demo.survey, "main", words.extend)
    with pytest.raises(Exception, match="None of these files"):  # as this survey writes no report
        demo.survey_files(torch.device("cpu"), str(SHIPPED), ["a.jpg"], demo.NOT_GIVEN, None, [])
    assert words[words.index("--device") + 1] == "cpu"


@pytest.fixture
def browser():
    webdriver = pytest.importorskip("selenium.webdriver")
    driver, chromium = shutil.which("chromedriver"), shutil.which("chromium")
    if not driver or not chromium:
        pytest.skip("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,2000"):
        options.add_argument(flag)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield browser
    browser.quit()


@pytest.mark.slow
def test_two_clicks_and_their_distance_give_millimetres(browser, address, photo):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import WebDriverWait

    def found(by, what):
        """The first such element, as soon as it is there."""
        return WebDriverWait(browser, 60).until(lambda _: browser.find_elements(by, what))[0]

    def length(pattern):
        """What the page says about the length, as soon as it looks like this."""

        def said(_):
            return re.search(rf"\nlength\s+({pattern})\n", browser.find_element(By.TAG_NAME, "body").text)

        return WebDriverWait(browser, 60).until(said)[1]

    browser.get(address)
    found(By.CSS_SELECTOR, "input[type=file]").send_keys(str(photo))
    assert length(r"\d+ px")
    found(By.XPATH, "//label[contains(., 'two points')]//input").click()
    picture = found(By.CSS_SELECTOR, "#clickable img")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", picture)
    for share in (-0.3, 0.3):
        place = share * picture.size["width"]
        ActionChains(browser).move_to_element_with_offset(picture, place, 0).click().perform()
        time.sleep(3)
    box = found(By.XPATH, "//label[contains(., 'illimetres between')]//input")
    box.clear()
    box.send_keys(str(0.6 * 1000 * MM) + Keys.ENTER)
    metres, unsure = (float(text) for text in length(r"[\d.]+ ± [\d.]+ m").removesuffix(" m").split(" ± "))
    assert abs(metres - LENGTH * MM / 1000) <= unsure
    assert not browser.execute_script("return document.querySelector('img[onerror]') !== null")


def test_an_error_shows_the_files_name_as_text_and_not_where_it_lies():
    path = "/uploads/17/<img src=x onerror=alert(1)>.jpg"
    said = demo.one_line(BadInput(f"{path}: not an image"), path)
    assert said == "&lt;img src=x onerror=alert(1)&gt;.jpg: not an image"
