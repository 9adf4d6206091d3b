"""The application: its routes, who may use them, and the limits that all of them keep."""

import asyncio
import importlib.metadata
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI, Request
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from nas.artifacts import ArtifactStore
from nas.environment import DISTRIBUTION
from nas.service.api import problems
from nas.service.api.exports import export_routes
from nas.service.api.health import health_routes
from nas.service.api.metrics import Metrics, Observe
from nas.service.api.news import News
from nas.service.api.routes import check_routes, search_routes
from nas.service.api.sessions import session_routes
from nas.service.api.views import view_routes
from nas.service.dashboard import dashboard_routes, page_for_nothing
from nas.service.database import Database
from nas.service.exports import Exports
from nas.service.limits import RateLimiter
from nas.service.queue import Queue
from nas.service.searches import Searches
from nas.service.tokens import Tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the operator allows.

    Attributes:
        has_auth: Whether a token is needed; without, everybody is the owner ``local``.
        model_roots: Folders below which models, and texts, data and tasks, may lie.
        allow_remote_code: Whether a config may ask for ``trust_remote_code``.
        max_body_bytes: Of a request.
        requests_per_s: Of one token or address, on average.
        burst: How many at once.
    """

    has_auth: bool = True
    model_roots: tuple[Path, ...] = ()
    allow_remote_code: bool = False
    max_body_bytes: int = 256_000
    requests_per_s: float = 20.0
    burst: int = 100


def create_app(database: Database, policy: Policy, artifacts: ArtifactStore) -> FastAPI:
    """The service's API on a migrated database.

    Args:
        database: The service's.
        policy: What is allowed.
        artifacts: Where exports are kept.
    """
    news = News(database)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        del app
        watching = asyncio.create_task(news.watch())
        yield
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching

    app = FastAPI(
        title="nas",
        version=importlib.metadata.version(DISTRIBUTION),
        summary="Neural architecture search for LLM sub-networks.",
        lifespan=lifespan,
    )
    queue = Queue(database)
    app.state.searches = Searches(database, queue)
    app.state.exports = Exports(database, queue)
    app.state.artifacts = artifacts
    app.state.tokens = Tokens(database)
    app.state.policy = policy
    app.state.news = news
    app.state.database = database
    app.state.metrics = Metrics(app.state.searches)
    app.state.limiter = RateLimiter(policy.requests_per_s, policy.burst)

    app.add_middleware(LimitSize, max_bytes=policy.max_body_bytes)
    app.add_middleware(Observe, metrics=app.state.metrics)
    problems.install(app, page_for_nothing=page_for_nothing)
    for routes in (health_routes, session_routes, check_routes, search_routes, view_routes, export_routes):
        app.include_router(routes)
    app.include_router(dashboard_routes)
    return app


class LimitSize:
    """Middleware that refuses bodies which say that they are too long.

    Plain ASGI, like ``Observe``: Starlette's ``BaseHTTPMiddleware`` hands every chunk of every stream through a queue.

    Args:
        app: What answers the others.
        max_bytes: Of a body.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        answer: ASGIApp = self._app
        if scope["type"] == "http":
            length = Headers(scope=scope).get("content-length", "0")
            if not length.isdecimal() or int(length) > self._max_bytes:
                detail = f"A body must have at most {self._max_bytes} bytes, got {length[:20]}; send less."
                answer = problems.problem(Request(scope), 413, "too-large", detail)
        await answer(scope, receive, send)
