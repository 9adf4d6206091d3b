"""A model with its search beside it: written, packed, and opened again in every form it may have."""

import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from transformers import AutoModelForCausalLM

from nas.commands.search import run_search
from nas.config import parse_config
from nas.export import ExportError, ExportReport, bundle, export
from nas.export.bundle import RUN_FILES, BundleError, add_search, export_bundle, opened_bundle, pack
from nas.export.weights import recovered_weights
from nas.preparation import prepare
from nas.results import FailedTrialError, ResultsError
from nas.run import Run
from nas.store.errors import StoreError
from nas.store.trial_store import TrialStore
from nas.supernet.supernet import Supernet
from tests.nas import trials as by_hand

QUIET = Console(quiet=True)
CONFIG = """\
model: {name: bundled, dtype: float32, device: cpu}
space: {type: joint, neurons_multiple_of: 64}
importance: {type: magnitude, max_sequences: 2}
objectives: [parameters, flops]
strategy: {type: random, seeds: []}
recovery: {type: rescale}
trials: 3
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A search, as `nas search` runs it."""
    folder = tmp_path_factory.mktemp("searched")
    (folder / "tiny.yaml").write_text(CONFIG)
    run_search(folder / "tiny.yaml", out=folder / "run", overrides=[], resume=False, console=QUIET)
    return Run.open(folder / "run")


@pytest.fixture
def small(tmp_path: Path) -> Run:
    """A run made by hand, in no time."""
    trials = [by_hand.trial(0, 0.8, 5, "supernet"), by_hand.trial(1, 0.5, 1, "smallest")]
    return by_hand.write_run(tmp_path / "small", trials)


@pytest.fixture
def folder(small: Run, tmp_path: Path) -> Path:
    """As an export's, but for the model."""
    folder = tmp_path / "exported"
    folder.mkdir()
    (folder / "config.json").write_text("{}" * 1000)
    (folder / "model.safetensors").write_bytes(bytes(5000))
    add_search(folder, small.directory)
    return folder


def exported(run: Run, number: int, folder: Path) -> ExportReport:
    return export_bundle(run, number, target="huggingface", folder=folder, console=QUIET)


def zipped(path: Path, entries: dict[str, bytes], **changes: int) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            entry = zipfile.ZipInfo(name)
            for key, value in changes.items():
                setattr(entry, key, value)
            archive.writestr(entry, content)
    return path


def search_files(folder: Path) -> dict[str, bytes]:
    return {f"search/{name}": (folder / "search" / name).read_bytes() for name in RUN_FILES}


@pytest.mark.slow
def test_an_export_brings_its_search_and_loads_as_ever(run: Run, tmp_path: Path) -> None:
    """In a new process, as `nas export` checks it."""
    report = exported(run, 2, tmp_path / "model")
    assert report.max_abs_difference <= report.tolerance
    assert {path.name for path in (report.folder / "search").iterdir()} == set(RUN_FILES)
    copy = Run.open(report.folder / "search")
    assert (copy.trials, copy.record, copy.shape) == (run.trials, run.record, run.shape)
    of_the_model = [path for path in report.folder.iterdir() if path.is_file()]
    assert report.size_bytes == sum(path.stat().st_size for path in of_the_model)
    supernet = Supernet.load("bundled", dtype="float32", device="cpu")
    sub_network, ids = run.trial(2).sub_network, torch.arange(12).reshape(1, -1)
    weights = recovered_weights(parse_config(CONFIG), supernet, sub_network, console=QUIET)
    assert weights is not None
    with supernet.activate(sub_network, weights) as active, torch.no_grad():
        expected = active(input_ids=ids).logits
    model, loading = AutoModelForCausalLM.from_pretrained(
        report.folder, trust_remote_code="trust_remote_code" in report.load_with, output_loading_info=True
    )
    assert not any(loading[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert sum(parameter.numel() for parameter in model.parameters()) == report.num_parameters
    with torch.no_grad():
        assert torch.allclose(model(input_ids=ids).logits, expected, atol=report.tolerance)


@pytest.mark.usefixtures("_in_this_process")
def test_matrices_are_factorised_as_in_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit, though there are fewer tokens than a matrix has inputs."""
    overrides = [
        "space={type: low_rank}",
        "importance={type: magnitude, max_sequences: 2, sequence_tokens: 16}",
        "recovery.type=none",
    ]
    (tmp_path / "tiny.yaml").write_text(CONFIG)
    run_search(tmp_path / "tiny.yaml", out=tmp_path / "run", overrides=overrides, resume=False, console=QUIET)
    searched = Run.open(tmp_path / "run")
    exported_from: list[Supernet] = []

    def watched(supernet: Supernet, *args: Any, **options: Any) -> ExportReport:
        exported_from.append(supernet)
        return export(supernet, *args, **options)

    monkeypatch.setattr(bundle, "export", watched)
    exported(searched, 2, tmp_path / "exported")
    expected = prepare(parse_config(searched.directory.read_config_text())).supernet.factors()
    for place, factors in exported_from[0].factors().items():
        assert torch.equal(factors.expand_OR, expected[place].expand_OR)
        assert torch.equal(factors.reduce_RI, expected[place].reduce_RI)


def test_a_search_that_cannot_be_copied_leaves_no_export(run: Run, tmp_path: Path) -> None:
    shutil.copytree(run.directory.path, tmp_path / "run")
    copied = Run.open(tmp_path / "run")
    copied.directory.trials_path.write_bytes(
        b"no database, but as long as the header of one, and longer than that" * 99
    )
    with pytest.raises(ExportError, match=r"must be able to copy .*trials\.db, but the database says: .* from a copy"):
        exported(copied, 0, tmp_path / "model")
    copied.directory.front_path.unlink()
    with pytest.raises(ExportError, match=r"must be able to write to .*model, but: .*front\.json"):
        exported(copied, 0, tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_what_is_wrong_is_said_before_a_model_is_loaded(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "load_supernet", lambda _: pytest.fail("worked in vain"))
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").write_text("")
    with pytest.raises(ResultsError, match="must be one of 0 to 2, got 7"):
        exported(run, 7, tmp_path / "model")
    with pytest.raises(ExportError, match="is in use"):
        exported(run, 0, tmp_path / "used")


def test_a_trial_that_failed_is_not_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "load_supernet", lambda _: pytest.fail("worked in vain"))
    failed = by_hand.failed(1, "RuntimeError: out of memory\nwhile it tried.")
    run = by_hand.write_run(tmp_path / "run", [by_hand.trial(0, 0.8, 5, "supernet"), failed])
    with pytest.raises(
        FailedTrialError,
        match=r"but trial 1 failed \(RuntimeError: out of memory while it tried\); choose one of the front",
    ):
        exported(run, 1, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_run_that_is_written_to_is_copied_as_of_one_moment(tmp_path: Path) -> None:
    """The newest trials lie in the write-ahead log of the process that has the database open."""
    small = by_hand.write_run(
        tmp_path / "run", [by_hand.trial(0, 0.8, 5, "supernet"), by_hand.trial(1, 0.5, 1, "smallest")]
    )
    with TrialStore(small.directory.trials_path) as store, small.directory.lock():
        store.add(by_hand.trial(2, 0.6, 2))
        assert (small.directory.path / "trials.db-wal").stat().st_size > 0
        (tmp_path / "model").mkdir()
        add_search(tmp_path / "model", small.directory)
    copy = tmp_path / "model" / "search"
    assert {path.name for path in copy.iterdir()} == set(RUN_FILES)
    assert [trial.number for trial in Run.open(copy).trials] == [0, 1, 2]
    with sqlite3.connect(copy / "trials.db") as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert database.execute("PRAGMA journal_mode").fetchone() == ("delete",)


def test_the_copy_is_sound_while_another_process_adds_trials(tmp_path: Path) -> None:
    small = by_hand.write_run(
        tmp_path / "run", [by_hand.trial(0, 0.8, 5, "supernet"), by_hand.trial(1, 0.5, 1, "smallest")]
    )
    code = (
        "import sys; from nas.store.trial_store import TrialStore; from tests.nas import trials\n"
        "with TrialStore(sys.argv[1]) as store:\n"
        "    for number in range(2, 2000): store.add(trials.trial(number, 0.5, 1)); print(number, flush=True)\n"
    )
    command = [sys.executable, "-c", code, str(small.directory.trials_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        counts = []
        for number in range(10):
            written = int(writer.stdout.readline())
            (tmp_path / f"{number}").mkdir()
            add_search(tmp_path / f"{number}", small.directory)
            numbers = [trial.number for trial in Run.open(tmp_path / f"{number}" / "search").trials]
            assert numbers == list(range(len(numbers)))
            assert len(numbers) > written
            counts.append(len(numbers))
        writer.kill()
    assert counts[-1] > counts[0]


def test_a_packed_folder_unpacks_to_the_same(folder: Path, tmp_path: Path) -> None:
    (folder / "checkpoint.pt").write_bytes(bytes(5000))
    pack(folder, tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.testzip() is None
        kinds = {entry.filename: entry.compress_type for entry in archive.infolist()}
        assert list(kinds) == sorted(kinds)
        archive.extractall(tmp_path / "again")
    assert kinds.pop("model.safetensors") == kinds.pop("checkpoint.pt") == zipfile.ZIP_STORED
    assert set(kinds.values()) == {zipfile.ZIP_DEFLATED}
    files = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    assert {path.relative_to(tmp_path / "again") for path in (tmp_path / "again").rglob("*") if path.is_file()} == files
    assert all((folder / file).read_bytes() == (tmp_path / "again" / file).read_bytes() for file in files)
    unzip = shutil.which("unzip")
    if unzip is not None:
        assert subprocess.run([unzip, "-tq", str(tmp_path / "a.zip")], check=False).returncode == 0


def test_equal_folders_give_equal_bytes(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    for path in sorted(folder.rglob("*"), reverse=True):  # made in another order
        if path.is_file():
            target = copy / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
            os.utime(target, (10**9, 10**9))
            target.chmod(0o700)
    pack(folder, tmp_path / "a.zip")
    pack(copy, tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_weights_beyond_32_bits(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 3000)
    pack(folder, tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.getinfo("model.safetensors").extract_version == zipfile.ZIP64_VERSION
        assert archive.testzip() is None


def test_links_are_not_packed(folder: Path, tmp_path: Path) -> None:
    (folder / "link").symlink_to("/etc/passwd")
    with pytest.raises(ExportError, match=r"must be made of plain files, and .*link is none"):
        pack(folder, tmp_path / "a.zip")
    assert not list(tmp_path.glob("*a.zip*"))


def test_archive_that_cannot_be_written(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"must be able to write to .*a\.zip, but: .*No such file"):
        pack(folder, tmp_path / "nowhere" / "a.zip")


def as_run(folder: Path, _: Path) -> Path:
    return folder / "search"


def as_export(folder: Path, _: Path) -> Path:
    return folder


def as_zip(folder: Path, scratch: Path) -> Path:
    pack(folder, scratch / "a.zip")
    return scratch / "a.zip"


def as_zip_of_the_run(folder: Path, scratch: Path) -> Path:
    pack(folder / "search", scratch / "a.zip")
    return scratch / "a.zip"


def as_zip_with_the_folder_itself(folder: Path, scratch: Path) -> Path:
    return Path(shutil.make_archive(str(scratch / "a"), "zip", root_dir=folder.parent, base_dir=folder.name))


@pytest.mark.parametrize(
    "form",
    [as_run, as_export, as_zip, as_zip_of_the_run, as_zip_with_the_folder_itself],
    ids=lambda form: form.__name__,
)
def test_every_form_opens_as_the_same_run(
    form: Callable[[Path, Path], Path], folder: Path, small: Run, tmp_path: Path
) -> None:
    with opened_bundle(form(folder, tmp_path)) as path:
        opened = Run.open(path)
        assert {file.name for file in path.iterdir()} >= set(RUN_FILES)
        assert (opened.trials, opened.record, opened.shape) == (small.trials, small.record, small.shape)
    assert path.exists() == path.is_relative_to(folder)


def test_what_is_no_bundle(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "nothing"):
        with (
            pytest.raises(
                BundleError, match=r"A run is a folder that .* or a zip file of either, and .* is none; give"
            ),
            opened_bundle(path),
        ):
            pass
    (tmp_path / "text").write_text("no zip")
    with (
        pytest.raises(BundleError, match=r"must be an intact zip file, but .*text is not .*; copy it again"),
        opened_bundle(tmp_path / "text"),
    ):
        pass


def test_a_damaged_zip(folder: Path, tmp_path: Path) -> None:
    pack(folder, tmp_path / "a.zip")
    content = bytearray((tmp_path / "a.zip").read_bytes())
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        place = archive.getinfo("search/trials.db").header_offset + 200
    content[place] ^= 0xFF
    (tmp_path / "b.zip").write_bytes(content)
    (tmp_path / "c.zip").write_bytes((tmp_path / "a.zip").read_bytes()[:-40])
    for name in ("b.zip", "c.zip"):
        with pytest.raises(BundleError, match="must be an intact zip file"), opened_bundle(tmp_path / name):
            pass


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("../../evil", "lies outside"),
        ("/etc/cron.d/evil", "lies outside"),
        ("search/../../evil", "lies outside"),
        ("..\\evil", "lies outside"),
        ("C:/evil", "lies outside"),
    ],
)
def test_entries_that_lead_elsewhere(name: str, problem: str, folder: Path, tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", {**search_files(folder), name: b"evil"})
    with (
        pytest.raises(BundleError, match=rf"must hold plain files below one folder, and .* {problem}"),
        opened_bundle(archive),
    ):
        pass
    assert not (tmp_path.parent / "evil").exists()


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"external_attr": (stat.S_IFLNK | 0o777) << 16}, "is a link"),
        ({"external_attr": stat.S_IFIFO << 16}, "a device"),
    ],
)
def test_entries_that_are_no_files(changes: dict[str, int], problem: str, folder: Path, tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", search_files(folder), **changes)
    with pytest.raises(BundleError, match=rf"must hold plain files .*{problem}"), opened_bundle(archive):
        pass


def test_encrypted_entries(folder: Path, tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", search_files(folder))
    content = bytearray(archive.read_bytes())
    for magic, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        found = content.find(magic)
        while found >= 0:
            content[found + place] |= 1
            found = content.find(magic, found + 1)
    archive.write_bytes(content)
    with pytest.raises(BundleError, match="is encrypted; get the bundle from"), opened_bundle(archive):
        pass


def test_names_that_are_there_twice(folder: Path, tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", search_files(folder))
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(archive, "a") as more:
        more.writestr("search/config.yaml", "model: other")
    with pytest.raises(BundleError, match=r"'search/config\.yaml' in .* is there twice"), opened_bundle(archive):
        pass


def test_searches_of_absurd_size(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few bytes that claim to become gigabytes."""
    archive = zipped(
        tmp_path / "a.zip", {**search_files(folder), "search/trials.db": bytes(2 * 2**20)}, compress_type=8
    )
    assert archive.stat().st_size < 2**17
    monkeypatch.setattr(bundle, "MAX_RUN_BYTES", 2**20)
    with (
        pytest.raises(BundleError, match=r"must have at most 1048576 bytes, and that in .* has \d+; unpack it"),
        opened_bundle(archive),
    ):
        pass


def test_a_size_that_is_a_lie(folder: Path, tmp_path: Path) -> None:
    """No more is unpacked than was said, and that is then found to be damaged."""
    archive = zipped(tmp_path / "a.zip", {**search_files(folder), "search/trials.db": bytes(2**22)}, compress_type=8)
    content = bytearray(archive.read_bytes())
    content = content.replace((2**22).to_bytes(4, "little"), (100).to_bytes(4, "little"))
    archive.write_bytes(content)
    with pytest.raises(BundleError, match="must be an intact zip file"), opened_bundle(archive):
        pass


@pytest.mark.parametrize("missing", RUN_FILES)
def test_a_zip_without_all_of_a_run(missing: str, folder: Path, tmp_path: Path) -> None:
    (folder / "search" / missing).unlink()
    pack(folder, tmp_path / "a.zip")
    with (
        pytest.raises(BundleError, match=r"must hold one search: .*; .*a\.zip holds 0; unpack it"),
        opened_bundle(tmp_path / "a.zip"),
    ):
        pass


def test_a_zip_of_many_runs(folder: Path, tmp_path: Path) -> None:
    files = search_files(folder)
    archive = zipped(tmp_path / "a.zip", {f"{run}/{name}": text for run in "ab" for name, text in files.items()})
    with pytest.raises(BundleError, match=r"must hold one search: .*a\.zip holds 2"), opened_bundle(archive):
        pass


def test_what_is_damaged_inside_is_told_by_the_run(folder: Path, tmp_path: Path) -> None:
    (folder / "search" / "trials.db").write_bytes(b"x" * 5000)
    pack(folder, tmp_path / "a.zip")
    with opened_bundle(tmp_path / "a.zip") as path, pytest.raises(StoreError, match="not a database"):
        Run.open(path)


def test_the_bundle_says_what_was_searched(folder: Path) -> None:
    assert json.loads((folder / "search" / "front.json").read_text())["search"]["num_trials"] == 2
