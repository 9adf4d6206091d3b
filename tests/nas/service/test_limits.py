import math
import os
import string
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]
from hypothesis import given
from hypothesis import strategies as st

from nas.service.limits import LimitError, RateLimiter, RefusedError, check_bind, check_files, check_model


class Clock:
    """Stands still until it is told otherwise."""

    def __init__(self, now: float = 1e6) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def test_burst_then_one_an_interval() -> None:
    clock = Clock()
    limiter = RateLimiter(4.0, 3, clock=clock)
    assert [limiter.admit("a") for _ in range(5)] == pytest.approx([0, 0, 0, 0.25, 0.25])
    clock.now += 0.1
    assert limiter.admit("a") == pytest.approx(0.15)
    clock.now += 0.15
    assert [limiter.admit("a"), limiter.admit("a")] == pytest.approx([0, 0.25])
    clock.now += 0.5
    assert [limiter.admit("a") for _ in range(3)] == pytest.approx([0, 0, 0.25])


def test_a_rested_key_has_its_burst_again_and_no_more() -> None:
    clock = Clock()
    limiter = RateLimiter(10.0, 2, clock=clock)
    for _ in range(3):
        clock.now += 3600
        assert [limiter.admit("a") == 0 for _ in range(4)] == [True, True, False, False]


def test_keys_do_not_share() -> None:
    limiter = RateLimiter(1.0, 1, clock=Clock())
    assert limiter.admit("a") == 0
    assert limiter.admit("a") > 0
    assert limiter.admit("b") == 0


def test_a_clock_that_goes_back_gives_nothing_away() -> None:
    clock = Clock()
    limiter = RateLimiter(1.0, 1, clock=clock)
    assert limiter.admit("a") == 0
    clock.now -= 100
    assert limiter.admit("a") == pytest.approx(101)


steps = st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 3)), max_size=60)
rates = st.floats(0.01, 1000)
bursts = st.integers(1, 8)


@given(steps, rates, bursts, st.floats(0, 1e9))
def test_admits_as_a_bucket_that_is_filled_and_emptied(
    steps: list[tuple[str, float]], rate_per_s: float, burst: int, start: float
) -> None:
    clock = Clock(start)
    limiter = RateLimiter(rate_per_s, burst, clock=clock)
    filled: defaultdict[str, float] = defaultdict(lambda: float(burst))
    seen: defaultdict[str, float] = defaultdict(lambda: start)
    for key, pause in steps:
        clock.now += pause / rate_per_s
        filled[key] = min(burst, filled[key] + (clock.now - seen[key]) * rate_per_s)
        seen[key] = clock.now
        wait_s = limiter.admit(key)
        assert wait_s == pytest.approx(max(0.0, (1 - filled[key]) / rate_per_s), abs=3e-6)
        filled[key] -= wait_s == 0


@given(steps, rates, bursts)
def test_who_waits_as_told_is_admitted_and_who_does_not_is_not(
    steps: list[tuple[str, float]], rate_per_s: float, burst: int
) -> None:
    clock = Clock()
    limiter = RateLimiter(rate_per_s, burst, clock=clock)
    for key, pause in steps:
        clock.now += pause / rate_per_s
        wait_s = limiter.admit(key)
        if wait_s > 1e-5:
            clock.now += wait_s / 2
            assert limiter.admit(key) == pytest.approx(wait_s / 2, abs=1e-6)
            clock.now += wait_s / 2
            assert limiter.admit(key) == 0


def test_idle_keys_are_forgotten() -> None:
    clock = Clock()
    limiter = RateLimiter(10.0, 5, clock=clock)
    for number in range(100):
        limiter.admit(str(number))
    assert len(limiter) == 100
    clock.now += 0.11
    limiter.admit("a")
    assert len(limiter) == 1


def test_no_more_keys_than_allowed_and_the_busy_ones_stay() -> None:
    limiter = RateLimiter(1.0, 1, clock=Clock(), max_keys=10)
    assert limiter.admit("busy") == 0
    for number in range(1000):
        assert limiter.admit(str(number)) == 0
        assert limiter.admit("busy") > 0
        assert len(limiter) <= 10
    assert limiter.admit("0") == 0


def test_a_key_that_rests_behind_a_busy_one_saves_no_more_than_its_burst() -> None:
    clock = Clock()
    limiter = RateLimiter(1.0, 3, clock=clock)
    assert [limiter.admit("busy") for _ in range(3)] == [0, 0, 0]
    assert limiter.admit("a") == 0
    clock.now += 2.5
    assert [limiter.admit("a") == 0 for _ in range(5)] == [True, True, True, False, False]


class YieldingKey(str):
    """Lets other threads go on in the middle of a look-up."""

    __slots__ = ()

    def __hash__(self) -> int:
        time.sleep(0)
        return hash(str(self))


def test_threads_share_one_burst() -> None:
    limiter = RateLimiter(1.0, 100, clock=Clock())
    barrier = threading.Barrier(8)
    admitted: list[bool] = []

    def ask() -> None:
        barrier.wait()
        admitted.extend([limiter.admit(YieldingKey("a")) == 0 for _ in range(50)])

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(admitted), sum(admitted)) == (400, 100)


@pytest.mark.parametrize("rate_per_s", [0.0, -1.0, math.inf, math.nan])
def test_no_rate(rate_per_s: float) -> None:
    with pytest.raises(LimitError, match=r"A rate must be a positive number of requests a second, got .*; choose 10"):
        RateLimiter(rate_per_s, 1)


@pytest.mark.parametrize(("burst", "max_keys"), [(0, 1), (1, 0), (-1, 5)])
def test_no_burst(burst: int, max_keys: int) -> None:
    with pytest.raises(LimitError, match=f"must be at least 1, got {burst} and {max_keys}; choose 20 and 10000"):
        RateLimiter(1.0, burst, max_keys=max_keys)


LOOPBACK = ["127.0.0.1", "127.0.0.53", "127.255.255.254", "::1", "0:0:0:0:0:0:0:1", "localhost", "LocalHost"]
OPEN = [
    "0.0.0.0",
    "::",
    "",
    "*",
    "10.0.0.1",
    "128.0.0.1",
    "::2",
    "fe80::1",
    "::ffff:0.0.0.0",
    "localhost.example.org",
    "127.0.0.1.example.org",
    "example.org",
    " 127.0.0.1",
    "127.0.0.1\n",
    "127.0.0.1\0",
    "0127.0.0.1",
    "2130706433",
    "127.0.0.1:8000",
    "127.0.0.0/8",
]


@pytest.mark.parametrize("host", LOOPBACK)
def test_this_machine_needs_no_auth(host: str) -> None:
    check_bind(host, has_auth=False)


@pytest.mark.parametrize("host", OPEN)
def test_others_need_auth(host: str) -> None:
    check_bind(host, has_auth=True)
    with pytest.raises(RefusedError, match=r"Without auth the service must listen at 127\.0\.0\.1, .* turn auth on"):
        check_bind(host, has_auth=False)


def check(name: str, *roots: Path) -> str:
    return check_model(name, roots, trust_remote_code=False, allow_remote_code=False)


REFUSED = r"A model must be bundled, an id on the hub such as org/name, .*; choose one of these"


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root with a model, beside other folders; the current folder is the one above."""
    for folder in ("models/org/small", "models-secret/small", "secret/small", "org/here", "here"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "models"


@pytest.mark.parametrize(
    "name",
    ["bundled", "gpt2", "org/name", "Qwen/Qwen2.5-0.5B", "meta-llama/Llama-3.2-1B", "_/_", "a" * 96 + "/" + "b" * 96],
)
def test_hub_ids(models: Path, name: str) -> None:
    assert check(name) == check(name, models) == name


@given(st.text(string.ascii_letters + "019-_./~\\: é\0\n", max_size=12) | st.text(max_size=100))
def test_without_roots_only_what_the_hub_takes_is_accepted(name: str) -> None:
    try:
        accepted = check(name)
    except RefusedError:
        return
    assert accepted == name
    validate_repo_id(name)  # raises


@pytest.mark.parametrize("spelling", ["{}/org/small", "{}/org/./small/", "{}/org/../org/small", "{}//org//small"])
def test_folder_below_a_root(models: Path, spelling: str) -> None:
    resolved = str(models.resolve() / "org" / "small")
    assert check(spelling.format(models), Path("/nowhere"), models) == resolved
    assert check(spelling.format("models"), models) == resolved
    assert check(spelling.format("./models"), Path("models")) == resolved


@pytest.mark.parametrize(
    "name",
    [
        "{top}/secret/small",
        "{top}/models-secret/small",  # begins as the root does
        "{top}/models/../secret/small",
        "{top}/models/org/../../secret/small",
        "{top}/models/nowhere/../../secret/small",
        "{top}/models",  # itself, not below
        "{top}/models/",
        "{top}",
        "/",
        "/etc",
        "//etc",
        "secret/small",  # reads as a hub id, but is there
        "org/here",
        "here",
        "models/../secret/small",
        "../secret",
        "..",
        ".",
        "./here",
        "...",
        ".hidden",
        "org/..",
        "org/../here",
        "~",
        "~root",
        "~/models",
        "file:///etc",
        "file://{top}/models/org/small",
        "https://huggingface.co/org/name",
        "hf://org/name",
        "org\\name",
        "..\\secret",
        "\\\\host\\share",
        "C:\\models",
        "{top}/models/org\\small",
        "{top}/models/org/small\0",
        "\0",
        "org/name\0",
        "bundled\0",
        "org/name\n",
        "gpt2\n",
        "\ngpt2",
        "gpt2\r",
        "org/na\tme",
        "",
        " ",
        " bundled",
        "bundled ",
        "org/name/more",
        "org//name",
        "/org/name",
        "org/",
        "org/name ",
        "org/name.git",
        "org/na--me",
        "org/na..me",
        "org/-name",
        "-org/name",
        "org/name-",
        "org/name.",
        "org/.name",
        "org/name@main",
        "org/name?x",
        "org/name:tag",
        "örg/name",
        "org/\u202ename",
        "org/\ud800",
        "a" * 97,
        "a" * 5000,
        "org/" * 2000,
    ],
)
def test_anything_else_is_refused(models: Path, name: str) -> None:
    named = name.format(top=models.parent)
    for roots in [(), (models,), (Path("models"), Path("/nowhere"))]:
        with pytest.raises(RefusedError, match=REFUSED):
            check(named, *roots)


def test_what_is_no_plain_path_is_refused_even_below_a_root(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = models / "org"
    monkeypatch.chdir(here)
    for name in ("~", "file:/small", "a\\b", "c\n"):
        (here / name).mkdir(parents=True)
    assert check("small", models) == str(here.resolve() / "small")
    for name in ("", "~", "file://small", "a\\b", "c\n"):
        with pytest.raises(RefusedError, match=REFUSED):
            check(name, models)


def test_refusal_says_what_is_offered() -> None:
    with pytest.raises(RefusedError, match="or a folder below /a or /b, got '/c'"):
        check("/c", Path("/a"), Path("/b"))
    with pytest.raises(RefusedError, match="and no folder on this server, got '/c'"):
        check("/c")


def test_refusal_does_not_tell_what_exists(models: Path) -> None:
    said = set()
    for folder in ("secret", "nowhere"):
        with pytest.raises(RefusedError, match=REFUSED) as refusal:
            check(f"{models.parent}/{folder}", models)
        said.add(str(refusal.value).replace(folder, ""))
    assert len(said) == 1


def test_links_are_followed(models: Path) -> None:
    top = models.parent
    (models / "inward").symlink_to(models / "org" / "small")
    (models / "out").symlink_to(top / "secret")
    (models / "upward").symlink_to("..")
    (models / "loop").symlink_to("loop")
    (models / "dangling").symlink_to(top / "later")
    (models / "same").symlink_to(".")
    (top / "into").symlink_to(models)
    small = str(models.resolve() / "org" / "small")
    assert check(str(models / "inward"), models) == small
    assert check(str(top / "into" / "org" / "small"), models) == small
    assert check(str(models / "org" / "small"), top / "into") == small
    for name in ("out", "out/small", "upward", "upward/secret/small", "out/../secret/small", "dangling", "same"):
        with pytest.raises(RefusedError, match=REFUSED):
            check(str(models / name), models)
    with pytest.raises(RefusedError, match="must exist on the server, got"):
        check(str(models / "loop"), models)


def test_a_link_that_reads_as_a_hub_id_is_a_path(models: Path) -> None:
    (models.parent / "org" / "linked").symlink_to("/etc")
    (models.parent / "org" / "dangling").symlink_to("/nowhere")
    (models.parent / "short").symlink_to(models / "org" / "small")
    for name in ("org/linked", "org/dangling"):
        with pytest.raises(RefusedError, match=REFUSED):
            check(name, models)
    assert check("short", models) == str(models.resolve() / "org" / "small")


def test_the_bundled_model_is_not_a_folder_of_that_name(models: Path) -> None:
    (models.parent / "bundled").symlink_to("/etc")
    assert check("bundled", models) == "bundled"


def test_folder_must_exist(models: Path) -> None:
    (models / "file").write_text("")
    for name in ("nowhere", "file", "file/below", "a" * 300, "org/" * 2000 + "x"):
        with pytest.raises(RefusedError, match=r"A model's folder must exist on the server, got '.*'; mend its path"):
            check(str(models / name), models)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look into every folder")
def test_folder_that_may_not_be_looked_into(models: Path) -> None:
    (models / "org").chmod(0)
    try:
        with pytest.raises(RefusedError, match="must exist on the server"):
            check(str(models / "org" / "small"), models)
    finally:
        (models / "org").chmod(0o700)


def test_code_of_strangers_needs_the_operators_leave() -> None:
    assert check_model("org/name", [], trust_remote_code=True, allow_remote_code=True) == "org/name"
    assert check_model("org/name", [], trust_remote_code=False, allow_remote_code=True) == "org/name"
    with pytest.raises(RefusedError, match="trust_remote_code must be false on this server, got true; choose a model"):
        check_model("org/name", [], trust_remote_code=True, allow_remote_code=False)
    with pytest.raises(RefusedError, match=REFUSED):
        check_model("/etc", [], trust_remote_code=True, allow_remote_code=True)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root with a text and a task, beside another text and a link to it; the current folder is the one above."""
    for name in ("files/text.txt", "files/tasks/mine.yaml", "other/text.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "files/link.txt").symlink_to(tmp_path / "other/text.txt")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "files"


def config_with(text: str) -> list[dict[str, Any]]:
    """A text as a config may hold it."""
    return [
        {"objectives": [{"name": "perplexity", "options": {"text": text}}]},
        {"also_measure": [{"name": "lm_eval", "options": {"tasks": ["minimal_pairs"], "include_path": [text]}}]},
        {"supernet_training": {"examples": {"classification": {"data": text}}}},
        {"trained_pruners": {"grain": {"text": text}}},
    ]


@pytest.mark.parametrize(
    "text",
    ["bundled", "minimal_pairs", "nyu-mll/glue", "4.1ms", "0.6x", "", "validation[:10%]", "files/text.txt", "files"],
)
def test_files_below_a_root_and_what_is_no_file(files: Path, text: str) -> None:
    for config in config_with(text):
        check_files(config, [files])


def test_a_task_by_its_absolute_path(files: Path) -> None:
    for config in config_with(str(files / "tasks" / "mine.yaml")):
        check_files(config, [files])


@pytest.mark.parametrize(
    "text",
    [
        *("/etc/passwd", "/nothing/there", "other", "other/text.txt", "files/../other/text.txt", "files/link.txt"),
        *("~/text.txt", "..", ".", "http://169.254.169.254/latest", "s3://bucket/text.txt", "\\\\host\\text", "a/b/c"),
        "filesystem/../other/text.txt",
    ],
)
def test_files_elsewhere_are_refused_by_whatever_option(files: Path, text: str) -> None:
    for config in config_with(text):
        with pytest.raises(
            RefusedError, match=r"Files that a search reads must be below .*files, got .*; leave it out"
        ):
            check_files(config, [files])


def test_without_roots_no_file_is_read(files: Path) -> None:
    with pytest.raises(
        RefusedError, match=r"must come with nas: this server offers none, got '.*' as objectives\.opti"
    ):
        check_files(config_with(str(files / "text.txt"))[0], [])
    for config in config_with("bundled"):
        check_files(config, [])


def test_names_models_and_trackers_are_not_for_this_check_to_judge(files: Path) -> None:
    check_files({"name": "other", "model": {"name": "/etc"}, "tracking": [{"name": "wandb", "dir": "/x"}]}, [files])
