"""Sessions of browsers: the token, shown once, in a cookie that scripts cannot read."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from nas.service.api.access import COOKIE, identify, limit_address, refuse_other_pages
from nas.service.api.answers import Session, SessionRequest
from nas.service.api.problems import documented
from nas.service.tokens import Identity

session_routes = APIRouter(prefix="/session", tags=["session"])


@session_routes.get("", summary="Who is asking", responses=documented())
def get(request: Request, identity: Annotated[Identity, Depends(identify)]) -> Session:
    """The owner and scopes of the token that came with the request."""
    return Session.of(identity, needs_token=request.app.state.policy.has_auth)


@session_routes.post("", status_code=204, summary="Begin a session", responses=documented())
def begin(request: Request, answer: Response, sent: SessionRequest) -> None:
    """Keeps a valid token in a cookie, until the browser ends or the token does."""
    limit_address(request)  # guesses count for who makes them
    refuse_other_pages(request)
    if request.app.state.policy.has_auth:
        request.app.state.tokens.identify(sent.token)
        secure = request.url.scheme == "https"
        answer.set_cookie(COOKIE, sent.token, httponly=True, samesite="strict", secure=secure)


@session_routes.delete("", status_code=204, summary="End the session", responses=documented())
def end(request: Request, answer: Response) -> None:
    """Has the browser forget its token."""
    refuse_other_pages(request)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
