"""Exports over HTTP: asked for, looked at, downloaded."""

from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from nas.artifacts import ArtifactStore
from nas.export import EXPORTERS
from nas.service.api.access import Submitter, Visible, VisibleExport
from nas.service.api.answers import Export, ExportRequest, Exports
from nas.service.api.problems import ParameterError, documented
from nas.service.searches import NotReadyError

export_routes = APIRouter(prefix="/v1", tags=["exports"])

_ZIP: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The file.",
        "content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@export_routes.post(
    "/searches/{search_id}/export", status_code=202, summary="Export a trial", responses=documented(404, 409)
)
def export(request: Request, identity: Submitter, record: Visible, wanted: ExportRequest) -> Export:
    """Has a worker write a trial's model for a runtime and check it there. Asked for again, it is the same export.

    It is a new one where the trial was measured anew or recovered since, where the file is gone, and where it failed.
    """
    del identity
    if wanted.to not in EXPORTERS:
        raise ParameterError(f"to must be one of {', '.join(sorted(EXPORTERS))}, got {wanted.to!r}; choose one.")
    request.app.state.searches.require_measured(record.id, wanted.trial)
    exports, artifacts = request.app.state.exports, request.app.state.artifacts
    return Export.of(exports.get(exports.ask(record.id, trial=wanted.trial, to=wanted.to, artifacts=artifacts)))


@export_routes.get("/searches/{search_id}/exports", summary="Its exports", responses=documented(404))
def of_search(request: Request, record: Visible) -> Exports:
    """All that were asked for, newest first."""
    return Exports(exports=[Export.of(one) for one in request.app.state.exports.of(record.id)])


@export_routes.get("/exports/{export_id}", summary="One export", responses=documented(404))
def get(record: VisibleExport) -> Export:
    """How it stands."""
    return Export.of(record)


@export_routes.get(
    "/exports/{export_id}/download",
    summary="Its file",
    response_class=StreamingResponse,
    responses={**documented(404, 409), **_ZIP},
)
def download(request: Request, record: VisibleExport) -> StreamingResponse:
    """A zip of the model's files, with the search that it came from in the folder ``search``."""
    if record.artifact is None:
        raise NotReadyError(f"An export must be complete to be downloaded, but this one is {record.state}; ask later.")
    store: ArtifactStore = request.app.state.artifacts
    file = store.open(record.artifact)
    chunks: Iterator[bytes] = file.chunks()
    headers = {
        "Content-Disposition": f'attachment; filename="{record.file_name}"',
        "Content-Length": str(file.num_bytes),
        "ETag": f'"{record.sha256}"',
    }
    return StreamingResponse(chunks, media_type="application/zip", headers=headers)
