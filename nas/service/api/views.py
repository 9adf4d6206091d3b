"""What a search looks like to people: its chart, its report, its log."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from nas.front import front_record
from nas.pick import goal_within
from nas.report import chart_data, report_page
from nas.results import Results
from nas.service.api.access import Visible
from nas.service.api.answers import LogLine, LogLines
from nas.service.api.budgets import Maxima, Minima, budgets
from nas.service.api.problems import documented
from nas.service.events import MAX_EVENT, Events
from nas.service.logs import LOG_EVENT

view_routes = APIRouter(prefix="/v1/searches/{search_id}", tags=["searches"])


@view_routes.get("/chart", summary="Its chart", responses=documented(404, 409))
def chart(request: Request, record: Visible, maxima: Maxima = [], minima: Minima = []) -> dict[str, Any]:  # noqa: B006
    """What the dashboard and the report draw: every trial as a point with its numbers and its sub-network."""
    results: Results = request.app.state.searches.results(record.id)
    if maxima or minima:
        goal = goal_within(results, budgets(maxima, minima))
        front = front_record(results.trials, goal, search=results.record["search"])
        results = replace(results, goal=goal, record=front)
    return chart_data(results)


@view_routes.get("/report", summary="Its report", response_class=HTMLResponse, responses=documented(404, 409))
def report(request: Request, record: Visible) -> HTMLResponse:
    """One HTML page that holds everything it shows, as ``nas report`` writes it."""
    results: Results = request.app.state.searches.results(record.id)
    page = report_page(Path(record.id), results, device=(record.environment or {}).get("device", {}).get("name"))
    return HTMLResponse(page, headers={"Content-Security-Policy": "sandbox allow-scripts allow-downloads"})


@view_routes.get("/logs", summary="Its log", responses=documented(404))
def logs(
    request: Request,
    record: Visible,
    after: Annotated[int, Query(description="Only lines after that of this number.", ge=0, le=MAX_EVENT)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 500,
) -> LogLines:
    """What the processes that worked on it printed."""
    history = Events(request.app.state.database)
    return LogLines(lines=[LogLine.of(one) for one in history.after(record.id, after, kind=LOG_EVENT, limit=limit)])
