"""The dashboard's pages and files as a browser gets them, without a database: they hold no data."""

import gzip
import re
from html.parser import HTMLParser
from pathlib import PurePosixPath

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from evaluators import EVALUATORS
from nas.recovery import RECOVERY_NAMES
from nas.report.static import PLOTLY_VERSION
from nas.service.dashboard import dashboard_routes
from nas.service.dashboard.files import PLOTLY, names
from nas.service.dashboard.pages import PAGES
from nas.strategies import STRATEGIES
from search_spaces import SEARCH_SPACES

PATHS = ["/", "/searches/0f", "/compare?ids=a,b", "/submit", "/login?next=%2F"]
OWN = sorted(names() - {PLOTLY})


@pytest.fixture(scope="module")
def client() -> TestClient:
    app = FastAPI()
    app.include_router(dashboard_routes)
    return TestClient(app)


class Loaded(HTMLParser):
    """What a page asks for, and what runs in it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    @property
    def urls(self) -> set[str]:
        """Of scripts, styles and images."""
        named = [attributes.get("src") or attributes.get("href") for tag, attributes in self.tags if tag != "a"]
        plotly = [attributes.get("data-plotly") for _, attributes in self.tags]
        return {url for url in (*named, *plotly) if url}


def policy_of(header: str) -> dict[str, list[str]]:
    return {name: sources for name, *sources in (part.split() for part in header.split(";"))}


def test_there_is_a_path_for_every_page() -> None:
    assert len(PATHS) == len(PAGES)


@pytest.mark.parametrize("path", PATHS)
def test_pages_are_html_that_may_run_only_our_scripts(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "same-origin"
    policy = policy_of(answer.headers["content-security-policy"])
    assert policy["default-src"] == ["'none'"]
    assert policy["script-src"] == ["'self'"]
    assert policy["connect-src"] == ["'self'"]
    assert policy["frame-ancestors"] == ["'none'"]
    assert "'unsafe-inline'" not in policy["style-src-elem"]


@pytest.mark.parametrize("path", PATHS)
def test_pages_keep_to_their_policy(client: TestClient, path: str) -> None:
    page = Loaded(client.get(path).text)
    scripts = [attributes for tag, attributes in page.tags if tag == "script"]
    assert scripts
    assert all("src" in attributes for attributes in scripts)
    assert not [tag for tag, _ in page.tags if tag == "style"]
    assert not [name for _, attributes in page.tags for name in attributes if name == "style" or name.startswith("on")]


@pytest.mark.parametrize("path", PATHS)
def test_every_file_that_a_page_names_is_there(client: TestClient, path: str) -> None:
    urls = Loaded(client.get(path).text).urls
    assert {"/static/dashboard.css", "/static/shared/base.css", f"/static/{PLOTLY}"} <= urls
    for url in urls:
        assert client.head(url).status_code == 200, url


@pytest.mark.parametrize("name", [name for name in OWN if name.endswith(".js")])
def test_every_module_that_a_script_imports_is_there(client: TestClient, name: str) -> None:
    imported = re.findall(r'^(?:import|export) [^;]*?from "([^"]+)";', client.get(f"/static/{name}").text, re.MULTILINE)
    for path in imported:
        assert path.startswith("./"), path
        assert str(PurePosixPath(name).parent / path) in names(), path


@pytest.mark.parametrize("url", [*PATHS, *(f"/static/{name}" for name in OWN)])
def test_nothing_is_named_that_lies_elsewhere(client: TestClient, url: str) -> None:
    text = client.get(url).text.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"""https?:|["'(]//|@import|url\(""", text)


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("list.js", "text/javascript; charset=utf-8"),
        ("shared/charts.js", "text/javascript; charset=utf-8"),
        ("dashboard.css", "text/css; charset=utf-8"),
        ("icon.svg", "image/svg+xml"),
        (PLOTLY, "text/javascript; charset=utf-8"),
    ],
)
def test_files_say_what_they_are(client: TestClient, name: str, media_type: str) -> None:
    answer = client.get(f"/static/{name}")
    assert (answer.status_code, answer.headers["content-type"]) == (200, media_type)
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_scripts_are_text_and_put_in_no_markup(client: TestClient) -> None:
    for name in OWN:
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", client.get(f"/static/{name}").text
        )


def test_what_a_browser_has_is_not_sent_again(client: TestClient) -> None:
    for url in ("/", "/static/list.js"):
        first = client.get(url)
        again = client.get(url, headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]
        other = client.get(url, headers={"If-None-Match": '"another"'})
        assert other.content == first.content


def test_plotly_is_kept_for_good_under_the_name_of_its_version(client: TestClient) -> None:
    assert PLOTLY_VERSION in PLOTLY
    answer = client.get(f"/static/{PLOTLY}")
    assert "immutable" in answer.headers["cache-control"]
    assert "Plotly" in answer.text[:1000] or "plotly.js" in answer.text[:1000]


def test_compressed_only_for_those_who_can_read_it(client: TestClient) -> None:
    plain = client.get("/static/list.js", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    with client.stream("GET", "/static/list.js", headers={"Accept-Encoding": "gzip"}) as answer:
        assert answer.headers["content-encoding"] == "gzip"
        assert gzip.decompress(b"".join(answer.iter_raw())) == plain.content
        assert answer.headers["etag"] != plain.headers["etag"]
    assert plain.headers["vary"] == "Accept-Encoding"


@pytest.mark.parametrize(
    "name", ["none.js", "../routes.py", "%2e%2e/routes.py", "shared/__init__.py", "shared/%2e%2e/list.js"]
)
def test_other_files_are_not_there(client: TestClient, name: str) -> None:
    assert client.get(f"/static/{name}").status_code == 404


def test_the_form_offers_what_a_config_may_name(client: TestClient) -> None:
    html = client.get("/submit").text
    for name in (*EVALUATORS, *SEARCH_SPACES, *STRATEGIES, *RECOVERY_NAMES):
        assert re.search(rf"<option( selected)?>{name}</option>", html), name


def test_pages_are_no_part_of_the_api(client: TestClient) -> None:
    assert client.get("/openapi.json").json()["paths"] == {}
