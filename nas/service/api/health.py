"""Whether the process lives, whether it can work, and what Prometheus reads."""

from fastapi import APIRouter, Request, Response
from sqlalchemy import select

from nas.service.api.answers import Health
from nas.service.api.metrics import MEDIA_TYPE
from nas.service.api.problems import documented

health_routes = APIRouter(tags=["health"])


@health_routes.get("/healthz", summary="Does the process answer?")
def healthz() -> Health:
    """Always ``ok``."""
    return Health(status="ok")


@health_routes.get("/readyz", summary="Can it work?", responses={503: documented()[503]})
def readyz(request: Request) -> Health:
    """``ok`` where the database answers."""
    with request.app.state.database.reading() as connection:
        connection.execute(select(1))
    return Health(status="ok")


@health_routes.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, 503: documented()[503]},
)
def metrics(request: Request) -> Response:
    """Searches by state, and how requests are answered. Open to all who reach it: it names nobody."""
    return Response(request.app.state.metrics.render(), media_type=MEDIA_TYPE)
