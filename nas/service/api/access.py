"""Who asks, and what they may.

A token comes in the header ``Authorization``, or from a browser in a cookie that scripts cannot read. A browser sends
its cookie whoever's page made the request, so what changes something must then come from a page of this server.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Path, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from nas.service.api.answers import ID
from nas.service.api.problems import ForbiddenError, TooManyRequestsError
from nas.service.database import DatabaseError
from nas.service.exports import ExportRecord
from nas.service.exports import unknown as unknown_export
from nas.service.limits import is_loopback
from nas.service.searches import SearchRecord, unknown
from nas.service.tokens import Identity, InvalidTokenError, Scope

LOCAL = Identity(token_id="local", owner="local", scopes=frozenset({Scope.ADMIN}))
"""Everybody, where the operator runs the service on loopback without tokens."""

COOKIE = "nas_token"
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

_bearer = HTTPBearer(auto_error=False, description="A token: nas token create.")


def identify(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Identity:
    """Who asks.

    Raises:
        InvalidTokenError: No token, or none that is valid.
        TooManyRequestsError: They ask too often.
    """
    state = request.app.state
    if not state.policy.has_auth:
        limit_address(request)
        refuse_other_names(request)
        refuse_other_pages(request)
        return LOCAL
    token = _token(request, credentials)
    if token is None:
        limit_address(request)
        raise InvalidTokenError("A request must carry a token, got none; send it as Authorization: Bearer nas_….")
    if credentials is None:
        refuse_other_pages(request, must_say=True)
    try:
        identity: Identity = state.tokens.identify(token)
    except InvalidTokenError:
        limit_address(request)  # guesses count for who makes them
        raise
    _limit(request, identity.token_id)
    return identity


async def still_valid(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Callable[[], bool]:
    """For an answer that goes on for hours: looks whether the token, checked when it began, is valid still.

    A database that does not answer says nothing about tokens, and ends nothing.
    """
    state, token = request.app.state, _token(request, credentials)

    def look() -> bool:
        if state.policy.has_auth:
            try:
                state.tokens.identify(token or "")
            except InvalidTokenError:
                return False
            except DatabaseError:
                pass
        return True

    return look


StillValid = Annotated[Callable[[], bool], Depends(still_valid)]


def refuse_other_names(request: Request) -> None:
    """Refuses what a browser sends here because somebody's name was made to lead to this machine (DNS rebinding).

    Raises:
        ForbiddenError: It was asked for by another name than this machine's own.
    """
    if not is_loopback(request.url.hostname or ""):
        raise ForbiddenError(
            f"Without tokens, this server must be asked as 127.0.0.1, ::1 or localhost, got {request.url.hostname!r}; "
            "use one of these, or start it with tokens."
        )


def refuse_other_pages(request: Request, *, must_say: bool = False) -> None:
    """Refuses a change that a page of another server had a browser ask for.

    Args:
        request: Whose.
        must_say: Refuse one as well that does not say where it comes from, as programs other than browsers do not.

    Raises:
        ForbiddenError: It is no page of this server.
    """
    if request.method in _SAFE:
        return
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    says_nothing = site is None and origin is None
    is_own = site in {"same-origin", "none"} or (origin or "").partition("://")[2] == request.headers.get("host")
    if must_say if says_nothing else not is_own:
        raise ForbiddenError(
            "Without a token in its header, a request that changes something must come from a page of this server, "
            "and this one does not say so; send the token as Authorization: Bearer nas_…."
        )


def needs(scope: Scope) -> Callable[[Identity], Awaitable[Identity]]:
    """A dependency: who asks, if their token is good for ``scope``."""

    async def allowed(identity: Annotated[Identity, Depends(identify)]) -> Identity:  # async: needs no thread
        if not identity.allows(scope):
            raise ForbiddenError(
                f"This needs a token with the scope {scope}, got one with {', '.join(sorted(identity.scopes))}; "
                "ask an administrator for another: nas token create."
            )
        return identity

    return allowed


Reader = Annotated[Identity, Depends(needs(Scope.READ))]
Submitter = Annotated[Identity, Depends(needs(Scope.SUBMIT))]


def visible(
    request: Request,
    search_id: Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="Of a search.", examples=[ID])],
    identity: Reader,
) -> SearchRecord:
    """The search in the path, if they may see it.

    Raises:
        UnknownSearchError: There is none, or it is another's, which is not told apart.
    """
    record: SearchRecord = request.app.state.searches.get(search_id)
    if not identity.may_see(record.owner):
        raise unknown(search_id)
    return record


Visible = Annotated[SearchRecord, Depends(visible)]


def visible_export(
    request: Request,
    export_id: Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="Of an export.", examples=[ID])],
    identity: Reader,
) -> ExportRecord:
    """The export in the path, if they may see its search.

    Raises:
        UnknownExportError: There is none, or it is another's, which is not told apart.
    """
    record: ExportRecord = request.app.state.exports.get(export_id)
    if not identity.may_see(record.owner):
        raise unknown_export(export_id)
    return record


VisibleExport = Annotated[ExportRecord, Depends(visible_export)]


def limit_address(request: Request) -> None:
    """Counts a request for the address that it comes from.

    Raises:
        TooManyRequestsError: They come too fast.
    """
    _limit(request, request.client.host if request.client else "?")


def _token(request: Request, credentials: HTTPAuthorizationCredentials | None) -> str | None:
    return credentials.credentials if credentials is not None else request.cookies.get(COOKIE)


def _limit(request: Request, key: str) -> None:
    seconds = request.app.state.limiter.admit(key)
    if seconds:
        raise TooManyRequestsError(seconds)
