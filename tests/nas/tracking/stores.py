"""What each tracker left, read back by its own library, in one form."""

import json
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

OBJECTIVES = ("minimal_pairs", "decode_latency", "parameters")


@dataclass(frozen=True, kw_only=True)
class Kept:
    """One search in a tracker.

    Attributes:
        id: The tracker's own, of the record.
        search_id: Of the search, as the record tells it.
        state: How it ended.
        reason: Why it failed.
        values: Measurements of each trial by name; empty for a failed one.
        hypervolumes: After each trial but the first; None where the tracker keeps none.
        settings: Of the config, by dotted key.
        files: Names of those kept.
    """

    id: str
    search_id: str
    state: str
    reason: str
    values: list[dict[str, float]]
    hypervolumes: list[float] | None
    settings: Mapping[str, Any]
    files: set[str] = field(default_factory=set)


def options(name: str, folder: Path) -> dict[str, str]:
    """Of a tracker that writes below a folder."""
    return {
        "mlflow": {"uri": f"sqlite:///{folder / 'mlflow.db'}", "experiment": "searches"},
        "wandb": {"mode": "offline", "folder": str(folder), "project": "searches"},
        "optuna": {"storage": f"sqlite:///{folder / 'optuna.db'}"},
    }[name]


def read(name: str, folder: Path) -> Kept:
    """The newest record; there must be one."""
    readers: dict[str, Callable[[Path], Kept]] = {"mlflow": _mlflow, "wandb": _wandb, "optuna": _optuna}
    return readers[name](folder)


def _mlflow(folder: Path) -> Kept:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=options("mlflow", folder)["uri"])
    experiment = client.get_experiment_by_name("searches")
    assert experiment is not None
    [run] = client.search_runs([experiment.experiment_id])

    def history(key: str) -> dict[int, float]:
        points = client.get_metric_history(run.info.run_id, key)
        assert len({point.step for point in points}) == len(points), f"{key} was told twice"
        return {point.step: point.value for point in points}

    numbers, volumes = history("trial"), history("hypervolume")
    assert list(numbers.values()) == list(numbers)
    columns = {name: history(name) for name in OBJECTIVES}
    return Kept(
        id=run.info.run_id,
        search_id=run.data.tags["nas.search_id"],
        state={"FINISHED": "complete", "FAILED": "failed", "KILLED": "stopped"}.get(run.info.status, run.info.status),
        reason=run.data.tags.get("nas.reason", ""),
        values=[{name: column[step] for name, column in columns.items() if step in column} for step in numbers],
        hypervolumes=list(volumes.values()),
        settings=run.data.params,
        files={file.path for file in client.list_artifacts(run.info.run_id)},
    )


def _optuna(folder: Path) -> Kept:
    import optuna

    storage = options("optuna", folder)["storage"]
    [name] = optuna.get_all_study_names(storage)
    study = optuna.load_study(study_name=name, storage=storage)
    values = []
    for trial in study.trials:
        known = {name: trial.user_attrs[name] for name in OBJECTIVES if name in trial.user_attrs}
        values.append(known)
        if trial.values is not None:
            assert trial.values == [trial.user_attrs[name] for name in study.metric_names or []]
    attributes = study.user_attrs
    return Kept(
        id=name,
        search_id=attributes["nas.search_id"],
        state=attributes.get("state", ""),
        reason=attributes.get("reason", ""),
        values=values,
        hypervolumes=None,
        settings={"name": attributes["config"]["name"], "strategy.type": attributes["config"]["strategy"]["type"]},
    )


def _wandb(folder: Path) -> Kept:
    newest = max((folder / "wandb").glob("offline-run-*"), key=lambda path: path.stat().st_mtime_ns)
    [file] = newest.glob("*.wandb")
    records = until_exit(file)
    run = next(one.run for one in records if one.HasField("run"))
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    rows = [_items(one.history.item) for one in records if one.HasField("history")]
    rows = [row for row in rows if "trial" in row]
    assert [row["trial"] for row in rows] == list(range(len(rows)))
    summary: dict[str, Any] = {}
    for one in records:
        if one.HasField("summary"):
            summary |= _items(one.summary.update)
    return Kept(
        id=run.run_id,
        search_id=run.run_id,
        state=summary.get("search_state", ""),
        reason=summary.get("search_reason", ""),
        values=[{name: row[name] for name in OBJECTIVES if name in row} for row in rows],
        hypervolumes=[row["hypervolume"] for row in rows if "hypervolume" in row],
        settings={"name": config["name"], "strategy.type": config["strategy"]["type"]},
        files={path.name for path in (newest / "files" / "search").glob("*")},
    )


def until_exit(file: Path) -> list[Any]:
    """wandb's own process writes the file, and may be a moment behind."""
    end_s = time.monotonic() + 20
    while True:
        records = list(wandb_records(file))
        if any(one.HasField("exit") for one in records) or time.monotonic() > end_s:
            return records
        time.sleep(0.1)


def _items(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def wandb_records(path: Path) -> Iterator[Any]:
    """Of a ``.wandb`` file: LevelDB's log format (its ``doc/log_format.md``) after a header of 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

    block_bytes, full, last = 32768, 1, 4
    content, position, parts = path.read_bytes(), 7, b""
    while position + 7 <= len(content):
        if (left := block_bytes - position % block_bytes) < 7:
            position += left
            continue
        length, kind = struct.unpack_from("<HB", content, position + 4)
        if position + 7 + length > len(content):
            return  # its end is still being written
        parts += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (full, last):
            record = Record()
            record.ParseFromString(parts)
            yield record
            parts = b""
