"""Files for others to fetch, such as exported models, in a folder or in an object store: each whole, or not there.

A file goes to a temporary name first (``.incoming/…`` below the root), is read back and compared by size and SHA-256,
and only then takes its name. What a process leaves under a temporary name when it is killed is read by nobody, and goes
when ``remove_left`` is called a day later. (Parts of an upload to S3 that was never ended have no name at all: a rule
of the bucket, AbortIncompleteMultipartUpload, ends them.)

Folders are written here; everything else goes through fsspec, with the credentials that its packages find in the
environment (for S3: ``AWS_ACCESS_KEY_ID``, ``AWS_PROFILE``, ``AWS_ENDPOINT_URL`` and so on).
"""

from nas.artifacts.base import CHUNK_BYTES, ArtifactError, Place
from nas.artifacts.download import Download
from nas.artifacts.store import LEFT_AFTER_S, Artifact, ArtifactStore

__all__ = ["CHUNK_BYTES", "LEFT_AFTER_S", "Artifact", "ArtifactError", "ArtifactStore", "Download", "Place"]
