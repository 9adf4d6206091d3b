"""Publishing and reading, in a folder, in memory, and over a real S3 API served on loopback."""

import errno
import hashlib
import os
import resource
import sys
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from nas.artifacts import CHUNK_BYTES, Artifact, ArtifactError, ArtifactStore


@pytest.fixture
def store(root: str) -> ArtifactStore:
    return ArtifactStore(root)


def new_file(folder: Path, content: bytes, name: str = "file") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def read(store: ArtifactStore, name: str) -> bytes:
    return b"".join(store.open(name).chunks())


def everything_below(store: ArtifactStore) -> set[str]:
    """Names of all files at that place, those that nobody should see too."""
    files, path = fsspec.core.url_to_fs(store.root, skip_instance_cache=True)
    return {found.removeprefix(path).lstrip("/") for found in files.find(path)}


def test_what_was_published_can_be_read(store: ArtifactStore, tmp_path: Path) -> None:
    content = os.urandom(1000)
    assert not store.exists("exports/17.zip")
    published = store.publish(new_file(tmp_path, content), "exports/17.zip")
    assert published == Artifact(
        name="exports/17.zip",
        url=f"{store.root}/exports/17.zip",
        num_bytes=1000,
        sha256=hashlib.sha256(content).hexdigest(),
    )
    assert store.exists("exports/17.zip")
    assert not store.exists("exports")
    with store.open("exports/17.zip") as download:
        assert download.num_bytes == 1000
        assert b"".join(download.chunks()) == content
    assert everything_below(store) == {"exports/17.zip"}


@pytest.mark.parametrize("num_bytes", [0, 5 * CHUNK_BYTES + 1])
def test_a_file_is_fetched_whole_into_a_folder_that_need_not_be_there(
    store: ArtifactStore, num_bytes: int, tmp_path: Path
) -> None:
    content = os.urandom(num_bytes)
    store.publish(new_file(tmp_path, content), "a/b")
    store.fetch("a/b", tmp_path / "new" / "here")
    assert (tmp_path / "new" / "here").read_bytes() == content
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["here"]
    with pytest.raises(ArtifactError, match="must be published before it can be read, and 'a/c' is not in"):
        store.fetch("a/c", tmp_path / "new" / "there")
    assert not (tmp_path / "new" / "there").exists()


def test_what_was_taken_back_is_gone_and_nothing_else(store: ArtifactStore, tmp_path: Path) -> None:
    file = new_file(tmp_path, b"content")
    names = ["s/1/checkpoints/a", "s/1/checkpoints/b/c", "s/1/checkpoints-of-another", "s/1/d", "s/10/checkpoints/a"]
    for name in names:
        store.publish(file, name)
    store.remove("s/1/d")
    store.remove("s/1/d")
    store.remove("never/there")
    assert not store.exists("s/1/d")
    store.remove_below("s/1/checkpoints")
    store.remove_below("s/1/checkpoints")
    assert everything_below(store) == {"s/1/checkpoints-of-another", "s/10/checkpoints/a"}
    ArtifactStore(store.root).publish(file, "s/1/checkpoints/a")
    assert store.exists("s/1/checkpoints/a")  # nobody goes by what was listed before
    for remove in (store.remove, store.remove_below):
        with pytest.raises(ArtifactError, match="must be a relative path such as"):
            remove("../s")


def test_a_folder_goes_whole_where_somebody_else_removes_from_it_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """rmtree gives up at the first file that is gone before it comes to it."""
    store, file = ArtifactStore(str(tmp_path / "root")), tmp_path / "file"
    file.touch()
    for name in ("checkpoints/a.pt", "checkpoints/b.pt", "weights/c.safetensors"):
        store.publish(file, f"searches/1/{name}")
    unlink, removed = os.unlink, list[str]()

    def racing(path: Any, **where: Any) -> None:
        unlink(path, **where)
        if not removed:
            removed.append(str(path))
            raise FileNotFoundError(path)

    monkeypatch.setattr(os, "unlink", racing)
    store.remove_below("searches/1")
    assert removed
    assert not (tmp_path / "root" / "searches" / "1").exists()


def test_what_a_killed_upload_left_goes_when_it_is_old(store: ArtifactStore, tmp_path: Path) -> None:
    store.remove_left()  # from a place that is not there yet
    store.publish(new_file(tmp_path, b"content"), "a/b")
    files, path = fsspec.core.url_to_fs(store.root, skip_instance_cache=True)
    files.makedirs(f"{path}/.incoming", exist_ok=True)
    files.pipe_file(f"{path}/.incoming/0123", b"half of")
    store.remove_left()  # it may be under way
    assert everything_below(store) == {"a/b", ".incoming/0123"}
    for _ in range(2):
        store.remove_left(older_than_s=-60)
        assert everything_below(store) == {"a/b"}


@pytest.mark.parametrize("num_bytes", [0, 1, CHUNK_BYTES, 5 * CHUNK_BYTES + 1])
def test_files_of_any_size(store: ArtifactStore, num_bytes: int, tmp_path: Path) -> None:
    content = os.urandom(num_bytes)
    published = store.publish(new_file(tmp_path, content), "a")
    assert (published.num_bytes, published.sha256) == (num_bytes, hashlib.sha256(content).hexdigest())
    with store.open("a") as download:
        chunks = list(download.chunks())
    assert b"".join(chunks) == content
    assert all(0 < len(chunk) <= CHUNK_BYTES for chunk in chunks)


def test_another_store_of_the_same_root_sees_it_at_once(root: str, tmp_path: Path) -> None:
    mine, yours = ArtifactStore(root), ArtifactStore(f"{root}/")
    assert not yours.exists("a")
    mine.publish(new_file(tmp_path, b"first"), "a")
    assert read(yours, "a") == b"first"
    mine.publish(new_file(tmp_path, b"second one"), "a")
    assert read(yours, "a") == b"second one"


def test_what_was_never_published(store: ArtifactStore) -> None:
    with pytest.raises(ArtifactError, match=r"must be published before it can be read, and 'no/such' is not in"):
        store.open("no/such")


@pytest.mark.parametrize(
    "name",
    ["", "/etc/passwd", "a/../../b", "..", "a//b", "a/", "./a", ".incoming/b"],
)
def test_names_that_lead_elsewhere(store: ArtifactStore, name: str, tmp_path: Path) -> None:
    for use in (lambda: store.publish(new_file(tmp_path, b""), name), lambda: store.open(name)):
        with pytest.raises(ArtifactError, match=r"must be a relative path such as .* give another"):
            use()


@pytest.mark.parametrize("name", ["a\nb", "a\x00", "a\\b", "a*", "n" * 600])
def test_names_that_cannot_be_shown_or_stored(store: ArtifactStore, name: str) -> None:
    with pytest.raises(ArtifactError, match=r"must be printable, without .* of at most 512 bytes, got"):
        store.exists(name)


def test_two_who_publish_one_name(store: ArtifactStore, tmp_path: Path) -> None:
    contents = [bytes([number]) * (CHUNK_BYTES + number) for number in range(8)]
    files = [new_file(tmp_path, content, f"{number}") for number, content in enumerate(contents)]
    with ThreadPoolExecutor(8) as pool:
        published = list(pool.map(lambda file: store.publish(file, "same"), files))
    assert [one.num_bytes for one in published] == [len(content) for content in contents]
    assert read(store, "same") in contents
    assert everything_below(store) == {"same"}


@pytest.mark.parametrize("root", ["folder", "s3"], indirect=True)
def test_a_reader_sees_the_old_or_the_new_whole(store: ArtifactStore, tmp_path: Path) -> None:
    contents = [bytes([number]) * (CHUNK_BYTES + 1000 * number) for number in range(4)]
    files = [new_file(tmp_path, content, f"{number}") for number, content in enumerate(contents)]
    store.publish(files[0], "a")
    over = threading.Event()

    def publish() -> None:
        for _ in range(3):
            for file in files:
                store.publish(file, "a")
        over.set()

    writer = threading.Thread(target=publish)
    writer.start()
    seen = []
    while not over.is_set():
        seen.append(read(store, "a"))
    writer.join()
    assert set(seen) <= set(contents)
    assert len(set(seen)) > 1


def test_in_a_folder_an_open_download_stays_what_it_was(tmp_path: Path) -> None:
    store = ArtifactStore(str(tmp_path / "artifacts"))
    old = os.urandom(3 * CHUNK_BYTES)
    store.publish(new_file(tmp_path, old), "a")
    chunks = store.open("a").chunks()
    begun = next(chunks)
    store.publish(new_file(tmp_path, b"new"), "a")
    assert begun + b"".join(chunks) == old


def test_on_s3_a_download_whose_file_was_replaced_breaks_instead_of_mixing(bucket: str, tmp_path: Path) -> None:
    store = ArtifactStore(f"s3://{bucket}")
    file = new_file(tmp_path, bytes(5 * CHUNK_BYTES))
    store.publish(file, "a")
    chunks = store.open("a").chunks()
    next(chunks)
    store.publish(new_file(tmp_path, b"x" * (5 * CHUNK_BYTES)), "a")
    with pytest.raises(ArtifactError, match=r"reading 'a' failed: another file has taken its name .*; read it ag"):
        assert set(b"".join(chunks)) == {0}


class Damaged(MemoryFileSystem):  # type: ignore[misc]
    """Changes the last byte of what is written."""

    protocol = "damaged"
    store: dict[str, Any] = {}
    pseudo_dirs = [""]

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        file = super()._open(path, mode, **options)
        if mode == "wb":
            write = file.write
            file.write = lambda chunk: write(chunk[:-1] + bytes([chunk[-1] ^ 1]))
        return file


class Cut(Damaged):
    """Loses the end of what is read."""

    protocol = "cut"
    store: dict[str, Any] = {}
    pseudo_dirs = [""]

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        file = MemoryFileSystem._open(self, path, mode, **options)
        if mode == "rb":
            file.truncate(max(0, file.seek(0, 2) - 3))
        return file


class Refusing(MemoryFileSystem):  # type: ignore[misc]
    """Fails when the temporary file is to take its name."""

    protocol = "refusing"
    store: dict[str, Any] = {}
    pseudo_dirs = [""]
    error: Exception = OSError()

    def cp_file(self, path1: str, path2: str, **options: Any) -> None:
        raise self.error


for _damaging in (Damaged, Cut, Refusing):
    fsspec.register_implementation(_damaging.protocol, _damaging, clobber=True)


@pytest.mark.parametrize("protocol", ["damaged", "cut"])
def test_a_file_damaged_on_its_way_is_not_published(protocol: str, tmp_path: Path) -> None:
    store = ArtifactStore(f"{protocol}://{tmp_path.name}")
    with pytest.raises(
        ArtifactError, match=r"must arrive as it was sent, but of 'a' 1000 bytes .* nothing was publish"
    ):
        store.publish(new_file(tmp_path, os.urandom(1000)), "a")
    assert not store.exists("a")
    assert everything_below(store) == set()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "there is no room .*No space left.*; free some space"),
        (OSError(errno.EDQUOT, "Quota exceeded"), r"there is no room \(.*\); free some space"),
        (PermissionError(errno.EACCES, "Denied"), r"it is not allowed \(.*Denied\); give this user"),
        (FileNotFoundError("no bucket"), r"there is no such place \(no bucket\); make the bucket"),
        (RuntimeError("of the package's own kind"), "of the package's own kind; check the place, the network and"),
        (TimeoutError(), "TimeoutError; check the place"),
    ],
)
def test_failures_are_told_and_leave_nothing(
    error: Exception, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Refusing, "error", error)
    store = ArtifactStore(f"refusing://{tmp_path.name}")
    with pytest.raises(ArtifactError, match=f"publishing 'a' to refusing://.* failed: .*{message}"):
        store.publish(new_file(tmp_path, b"content"), "a")
    assert not store.exists("a")
    assert everything_below(store) == set()


def test_an_interrupted_upload_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    store = ArtifactStore(str(tmp_path / "artifacts"))
    with pytest.raises(KeyboardInterrupt):
        store.publish(new_file(tmp_path, b"content"), "a")
    assert everything_below(store) == set()


def test_no_room_in_a_folder(tmp_path: Path) -> None:
    """The system's limit on the size of files stands in for a disk that is full."""
    store = ArtifactStore(str(tmp_path / "artifacts"))
    file = new_file(tmp_path, bytes(10 * 2**20))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, limits[1]))
    try:
        with pytest.raises(ArtifactError, match=r"publishing 'a' .* failed: there is no room .*; free some space"):
            store.publish(file, "a")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert everything_below(store) == set()
    assert store.publish(file, "a").num_bytes == 10 * 2**20


def test_no_room_to_fetch_to(tmp_path: Path) -> None:
    store = ArtifactStore(str(tmp_path / "artifacts"))
    store.publish(new_file(tmp_path, b"content"), "a")
    (tmp_path / "in the way").write_text("")
    with pytest.raises(ArtifactError, match=r"fetching 'a' from .* failed: .*in the way"):
        store.fetch("a", tmp_path / "in the way" / "a")


def test_a_place_that_lets_nothing_be_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Denied")

    store = ArtifactStore(str(tmp_path / "artifacts"))
    store.publish(new_file(tmp_path, b"content"), "a/b")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", refuse)
        with pytest.raises(ArtifactError, match=r"removing 'a/b' from .* failed: it is not allowed \(.*Denied\)"):
            store.remove("a/b")
    with monkeypatch.context() as patched:
        patched.setattr("shutil.rmtree", refuse)
        with pytest.raises(ArtifactError, match=r"removing what is below 'a' in .* failed: it is not allowed"):
            store.remove_below("a")
    (tmp_path / "artifacts" / ".incoming" / "0123").touch()
    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", refuse)
        with pytest.raises(ArtifactError, match=r"removing what killed uploads left in .* failed: it is not allowed"):
            store.remove_left(older_than_s=-60)


def test_file_that_is_not_there(store: ArtifactStore, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"publishing 'a' .*No such file"):
        store.publish(tmp_path / "nothing", "a")


def test_folder_that_is_a_file(tmp_path: Path) -> None:
    store = ArtifactStore(str(new_file(tmp_path, b"")))
    with pytest.raises(ArtifactError, match=r"writing to .*file failed: .* check the place"):
        store.check()


def test_check_leaves_nothing(store: ArtifactStore) -> None:
    store.check()
    assert everything_below(store) == set()


def test_a_folder_is_made_when_it_is_first_written_to(tmp_path: Path) -> None:
    store = ArtifactStore(f"file://{tmp_path}/a/b")
    assert not store.exists("c")
    assert list(tmp_path.iterdir()) == []
    store.check()
    assert (tmp_path / "a" / "b").is_dir()


def test_bucket_that_is_not_there(bucket: str) -> None:
    with pytest.raises(ArtifactError, match=r"there is no such place \(.*bucket does not exist\); make the bucket"):
        ArtifactStore("s3://no-such-bucket/prefix").check()


def test_credentials_that_s3_refuses(bucket: str, s3_url: str) -> None:
    def checked_after(num_requests: bytes) -> None:
        headers = {"Content-Type": "text/plain"}
        with urllib.request.urlopen(
            urllib.request.Request(f"{s3_url}/moto-api/reset-auth", num_requests, headers)
        ) as answer:
            assert answer.status == 200

    store = ArtifactStore(f"s3://{bucket}")
    checked_after(b"0")
    try:
        with pytest.raises(ArtifactError, match=r"it is not allowed \(.*Access Key Id.*\); give this user"):
            store.check()
    finally:
        checked_after(b"inf")


def test_server_that_does_not_answer(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(ArtifactError, match=r"Could not connect .*; check the place, the network and the credentials"):
        ArtifactStore(f"s3://{bucket}").check()


def test_protocol_that_is_none() -> None:
    with pytest.raises(ArtifactError, match=r"that fsspec knows, such as s3://bucket/prefix, got 'bucket://a'"):
        ArtifactStore("bucket://a")


@pytest.mark.parametrize("root", ["", "s3://", "file://"], ids=str)
def test_root_without_a_place(root: str) -> None:
    with pytest.raises(ArtifactError, match=r"must go to a folder or a URL such as .*, got .*; give one"):
        ArtifactStore(root)


def test_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(ArtifactError, match=r"gs:// need a package that is not here: pip install 'nas-llm\[gcs\]'"):
        ArtifactStore("gs://bucket")
    monkeypatch.setitem(sys.modules, "adlfs", None)
    with pytest.raises(ArtifactError, match=r"az:// need a package that is not here: .*adlfs"):
        ArtifactStore("az://bucket")


def test_password_in_the_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(ArtifactError, match=r"must hold no password, but one of ftp:// does") as caught:
        ArtifactStore("ftp://ada:secret@example.org/artifacts")
    assert "secret" not in str(caught.value)
