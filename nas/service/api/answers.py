"""What the API answers with. Times are seconds since 1970, latencies seconds, shares between 0 and 1."""

import base64
import binascii
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from nas.service.api.problems import ParameterError
from nas.service.queue import JobState
from nas.service.searches import SearchRecord

ID = "9f0c2b7c5d8e4f0a9b1c2d3e4f5a6b7c"


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
        return float(moment), search_id
    except (ValueError, binascii.Error) as error:
        raise ParameterError(
            f"A cursor must be the next_cursor of an earlier page, got {cursor[:80]!r}; begin without one."
        ) from error
