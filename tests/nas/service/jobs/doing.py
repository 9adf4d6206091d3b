"""Jobs done in this process: searches of the bundled model that take seconds."""

import json
import zipfile
from pathlib import Path
from typing import Any

from evaluators import make_evaluator
from evaluators.base import Subject
from nas.artifacts import ArtifactStore
from nas.config import parse_config
from nas.service.database import Database
from nas.service.exports import EXPORT, Exports
from nas.service.jobs import JOBS, Work
from nas.service.queue import JobState, Lease, Queue
from nas.service.searches import SEARCH, Searches
from nas.supernet.loading import load_pretrained

QUALITY = {"window_tokens": 64, "limit": 2}
RECORD: dict[str, Any] = {
    "model": {"name": "bundled", "dtype": "float32", "device": "cpu"},
    "space": {"type": "uniform", "heads": "fixed", "neurons_multiple_of": 64},
    "importance": {"type": "magnitude", "max_sequences": 2},
    "objectives": [{"perplexity": QUALITY}, "parameters"],
    "strategy": {"type": "random", "seeds": []},
    "trials": 3,
}


def submitted(database: Database, **keys: Any) -> str:
    """The id of a search that waits."""
    config = parse_config(json.dumps(RECORD | keys))
    return Searches(database, Queue(database)).submit(config, owner="ada")


def claimed(database: Database, kind: str = SEARCH, *, lease_s: float = 600.0) -> Lease:
    lease = Queue(database, lease_s=lease_s).claim("a test", [kind])
    assert lease is not None
    return lease


def do(database: Database, lease: Lease, artifacts: str) -> None:
    """Does a job, and ends it as its worker would."""
    queue = Queue(database)
    JOBS[lease.kind](Work(database=database, queue=queue, lease=lease, artifacts=artifacts))
    with queue.guarded(lease) as connection:
        queue.end(connection, lease, JobState.COMPLETE)


def searched(database: Database, artifacts: str, **keys: Any) -> str:
    """The id of a search that has run to its end."""
    search_id = submitted(database, **keys)
    do(database, claimed(database), artifacts)
    return search_id


def exported(database: Database, search_id: str, trial: int, artifacts: str, folder: Path) -> Path:
    """The folder of an export that was asked for, made, published and fetched."""
    exports = Exports(database, Queue(database))
    export_id = exports.ask(search_id, trial=trial, to="huggingface", artifacts=ArtifactStore(artifacts))
    do(database, claimed(database, EXPORT), artifacts)
    name = exports.get(export_id).artifact
    assert name is not None
    ArtifactStore(artifacts).fetch(name, folder.with_suffix(".zip"))
    with zipfile.ZipFile(folder.with_suffix(".zip")) as archive:
        archive.extractall(folder)
    return folder


def perplexity(folder: Path) -> float:
    """Of an exported model, as the searches here measure it."""
    model, tokenizer = load_pretrained(
        str(folder), dtype="float32", revision=None, device="cpu", trust_remote_code=True
    )
    return (
        make_evaluator("perplexity", **QUALITY).evaluate(Subject(model=model, tokenizer=tokenizer))["perplexity"].value
    )
