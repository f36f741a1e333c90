"""The pages in a real browser: no error, sorting, filtering, matrices, names that stay text, phones."""

import dataclasses
import shutil
from pathlib import Path

import pytest
from PIL import Image

from fashion_jax.report.comparison import write_comparison
from fashion_jax.report.page import write_page
from tests.pages import make_contents

webdriver = pytest.importorskip("selenium.webdriver")
pytest.importorskip("selenium.webdriver.support.wait")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromium-driver")

HEBREW = "\u05e9\u05de\u05dc\u05d4"
HOSTILE = f"</script><script>harm()</script>\U0001f457 {HEBREW} \u202e<img src=x>"
CLASSES = 45


@pytest.fixture(scope="module")
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    driver.set_script_timeout(600)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def contents(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")

    def explain(rows, classes):
        return {level: [Image.new("RGB", (64, 64), "red") for _ in rows] for level in classes}

    contents = make_contents(folder, classes=CLASSES, copies=4, evil=HOSTILE)
    return dataclasses.replace(contents, explain=explain, workdir=folder / "run")


@pytest.fixture(scope="module")
def path(contents) -> Path:
    path = contents.workdir.parent / "index.html"
    write_page(path, contents)
    return path


@pytest.fixture(scope="module")
def comparison(contents) -> Path:
    path = contents.workdir.parent / "compare.html"
    write_comparison(path, [contents, contents, contents])
    return path


def opened(browser, path, width=1280, **media):
    media.setdefault("prefers_reduced_motion", "reduce")  # a smooth scroll is still under way at a click
    features = [{"name": name.replace("_", "-"), "value": value} for name, value in media.items()]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get("about:blank")  # or else the driver may take the page before for this one
    browser.get(path.as_uri())
    wait = webdriver.support.wait.WebDriverWait(browser, 120)
    wait.until(lambda _: run(browser, "return document.readyState") == "complete")
    return browser


def run(browser, script, *arguments):
    return browser.execute_script(script, *arguments)


def column(browser, number) -> list[str]:
    rows = "[...document.querySelector('#classes tbody').rows]"
    return run(browser, f"return {rows}.map((row) => row.cells[arguments[0]].textContent)", number)


@pytest.mark.parametrize(
    ("page", "width", "scheme"),
    [
        *(("path", 1280, "light"), ("path", 390, "dark"), ("comparison", 1280, "dark"), ("comparison", 390, "light")),
        pytest.param("path", 1280, "dark", marks=pytest.mark.long),
        pytest.param("path", 390, "light", marks=pytest.mark.long),
        pytest.param("comparison", 1280, "light", marks=pytest.mark.long),
        pytest.param("comparison", 390, "dark", marks=pytest.mark.long),
    ],
)
def test_a_page_opens_without_an_error_and_fits(browser, request, page, width, scheme):
    opened(browser, request.getfixturevalue(page), width, prefers_color_scheme=scheme)
    assert browser.get_log("browser") == []
    assert run(browser, "return document.documentElement.scrollWidth") <= width
    assert run(browser, "return [...document.images].every(i => i.complete && i.naturalWidth > 0)")
    background = run(browser, "return getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(20, 23, 28)")


def test_hostile_names_stay_text(browser, path):
    opened(browser, path)
    first = column(browser, 0)[0]
    assert first.startswith("sub </script><script>") and HEBREW in first and "\u202e" not in first
    assert run(browser, "return document.querySelectorAll('script:not([type])').length") == 1
    assert run(browser, "return document.querySelectorAll('img[src=x]').length") == 0


def test_the_table_sorts_by_its_headings_with_the_keyboard_too(browser, path):
    from selenium.webdriver.common.keys import Keys

    opened(browser, path)
    assert len(column(browser, 0)) == CLASSES
    headings = browser.find_elements("css selector", "#classes table th[scope=col]")
    f1 = next(heading for heading in headings if heading.text.startswith("F1"))
    values = [float(value) for value in column(browser, 2)]
    assert values == sorted(values) and f1.get_attribute("aria-sort") == "ascending"
    f1.find_element("tag name", "button").click()
    assert [float(value) for value in column(browser, 2)] == sorted(values, reverse=True)
    assert f1.get_attribute("aria-sort") == "descending"
    headings[0].find_element("tag name", "button").send_keys(Keys.ENTER)
    assert headings[0].get_attribute("aria-sort") == "ascending" and f1.get_attribute("aria-sort") is None
    names = column(browser, 0)
    assert names == run(browser, "return arguments[0].sort((a, b) => a.localeCompare(b))", names)


def test_the_table_filters(browser, path):
    opened(browser, path)
    shown = "return [...document.querySelectorAll('#classes tbody tr')].filter(r => r.checkVisibility()).length"
    said = "return document.querySelector('#classes output').textContent"
    both = CLASSES + 2
    assert run(browser, shown) == both and run(browser, said) == f"{both} classes"
    box = browser.find_element("css selector", "#classes input[type=search]")
    box.send_keys("SUB")
    assert run(browser, shown) == CLASSES
    box.send_keys(" 44")
    assert 1 <= run(browser, shown) < CLASSES
    box.clear()
    box.send_keys("no such class")
    assert run(browser, shown) == 0 and run(browser, said) == "0 classes"
    box.clear()
    box.send_keys(" ")
    browser.find_element("css selector", "#classes .filter-level option[value='1']").click()
    assert run(browser, shown) == 2 and run(browser, said) == "2 classes"
    browser.find_element("css selector", "#classes .filter-group option[value=head]").click()
    assert run(browser, shown) == 0
    browser.find_element("css selector", "#classes .filter-group option[value=tail]").click()
    assert run(browser, shown) == 2


@pytest.mark.long
def test_the_matrix_sorts_and_reads_cells_by_mouse_and_keyboard(browser, contents, path):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    opened(browser, path)
    box = browser.find_element("css selector", "#confusions .matrix")
    assert run(browser, "return arguments[0].querySelectorAll('*').length", box) < 60 + 2 * CLASSES
    labels, predicted = contents.split.labels["sub"], contents.log_probs["sub"].argmax(1)
    right = int(((labels == 0) & (predicted == 0)).sum())
    svg = box.find_element("css selector", "svg")
    svg.send_keys(Keys.ARROW_DOWN, Keys.ARROW_UP)
    reading = box.find_element("css selector", "output")
    assert f"called so: {right} of {(labels == 0).sum()}" in reading.text
    frame = svg.find_element("css selector", "rect.frame")
    ActionChains(browser).move_to_element(frame).perform()
    tooltip = box.find_element("css selector", ".tooltip")
    assert tooltip.is_displayed() and tooltip.text.startswith("sub ")
    edges = run(browser, "const r = arguments[0].getBoundingClientRect(); return [r.left, r.right]", tooltip)
    assert edges[0] >= 0 and edges[1] <= 1280
    first = "return arguments[0].querySelector('svg text').textContent"
    before = run(browser, first, box)
    box.find_element("css selector", "option[value=errors]").click()
    most = max(range(CLASSES), key=lambda k: ((labels == k) & (predicted != k)).sum())
    box.find_element("css selector", "svg").send_keys(Keys.ARROW_DOWN, Keys.ARROW_UP)
    assert f" of {(labels == most).sum()}" in reading.text
    box.find_element("css selector", "option[value=group]").click()
    assert run(browser, first, box) == before


@pytest.mark.long
def test_the_heat_maps_come_and_go(browser, path):
    opened(browser, path)
    heat = browser.find_element("css selector", "#errors ~ .groups img.heat")
    assert not heat.is_displayed()
    browser.find_element("css selector", ".show-heat").click()
    assert heat.is_displayed()


def test_a_thumbnail_opens_the_image_with_its_whole_id_and_gives_the_focus_back(browser, contents, path):
    from selenium.webdriver.common.keys import Keys

    opened(browser, path, width=390)
    thumbs = browser.find_elements("css selector", "#errors ~ .groups .thumb")
    small = thumbs[1].find_element("tag name", "img")
    assert run(browser, "return arguments[0].offsetHeight", small) <= 88
    thumbs[1].send_keys(Keys.ENTER)
    dialog = browser.find_element("id", "viewer")
    large = dialog.find_element("css selector", ".shown img")
    assert large.is_displayed() and large.size["height"] > 2 * small.size["height"]
    shown = dialog.find_element("tag name", "code").text
    assert shown == thumbs[1].get_attribute("data-id") and shown in contents.split.ids
    dialog.find_element("css selector", ".copy").click()
    said, words = browser.find_element("css selector", "#viewer output"), ("Copied", "The id is selected")
    webdriver.support.wait.WebDriverWait(browser, 120).until(lambda _: said.text.startswith(words))
    browser.switch_to.active_element.send_keys(Keys.ARROW_LEFT)
    assert dialog.find_element("tag name", "code").text == thumbs[0].get_attribute("data-id")
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not dialog.is_displayed() and browser.switch_to.active_element == thumbs[1]
    assert browser.get_log("browser") == []


@pytest.mark.long
def test_cells_and_pairs_lead_to_images_that_are_in_the_page(browser, path):
    from selenium.webdriver.common.keys import Keys

    opened(browser, path)
    dead = "return [...document.querySelectorAll('a[href^=\"#\"]')].filter(a => !document.querySelector(a.hash)).length"
    assert run(browser, dead) == 0
    blocks = run(browser, "return [...document.querySelectorAll('.matrix script')].map(s => JSON.parse(s.textContent))")
    anchors = [anchor for block in blocks for _, _, anchor in block["links"]]
    assert len(anchors) > CLASSES
    assert run(browser, "return arguments[0].every(id => document.getElementById(id))", anchors)
    box = browser.find_element("css selector", "#confusions .matrix")
    box.find_element("css selector", "svg").send_keys(Keys.ARROW_DOWN, Keys.ARROW_UP, Keys.ENTER)
    target = run(browser, "return document.querySelector(':target')")
    assert target.is_displayed() and target.find_element("tag name", "img").is_displayed()


@pytest.mark.long
def test_a_tap_on_a_cell_says_its_count_until_the_next(browser, contents, path):
    opened(browser, path, width=390)
    frame = browser.find_element("css selector", "#confusions .matrix svg rect.frame")
    run(browser, "arguments[0].scrollIntoView({block: 'center'})", frame)
    x, y = run(browser, "const r = arguments[0].getBoundingClientRect(); return [r.left + 5, r.top + 5]", frame)
    for kind, points in (("touchStart", [{"x": x, "y": y}]), ("touchEnd", [])):
        browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    labels, predicted = contents.split.labels["sub"], contents.log_probs["sub"].argmax(1)
    right = ((labels == 0) & (predicted == 0)).sum()
    tooltip = browser.find_element("css selector", "#confusions .tooltip")
    assert tooltip.is_displayed() and f": {right} of {(labels == 0).sum()}" in tooltip.text
    run(browser, "document.querySelector('h1').dispatchEvent(new PointerEvent('pointerdown', {bubbles: true}))")
    assert not tooltip.is_displayed()


@pytest.mark.long
def test_what_scrolls_sideways_says_so_until_its_end(browser, path):
    opened(browser, path, width=390)
    hidden = """
      const cut = [...document.querySelectorAll('body *')].filter((e) => e.checkVisibility() && !e.closest('svg')
        && e.scrollWidth > e.clientWidth + 2 && getComputedStyle(e).overflowX === 'auto' && e.clientWidth > 1);
      return cut.filter((e) => !e.parentElement.matches('.edges') || e.parentElement.querySelector('.right').hidden)
        .map((e) => e.className);
    """
    assert run(browser, hidden) == []
    box = browser.find_element("css selector", "#classes .scroll")
    edge = box.find_element("xpath", "./following-sibling::span[contains(@class, 'right')]")
    assert edge.is_displayed()
    run(browser, "arguments[0].scrollLeft = 10000", box)
    run(browser, "return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert not edge.is_displayed()


@pytest.mark.long
def test_the_print_has_everything_open(browser, path):
    opened(browser, path)
    run(browser, "dispatchEvent(new Event('beforeprint'))")
    assert run(browser, "return document.querySelectorAll('details:not([open])').length") == 0
    pdf = browser.execute_cdp_cmd("Page.printToPDF", {})["data"]
    assert len(pdf) > 10_000


@pytest.mark.long
def test_text_has_contrast_in_both_schemes(browser, path):
    """At least 4.5 to 1 (WCAG 2.2, 1.4.3) for ink, notes and what is right or wrong, on paper and on tint."""
    for scheme in ("light", "dark"):
        opened(browser, path, prefers_color_scheme=scheme)
        colors = run(browser, CONTRAST)
        low = {pair: round(ratio, 2) for pair, ratio in colors.items() if ratio < 4.5}
        assert not low, (scheme, low)


CONTRAST = """
const style = getComputedStyle(document.documentElement);
const probe = document.createElement("i");
document.body.append(probe);
const luminance = (name) => {
  const value = style.getPropertyValue(name).trim();
  probe.style.color = value.includes(",") ? `rgb(${value})` : value;
  const [r, g, b] = getComputedStyle(probe).color.match(/\\d+/g).slice(0, 3).map((part) => {
    const x = part / 255;
    return x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const ratios = {};
for (const text of ["--ink", "--soft", "--validation", "--right", "--wrong"])
  for (const ground of ["--paper", "--tint"]) {
    const [a, b] = [luminance(text), luminance(ground)].sort((x, y) => y - x);
    ratios[`${text} on ${ground}`] = (a + 0.05) / (b + 0.05);
  }
return ratios;
"""
