"""Searches over HTTP: submit, list, look at, watch, pick from, cancel, delete."""

import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Annotated, Any

import yaml
from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from nas.config import SearchConfig, parse_config
from nas.config_reading import validated
from nas.front import front_record_of
from nas.objectives import refuse_unknown_budgets
from nas.pick import goal_within, pick
from nas.service import exports, search_files
from nas.service.api.access import Reader, StillValid, Submitter, Visible
from nas.service.api.answers import Checked, Page, Search, Submitted, Trials, from_cursor, to_cursor
from nas.service.api.budgets import Maxima, Minima, budgets
from nas.service.api.news import News
from nas.service.api.problems import ParameterError, TooLargeError, documented
from nas.service.checkpoints import remove_checkpoints
from nas.service.events import MAX_EVENT
from nas.service.limits import check_files, check_model
from nas.service.queue import JobState
from nas.service.searches import Searches
from nas.service.tokens import Scope
from nas.tracking import refuse_places

EVENT_STREAM = "text/event-stream"
_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Events, numbered by id, for as long as any will come.",
        "content": {EVENT_STREAM: {"schema": {"type": "string"}}},
    }
}
QUIET = b": quiet\n\n"
_UNBUFFERED = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
HEARTBEAT_S = 15.0
"""How often a quiet stream says that it is still there, for what lies between, and any looks at its token again."""

search_routes = APIRouter(prefix="/v1/searches", tags=["searches"])
check_routes = APIRouter(prefix="/v1/check", tags=["searches"])

EXAMPLE = {
    "name": "quickstart",
    "model": "bundled",
    "objectives": [{"lm_eval": {"tasks": ["minimal_pairs"]}}, {"latency": {"workload": "decode"}}],
    "budget": {"latency": {"max": "0.6x"}},
    "trials": 64,
}
_BODY = {
    "required": True,
    "content": {
        "application/json": {"schema": SearchConfig.model_json_schema(), "example": EXAMPLE},
        "application/yaml": {"schema": {"type": "string"}},
    },
}


@search_routes.post(
    "",
    status_code=202,
    summary="Submit a search",
    responses=documented(),
    openapi_extra={"requestBody": _BODY},
)
async def submit(
    request: Request,
    identity: Submitter,
    idempotency_key: Annotated[
        str | None,
        Header(description="The same key gives the same search.", min_length=1, max_length=255, pattern="^[!-~]+$"),
    ] = None,
) -> Submitted:
    """Stores a search for the next free worker. The body is a search config, as JSON or YAML."""
    text = _text(await _limited_body(request))

    def store() -> str:
        config = _allowed_config(text, request)
        searches = request.app.state.searches
        search_id: str = searches.submit(config, owner=identity.owner, idempotency_key=idempotency_key)
        return search_id

    return Submitted(id=await run_in_threadpool(store))


@check_routes.post("", summary="Check a config", responses=documented(), openapi_extra={"requestBody": _BODY})
async def check(request: Request, identity: Submitter) -> Checked:
    """Says of a search config whether it would be accepted, and what it means, and stores nothing."""
    del identity
    config = await run_in_threadpool(_allowed_config, _text(await _limited_body(request)), request)
    return Checked(name=config.name, config=config.model_dump(mode="json"))


@search_routes.get("", summary="List searches", responses=documented())
def page(
    request: Request,
    identity: Reader,
    state: Annotated[list[JobState], Query(description="Only such; repeatable.", max_length=5)] = [],  # noqa: B006
    cursor: Annotated[str | None, Query(description="The next_cursor of the page before.", max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Page:
    """Searches, newest first; an admin's token lists everybody's, others their own."""
    found = request.app.state.searches.page(
        owner=None if identity.allows(Scope.ADMIN) else identity.owner,
        states=state,
        after=None if cursor is None else from_cursor(cursor),
        limit=limit + 1,
    )
    shown = found[:limit]
    return Page(
        searches=[Search.of(record) for record in shown],
        next_cursor=to_cursor(shown[-1]) if len(found) > limit else None,
    )


@search_routes.get("/{search_id}", summary="One search", responses=documented(404))
async def get(record: Visible) -> Search:  # async: what needs a thread was done to find the record
    """What was asked for, and how it stands."""
    return Search.of(record)


@search_routes.get("/{search_id}/trials", summary="Its trials", responses=documented(404))
def trials(request: Request, record: Visible) -> Trials:
    """All trials so far, by number."""
    return Trials(trials=request.app.state.searches.trials(record.id))


@search_routes.get("/{search_id}/front", summary="Its front", responses=documented(404, 409))
def front(request: Request, record: Visible, maxima: Maxima = [], minima: Minima = []) -> dict[str, Any]:  # noqa: B006
    """The front of the trials so far, in the form of ``front.json``.

    With ``max`` or ``min`` it is the front under these budgets in place of the search's own: nothing is searched anew.
    """
    searches: Searches = request.app.state.searches
    if not maxima and not minima:
        return dict(searches.front(record.id))
    standing = searches.standing(record.id)
    return front_record_of(
        standing.trials,
        goal_within(standing, budgets(maxima, minima)),
        search=standing.record["search"],
        described=partial(searches.described, record.id),
    )


@search_routes.get("/{search_id}/pick", summary="Pick from it", responses=documented(404, 409))
def picked(
    request: Request,
    record: Visible,
    maxima: Maxima = [],  # noqa: B006
    minima: Minima = [],  # noqa: B006
    best: Annotated[str | None, Query(description="Best in this; default: the first objective.")] = None,
) -> dict[str, Any]:
    """The best trial within budgets, or without any within the search's own.

    Where none fits, the problem says how close the nearest comes.
    """
    searches: Searches = request.app.state.searches
    found = pick(searches.standing(record.id), budgets=budgets(maxima, minima), best=best)
    return searches.described(record.id, [found])[0]


@search_routes.post("/{search_id}/cancel", status_code=202, summary="Cancel it", responses=documented(404))
def cancel(request: Request, identity: Submitter, record: Visible) -> Search:
    """Ends a search: at once if it waits, in seconds if it runs. What it has found stays."""
    del identity
    request.app.state.searches.cancel(record.id)
    now = request.app.state.searches.get(record.id)
    if now.state is JobState.CANCELLED:  # no worker has it, to do this at its end
        remove_checkpoints(request.app.state.artifacts, record.id)
    return Search.of(now)


@search_routes.delete("/{search_id}", status_code=204, summary="Delete it", responses=documented(404, 409))
def delete(request: Request, identity: Submitter, record: Visible) -> None:
    """Deletes a search that is over: its trials, front, log and events, what it trained, and its exports."""
    del identity
    searches, artifacts = request.app.state.searches, request.app.state.artifacts
    searches.withdraw(record.id)
    for folder in (search_files.folder_of(record.id), exports.folder_of(record.id)):
        artifacts.remove_below(folder)
    searches.delete(record.id)


async def _last_seen(
    last_event_id: Annotated[str | None, Header(description="Go on after this event.", max_length=20)] = None,
    after: Annotated[int, Query(description="The same, where headers cannot be set.", ge=0, le=MAX_EVENT)] = 0,
) -> int:
    """The event that a stream goes on after; read before it begins, so that a mistake can still be answered."""
    header = last_event_id or "0"
    if not (header.isascii() and header.isdecimal() and int(header) <= MAX_EVENT):
        raise ParameterError(f"Last-Event-ID must be the id of an event, got {header!r}; leave it out to begin anew.")
    return max(after, int(header))


@search_routes.post("/{search_id}/rerun", status_code=202, summary="Search again", responses=documented(404))
def rerun(request: Request, identity: Submitter, record: Visible) -> Submitted:
    """Submits the same config and seed as a new search of whoever asks, if it would be accepted today."""
    config = _allowed(validated(record.config, SearchConfig), request)
    return Submitted(id=request.app.state.searches.submit(config, owner=identity.owner))


@search_routes.get(
    "/{search_id}/events",
    summary="What happens to it",
    response_class=StreamingResponse,
    responses={**documented(404), **_EVENTS},
)
async def events(
    request: Request,
    record: Visible,
    number: Annotated[int, Depends(_last_seen)],
    is_valid: StillValid,
) -> StreamingResponse:
    """Server-sent events: ``state``, ``trial``, ``front`` and ``log``, numbered by ``id``, until the search is over.

    They end before where the token expires or is revoked.
    """
    if number > record.num_events:  # of another search, or the database was put back: waiting would never end
        raise ParameterError(
            f"A stream must go on after an event that there is, up to {record.num_events} now, got {number}; leave it "
            "out to begin anew."
        )
    following = _following(request.app.state.news, record.id, number, is_valid)
    return StreamingResponse(following, media_type=EVENT_STREAM, headers=_UNBUFFERED)


async def _following(news: News, search_id: str, number: int, is_valid: Callable[[], bool]) -> AsyncIterator[bytes]:
    """What follows the event of that number, for as long as anything will and whoever asked may see it."""
    looked_s = time.monotonic()
    while True:
        if time.monotonic() - looked_s >= HEARTBEAT_S:  # and not at each event, which would double what they cost
            if not await run_in_threadpool(is_valid):
                return
            looked_s = time.monotonic()
        reading = await news.read(search_id, number)
        number = reading.number
        if reading.events:
            yield reading.events
        if reading.has_more:
            continue
        if reading.is_over:
            return
        if not await news.wait(search_id, number, timeout_s=HEARTBEAT_S):
            yield QUIET


async def _limited_body(request: Request) -> bytes:
    """The body, which may come without saying how long it is.

    Raises:
        TooLargeError: It is longer than the operator allows.
    """
    most, body = request.app.state.policy.max_body_bytes, bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise TooLargeError(f"A body must have at most {most} bytes, got more; send less.")
    return bytes(body)


def _allowed_config(text: str, request: Request) -> SearchConfig:
    """The config that was sent, if this server's operator allows it.

    Raises:
        ConfigError: It is none.
        ValueError: One of ``_allowed``'s.
    """
    return _allowed(parse_config(text), request)


def _allowed(config: SearchConfig, request: Request) -> SearchConfig:
    """A config, if this server's operator allows it. One that is stored may be older than the rules of today.

    Raises:
        BudgetError: It limits what it does not measure.
        RefusedError: It asks for a model, for files or for code that is not allowed here.
        TrackingError: It says where to track, which is the operator's to say.
    """
    policy = request.app.state.policy
    refuse_unknown_budgets(config)
    refuse_places({tracker.name: tracker.options for tracker in config.tracking})
    name = check_model(
        config.model.name,
        policy.model_roots,
        trust_remote_code=config.model.trust_remote_code,
        allow_remote_code=policy.allow_remote_code,
    )
    check_files(config.model_dump(mode="json"), policy.model_roots)
    return config.model_copy(update={"model": config.model.model_copy(update={"name": name})})


def _text(body: bytes) -> str:
    """The body's text, once it is clear that reading it stays within bounds.

    Raises:
        ParameterError: No text, no YAML, or aliases, by which a small text can mean gigabytes.
    """
    try:
        text = body.decode()
        has_aliases = any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text))
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ParameterError(f"A config must be JSON or YAML in UTF-8, but {error}; mend it there.") from error
    if has_aliases:
        raise ParameterError("A config must not use YAML aliases here, got some; write out what they stand for.")
    return text
