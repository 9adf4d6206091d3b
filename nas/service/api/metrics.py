"""What Prometheus reads: how many searches stand how, and how requests are answered."""

import time
from collections.abc import Awaitable, Callable, Iterator

from fastapi import Request, Response
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

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

    async def observe(self, request: Request, proceed: Callable[[Request], Awaitable[Response]]) -> Response:
        """Middleware: times a request, by the route's template so that ids make no series of their own."""
        start_s = time.perf_counter()
        answer = await proceed(request)
        route = getattr(request.scope.get("route"), "path", "none")
        self._seconds.labels(request.method, route, answer.status_code).observe(time.perf_counter() - start_s)
        return answer

    def render(self) -> bytes:
        """All of them, in Prometheus' text format.

        Raises:
            DatabaseError: The database does not answer.
        """
        return generate_latest(self._registry)


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
