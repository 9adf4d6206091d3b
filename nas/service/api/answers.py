"""What the API answers with. Times are seconds since 1970, latencies seconds, shares between 0 and 1."""

import base64
import binascii
import math
import re
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from nas.service.api.problems import ParameterError
from nas.service.events import Event
from nas.service.exports import ExportRecord
from nas.service.queue import JobState
from nas.service.searches import SearchRecord
from nas.service.tokens import Identity, Scope

ID = "9f0c2b7c5d8e4f0a9b1c2d3e4f5a6b7c"
_ID = re.compile("[0-9a-f]{32}")


class Answer(BaseModel):
    """An answer whose keys are all documented."""

    model_config = ConfigDict(extra="forbid")


class Submitted(Answer):
    """A search that was accepted."""

    id: str = Field(examples=[ID])


class Search(Answer):
    """One search and how it stands."""

    id: str = Field(examples=[ID])
    owner: str = Field(examples=["ada"])
    name: str = Field(examples=["quickstart"])
    state: JobState = Field(examples=["running"])
    reason: str = Field(description="Why it failed; empty otherwise.", examples=[""])
    num_trials: int = Field(description="Finished so far.", examples=[17])
    max_trials: int | None = Field(description="When it ends; null where only time ends it.", examples=[64])
    hypervolume: float | None = Field(description="Of its front; null before there is one.", examples=[0.0012])
    num_events: int = Field(description="Number of its newest event.", examples=[40])
    created_at: float = Field(examples=[1795286788.06])
    started_at: float | None = Field(examples=[1795286788.9])
    ended_at: float | None = Field(examples=[None])
    config: dict[str, Any] = Field(examples=[{"name": "quickstart", "trials": 64}])
    environment: dict[str, Any] | None = Field(description="Of the worker that began it.", examples=[None])

    @classmethod
    def of(cls, record: SearchRecord) -> "Search":
        """From what the database holds."""
        return cls(**{name: getattr(record, name) for name in cls.model_fields})


class Page(Answer):
    """Some searches, newest first."""

    searches: list[Search]
    next_cursor: str | None = Field(description="For the next page; null on the last.", examples=[None])


class Trials(Answer):
    """All trials so far, by number."""

    trials: list[dict[str, Any]] = Field(examples=[[{"number": 0, "source": "supernet", "state": "complete"}]])


class Checked(Answer):
    """A config that would be accepted."""

    name: str = Field(examples=["quickstart"])
    config: dict[str, Any] = Field(
        description="With all defaults filled in.", examples=[{"name": "quickstart", "trials": 64}]
    )


class ExportRequest(Answer):
    """Which trial's model is wanted, and for what."""

    trial: int = Field(description="Its number.", ge=0, le=2**31 - 1, examples=[17])
    to: str = Field(default="huggingface", description="The runtime.", max_length=32, examples=["huggingface"])


class Export(Answer):
    """A trial's model as a file, or on its way to become one."""

    id: str = Field(examples=[ID])
    search_id: str = Field(examples=[ID])
    trial: int = Field(examples=[17])
    to: str = Field(examples=["huggingface"])
    state: JobState = Field(examples=["complete"])
    reason: str = Field(description="Why it failed; empty otherwise.", examples=[""])
    created_at: float = Field(examples=[1795286788.06])
    ended_at: float | None = Field(examples=[1795286801.4])
    file_name: str | None = Field(description="Null until it is complete.", examples=["quickstart-trial-17.zip"])
    num_bytes: int | None = Field(examples=[9430112])
    sha256: str | None = Field(examples=["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"])

    @classmethod
    def of(cls, record: ExportRecord) -> "Export":
        """From what the database holds."""
        return cls(**{name: getattr(record, name) for name in cls.model_fields})


class Exports(Answer):
    """All exports of a search, newest first."""

    exports: list[Export]


class LogLine(Answer):
    """What a process printed."""

    number: int = Field(description="Of the event that told of it.", examples=[3])
    job: str = Field(description="search or export.", examples=["search"])
    text: str = Field(examples=["2026-11-21 12:00:00,000 INFO searching on Intel Xeon"])
    at: float = Field(examples=[1795286788.06])

    @classmethod
    def of(cls, event: Event) -> "LogLine":
        """From the event."""
        return cls(number=event.number, at=event.created_at, **event.data)


class LogLines(Answer):
    """Some lines of a search's log, oldest first."""

    lines: list[LogLine]


class Session(Answer):
    """Who is asking."""

    owner: str = Field(examples=["ada"])
    scopes: list[str] = Field(description="With what they imply.", examples=[["read", "submit"]])
    needs_token: bool = Field(description="Whether this server asks for tokens.", examples=[True])

    @classmethod
    def of(cls, identity: Identity, *, needs_token: bool) -> "Session":
        """From what is known of them."""
        return cls(
            owner=identity.owner,
            scopes=[scope for scope in Scope if identity.allows(scope)],
            needs_token=needs_token,
        )


class SessionRequest(Answer):
    """A browser's way to show its token once."""

    token: str = Field(max_length=200, examples=["nas_0123456789abcdef_…"])


class Health(Answer):
    """That the process answers."""

    status: str = Field(examples=["ok"])


def to_cursor(record: SearchRecord) -> str:
    """Where a page ended."""
    return base64.urlsafe_b64encode(f"{record.created_at!r} {record.id}".encode()).decode()


def from_cursor(cursor: str) -> tuple[float, str]:
    """The inverse.

    Raises:
        ParameterError: It is none that was given out.
    """
    try:
        moment, search_id = base64.b64decode(cursor.encode(), altchars=b"-_", validate=True).decode().split(" ")
        if not (math.isfinite(float(moment)) and _ID.fullmatch(search_id)):
            raise ValueError(f"{moment} {search_id}")  # some databases cannot even compare with it
        return float(moment), search_id
    except (ValueError, binascii.Error) as error:
        raise ParameterError(
            f"A cursor must be the next_cursor of an earlier page, got {cursor[:80]!r}; begin without one."
        ) from error
