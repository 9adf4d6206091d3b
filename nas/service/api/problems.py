"""Errors as RFC 9457 problem details: what is wrong, in a sentence, and of which kind."""

import math
import reprlib
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from nas.amount import AmountError
from nas.artifacts import ArtifactError
from nas.config import ConfigError
from nas.objectives import BudgetError
from nas.pick import NothingFitsError
from nas.report import ReportError
from nas.results import FailedTrialError, ResultsError
from nas.service.database import DatabaseError
from nas.service.exports import UnknownExportError
from nas.service.limits import RefusedError
from nas.service.searches import IdempotencyError, NotOverError, NotReadyError, UnknownSearchError
from nas.service.tokens import InvalidTokenError
from nas.tracking.errors import TrackingError

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 2


class Problem(BaseModel):
    """What every error looks like (RFC 9457)."""

    type: str = Field(description="The kind of problem, stable for programs.", examples=["/problems/config"])
    title: str = Field(description="The kind, for people.", examples=["Unprocessable Content"])
    status: int = Field(examples=[422])
    detail: str = Field(
        description="What is wrong and how to mend it.",
        examples=["unknown key 'trails' in the config; did you mean 'trials'?"],
    )
    instance: str = Field(description="The path that was asked for.", examples=["/v1/searches"])


class ForbiddenError(Exception):
    """The token is good, but not for this."""


class TooManyRequestsError(Exception):
    """More requests than the limit; ``seconds`` to wait."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"Requests must keep to the limit, and these came faster; wait {math.ceil(seconds)} s.")
        self.seconds = seconds


class TooLargeError(Exception):
    """A body beyond the limit."""


class ParameterError(ValueError):
    """A header, id, cursor or query parameter that cannot be read."""


KINDS: dict[type[Exception], tuple[int, str]] = {
    ConfigError: (422, "config"),
    AmountError: (422, "budget"),
    BudgetError: (422, "budget"),
    ParameterError: (422, "parameter"),
    IdempotencyError: (422, "idempotency-key"),
    ResultsError: (404, "trial"),
    FailedTrialError: (409, "failed-trial"),
    NothingFitsError: (404, "nothing-fits"),
    UnknownSearchError: (404, "search"),
    UnknownExportError: (404, "export"),
    NotReadyError: (409, "not-ready"),
    NotOverError: (409, "not-over"),
    ReportError: (409, "not-ready"),
    RefusedError: (403, "refused"),
    TrackingError: (403, "refused"),
    ForbiddenError: (403, "scope"),
    InvalidTokenError: (401, "token"),
    TooLargeError: (413, "too-large"),
    TooManyRequestsError: (429, "too-many-requests"),
    DatabaseError: (503, "database"),
    ArtifactError: (503, "artifacts"),
}
"""Status and kind of every error that a route may raise."""


def install(app: FastAPI, *, page_for_nothing: Callable[[Request], Response | None]) -> None:
    """Answers every error of the app with problem details.

    Args:
        app: The service's.
        page_for_nothing: What a browser is shown that asks for a path which there is not; None for other clients.
    """

    def answer(request: Request, error: Exception) -> JSONResponse:
        status, kind = next(found for known, found in KINDS.items() if isinstance(error, known))
        headers = {}
        if isinstance(error, InvalidTokenError):
            headers["WWW-Authenticate"] = "Bearer"
        if isinstance(error, TooManyRequestsError):
            headers["Retry-After"] = str(math.ceil(error.seconds))
        if isinstance(error, DatabaseError):
            headers["Retry-After"] = str(RETRY_AFTER_S)
        return problem(request, status, kind, " ".join(str(error).split()), headers)

    def answer_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        headers, path, detail = dict(error.headers or {}), request.url.path, str(error.detail)
        if detail == HTTPStatus.NOT_FOUND.phrase:  # the framework's own words, which say no more than the status
            if page := page_for_nothing(request):
                return page
            detail = f"A path must be one that this service has, got {path!r}; /docs lists them."
        elif detail == HTTPStatus.METHOD_NOT_ALLOWED.phrase:
            detail = f"{path} takes {headers.get('Allow', 'other methods')} only, got {request.method}; see /docs."
        return problem(request, error.status_code, "http", detail, headers)

    def answer_validation(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        first: dict[str, Any] = jsonable_encoder(error.errors()[0], custom_encoder={Exception: str, bytes: repr})
        place = ".".join(str(part) for part in first["loc"])
        if first["loc"][0] == "path":
            sentence = (
                f"An id must have 32 hexadecimal digits, got {first['input']!r}; copy it from where it was given."
            )
            return problem(request, 422, "parameter", sentence)
        if first["type"] == "missing":
            return problem(request, 422, "parameter", f"A request must have {place}, and this one does not; add it.")
        received = reprlib.repr(first["input"])
        return problem(request, 422, "parameter", f"{place} must be valid, got {received}: {first['msg']}; mend it.")

    def answer_unforeseen(request: Request, error: Exception) -> JSONResponse:
        del error  # the server's log has it, once this is answered
        return problem(request, 500, "unforeseen", "The service failed at this, which is its fault; see its log.")

    for kind in KINDS:
        app.add_exception_handler(kind, answer)
    app.add_exception_handler(HTTPException, answer_http)
    app.add_exception_handler(RequestValidationError, answer_validation)
    app.add_exception_handler(Exception, answer_unforeseen)


def problem(
    request: Request, status: int, kind: str, detail: str, headers: dict[str, str] | None = None
) -> JSONResponse:
    """The answer to a request that failed."""
    body = Problem(
        type=f"/problems/{kind}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        instance=request.url.path,
    )
    return JSONResponse(body.model_dump(), status_code=status, headers=headers, media_type=MEDIA_TYPE)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For a route's ``responses``: these statuses, with problem details, and those that every route may have."""
    content = {MEDIA_TYPE: {"schema": Problem.model_json_schema()}}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": content}
        for status in sorted({401, 403, 413, 422, 429, 503, *statuses})
    }
