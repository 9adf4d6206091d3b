"""The dashboard over HTTP: pages and files that hold no data. Their scripts ask the API for it, as anybody would."""

from collections.abc import Callable

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import HTTPException

from nas.service.dashboard import files
from nas.service.dashboard.files import MEDIA_TYPES, File
from nas.service.dashboard.pages import NOTHING, PAGES, Page, html_of

# Plotly makes itself a style element without a text and fills it by script, allowed by the hash of nothing, and it
# writes style attributes.
_NOTHING = "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"
HEADERS = {
    "Content-Security-Policy": "; ".join(
        [
            "default-src 'none'",
            "script-src 'self'",
            f"style-src-elem 'self' {_NOTHING}",
            "style-src-attr 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "connect-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        ]
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Vary": "Accept-Encoding",
}

dashboard_routes = APIRouter(include_in_schema=False)


def _sends(page: Page) -> Callable[[Request], Response]:
    return lambda request: _answer(request, html_of(page))


for _page in PAGES:
    dashboard_routes.add_route(_page.path, _sends(_page), methods=["GET"])


@dashboard_routes.api_route("/static/{name:path}", methods=["GET", "HEAD"])
def static(request: Request, name: str) -> Response:
    """A file that a page loads."""
    if name not in files.names():
        raise HTTPException(404, "A page must load files that there are, and this is none; reload the page.")
    return _answer(request, files.static_file(name))


def page_for_nothing(request: Request) -> Response | None:
    """What a browser gets where there is no page; None for a client that does not ask for HTML, such as a program."""
    if request.method != "GET" or "text/html" not in request.headers.get("accept", ""):
        return None
    return Response(html_of(NOTHING).content, 404, HEADERS, MEDIA_TYPES[".html"])


def _answer(request: Request, file: File) -> Response:
    is_small = "gzip" in request.headers.get("accept-encoding", "")
    etag = f'"{file.etag}{"-gzip" if is_small else ""}"'
    headers = {**HEADERS, "ETag": etag, "Cache-Control": file.cache_control}
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    if is_small:
        headers["Content-Encoding"] = "gzip"
    return Response(file.gzipped if is_small else file.content, headers=headers, media_type=file.media_type)
