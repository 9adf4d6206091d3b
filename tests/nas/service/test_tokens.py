import hashlib
import hmac
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, insert, select, update

from nas.service import tables
from nas.service.database import Database, DatabaseError
from nas.service.tokens import (
    Identity,
    InvalidTokenError,
    Scope,
    TokenError,
    Tokens,
    UnknownTokenError,
)

READ, SUBMIT, ADMIN = Scope.READ, Scope.SUBMIT, Scope.ADMIN
INVALID = r"A token must be one that was issued here and has neither expired nor been revoked, but this one is not; ask"
one_database = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.fixture
def tokens(database: Database) -> Tokens:
    return Tokens(database)


def id_of(plain: str) -> str:
    return plain.split("_")[1]


def change(database: Database, plain: str, **values: Any) -> None:
    with database.transaction() as connection:
        row = update(tables.tokens).where(tables.tokens.c.id == id_of(plain))
        assert connection.execute(row.values(**values)).rowcount == 1


def now(database: Database) -> float:
    with database.reading() as connection:
        return float(connection.execute(select(database.now)).scalar_one())


@contextmanager
def statements(database: Database) -> Iterator[list[str]]:
    """What is sent to the database, as it is sent."""
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(database.engine, "before_cursor_execute", note)


def assert_invalid(tokens: Tokens, plain: str) -> None:
    with pytest.raises(InvalidTokenError, match=INVALID):
        tokens.identify(plain)


def test_a_token_identifies_its_owner(tokens: Tokens) -> None:
    plain = tokens.create("ada", [READ, SUBMIT], None)
    other = tokens.create("bob", ["admin"], 60.0)
    expected = Identity(token_id=id_of(plain), owner="ada", scopes=frozenset({READ, SUBMIT}))
    assert tokens.identify(plain) == expected
    assert tokens.identify(other) == Identity(token_id=id_of(other), owner="bob", scopes=frozenset({ADMIN}))


def test_form(tokens: Tokens) -> None:
    plains = {tokens.create("ada", [READ], None) for _ in range(20)}
    assert len({id_of(plain) for plain in plains}) == len({plain.split("_")[2] for plain in plains}) == 20
    for plain in plains:
        assert re.fullmatch(r"nas_[0-9a-f]{16}_[0-9a-f]{64}", plain)
        assert len(bytes.fromhex(plain.split("_")[2])) == 32


def test_only_the_hash_of_the_secret_is_stored(database: Database, tokens: Tokens) -> None:
    plain = tokens.create("ada", [READ], None)
    secret = plain.split("_")[2]
    with database.reading() as connection:
        (row,) = connection.execute(select(tables.tokens)).mappings()
    assert row["secret_sha256"] == hashlib.sha256(secret.encode()).hexdigest()
    assert secret not in str(dict(row))
    (record,) = tokens.list()
    assert secret not in str(record)
    assert row["secret_sha256"] not in str(record)


@one_database
@given(
    plain=st.text()
    | st.from_regex(r"nas_[0-9a-f]{16}_[0-9a-f]{64}", fullmatch=True)
    | st.from_regex(r"[a-z]{0,4}_?[0-9a-f]*_?\w*\s?", fullmatch=True)
)
def test_random_strings_never_identify(tokens: Tokens, plain: str) -> None:
    if not tokens.list():
        tokens.create("ada", [ADMIN], None)
    assert_invalid(tokens, plain)


@one_database
@given(position=st.integers(0, 84), character=st.sampled_from("0123456789abcdefABCDEFnas_-") | st.characters())
def test_a_token_with_another_character_is_refused(tokens: Tokens, position: int, character: str) -> None:
    plain = tokens.create("ada", [ADMIN], None)
    assume(plain[position] != character)
    assert_invalid(tokens, plain[:position] + character + plain[position + 1 :])
    assert tokens.identify(plain).owner == "ada"


def test_a_token_cut_lengthened_or_mixed_is_refused(tokens: Tokens) -> None:
    plain, other = (tokens.create(owner, [READ], None) for owner in ("ada", "bob"))
    _, token_id, secret = plain.split("_")
    _, other_id, other_secret = other.split("_")
    wrong = [plain[:length] for length in range(len(plain))] + [plain[start:] for start in range(1, len(plain))]
    wrong += [plain + end for end in ("\n", " ", "\0", "0", "_", plain)] + ["\n" + plain, " " + plain]
    wrong += [plain.upper(), f"Bearer {plain}", f"nas_{token_id}_{hashlib.sha256(secret.encode()).hexdigest()}"]
    wrong += [f"nas_{token_id}_{other_secret}", f"nas_{other_id}_{secret}", f"nas__{secret}", "0" * 10**6]
    for tampered in wrong:
        assert_invalid(tokens, tampered)


def test_the_hash_stored_is_no_token(database: Database, tokens: Tokens) -> None:
    """Nor is whatever is compared where there is no row."""
    plain = tokens.create("ada", [READ], None)
    with database.reading() as connection:
        stored = connection.execute(select(tables.tokens.c.secret_sha256)).scalar_one()
    assert_invalid(tokens, f"nas_{id_of(plain)}_{stored}")
    with database.transaction() as connection:
        connection.execute(
            insert(tables.tokens).values(
                id="", owner="eve", scopes=["admin"], secret_sha256="-" * 64, created_at=database.now
            )
        )
    for form in ("", "nas__", f"nas__{'-' * 64}", "-" * 64):
        assert_invalid(tokens, form)


def test_nothing_is_learnt_from_a_refusal(database: Database, tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same words, statements and comparisons, whatever is wrong."""
    plain, expired, revoked = (tokens.create("ada", [READ], None) for _ in range(3))
    change(database, expired, expires_at=database.now - 1)
    tokens.revoke(id_of(revoked))
    wrong_secret, unknown = plain[:-64] + "0" * 64, f"nas_{'0' * 16}_{'0' * 64}"
    compared: list[tuple[int, int]] = []
    compare = hmac.compare_digest

    def noted(one: str, other: str) -> bool:
        compared.append((len(one), len(other)))
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", noted)
    learnt = set()
    for token in (wrong_secret, unknown, expired, revoked, "", "nas_", "\0", "é" * 85):
        compared.clear()
        with statements(database) as sent, pytest.raises(InvalidTokenError, match=INVALID) as refusal:
            tokens.identify(token)
        learnt.add((str(refusal.value), tuple(sent), tuple(compared)))
    ((_, sent_each, compared_each),) = learnt
    assert len([statement for statement in sent_each if statement.startswith("SELECT")]) == 1
    assert compared_each == ((64, 64),)


def test_expiry_is_by_the_databases_clock(database: Database, tokens: Tokens) -> None:
    before = now(database)
    plain = tokens.create("ada", [READ], 3600.0)
    after = now(database)
    (record,) = tokens.list()
    assert before <= record.created_at <= after
    assert record.expires_at is not None
    assert before + 3600 <= record.expires_at <= after + 3600
    change(database, plain, expires_at=database.now + 30)
    assert tokens.identify(plain).owner == "ada"
    change(database, plain, expires_at=database.now - 0.01)
    assert_invalid(tokens, plain)
    assert [record.is_valid for record in tokens.list()] == [False]


def test_revoked_at_once_and_once(database: Database, tokens: Tokens) -> None:
    plain, other = tokens.create("ada", [ADMIN], None), tokens.create("ada", [ADMIN], None)
    tokens.revoke(id_of(plain))
    assert_invalid(tokens, plain)
    assert tokens.identify(other).owner == "ada"
    change(database, plain, revoked_at=5.0)
    tokens.revoke(id_of(plain))
    assert {record.id: record.revoked_at for record in tokens.list()} == {id_of(plain): 5.0, id_of(other): None}


def test_revoking_what_is_not_there(tokens: Tokens) -> None:
    tokens.create("ada", [READ], None)
    for token_id in ("0" * 16, "", "nas", "\0", "\ud800", "%", "0" * 10_000):
        with pytest.raises(UnknownTokenError, match=r"named by its id, the 16 characters after nas_, got '.*'; see"):
            tokens.revoke(token_id)
    assert [record.is_valid for record in tokens.list()] == [True]


def test_a_token_pasted_where_its_id_belongs_is_not_repeated(tokens: Tokens) -> None:
    plain = tokens.create("ada", [READ], None)
    with pytest.raises(UnknownTokenError, match=f"got '{plain[:16]}'") as refusal:
        tokens.revoke(plain)
    assert plain.split("_")[2][:4] not in str(refusal.value).replace(plain[:16], "")


def test_list_is_oldest_first(database: Database, tokens: Tokens) -> None:
    assert tokens.list() == ()
    plains = [tokens.create(owner, [SUBMIT], None) for owner in ("ada", "bob", "cyd")]
    for plain, created_at in zip(plains, (30.0, 10.0, 20.0), strict=True):
        change(database, plain, created_at=created_at)
    records = tokens.list()
    assert [record.owner for record in records] == ["bob", "cyd", "ada"]
    assert {(record.scopes, record.is_valid, record.last_used_at) for record in records} == {
        (frozenset({SUBMIT}), True, None)
    }


def last_use(tokens: Tokens) -> float | None:
    (record,) = tokens.list()
    return record.last_used_at


def test_use_is_noted_at_most_once_a_minute(database: Database, tokens: Tokens) -> None:
    plain = tokens.create("ada", [READ], None)
    before = now(database)
    tokens.identify(plain)
    used_at = last_use(tokens)
    assert used_at is not None
    assert before <= used_at <= now(database)
    change(database, plain, last_used_at=before - 55)
    with statements(database) as sent:
        tokens.identify(plain)
    assert not [statement for statement in sent if "UPDATE" in statement]
    assert last_use(tokens) == before - 55
    change(database, plain, last_used_at=before - 61)
    tokens.identify(plain)
    noted = last_use(tokens)
    assert noted is not None
    assert noted >= before


def test_refused_use_is_not_noted(tokens: Tokens) -> None:
    plain = tokens.create("ada", [READ], None)
    assert_invalid(tokens, plain[:-64] + "0" * 64)
    tokens.revoke(id_of(plain))
    assert_invalid(tokens, plain)
    assert last_use(tokens) is None


def test_a_database_that_cannot_be_written_still_identifies(
    database: Database, tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = tokens.create("ada", [READ], None)

    def full(_: Database) -> None:
        raise DatabaseError("The disk is full.")

    monkeypatch.setattr(Database, "transaction", full)
    assert tokens.identify(plain).owner == "ada"
    assert last_use(tokens) is None


def test_first_admin_is_made_once(database: Database, tokens: Tokens) -> None:
    tokens.create("ada", [READ, SUBMIT], None)
    first = tokens.create_first_admin()
    assert first is not None
    assert tokens.identify(first).allows(ADMIN)
    assert tokens.create_first_admin() is None
    tokens.revoke(id_of(first))
    second = tokens.create_first_admin()
    assert second is not None
    change(database, second, expires_at=database.now - 1)
    other = tokens.create("bob", [ADMIN], None)
    assert tokens.create_first_admin() is None
    tokens.revoke(id_of(other))
    assert tokens.create_first_admin() is not None


def test_first_admin_is_made_by_one_of_many_that_start_at_once(database: Database, tokens: Tokens) -> None:
    barrier = threading.Barrier(6)
    made: list[str | None] = []

    def start() -> None:
        barrier.wait()
        made.append(tokens.create_first_admin())

    for _ in range(5):
        made.clear()
        threads = [threading.Thread(target=start) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (plain,) = [token for token in made if token is not None]
        assert len(made) == 6
        tokens.revoke(id_of(plain))


@pytest.mark.parametrize(
    ("held", "allowed"),
    [
        ([], []),
        ([READ], [READ]),
        ([SUBMIT], [READ, SUBMIT]),
        ([ADMIN], [READ, SUBMIT, ADMIN]),
        ([READ, ADMIN], [READ, SUBMIT, ADMIN]),
    ],
)
def test_scopes_imply_lesser_ones(held: list[Scope], allowed: list[Scope]) -> None:
    identity = Identity(token_id="0" * 16, owner="ada", scopes=frozenset(held))
    assert [scope for scope in (READ, SUBMIT, ADMIN) if identity.allows(scope)] == allowed
    assert identity.may_see("ada")
    assert identity.may_see("bob") == (ADMIN in held)
    assert identity.may_see("Ada") == (ADMIN in held)


def test_owner(tokens: Tokens) -> None:
    for owner in ("a", "ada.l-1_x@example.org", "Z" * 64):
        assert tokens.identify(tokens.create(owner, [READ], None)).owner == owner


def test_no_owner(tokens: Tokens) -> None:
    for owner in ("", "a" * 65, "a b", "a\n", "a\0", "é", "a/b", "<b>", "a,b", "١"):
        with pytest.raises(
            TokenError, match=r"An owner must be 1 to 64 of the letters .*, got '.*'; take a login name"
        ):
            tokens.create(owner, [READ], None)
    assert tokens.list() == ()


def test_no_scope(tokens: Tokens) -> None:
    wrong: list[tuple[list[str], str]] = [
        ([], "none"),
        (["write"], "write"),
        (["read", "root"], "read, root"),
        (["READ"], "READ"),
    ]
    for scopes, got in wrong:
        with pytest.raises(TokenError, match=f"must be some of read, submit, admin, got {got}; name at least one"):
            tokens.create("ada", scopes, None)
    assert tokens.list() == ()


def test_no_lifetime(tokens: Tokens) -> None:
    for lifetime_s in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(TokenError, match=r"lifetime must be a positive number of seconds, got .*; take 2592000"):
            tokens.create("ada", [READ], lifetime_s)
    assert tokens.list() == ()
