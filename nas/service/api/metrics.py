"""What Prometheus reads: how many searches stand how, and how requests are answered."""

import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nas.service.searches import Searches

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The metrics of one app.

    Args:
        searches: Which to count, at every scrape.
    """

    def __init__(self, searches: Searches) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_SearchCounts(searches))
        self._seconds = Histogram(
            "nas_http_request_seconds",
            "Until the first byte of an answer.",
            ["method", "route", "status"],
            buckets=BUCKETS_S,
            registry=self._registry,
        )

    def observe(self, scope: Scope, status: int, seconds: float) -> None:
        """Counts a request, by the route's template so that ids make no series of their own."""
        route = getattr(scope.get("route"), "path", "none")
        self._seconds.labels(scope["method"], route, status).observe(seconds)

    def render(self) -> bytes:
        """All of them, in Prometheus' text format.

        Raises:
            DatabaseError: The database does not answer.
        """
        return generate_latest(self._registry)


class Observe:
    """Middleware that times requests.

    Args:
        app: What answers them.
        metrics: Where they are counted.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        start_s = time.perf_counter()

        async def observed(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.observe(scope, message["status"], time.perf_counter() - start_s)
            await send(message)

        await self._app(scope, receive, observed if scope["type"] == "http" else send)


class _SearchCounts(Collector):
    """Counts in the database when asked, so that every API server says the same."""

    def __init__(self, searches: Searches) -> None:
        self._searches = searches

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Known without asking the database, which may be down when the app starts."""
        yield _family()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = _family()
        for state, number in self._searches.counts().items():
            family.add_metric([state], number)
        yield family


def _family() -> GaugeMetricFamily:
    return GaugeMetricFamily("nas_searches", "Searches by state.", labels=["state"])
