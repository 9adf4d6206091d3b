"""Who asks, and what they may."""

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Path, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from nas.service.api.answers import ID
from nas.service.api.problems import ForbiddenError, TooManyRequestsError
from nas.service.searches import SearchRecord, unknown
from nas.service.tokens import Identity, InvalidTokenError, Scope

LOCAL = Identity(token_id="local", owner="local", scopes=frozenset({Scope.ADMIN}))
"""Everybody, where the operator runs the service on loopback without tokens."""

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
    address = request.client.host if request.client else "?"
    if not state.policy.has_auth:
        _limit(request, address)
        return LOCAL
    if credentials is None:
        _limit(request, address)
        raise InvalidTokenError("A request must carry a token, got none; send it as Authorization: Bearer nas_….")
    try:
        identity: Identity = state.tokens.identify(credentials.credentials)
    except InvalidTokenError:
        _limit(request, address)  # guesses count for who makes them
        raise
    _limit(request, identity.token_id)
    return identity


def needs(scope: Scope) -> Callable[[Identity], Identity]:
    """A dependency: who asks, if their token is good for ``scope``."""

    def allowed(identity: Annotated[Identity, Depends(identify)]) -> Identity:
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


def _limit(request: Request, key: str) -> None:
    seconds = request.app.state.limiter.admit(key)
    if seconds:
        raise TooManyRequestsError(seconds)
