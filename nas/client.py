"""A Python client of the service, with the names that the command line has.

client = Client("http://127.0.0.1:8000", token)
search = client.submit(Path("configs/quickstart.yaml"))
for event in client.watch(search):
print(event.kind, event.data)
trial = client.pick(search, max=["latency=0.6x"])
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

try:
    import httpx
    import httpx_sse
except ImportError as error:  # pragma: no cover
    raise ImportError("The client needs the extra service; install it: pip install 'nas-llm[service]'.") from error

T = TypeVar("T")
RECONNECT_S = 1.0
SILENCE_S = 45.0
"""So long without anything, not even one of three heartbeats, a stream of events is taken to be broken."""
UNDER_WAY = frozenset({"queued", "running"})
"""States of a search to which something will still happen."""


class ServiceError(ValueError):
    """What the service answers to a request that it cannot fulfil.

    Attributes:
        status: Of HTTP; 0 where there was no answer.
        kind: Of the problem, such as ``/problems/nothing-fits``.
    """

    def __init__(self, detail: str, *, status: int = 0, kind: str = "") -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind

    @property
    def may_pass(self) -> bool:
        """Whether the same request may be answered later: no answer, too many requests, or no database for now.

        Nor does a service answer whose proxy says that there is none behind it (502, 504).
        """
        return isinstance(self, UnreachableError) or self.status in {429, 502, 503, 504}


class UnreachableError(ServiceError):
    """No service answers there."""


class ServiceNothingFitsError(ServiceError):
    """No trial meets the budgets asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What happened to a search.

    Attributes:
        number: From 1, within the search.
        kind: ``state``, ``trial``, ``front`` or ``log``.
        data: What changed.
    """

    number: int
    kind: str
    data: dict[str, Any]


class Client:
    """Asks one service. Every method may raise ``ServiceError``.

    Attributes:
        url: Where it listens.

    Args:
        url: Where it listens.
        token: As ``nas token create`` prints it; None where the service needs none.
        timeout_s: For an answer.

    Raises:
        ServiceError: The URL is none.
    """

    def __init__(self, url: str, token: str | None = None, *, timeout_s: float = 30.0) -> None:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self.url = url
        self._timeout_s = timeout_s
        with self._reaching():
            self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout_s)

    def submit(self, config: Path | str | dict[str, Any], *, idempotency_key: str | None = None) -> str:
        """Submits a search.

        Args:
            config: A file, the text of one, or what such a text says.
            idempotency_key: The same key gives the same search, however often it is sent.

        Returns:
            The search's id.
        """
        key = {} if idempotency_key is None else {"Idempotency-Key": idempotency_key}
        return str(self._ask("POST", "/v1/searches", content=_text(config), headers={**_YAML, **key})["id"])

    def jobs(self, *, states: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
        """Searches, newest first.

        Args:
            states: Only such; empty for all.
        """
        cursor: str | None = None
        while True:
            wanted: dict[str, Any] = {"state": list(states)} | ({} if cursor is None else {"cursor": cursor})
            page = self._ask("GET", "/v1/searches", params=wanted)
            yield from page["searches"]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def get(self, search_id: str) -> dict[str, Any]:
        """One search and how it stands."""
        return self._ask("GET", f"/v1/searches/{search_id}")

    def trials(self, search_id: str) -> list[dict[str, Any]]:
        """All its trials so far."""
        found: list[dict[str, Any]] = self._ask("GET", f"/v1/searches/{search_id}/trials")["trials"]
        return found

    def front(self, search_id: str, *, max: Sequence[str] = (), min: Sequence[str] = ()) -> dict[str, Any]:
        """Its front, in the form of ``front.json``.

        Args:
            search_id: Whose.
            max: Budgets in place of the search's own, ``latency=0.6x`` each.
            min: The same for what must not be too small.
        """
        return self._ask("GET", f"/v1/searches/{search_id}/front", params={"max": list(max), "min": list(min)})

    def pick(
        self, search_id: str, *, max: Sequence[str] = (), min: Sequence[str] = (), best: str | None = None
    ) -> dict[str, Any]:
        """The best trial within budgets.

        Args:
            search_id: Of which search.
            max: ``latency=0.6x`` each.
            min: ``accuracy=0.8`` each.
            best: Best in this; None for the first objective.

        Raises:
            ServiceNothingFitsError: No trial meets them; the message says how close the nearest comes.
        """
        wanted: dict[str, Any] = {"max": list(max), "min": list(min)} | ({} if best is None else {"best": best})
        return self._ask("GET", f"/v1/searches/{search_id}/pick", params=wanted)

    def cancel(self, search_id: str) -> dict[str, Any]:
        """Ends a search; what it has found stays."""
        return self._ask("POST", f"/v1/searches/{search_id}/cancel")

    def delete(self, search_id: str) -> None:
        """Deletes a search that is over, with what it has found and its exports."""
        self._answer("DELETE", f"/v1/searches/{search_id}")

    def rerun(self, search_id: str) -> str:
        """Submits the same config again; returns the new search's id."""
        return str(self._ask("POST", f"/v1/searches/{search_id}/rerun")["id"])

    def check(self, config: Path | str | dict[str, Any]) -> dict[str, Any]:
        """What a config means, with all defaults filled in; nothing is submitted.

        Args:
            config: As ``submit`` takes it.
        """
        found: dict[str, Any] = self._ask("POST", "/v1/check", content=_text(config), headers=_YAML)["config"]
        return found

    def report(self, search_id: str) -> str:
        """Its report, one HTML page."""
        return self._answer("GET", f"/v1/searches/{search_id}/report").text

    def logs(self, search_id: str) -> Iterator[dict[str, Any]]:
        """The lines that its processes have printed so far, oldest first."""
        number = 0
        while lines := self._ask("GET", f"/v1/searches/{search_id}/logs", params={"after": number})["lines"]:
            yield from lines
            number = lines[-1]["number"]

    def export(self, search_id: str, trial: int, *, to: str = "huggingface") -> dict[str, Any]:
        """Has a trial's model exported; returns at once.

        Asked for again it is the same export, unless that has failed, its file is gone, or the trial has changed since.

        Args:
            search_id: Of which search.
            trial: Number of the trial.
            to: The runtime.
        """
        return self._ask("POST", f"/v1/searches/{search_id}/export", json={"trial": trial, "to": to})

    def exports(self, search_id: str) -> list[dict[str, Any]]:
        """Its exports, newest first."""
        found: list[dict[str, Any]] = self._ask("GET", f"/v1/searches/{search_id}/exports")["exports"]
        return found

    def get_export(self, export_id: str) -> dict[str, Any]:
        """One export and how it stands."""
        return self._ask("GET", f"/v1/exports/{export_id}")

    def download(self, export_id: str, path: Path, *, poll_s: float = 0.5, patience_s: float = 60.0) -> Path:
        """Waits for an export to be made, and fetches its file, which appears whole or not at all.

        Args:
            export_id: Which.
            path: The file to write; it is replaced.
            poll_s: How often it is asked for.
            patience_s: How long a service that does not answer is waited for.

        Raises:
            UnreachableError: It did not come back.
            ServiceError: The export failed, or what arrived is not what was published.
        """
        while (export := self._patiently(lambda: self.get_export(export_id), patience_s))["state"] in UNDER_WAY:
            time.sleep(poll_s)
        if export["state"] != "complete":
            raise ServiceError(
                f"An export must be complete to be fetched, but it is {export['state']}: "
                f"{export['reason'] or 'ask for it again.'}"
            )
        partial = path.with_name(f".{path.name}.partial")
        try:
            if self._patiently(lambda: self._fetch(export_id, partial), patience_s) != export["sha256"]:
                raise ServiceError("A file must arrive as it was published, but this one did not; fetch it again.")
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        return path

    def watch(self, search_id: str, *, after: int = 0, patience_s: float = 60.0) -> Iterator[Event]:
        """What happens to a search, until it is over. A connection that breaks is taken up where it broke.

        Args:
            search_id: Which.
            after: Number of the last event that is known already.
            patience_s: How long a service that does not answer is waited for.

        Raises:
            UnreachableError: It did not come back.
        """
        number, patience = after, _Patience(patience_s)
        while True:
            try:
                for event in self._events(search_id, number, patience):
                    number = event.number
                    yield event
                found = self.get(search_id)
                if found["num_events"] <= number and found["state"] not in UNDER_WAY:
                    return
                patience.heard()
            except ServiceError as error:
                self._bear(error, patience)

    def is_over(self, search_id: str) -> bool:
        """Whether nothing will happen to it any more."""
        return self.get(search_id)["state"] not in UNDER_WAY

    def close(self) -> None:
        """Closes its connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _events(self, search_id: str, after: int, patience: "_Patience") -> Iterator[Event]:
        path, timeout = f"/v1/searches/{search_id}/events", httpx.Timeout(self._timeout_s, read=SILENCE_S)
        asked = httpx_sse.connect_sse(self._http, "GET", path, params={"after": after}, timeout=timeout)
        with self._reaching(), asked as source:
            answer = source.response
            self._require_success(answer)
            answer.stream = _Heard(answer.stream, patience)
            try:
                for sent in source.iter_sse():
                    if sent.data:
                        yield Event(number=int(sent.id), kind=sent.event, data=json.loads(sent.data))
            except httpx_sse.SSEError as error:
                raise _foreign(answer) from error

    def _fetch(self, export_id: str, path: Path) -> str:
        """Writes an export's file; returns its SHA-256."""
        digest = hashlib.sha256()
        asked = self._http.stream("GET", f"/v1/exports/{export_id}/download")
        with self._reaching(), asked as answer, path.open("wb") as file:
            self._require_success(answer)
            for chunk in answer.iter_bytes():
                digest.update(chunk)
                file.write(chunk)
        return digest.hexdigest()

    def _ask(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        answer = self._answer(method, path, **more)
        try:
            found = answer.json()
        except ValueError as error:
            raise _foreign(answer) from error
        if not isinstance(found, dict):
            raise _foreign(answer)
        return found

    def _answer(self, method: str, path: str, **more: Any) -> httpx.Response:
        with self._reaching():
            answer = self._http.request(method, path, **more)
        self._require_success(answer)
        return answer

    def _patiently(self, ask: Callable[[], T], patience_s: float) -> T:
        patience = _Patience(patience_s)
        while True:
            try:
                return ask()
            except ServiceError as error:
                self._bear(error, patience)

    def _bear(self, error: ServiceError, patience: "_Patience") -> None:
        """Waits until the same may be asked again, or raises."""
        if error.may_pass and patience.is_left():
            time.sleep(RECONNECT_S)
        elif error.may_pass and not isinstance(error, UnreachableError):
            raise self._unreachable(error) from error
        else:
            raise error

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """Turns the errors of the way to the service into its own."""
        try:
            yield
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise ServiceError(
                f"A service's URL must be one such as http://127.0.0.1:8000, and ids must be as it gave them, got "
                f"{self.url!r} ({str(error).rstrip('.')}); mend it."
            ) from error
        except httpx.RequestError as error:
            raise self._unreachable(error) from error

    def _require_success(self, answer: httpx.Response) -> None:
        if answer.next_request is not None:
            # What a browser would be led to without notice; a token goes only where its owner sends it.
            base, asked = (url.raw_path.decode().rstrip("?") for url in (self._http.base_url, answer.request.url))
            led_to = str(answer.next_request.url).rstrip("?").removesuffix(asked.removeprefix(base)).rstrip("/")
            raise ServiceError(
                f"A service must be asked where it is, but {self.url} leads to {led_to}; give that URL.",
                status=answer.status_code,
            )
        if not answer.is_success:
            answer.read()
            raise _error(answer)

    def _unreachable(self, error: Exception) -> UnreachableError:
        return UnreachableError(
            f"The service at {self.url} must answer, but: {error}; start it with `nas serve`, or mend the URL."
        )


class _Patience:
    """How long a service that does not answer is waited for.

    Args:
        seconds: From its first failure on; whatever it answers ends that.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._failed_s: float | None = None

    def heard(self) -> None:
        """It has answered."""
        self._failed_s = None

    def is_left(self) -> bool:
        """It has failed to answer: whether to ask again."""
        now_s = time.monotonic()
        self._failed_s = now_s if self._failed_s is None else self._failed_s
        return now_s - self._failed_s < self._seconds


class _Heard(httpx.SyncByteStream):
    """A stream that tells of all that arrives, of heartbeats as well, which no event tells of."""

    def __init__(self, stream: httpx.SyncByteStream | httpx.AsyncByteStream, patience: _Patience) -> None:
        assert isinstance(stream, httpx.SyncByteStream)
        self._stream = stream
        self._patience = patience

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._stream:
            self._patience.heard()
            yield chunk

    def close(self) -> None:
        self._stream.close()


_YAML = {"Content-Type": "application/yaml"}


def _text(config: Path | str | dict[str, Any]) -> bytes:
    if isinstance(config, Path):
        return config.read_bytes()
    return (config if isinstance(config, str) else json.dumps(config)).encode()


def _error(answer: httpx.Response) -> ServiceError:
    try:
        problem = answer.json()
        detail, kind = str(problem["detail"]), str(problem["type"])
    except (ValueError, KeyError, TypeError):
        return _foreign(answer)
    what = ServiceNothingFitsError if kind == "/problems/nothing-fits" else ServiceError
    return what(detail, status=answer.status_code, kind=kind)


def _foreign(answer: httpx.Response) -> ServiceError:
    what = answer.headers.get("content-type", "nothing")
    return ServiceError(
        f"The service must answer in its own form, got {answer.status_code} with {what}; mend the URL.",
        status=answer.status_code,
    )
