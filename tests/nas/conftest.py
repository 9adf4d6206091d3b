"""Places for artifacts (a folder, memory, a real S3 API served on loopback), and exports checked in no time."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

PLACES = ("folder", "memory", "s3")


@pytest.fixture(scope="session")
def s3_url() -> Iterator[str]:
    from moto.server import ThreadedMotoServer  # seconds, which most tests here need not pay

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_url: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a new bucket; the environment says where it is and who asks, as it does for boto."""
    import boto3

    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    name = hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:32]
    boto3.client("s3").create_bucket(Bucket=name)
    return name


@pytest.fixture(params=PLACES)
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of a new ``ArtifactStore``."""
    if request.param == "folder":
        return str(tmp_path / "artifacts")
    if request.param == "memory":
        return f"memory://{tmp_path}"
    return f"s3://{request.getfixturevalue('bucket')}/some/prefix"


@pytest.fixture
def _in_this_process(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Checks exports without the new process, which takes five seconds to start."""
    from nas.export import huggingface
    from nas.export.parity import Parity, Reference, compare

    def check(folder: Path, reference: Reference) -> Parity:
        path = tmp_path_factory.mktemp("reference") / "reference.safetensors"
        reference.save(path)
        return compare(folder, Reference.load(path))

    monkeypatch.setattr(huggingface, "check_in_new_process", check)
