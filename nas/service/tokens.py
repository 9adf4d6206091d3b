"""Who may use the service: tokens of which only a hash is kept.

A token reads ``nas_<id>_<secret>``. The id finds the row; the secret is 32 random bytes, so that its SHA-256 needs
neither salt nor stretching. It is shown once. All times are by the database's clock.
"""

import hashlib
import hmac
import math
import re
import secrets
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import and_, func, insert, or_, select, text, update
from sqlalchemy.engine import Connection
from sqlalchemy.sql import ColumnElement

from nas.service import tables
from nas.service.database import Database, DatabaseError

FIRST_ADMIN = "admin"
"""Owner of the token that is made when the service first starts."""

NOTE_USE_S = 60.0
"""A token's use is noted at most so often: a request should not cost a write."""

_TOKEN = re.compile(r"nas_([0-9a-f]{16})_([0-9a-f]{64})")
_ID = re.compile(r"[0-9a-f]{16}")
_OWNER = re.compile(r"[A-Za-z0-9._@-]{1,64}")
_NO_HASH = "-" * 64
"""Compared where there is no row; no secret has it."""


class TokenError(ValueError):
    """A token cannot be made as asked for."""


class InvalidTokenError(ValueError):
    """A token is not, or not any more, a valid one; which of these is not said."""


class UnknownTokenError(ValueError):
    """No token has that id."""


class Scope(StrEnum):
    """What a token is good for. Each includes those before it."""

    READ = "read"
    SUBMIT = "submit"
    ADMIN = "admin"

    @property
    def includes(self) -> frozenset["Scope"]:
        """Itself and all that it implies."""
        scopes = list(Scope)
        return frozenset(scopes[: scopes.index(self) + 1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who makes a request.

    Attributes:
        token_id: The token's, for rate limits and logs.
        owner: Whose it is.
        scopes: As given, without what they imply.
    """

    token_id: str
    owner: str
    scopes: frozenset[Scope]

    def allows(self, scope: Scope) -> bool:
        """Whether a scope was given or is implied by one that was."""
        return any(scope in held.includes for held in self.scopes)

    def may_see(self, owner: str) -> bool:
        """Whether what belongs to ``owner`` is shown: to an admin everything, to others what is theirs."""
        return self.allows(Scope.ADMIN) or owner == self.owner


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRecord:
    """What is known of a token, but for its secret. Times are seconds since 1970.

    Attributes:
        id: Its name, for revoking.
        owner: Whose it is.
        scopes: As given.
        is_valid: Neither revoked nor expired.
        created_at: When it was made.
        expires_at: None for never.
        revoked_at: None where it is not.
        last_used_at: To the minute; None for never.
    """

    id: str
    owner: str
    scopes: frozenset[Scope]
    is_valid: bool
    created_at: float
    expires_at: float | None
    revoked_at: float | None
    last_used_at: float | None


class Tokens:
    """All tokens.

    Args:
        database: Where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, owner: str, scopes: Iterable[str], lifetime_s: float | None) -> str:
        """Makes a token.

        Args:
            owner: To whom the searches submitted with it will belong.
            scopes: At least one.
            lifetime_s: None for a token that does not expire.

        Returns:
            The token itself, which cannot be had again.

        Raises:
            TokenError: No name for an owner, no such scope, or no such lifetime.
        """
        _check_owner(owner)
        known = _known_scopes(scopes)
        _check_lifetime(lifetime_s)
        with self._database.transaction() as connection:
            return self._insert(connection, owner, known, lifetime_s)

    def create_first_admin(self) -> str | None:
        """An admin's token where no valid one exists, else None; of several processes that ask at once one gets it."""
        with self._database.transaction() as connection:
            if not self._database.is_sqlite:  # which has one writer at a time anyhow
                connection.execute(text("LOCK TABLE tokens IN SHARE ROW EXCLUSIVE MODE"))
            valid = connection.execute(select(tables.tokens.c.scopes).where(self._is_valid)).scalars()
            if any(Scope.ADMIN in scopes for scopes in valid):
                return None
            return self._insert(connection, FIRST_ADMIN, [Scope.ADMIN], None)

    def identify(self, plain: str) -> Identity:
        """Who holds a token.

        Args:
            plain: What a client sent, of any form and length.

        Raises:
            InvalidTokenError: Malformed, unknown, wrong, expired or revoked, all in the same words and after the same
                work, so that nothing can be learnt from guesses.
        """
        form = _TOKEN.fullmatch(plain)
        token_id, secret = form.groups() if form else ("", "")
        columns = tables.tokens.c
        query = select(
            columns.owner,
            columns.scopes,
            columns.secret_sha256,
            self._is_valid.label("is_valid"),
            self._is_use_due.label("is_use_due"),
        ).where(columns.id == token_id)
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
        is_right = hmac.compare_digest(_hash(secret), _NO_HASH if row is None else row.secret_sha256)
        if row is None or not is_right or not row.is_valid:
            raise InvalidTokenError(
                "A token must be one that was issued here and has neither expired nor been revoked, but this one is "
                "not; ask an administrator for another: nas token create."
            )
        if row.is_use_due:
            self._note_use(token_id)
        return Identity(token_id=token_id, owner=row.owner, scopes=_read_scopes(row.scopes))

    def list(self) -> tuple[TokenRecord, ...]:
        """All tokens, revoked and expired ones too, oldest first."""
        columns = tables.tokens.c
        shown = [column for column in columns if column.name not in {"scopes", "secret_sha256"}]
        query = select(*shown, columns.scopes, self._is_valid.label("is_valid"))
        with self._database.reading() as connection:
            rows = connection.execute(query.order_by(columns.created_at, columns.id)).mappings()
            return tuple(
                TokenRecord(**{**row, "scopes": _read_scopes(row["scopes"]), "is_valid": bool(row["is_valid"])})
                for row in rows
            )

    def revoke(self, token_id: str) -> None:
        """Makes a token worthless at once. Revoking it again changes nothing.

        Raises:
            UnknownTokenError: No token has that id.
        """
        columns = tables.tokens.c
        revoked = (
            update(tables.tokens)
            .where(columns.id == token_id)
            .values(revoked_at=func.coalesce(columns.revoked_at, self._database.now))
        )
        if _ID.fullmatch(token_id):
            with self._database.transaction() as connection:
                if connection.execute(revoked).rowcount:
                    return
        # Cut, as people paste whole tokens, and messages are logged.
        raise UnknownTokenError(
            f"A token to revoke must be named by its id, the 16 characters after nas_, got {token_id[:16]!r}; "
            "see nas token list."
        )

    @property
    def _is_valid(self) -> ColumnElement[bool]:
        columns = tables.tokens.c
        return and_(
            columns.revoked_at.is_(None), or_(columns.expires_at.is_(None), columns.expires_at > self._database.now)
        )

    @property
    def _is_use_due(self) -> ColumnElement[bool]:
        used_at = tables.tokens.c.last_used_at
        return or_(used_at.is_(None), used_at <= self._database.now - NOTE_USE_S)

    def _note_use(self, token_id: str) -> None:
        # A full disk stops writing, but should let people look.
        with suppress(DatabaseError), self._database.transaction() as connection:
            connection.execute(
                update(tables.tokens).where(tables.tokens.c.id == token_id).values(last_used_at=self._database.now)
            )

    def _insert(self, connection: Connection, owner: str, scopes: Iterable[Scope], lifetime_s: float | None) -> str:
        token_id, secret = secrets.token_hex(8), secrets.token_hex(32)
        connection.execute(
            insert(tables.tokens).values(
                id=token_id,
                owner=owner,
                scopes=[scope.value for scope in scopes],
                secret_sha256=_hash(secret),
                created_at=self._database.now,
                expires_at=None if lifetime_s is None else self._database.now + lifetime_s,
            )
        )
        return f"nas_{token_id}_{secret}"


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _read_scopes(names: Iterable[str]) -> frozenset[Scope]:
    return frozenset(Scope(name) for name in names)


def _known_scopes(names: Iterable[str]) -> tuple[Scope, ...]:
    given = set(names)
    if not given or not given <= set(Scope):
        raise TokenError(
            f"A token's scopes must be some of {', '.join(Scope)}, got {', '.join(sorted(given)) or 'none'}; "
            "name at least one of these."
        )
    return tuple(scope for scope in Scope if scope in given)


def _check_owner(owner: str) -> None:
    if not _OWNER.fullmatch(owner):
        raise TokenError(
            f"An owner must be 1 to 64 of the letters A to Z and a to z, digits, '.', '_', '-' and '@', got {owner!r}; "
            "take a login name or an e-mail address."
        )


def _check_lifetime(lifetime_s: float | None) -> None:
    if lifetime_s is not None and not (math.isfinite(lifetime_s) and lifetime_s > 0):
        raise TokenError(
            f"A token's lifetime must be a positive number of seconds, got {lifetime_s}; take 2592000 for 30 days, or "
            "none for a token that does not expire."
        )
