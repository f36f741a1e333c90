"""The demo in a real browser, with and without a server: answers, refusals, tables, tabs, keyboard, narrow screens."""

import base64
import contextlib
import csv
import functools
import http.server
import io
import os
import shutil
import socket
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fashion_jax.serving.demo.description import describe
from fashion_jax.serving.images import to_canvas
from fashion_jax.serving.loading import load
from tests.conftest import ROOT
from tests.zoo import encoded, exact, exif, lossy, photo, write_zoo

webdriver = pytest.importorskip("selenium.webdriver")
keys = pytest.importorskip("selenium.webdriver.common.keys")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
RUNTIME = os.environ.get("ONNXRUNTIME_WEB", "")  # the unpacked npm package
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromium-driver"),
]
PAGES = [
    "served",
    pytest.param("static", marks=pytest.mark.skipif(not RUNTIME, reason="needs ONNXRUNTIME_WEB, as test_onnx_file.py")),
]


@pytest.fixture(scope="module")
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    driver.set_script_timeout(60)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def classifier(finished_run):
    return load(finished_run, batch_size=8, min_probability=0.3, top_k=5)


@pytest.fixture(scope="module")
def description(classifier):
    engine, thresholds = classifier.engine, classifier.decider.abstention.thresholds
    given = (engine.taxonomy, engine.canvas, engine.resize, thresholds)
    return functools.partial(describe, "a run", *given, is_calibrated=True)


@pytest.fixture(scope="module")
def served(classifier, description):
    """Yields the URL of the demo's server."""
    import uvicorn

    from fashion_jax.serving.demo.heat_maps import HeatMaps
    from fashion_jax.serving.demo.server import create_app

    explain = HeatMaps(classifier.engine.trained).draw
    app = create_app(classifier, description(has_heat_maps=True), explain=explain)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    with socket.create_server(("127.0.0.1", 0)) as bound:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/"
        server.should_exit = True
        thread.join(20)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@contextlib.contextmanager
def served_from(root: Path):
    """Yields the URL of a folder on a plain web server."""
    handler = functools.partial(Quiet, directory=str(root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def static(classifier, description, finished_run, tmp_path_factory):
    """Yields the URL of the page without a server, below a path of a plain web server."""
    from fashion_jax.serving.demo.static_model import write_static_model
    from fashion_jax.serving.demo.static_page import find_runtime, write_static_page

    root = tmp_path_factory.mktemp("web")
    write_static_page(
        root / "some" / "path",
        find_runtime(Path(RUNTIME)),
        description(has_heat_maps=False),
        lambda folder: write_static_model(classifier, finished_run, folder),
    )
    with served_from(root) as url:
        yield f"{url}some/path/"


@pytest.fixture(params=PAGES)
def page(request, browser):
    """Returns the browser with the page open and its model loaded."""
    return opened(browser, request.getfixturevalue(request.param))


def opened(browser, url, width=1280, scheme="light"):
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get("about:blank")
    browser.get(url)
    until(browser, "document.querySelector('#about').textContent")
    return browser


def until(browser, condition, seconds=60):
    end = time.monotonic() + seconds
    while not browser.execute_script(f"return {condition}"):
        assert time.monotonic() < end, (condition, browser.get_log("browser"))
        time.sleep(0.02)


def text(browser, selector):
    return browser.execute_script("return document.querySelector(arguments[0]).textContent", selector)


def choose(browser, path, awaited=".bars, .refusal"):
    browser.execute_script("for (const id of ['verdict', 'levels']) document.getElementById(id).replaceChildren()")
    browser.find_element("id", "choose-one").send_keys(str(path))
    until(browser, f"document.querySelector('#result').querySelector('{awaited}')")


def write_photo(path, **options):
    path.write_bytes(encoded(photo(600, 450, seed=3), "JPEG", quality=92, **options))
    return path


def test_an_image_is_answered_as_in_python(page, classifier, tmp_path):
    path = write_photo(tmp_path / "turned.jpg", exif=exif(6))
    choose(page, path)
    [answer] = classifier.predict([path])
    chosen = page.find_elements("css selector", ".bars .chosen")
    assert [row.find_element("class name", "name").text.split()[0] for row in chosen] == [
        name.split("/")[-1].split()[0] for name in answer.classes.values()
    ]
    shares = [int(row.find_element("class name", "value").text.split("\u202f")[0].split()[-1]) for row in chosen]
    assert np.allclose(shares, [100 * share for share in answer.probabilities.values()], atol=2)
    assert "Answered in" in text(page, "#verdict")
    assert page.get_log("browser") == []


def test_odd_files_get_an_answer_or_a_sentence(page, tmp_path):
    expected = write_zoo(tmp_path / "zoo")
    large = tmp_path / "zoo" / "large.png"
    Image.new("RGB", (10000, 6000)).save(large)
    with (tmp_path / "zoo" / "200mb.jpg").open("wb") as file:
        file.truncate(200 << 20)
    names = [name for name in expected if (tmp_path / "zoo" / name).is_file() and name.isascii()]
    for name in [*names, "large.png", "200mb.jpg"]:
        choose(page, tmp_path / "zoo" / name)
        refusal = page.find_elements("css selector", "#verdict .refusal")
        if isinstance(expected.get(name, ""), str):
            assert refusal and refusal[0].text.endswith("."), name
    assert "200 MiB" in refusal[0].text
    assert page.get_log("browser") == []


@pytest.mark.skipif(not RUNTIME, reason="needs ONNXRUNTIME_WEB, as test_onnx_file.py")
@pytest.mark.parametrize("resize", ["stretch", "crop", "letterbox"])
def test_the_browser_decodes_as_training_does(browser, static, resize):
    """The page only resembles what libjpeg does with colors and scales of JPEGs that are larger than the canvas."""
    opened(browser, static)
    kept = {name: data for name, (data, _) in (exact() | lossy()).items() if not name.endswith(".tif")}
    del kept["turned.webp"]  # Chromium ignores the EXIF that Pillow writes
    photos = {f"{h}x{w}": encoded(photo(h, w), "JPEG", quality=92) for h, w in ((900, 700), (70, 90), (300, 2000))}
    for name, data in (kept | photos).items():
        sent = base64.b64encode(data).decode("ascii")
        found = browser.execute_async_script(DECODE, sent, {"height": 32, "width": 24}, resize)
        pixels = np.frombuffer(base64.b64decode(found), np.uint8).reshape(32, 24, 3)
        difference = np.abs(pixels.astype(int) - to_canvas(data, (32, 24), resize))
        assert difference.mean() < 2 if name in photos else difference.max() <= 2, name


DECODE = """
const [data, canvas, resize, done] = arguments;
import(new URL("pixels.js", location).href).then(async ({ decode }) => {
  const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
  done(btoa(String.fromCharCode(...(await decode(new Blob([bytes]), canvas, resize)))));
});
"""


def test_a_zip_becomes_a_table_and_a_csv(page, classifier, tmp_path):
    images = {f"in/{i}.png": encoded(photo(60, 50, seed=i), "PNG") for i in range(11)}
    images |= {"=1+1,.jpg": b"no image at all", "früh/x.png": images["in/0.png"]}
    with zipfile.ZipFile(tmp_path / "many.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {**images, "__MACOSX/in/0.png": b"x", ".hidden": b"x"}.items():
            archive.writestr(name, content)
    (tmp_path / "saved").mkdir()
    page.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path / "saved")})
    page.find_element("id", "choose-many").send_keys(str(tmp_path / "many.zip"))
    until(page, "!document.querySelector('#csv').hidden")
    assert text(page, "#counted").startswith("13 of 13 images") and "1 without an answer" in text(page, "#counted")
    page.execute_script("document.querySelector('#csv').click()")
    saved = tmp_path / "saved" / "predictions.csv"
    end = time.monotonic() + 20
    while not saved.exists() and time.monotonic() < end:
        time.sleep(0.05)
    rows = list(csv.DictReader(io.StringIO(saved.read_bytes().decode("utf-8"), newline="")))
    columns = [x for level in classifier.labels for x in (level, f"{level}_name", f"{level}_probability")]
    assert list(rows[0]) == ["path", *columns, "answer", "error"]
    assert [row["path"].removeprefix("'") for row in rows] == list(images)
    for row, answer in zip(rows, classifier.predict(list(images.values())), strict=True):
        assert bool(row["error"]) == bool(answer.error) and row["answer"] == (answer.answer or "")
        for level, name in answer.classes.items():
            assert row[level] == name and abs(float(row[f"{level}_probability"]) - answer.probabilities[level]) < 0.01
    assert rows[11]["path"] == "'=1+1,.jpg"
    assert page.get_log("browser") == []


def test_a_broken_zip_gets_a_sentence(page, tmp_path):
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04 and nothing else")
    page.find_element("id", "choose-many").send_keys(str(tmp_path / "broken.zip"))
    until(page, "document.querySelector('#counted.refusal')")
    assert "no zip" in text(page, "#counted")


def test_a_model_that_cannot_be_loaded_is_told_where_the_images_were_chosen(browser, tmp_path):
    assets = ROOT / "fashion_jax" / "serving" / "demo" / "assets"
    shutil.copytree(assets, tmp_path / "web")
    shutil.copy(assets / "engine_of_server.js", tmp_path / "web" / "engine.js")  # asks for an API that is not there
    with served_from(tmp_path / "web") as url:
        browser.get(url)
        until(browser, "document.querySelector('#verdict .refusal')")
        for name in ("a.jpg", "b.jpg"):
            write_photo(tmp_path / name)
        browser.find_element("id", "choose-many").send_keys(f"{tmp_path}/a.jpg\n{tmp_path}/b.jpg")
        until(browser, "document.querySelector('#no-batch .refusal')")
        assert "The model cannot be loaded: " in text(browser, "#no-batch") == text(browser, "#verdict")
    browser.get_log("browser")


def test_heat_maps_are_drawn_on_demand(browser, served, tmp_path):
    opened(browser, served)
    choose(browser, write_photo(tmp_path / "a.jpg"))
    browser.find_element("css selector", "#explanation button").click()
    until(browser, "document.querySelectorAll('.maps img').length === 2")
    until(browser, "[...document.querySelectorAll('.maps img')].every((image) => image.naturalWidth > 200)")
    assert browser.get_log("browser") == []


def test_a_pasted_and_a_dropped_image_are_answered(page):
    content = base64.b64encode(encoded(photo(40, 40), "PNG")).decode("ascii")
    for event in ("paste", "drop"):
        page.execute_script("document.getElementById('levels').replaceChildren()")
        page.execute_script(GIVE, content, event)
        until(page, "document.querySelector('#levels .bars')")


GIVE = """
const [content, name] = arguments;
const transfer = new DataTransfer();
const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
transfer.items.add(new File([bytes], "a.png", { type: "image/png" }));
const given = { paste: { clipboardData: transfer }, drop: { dataTransfer: transfer } }[name];
document.dispatchEvent(new { paste: ClipboardEvent, drop: DragEvent }[name](name, { bubbles: true, ...given }));
"""


def test_the_tabs_are_worked_by_the_keyboard_and_say_what_is_selected(page):
    first, second = page.find_elements("css selector", "[role=tab]")
    first.send_keys(keys.Keys.ARROW_RIGHT)
    assert second.get_attribute("aria-selected") == "true" and page.switch_to.active_element == second
    assert page.find_element("id", "many").is_displayed() and not page.find_element("id", "one").is_displayed()
    second.send_keys(keys.Keys.ARROW_LEFT)
    assert page.find_element("id", "one").is_displayed()
    first.send_keys(keys.Keys.TAB)
    assert page.switch_to.active_element.text == "Choose an image"


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pages_fit_and_have_contrast(browser, served, tmp_path, width, scheme):
    """At least 4.5 to 1 (WCAG 2.2, 1.4.3) for the texts on their grounds."""
    opened(browser, served, width, scheme)
    choose(browser, write_photo(tmp_path / "a.jpg"))
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    low = {pair: ratio for pair, ratio in browser.execute_script(CONTRAST).items() if ratio < 4.5}
    assert low == {}
    browser.get(f"{served}docs")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.get_log("browser") == []


CONTRAST = """
const style = getComputedStyle(document.documentElement);
const luminance = (name) => {
  const [r, g, b] = style.getPropertyValue(name).match(/[0-9a-f]{2}/gi).map((part) => {
    const x = parseInt(part, 16) / 255;
    return x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const pairs = [["--ink", "--paper"], ["--ink", "--tint"], ["--soft", "--paper"], ["--soft", "--tint"],
  ["--wrong", "--tint"], ["--wrong", "--paper"], ["--on-accent", "--accent"], ["--accent", "--paper"]];
return Object.fromEntries(pairs.map(([text, ground]) => {
  const [a, b] = [luminance(text), luminance(ground)].sort((x, y) => y - x);
  return [`${text} on ${ground}`, (a + 0.05) / (b + 0.05)];
}));
"""
