"""Whether the process lives, and whether it can work."""

from fastapi import APIRouter, Request
from sqlalchemy import select

from nas.service.api.answers import Health
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
