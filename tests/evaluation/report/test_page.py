"""The page in a browser, clicked through, wide and narrow, light and dark."""

import json
import os
import shutil

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.select import Select

from keras_maskrcnn.evaluation.report.runs import compare_runs

pytestmark = pytest.mark.slow
WIDE, NARROW = (1280, 900), (360, 740)


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium that notes what it asks the network for."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("needs chromium and chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    with webdriver.Chrome(options, webdriver.ChromeService(driver)) as browser:
        yield browser


@pytest.fixture
def page(browser, written):
    """The report, opened afresh in a wide window."""
    resize(browser, WIDE)
    browser.get((written[1] / "index.html").as_uri())
    return browser


@pytest.fixture(scope="module")
def content(written):
    return json.loads((written[1] / "report.json").read_text())


def resize(browser, size):
    width, height = size
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def texts(page, selector):
    return [element.text for element in page.find_elements(By.CSS_SELECTOR, selector)]


def click(page, selector):
    page.find_element(By.CSS_SELECTOR, selector).click()


def slide(page, step):
    script = "const s = document.getElementById('score'); s.value = arguments[0];"
    page.execute_script(f"{script} s.dispatchEvent(new Event('input'))", step)


def column(page, number):
    return texts(page, f"#classes tbody tr > :nth-child({number})")


def test_no_request_leaves_the_page_and_nothing_is_logged(page, written):
    page.execute_script("document.querySelectorAll('img').forEach(i => i.loading = 'eager')")
    page.execute_async_script(
        "const done = arguments[0];"
        "Promise.all([...document.images].map(i => i.decode())).then(() => done())"
    )
    messages = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    asked = [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]
    report, folder = written
    pictures = [
        (folder / picture).as_uri()
        for image in (*report.worst_images, *report.doubtful)
        for picture in image["pictures"].values()
    ]
    assert sorted(asked) == sorted([(folder / "index.html").as_uri(), *pictures])
    assert page.get_log("browser") == []
    assert all(page.execute_script("return [...document.images].map(i => i.naturalWidth)"))


def test_the_page_shows_the_numbers(page, content):
    first = texts(page, "#figures tbody tr:first-child td")
    figures = content["figures"]
    assert first == [f"{100 * figures[name]:.1f}" for name in ("box_ap", "mask_ap")]
    shown = dict(zip(column(page, 1), column(page, 5), strict=True))
    assert shown == {
        name: f"{100 * row['mask_ap50']:.1f}" for name, row in content["per_class"].items()
    }
    cells = [int(text or 0) for text in texts(page, "#confusion td")]
    # The slider stands on the whole percent below the best score.
    assert cells == [number for row in content["confusion"] for number in row]
    errors = content["kinds"]["mask"]["errors"].values()
    costs = [f"{100 * error['cost']:.1f}" for error in errors]
    assert texts(page, "#errors td:nth-child(2)") == costs


def test_sort_and_filter(page, content):
    objects = [row["objects"] for row in content["per_class"].values()]
    assert column(page, 2) == [str(number) for number in sorted(objects, reverse=True)]
    click(page, "#classes th[data-key=objects] button")
    assert column(page, 2) == [str(number) for number in sorted(objects)]
    click(page, "#classes th[data-key=class] button")
    assert column(page, 1) == sorted(content["class_names"], key=str.lower)
    page.find_element(By.ID, "filter").send_keys("STAR")
    assert column(page, 1) == ["</script><b>star"]


def test_the_slider_moves_the_figures(page, content):
    slide(page, 0)
    all_found = texts(page, "#at-score dd")
    cells = [int(text or 0) for text in texts(page, "#confusion td")]
    kind = content["kinds"]["mask"]
    right, wrong = (sum(row[0] for row in kind[name]) for name in ("right", "wrong"))
    recall = right / sum(kind["objects"])
    assert all_found[:2] == [f"{100 * right / (right + wrong):.1f}", f"{100 * recall:.1f}"]
    assert sum(cells[:-1]) - sum(cells[3::4]) + cells[-1] == right + wrong
    slide(page, 95)  # only what is found in the corners is left
    assert page.find_element(By.ID, "score-value").text == "0.95"
    assert texts(page, "#at-score dd") == ["0.0", "0.0", "0.0"]
    kinds, numbers = texts(page, "#errors th[scope=row]"), texts(page, "#errors td:nth-child(3)")
    errors = dict(zip(kinds, numbers, strict=True))
    assert errors["background"] == str(content["images"])
    assert errors["missed"] == str(sum(kind["objects"]))
    slide(page, 100)
    assert texts(page, "#at-score dd")[0] == "–"


def test_boxes_instead_of_masks_and_the_curves_of_a_class(page, content):
    curve = "#precision-recall path.s1"
    before = page.find_element(By.CSS_SELECTOR, curve).get_attribute("d")
    Select(page.find_element(By.ID, "class")).select_by_visible_text("ring")
    after = page.find_element(By.CSS_SELECTOR, curve).get_attribute("d")
    assert before != after
    click(page, "#kinds button:first-child")
    assert texts(page, "#kinds [aria-pressed=true]") == ["box"]
    assert texts(page, "#headline b")[0] == f"{100 * content['figures']['box_ap']:.1f}"


def test_light_and_dark(page):
    def brightness():
        script = "return getComputedStyle(document.body).backgroundColor"
        return sum(int(v) for v in page.execute_script(script).strip("rgb()").split(","))

    light = brightness()
    click(page, "#theme")
    assert brightness() < 150 < 600 < light
    click(page, "#theme")
    assert brightness() == light
    scheme = [{"name": "prefers-color-scheme", "value": "dark"}]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
    page.refresh()
    assert brightness() < 150
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


@pytest.mark.parametrize("size", [WIDE, NARROW])
def test_nothing_is_wider_than_the_window(page, size):
    resize(page, size)
    width = page.execute_script("return document.documentElement.scrollWidth")
    assert width <= size[0]
    for image in page.find_elements(By.TAG_NAME, "img"):
        assert image.rect["x"] + image.rect["width"] <= size[0]


def test_runs_side_by_side(browser, written, tmp_path, content):
    for name, log in (("one", "epoch,loss,val_mask_ap\n0,4,0.1\n1,2,0.2\n"), ("two", "")):
        (tmp_path / name / "report").mkdir(parents=True)
        text = (written[1] / "report.json").read_text()
        (tmp_path / name / "report/report.json").write_text(text)
        (tmp_path / name / "log.csv").write_text(log)
    compare_runs([tmp_path / "one", tmp_path / "two"], tmp_path)
    resize(browser, NARROW)
    browser.get((tmp_path / "index.html").as_uri())
    assert texts(browser, "#legend b") == ["one", "two"]
    ap = f"{100 * content['figures']['mask_ap']:.1f}"
    assert texts(browser, "#figures tr:nth-child(3) td") == [ap, ap]
    # Half of the height, then all of it, over the epochs 1 and 2.
    path = "#training path.s1"
    assert (
        browser.find_element(By.CSS_SELECTOR, path).get_attribute("d") == "M171.0 110.0L306.0 10.0"
    )
    Select(browser.find_element(By.ID, "column")).select_by_visible_text("loss")
    assert (
        browser.find_element(By.CSS_SELECTOR, path).get_attribute("d") == "M171.0 10.0L306.0 110.0"
    )
    click(browser, "#kinds button:first-child")
    ap = f"{100 * content['figures']['box_ap']:.1f}"
    assert texts(browser, "#figures tr:nth-child(3) td") == [ap, ap]
    assert browser.get_log("browser") == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= NARROW[0]
