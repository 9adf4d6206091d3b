"""The dashboard in a real browser, on a real service: what a person does there, with the mouse and by keyboard."""

import re
import shutil
import signal
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import torch
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select
from transformers import AutoModelForCausalLM

from nas.client import Client, ServiceNothingFitsError
from tests.integration.commands import COMMAND, ENVIRONMENT, SEARCH, nas
from tests.integration.test_service import free_port, until

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
CHROMEDRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (CHROMIUM and CHROMEDRIVER), reason="chromium and chromedriver must be installed, and are not"
    ),
]

FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--window-size=1280,1000"),
)
# Its name is one long word, which every page must find room for.
TINY = f"name: {'a_long_name_' * 8}\n" + SEARCH.replace("trials: 22", "trials: 14")
ENDLESS = SEARCH.replace("trials: 22", "trials: 2000").replace("seed: 3", "seed: 4")
# Points that are drawn, the ring around what is pointed at not counted.
NUM_DRAWN = """
return (document.getElementById("front-chart").data ?? []).slice(0, 3).reduce((sum, trace) => sum + trace.x.length, 0);
"""
# By the page's own rule and by the service's, under each of many lists of budgets.
BY_BOTH = """
const [id, lists, done] = arguments;
const { ask, searchPath } = await import("/static/api.js");
const { frontWithin, pickFrom, standings, asQuery } = await import("/static/pick.js");
const data = await ask(searchPath(id, "chart"));
const found = [];
for (const budgets of lists) {
  const query = asQuery(data, budgets);
  const served = await ask(`${searchPath(id, "chart")}?${query}`);
  const standing = standings(data, budgets);
  found.push({
    page: pickFrom(data, frontWithin(data, budgets))?.number ?? null,
    service: await ask(`${searchPath(id, "pick")}?${query}`).then(
      ({ number }) => number,
      ({ kind }) => (kind === "nothing-fits" ? null : kind),
    ),
    pageStates: data.points.map((point) => standing.get(point)),
    serviceStates: served.points.map(({ state }) => state),
  });
}
done(found);
"""
# Of axes, filled as the chart is drawn; a measurement may have a name as long as its task's.
NUM_CHOICES = "return document.querySelectorAll('.choices option').length;"
ADD_LONG_CHOICES = """
for (const select of document.querySelectorAll(".choices select")) select.add(new Option("a long name ".repeat(6)));
"""
# What a card hides, or what lies over its edge; that tables scroll within theirs is meant.
BEYOND_THEIR_CARD = """
const inner = (card) => card.getBoundingClientRect().right - parseFloat(getComputedStyle(card).paddingRight) + 1;
return [...document.querySelectorAll("section select, section input, section button, section .plot")]
  .filter((one) => one.checkVisibility() && !one.closest(".scroll"))
  .filter((one) => one.getBoundingClientRect().right > inner(one.closest("section")))
  .map((one) => `${one.tagName} ${one.id || one.type || one.textContent.trim()}`);
"""


class Server:
    """`nas serve` with tokens, which can be ended and started again in the same place."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._log = folder / "serve.log"
        self.url = f"http://127.0.0.1:{self._port}"
        self.start()
        self.token = re.findall(r"nas_\S+", self._log.read_text())[0]
        self.client = Client(self.url, self.token)

    def make_token(self, owner: str, scope: str) -> str:
        made = nas("token", "create", owner, "--scope", scope, "--data", self._folder / "data")
        assert made.returncode == 0, made.stderr
        return made.stdout.strip()

    def start(self) -> None:
        arguments = ["serve", "--data", str(self._folder / "data"), "--port", str(self._port), "--lease", "3"]
        environment = {**ENVIRONMENT, "PYTHONUNBUFFERED": "1"}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([*COMMAND, *arguments], env=environment, stdout=log, stderr=log)
        until(self._answers, what="the service")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        left = psutil.Process(self._process.pid).children(recursive=True)
        self._process.send_signal(how)
        self._process.wait(30)
        assert psutil.wait_procs(left, timeout=15)[1] == []

    def _answers(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()
        try:
            return httpx.get(f"{self.url}/healthz").is_success
        except httpx.TransportError:
            return False


class Browser:
    """A window of Chromium, with what the tests look at."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        self.downloads = folder / "downloads"
        self.downloads.mkdir()
        options = webdriver.ChromeOptions()
        options.binary_location = str(CHROMIUM)
        for flag in (*FLAGS, f"--user-data-dir={folder / 'profile'}"):
            options.add_argument(flag)
        options.add_experimental_option("prefs", {"download.default_directory": str(self.downloads)})
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(str(CHROMEDRIVER)))
        self.driver.set_script_timeout(120)

    def open(self, path: str) -> None:
        self.driver.get(self.server.url + path)

    def log_in(self, token: str | None = None) -> None:
        self.open("/login")
        self.type("token", (token or self.server.token) + Keys.ENTER)
        until(lambda: self.path == "/", what="the list of searches")

    @property
    def path(self) -> str:
        return str(self.driver.current_url).removeprefix(self.server.url)

    @property
    def search_id(self) -> str:
        """Of the search whose page this is."""
        return str(
            until(lambda: self.path.startswith("/searches/") and self.path.split("/")[-1], what="a search's page")
        )

    def find(self, selector: str) -> WebElement:
        """The first of these that is there and can be seen."""

        def shown() -> WebElement | None:
            found = self.driver.find_elements(By.CSS_SELECTOR, selector)
            return next((one for one in found if one.is_displayed()), None)

        found: WebElement = until(shown, what=selector, timeout_s=30)
        return found

    def click(self, selector: str) -> None:
        found = self.find(selector)
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", found)
        found.click()

    def type(self, element_id: str, text: str) -> None:
        self.find(f"#{element_id}").clear()
        self.find(f"#{element_id}").send_keys(text)

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def text(self, selector: str) -> str:
        """What is in it, seen or not; in one step, as the page may put another in its place at any time."""
        return str(self.run("return document.querySelector(arguments[0])?.textContent ?? ''", selector))

    def state(self) -> str:
        return str(self.run("return document.querySelector('#state .badge')?.dataset.state ?? ''"))

    def picked(self) -> int | None:
        """What the page would pick; None where nothing fits."""
        number = self.run("return document.querySelector('.picked')?.dataset.number ?? null")
        return None if number is None else int(number)

    def rows(self, element_id: str) -> list[WebElement]:
        return list(self.driver.find_elements(By.CSS_SELECTOR, f"#{element_id} > .choice-row"))

    def close(self) -> None:
        """Ends it; nothing that a page did may have been against its policy, and nothing came from elsewhere."""
        told = [entry["message"] for entry in self.driver.get_log("browser")]
        elsewhere = self.run("return performance.getEntriesByType('resource').map((entry) => entry.name)")
        self.driver.quit()
        assert not [message for message in told if "Content Security Policy" in message or "Uncaught" in message]
        assert not [url for url in elsewhere if not url.startswith((self.server.url, "data:", "blob:"))]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("service"))
    yield running
    running.client.close()
    running.stop()


@pytest.fixture
def browser(server: Server, tmp_path: Path) -> Iterator[Browser]:
    opened = Browser(server, tmp_path)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def finished(server: Server) -> str:
    """The id of a search that has run to its end."""
    search_id = server.client.submit(TINY)
    assert list(server.client.watch(search_id))
    assert server.client.get(search_id)["state"] == "complete"
    return search_id


def test_log_in_submit_by_form_and_watch_the_front_move(browser: Browser) -> None:
    browser.open("/submit")
    until(lambda: browser.path.startswith("/login?next="), what="the login page")
    browser.type("token", "nas_wrong" + Keys.ENTER)
    assert "token" in browser.find("#login-problem").text.lower()
    browser.type("token", browser.server.token + Keys.ENTER)
    until(lambda: browser.path == "/submit", what="the page that was asked for")

    browser.type("name", "by form")
    quality, cost = browser.rows("objectives")
    Select(quality.find_element(By.TAG_NAME, "select")).select_by_visible_text("perplexity")
    for option, value in (("window_tokens", "128"), ("limit", "40")):
        field = quality.find_element(By.CSS_SELECTOR, f"[data-option={option}]")
        field.clear()
        field.send_keys(value)
    Select(cost.find_element(By.TAG_NAME, "select")).select_by_visible_text("parameters")
    [limit] = browser.rows("limits")
    Select(limit.find_element(By.TAG_NAME, "select")).select_by_visible_text("parameters")
    browser.type("trials", "0")
    wrong = until(lambda: browser.text("#wrong-trials"), what="what is wrong with the number of trials", timeout_s=15)
    assert "at least 2 trials" in wrong
    assert browser.find("#trials").get_attribute("aria-invalid") == "true"
    browser.type("trials", "20")
    until(lambda: "Good" in browser.text("#verdict"), what="the verdict", timeout_s=15)
    assert not browser.find("#trials").get_attribute("aria-invalid")
    browser.click("#submit")

    search_id, seen = browser.search_id, set()

    def is_complete() -> bool:
        seen.add(browser.run(NUM_DRAWN) if browser.run("return 'Plotly' in window") else 0)
        return browser.state() == "complete"

    until(is_complete, what="the end of the search")
    until(lambda: browser.run(NUM_DRAWN) == 21, what="the last trial")  # the supernet is one of them, and once more
    assert len(seen) >= 3, f"the front moved while nobody looked: {seen}"
    assert "20 of 20" in browser.text("#done")
    config = browser.server.client.get(search_id)["config"]
    assert config["name"] == "by form"
    assert config["objectives"][0]["options"] == {"window_tokens": 128, "limit": 40}
    assert config["budget"] == {"parameters": {"max": "0.6x", "min": None}}


def test_page_and_service_pick_alike_whatever_the_budget(browser: Browser, finished: str) -> None:
    browser.log_in()
    trials = browser.server.client.trials(finished)
    factors = {"perplexity": 1.0, "parameters": 1e-6}  # to the units that are shown
    limits = [(name, trial["measurements"][name]["value"] * factors[name]) for trial in trials for name in factors]
    budgets = [{"name": name, "limit": limit} for name, limit in limits]
    # On the very value of each trial, just below it, and below all of them.
    budgets += [{"name": name, "limit": limit * (1 - 1e-6)} for name, limit in limits[::3]]
    budgets += [{"name": "parameters", "limit": 0.001}]
    lists = [*([budget] for budget in budgets), []]  # the last as when all were removed, the search's own too
    found = browser.driver.execute_async_script(f"(async () => {{{BY_BOTH}}}).apply(null, arguments)", finished, lists)
    assert [one["page"] for one in found] == [one["service"] for one in found]
    assert found[-2]["page"] is None
    assert found[-1]["page"] == min(trials, key=lambda trial: trial["measurements"]["perplexity"]["value"])["number"]
    assert [one["pageStates"] for one in found] == [one["serviceStates"] for one in found]
    assert len({one["page"] for one in found}) > 2


def test_drag_the_budget_with_the_mouse_and_by_keyboard(browser: Browser, finished: str) -> None:
    client = browser.server.client
    browser.log_in()
    browser.open(f"/searches/{finished}")
    handle = browser.find(".handle .grip")
    until(lambda: "picks" in browser.text("#served"), what="the service's answer")
    before = float(browser.find("#budgets input[type=number]").get_attribute("value"))
    ActionChains(browser.driver).drag_and_drop_by_offset(handle, -150, 0).perform()
    limit = float(browser.find("#budgets input[type=number]").get_attribute("value"))
    assert limit < before
    expected = client.pick(finished, max=[f"parameters={limit}M"])["number"]
    until(lambda: browser.picked() == expected, what="the page's pick")
    until(lambda: browser.text("#served") == f"The service picks trial {expected} too.", what="the service's answer")

    slider = browser.find("#budgets input[type=range]")
    slider.send_keys(Keys.HOME)
    until(lambda: browser.picked() is None, what="a page that picks nothing")  # it follows with the next frame
    assert "Nothing fits" in browser.text("#pick")
    until(lambda: "the nearest is trial" in browser.text("#served"), what="the service's answer")
    limit = float(browser.find("#budgets input[type=number]").get_attribute("value"))
    with pytest.raises(ServiceNothingFitsError, match="the nearest is trial"):
        client.pick(finished, max=[f"parameters={limit}M"])
    slider.send_keys(Keys.END)
    highest = client.pick(finished, max=["parameters=1T"])["number"]
    until(lambda: browser.text("#served") == f"The service picks trial {highest} too.", what="the service's answer")
    slider.send_keys(Keys.ARROW_LEFT)
    number = browser.find("#budgets input[type=number]")
    number.clear()
    number.send_keys("3", Keys.TAB)
    expected = client.pick(finished, max=["parameters=3M"])["number"]
    until(lambda: browser.picked() == expected, what="the pick within 3 million", timeout_s=10)

    chart = browser.find("#front-chart")
    browser.run("arguments[0].focus()", chart)
    titles = set()
    for _ in range(3):
        ActionChains(browser.driver).send_keys(Keys.ARROW_RIGHT).perform()
        titles.add(browser.text("#panel h2"))
    assert len(titles) > 1
    ActionChains(browser.driver).send_keys(Keys.ENTER).perform()
    assert "Pinned" in browser.text("#panel .hint")
    ActionChains(browser.driver).send_keys(Keys.ESCAPE).perform()
    assert "Pinned" not in browser.text("#panel .hint")
    assert browser.text("#panel svg.picture title").startswith("layer 0: ")


def test_pick_export_download_and_load(browser: Browser, finished: str, tmp_path: Path) -> None:
    browser.log_in()
    browser.open(f"/searches/{finished}")
    number = until(browser.picked, what="the pick")
    browser.click("#export-pick")
    entry = f"#exports [data-trial='{number}']"
    until(lambda: browser.text(f"{entry} .badge"), what="the export's state")
    until(lambda: browser.driver.find_elements(By.CSS_SELECTOR, f"{entry} a"), what="the link to the export")
    browser.click(f"{entry} a")
    file = until(lambda: next(browser.downloads.glob("*.zip"), None), what="the download", timeout_s=60)
    with zipfile.ZipFile(file) as archive:
        archive.extractall(tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model", trust_remote_code=True).eval()
    with torch.no_grad():
        logits = model(torch.tensor([[1, 2, 3, 4]])).logits
    assert torch.isfinite(logits).all()
    [trial] = [one for one in browser.server.client.trials(finished) if one["number"] == number]
    assert sum(parameter.numel() for parameter in model.parameters()) == trial["measurements"]["parameters"]["value"]


def test_submit_yaml_cancel_rerun_compare_and_a_restart_meanwhile(browser: Browser, finished: str) -> None:
    browser.log_in()
    browser.open("/submit")
    browser.click("#yaml-tab")
    browser.run("arguments[0].value = ''", browser.find("#yaml"))
    browser.find("#yaml").send_keys(ENDLESS.replace("trials: 2000", "trails: 2000"))
    until(lambda: "did you mean 'trials'?" in browser.text("#verdict"), what="what is wrong", timeout_s=15)
    browser.run("arguments[0].value = ''", browser.find("#yaml"))
    browser.find("#yaml").send_keys(ENDLESS)
    until(lambda: "Good" in browser.text("#verdict"), what="the verdict", timeout_s=15)
    browser.click("#submit")
    first = browser.search_id
    until(lambda: browser.run("return 'Plotly' in window") and browser.run(NUM_DRAWN) >= 4, what="three trials")

    browser.server.stop(signal.SIGKILL)
    until(lambda: "Reconnecting" in browser.text("#connection"), what="that the service is away", timeout_s=20)
    drawn = browser.run(NUM_DRAWN)
    browser.server.start()
    until(lambda: browser.text("#connection") == "", what="that the service is back", timeout_s=30)
    until(lambda: browser.run(NUM_DRAWN) > drawn + 1, what="trials after the restart")

    browser.click("#cancel")
    until(lambda: browser.state() == "cancelled", what="the cancellation", timeout_s=30)
    browser.click("#rerun")
    until(lambda: not browser.path.endswith(first), what="the page of the rerun", timeout_s=30)
    second = browser.search_id
    client = browser.server.client
    until(lambda: client.get(second)["num_trials"] >= 4, what="its first trials")
    browser.click("#cancel")
    until(lambda: browser.state() == "cancelled", what="its cancellation", timeout_s=30)
    found = [[trial["sub_network"] for trial in client.trials(one)] for one in (first, second)]
    num_both = min(map(len, found))  # either may have been the further when it was cancelled
    assert num_both >= 4
    assert found[0][:num_both] == found[1][:num_both]

    browser.open("/")
    browser.click(f"#choose-{finished}")
    browser.click(f"#choose-{first}")
    browser.click("#compare")
    until(lambda: browser.run("return document.getElementById('chart').data?.length") == 2, what="two fronts on a plot")
    members = client.front(first)["trials"]
    drawn_x = browser.run("return document.getElementById('chart').data[1].x")
    assert sorted(drawn_x) == pytest.approx(sorted(one["measurements"]["parameters"]["value"] / 1e6 for one in members))
    assert browser.path == f"/compare?ids={finished},{first}"

    browser.open(f"/searches/{second}")
    browser.click("#delete")
    browser.driver.switch_to.alert.dismiss()
    browser.click("#delete")
    browser.driver.switch_to.alert.accept()
    until(lambda: browser.path == "/", what="the list")
    assert [one["id"] for one in client.jobs() if one["id"] in {first, second}] == [first]


def test_every_page_fits_a_phone(browser: Browser, finished: str) -> None:
    browser.log_in()
    metrics = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    for path in ("/", f"/searches/{finished}", f"/compare?ids={finished}", "/submit", "/no/such/page", "/login"):
        browser.open(path)
        until(lambda: browser.text("#who"), what="the page") if path != "/login" else browser.find("main")
        if path.startswith(("/searches", "/compare")):
            until(lambda: browser.run(NUM_CHOICES) >= 4, what="the choices of axes")
            browser.run(ADD_LONG_CHOICES)
        assert browser.run("return document.documentElement.scrollWidth") == 360, path
        assert browser.run(BEYOND_THEIR_CARD) == [], path


def test_a_reader_of_another_owner_sees_nothing_and_can_submit_nothing(browser: Browser, finished: str) -> None:
    browser.log_in(browser.server.make_token("grace", "read"))
    assert "No search yet" in browser.find("#empty").text
    browser.open(f"/searches/{finished}")
    assert "must be one that was submitted" in browser.find("#problem").text
    assert not browser.driver.find_element(By.ID, "search").is_displayed()
    browser.open("/submit")
    assert "scope submit" in browser.find("#problem").text
    assert not browser.find("#submit").is_enabled()
    browser.click("#who button")
    until(lambda: browser.path == "/login", what="the login page")
    browser.open("/")
    until(lambda: browser.path.startswith("/login?next="), what="the login page, as nobody is logged in")
