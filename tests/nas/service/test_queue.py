import multiprocessing
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, event, func, insert, select, update

from nas.service import tables
from nas.service.database import Database
from nas.service.events import Events
from nas.service.queue import MAX_CLAIMS, JobState, Lease, LeaseLostError, Queue
from tests.nas.service.databases import add_search

KIND = "search"

written = Table("written", MetaData(), Column("id", Integer, primary_key=True), Column("job_id", String(32)))
"""What workers do to a job. Nothing forbids a job twice."""


@pytest.fixture
def queue(database: Database) -> Iterator[Queue]:
    add_search(database, "s1")
    written.create(database.engine)
    yield Queue(database)
    written.drop(database.engine)


def put(database: Database, queue: Queue, number: int = 1, *, search_id: str = "s1", kind: str = KIND) -> list[str]:
    """Jobs put in one after the other; the clock of SQLite tells milliseconds only, so they are set apart."""
    ids = []
    for at in range(number):
        with database.transaction() as connection:
            ids.append(queue.put(connection, search_id, kind, {"at": at}))
            mine = tables.jobs.c.id == ids[-1]
            connection.execute(update(tables.jobs).where(mine).values(created_at=database.now + 0.01 * at))
    return ids


def claim(queue: Queue, owner: str = "worker", kinds: Sequence[str] = (KIND,)) -> Lease:
    lease = queue.claim(owner, kinds)
    assert lease is not None
    return lease


def end(queue: Queue, lease: Lease, state: JobState = JobState.COMPLETE, reason: str = "") -> None:
    with queue.guarded(lease) as connection:
        connection.execute(insert(written).values(job_id=lease.job_id))
        queue.end(connection, lease, state, reason)


def cancel(database: Database, queue: Queue, kind: str = KIND) -> None:
    with database.transaction() as connection:
        queue.cancel(connection, "s1", kind)


def expire(database: Database, lease: Lease) -> None:
    """As if its worker had slept for long."""
    with database.transaction() as connection:
        mine = tables.jobs.c.id == lease.job_id
        connection.execute(update(tables.jobs).where(mine).values(lock_expires_at=database.now - 0.01))


def job(database: Database, job_id: str) -> dict[str, Any]:
    with database.reading() as connection:
        return dict(connection.execute(select(tables.jobs).where(tables.jobs.c.id == job_id)).mappings().one())


def written_jobs(database: Database) -> list[str]:
    with database.reading() as connection:
        return [str(found) for found in connection.execute(select(written.c.job_id)).scalars()]


def told(database: Database, search_id: str = "s1") -> list[str]:
    """States in the order in which a reader hears of them."""
    events = Events(database).after(search_id, 0)
    assert [event.number for event in events] == list(range(1, len(events) + 1))
    assert {event.kind for event in events} <= {"state"}
    return [event.data["state"] for event in events]


def test_a_job_from_the_queue_to_its_end(database: Database, queue: Queue) -> None:
    [job_id] = put(database, queue)
    assert job(database, job_id)["state"] == JobState.QUEUED
    lease = claim(queue, "ada")
    assert (lease.job_id, lease.search_id, lease.kind, lease.payload) == (job_id, "s1", KIND, {"at": 0})
    held = job(database, job_id)
    assert (held["state"], held["lock_owner"], held["lock_token"], held["num_claims"]) == (
        JobState.RUNNING,
        "ada",
        lease.token,
        1,
    )
    assert held["lock_expires_at"] - held["started_at"] == pytest.approx(30.0, abs=1.0)
    end(queue, lease, JobState.FAILED, "It could not be done.")
    ended = job(database, job_id)
    assert (ended["state"], ended["reason"]) == (JobState.FAILED, "It could not be done.")
    assert ended["lock_token"] is ended["lock_owner"] is ended["lock_expires_at"] is None
    assert ended["ended_at"] >= ended["started_at"] >= ended["created_at"]
    assert queue.claim("ada", [KIND]) is None
    assert [(event.kind, event.data) for event in Events(database).after("s1", 0)] == [
        ("state", {"job": KIND, "id": job_id, "state": "queued"}),
        ("state", {"job": KIND, "id": job_id, "state": "running", "worker": "ada"}),
        ("state", {"job": KIND, "id": job_id, "state": "failed", "reason": "It could not be done."}),
    ]


def test_the_oldest_job_is_first(database: Database, queue: Queue) -> None:
    """In the order of their times, whatever the order of their rows."""
    ids = put(database, queue, 12)
    random.Random(0).shuffle(ids)
    with database.transaction() as connection:
        for at, job_id in enumerate(ids):
            connection.execute(update(tables.jobs).where(tables.jobs.c.id == job_id).values(created_at=1000.0 + at))
    assert [claim(queue).job_id for _ in ids] == ids
    assert queue.claim("worker", [KIND]) is None


def test_a_claimer_gets_only_what_it_can_do(database: Database, queue: Queue) -> None:
    [search], [export] = put(database, queue), put(database, queue, kind="export")
    assert queue.claim("worker", ["report"]) is None
    assert queue.claim("worker", []) is None
    assert claim(queue, kinds=["report", "export"]).job_id == export
    assert queue.claim("worker", ["report", "export"]) is None
    assert claim(queue, kinds=["export", KIND]).job_id == search


def test_a_job_of_a_transaction_that_fails_is_not_there(database: Database, queue: Queue) -> None:
    def stop_in_the_middle() -> None:
        with database.transaction() as connection:
            queue.put(connection, "s1", KIND, {})
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        stop_in_the_middle()
    assert queue.claim("worker", [KIND]) is None
    assert told(database) == []


def test_claimers_at_once_never_get_the_same_job(database: Database, queue: Queue) -> None:
    """Some jobs are of one search, whose claims all count its events, and some of others."""
    for search_id in ("s2", "s3"):
        add_search(database, search_id)
    ids = [job_id for search_id in ("s1", "s2", "s3") for job_id in put(database, queue, 34, search_id=search_id)]
    claimed: list[str] = []
    barrier = threading.Barrier(8)

    def work() -> None:
        barrier.wait()
        while (lease := queue.claim("worker", [KIND])) is not None:
            claimed.append(lease.job_id)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(claimed) == Counter(ids)
    for search_id in ("s1", "s2", "s3"):
        assert Counter(told(database, search_id)) == {"queued": 34, "running": 34}


def test_a_lease_that_ran_out_is_claimed_by_another(database: Database, queue: Queue) -> None:
    ids = put(database, queue, 2)
    first, second = claim(queue, "ada"), claim(queue, "ada")
    assert queue.claim("bob", [KIND]) is None
    expire(database, first)
    again = claim(queue, "bob")
    assert (again.job_id, first.job_id, second.job_id) == (ids[0], *ids)
    assert again.token != first.token
    held = job(database, again.job_id)
    assert (held["lock_owner"], held["num_claims"]) == ("bob", 2)
    assert queue.claim("bob", [KIND]) is None
    assert told(database) == ["queued", "queued", "running", "running", "running"]


def test_a_lease_runs_out_by_itself(database: Database, queue: Queue) -> None:
    [job_id] = put(database, queue)
    hurried = Queue(database, lease_s=0.2)
    claim(hurried)
    began = time.monotonic()
    while (lease := hurried.claim("bob", [KIND])) is None:
        assert time.monotonic() - began < 10.0
        time.sleep(0.01)
    assert lease.job_id == job_id
    assert time.monotonic() - began > 0.1


def test_starting_is_noted_once(database: Database, queue: Queue) -> None:
    put(database, queue)
    first = claim(queue)
    started_at = job(database, first.job_id)["started_at"]
    time.sleep(0.01)
    expire(database, first)
    assert job(database, claim(queue).job_id)["started_at"] == started_at


def test_renewing_holds_the_job_for_longer(database: Database, queue: Queue) -> None:
    put(database, queue)
    lease = claim(queue)
    held_until = job(database, lease.job_id)["lock_expires_at"]
    time.sleep(0.02)
    assert queue.renew(lease) is False
    assert job(database, lease.job_id)["lock_expires_at"] >= held_until + 0.015


def test_a_late_renewal_counts_as_long_as_nobody_else_has_the_job(database: Database, queue: Queue) -> None:
    put(database, queue)
    lease = claim(queue)
    expire(database, lease)
    assert queue.renew(lease) is False
    assert queue.claim("bob", [KIND]) is None
    end(queue, lease)


def lost(lease: Lease) -> str:
    return f"Job {lease.job_id} is not this worker's any more; its results so far are kept"


def test_a_worker_that_slept_past_its_lease_writes_nothing(database: Database, queue: Queue) -> None:
    uses: list[Callable[[Lease], object]] = [queue.release, lambda lease: end(queue, lease), queue.renew]
    put(database, queue)
    slept = claim(queue, "ada")
    expire(database, slept)
    for use in uses[:2]:
        with pytest.raises(LeaseLostError, match=lost(slept)):
            use(slept)
    holder = claim(queue, "bob")
    for use in uses:
        with pytest.raises(LeaseLostError, match=lost(slept)):
            use(slept)
    assert written_jobs(database) == []
    assert told(database) == ["queued", "running", "running"]
    end(queue, holder)
    for use in uses:
        for lease in (slept, holder):
            with pytest.raises(LeaseLostError, match=lost(lease)):
                use(lease)
    assert written_jobs(database) == [holder.job_id]
    assert told(database) == ["queued", "running", "running", "complete"]


def test_what_is_guarded_is_all_or_nothing(database: Database, queue: Queue) -> None:
    put(database, queue)
    lease = claim(queue)

    def stop_in_the_middle() -> None:
        with queue.guarded(lease) as connection:
            connection.execute(insert(written).values(job_id=lease.job_id))
            queue.end(connection, lease, JobState.COMPLETE)
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        stop_in_the_middle()
    assert written_jobs(database) == []
    assert told(database) == ["queued", "running"]
    end(queue, lease)


def test_an_old_and_a_new_holder_cannot_both_write(database: Database, queue: Queue) -> None:
    """The lease runs out while the old holder writes: the job is nobody else's before that is committed."""
    put(database, queue)
    old = claim(Queue(database, lease_s=0.5), "ada")
    claims: list[Lease | None] = []
    claimer = threading.Thread(target=lambda: claims.append(queue.claim("bob", [KIND])))
    with queue.guarded(old) as connection:
        connection.execute(insert(written).values(job_id="old"))
        time.sleep(0.7)
        claimer.start()
        claimer.join(timeout=0.3)
        assert claims in ([], [None])
        queue.end(connection, old, JobState.COMPLETE)
    claimer.join()
    assert claims == [None]
    assert written_jobs(database) == ["old"]


def test_holders_that_write_at_once_take_turns(database: Database, queue: Queue) -> None:
    """Many rounds of an old holder, expired, and whoever claims, both writing as soon as they can."""
    ids: list[str] = []
    for _ in range(10):
        ids += put(database, queue)
        old = claim(queue, "ada")
        expire(database, old)
        barrier = threading.Barrier(3)

        def try_to_end(lease: Lease | None, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            lease = lease or queue.claim("bob", [KIND])
            if lease is None:
                return
            with suppress(LeaseLostError):
                end(queue, lease)

        threads = [threading.Thread(target=try_to_end, args=(lease,)) for lease in (old, None, None)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert Counter(written_jobs(database)) == Counter(ids)


def test_a_released_job_is_taken_up_at_once_and_as_often_as_it_takes(database: Database, queue: Queue) -> None:
    [job_id] = put(database, queue)
    for _ in range(2 * MAX_CLAIMS):
        lease = claim(queue)
        assert lease.job_id == job_id
        queue.release(lease)
        free = job(database, job_id)
        assert (free["state"], free["num_claims"], free["lock_token"]) == (JobState.QUEUED, 0, None)
    assert told(database) == ["queued", *["running", "queued"] * 2 * MAX_CLAIMS]


def test_a_job_that_ends_its_workers_fails(database: Database, queue: Queue) -> None:
    bad, good = put(database, queue, 2)
    for _ in range(MAX_CLAIMS):
        lease = claim(queue)
        assert lease.job_id == bad
        expire(database, lease)
    assert claim(queue).job_id == good
    ended = job(database, bad)
    assert ended["state"] == JobState.FAILED
    assert ended["reason"] == (
        "A job must not end its workers, but this one ended 6 without getting on; look at the worker's log and at "
        "its memory, and submit it again."
    )
    assert ended["lock_token"] is ended["lock_expires_at"] is None
    assert ended["ended_at"] is not None
    assert told(database) == ["queued", "queued", *["running"] * MAX_CLAIMS, "failed", "running"]
    with pytest.raises(LeaseLostError, match=lost(lease)):
        end(queue, lease)


def test_a_job_that_gets_stuck_again_and_again_fails(database: Database, queue: Queue) -> None:
    [job_id] = put(database, queue)
    for _ in range(MAX_CLAIMS):
        queue.release(claim(queue), got_stuck=True)
    assert queue.claim("worker", [KIND]) is None
    assert job(database, job_id)["state"] == JobState.FAILED
    assert told(database) == ["queued", *["running", "queued"] * MAX_CLAIMS, "failed"]


def test_a_job_that_gets_on_may_end_any_number_of_workers(database: Database, queue: Queue) -> None:
    [job_id] = put(database, queue)
    for _ in range(2 * MAX_CLAIMS):
        lease = claim(queue)
        with queue.guarded(lease) as connection:
            queue.got_on(connection, lease)
        expire(database, lease)
    for _ in range(MAX_CLAIMS - 1):
        expire(database, claim(queue))
    assert queue.claim("worker", [KIND]) is None
    assert job(database, job_id)["state"] == JobState.FAILED


def test_a_waiting_job_is_cancelled_at_once(database: Database, queue: Queue) -> None:
    [job_id] = put(database, queue)
    put(database, queue, kind="export")
    cancel(database, queue)
    ended = job(database, job_id)
    assert ended["state"] == JobState.CANCELLED
    assert ended["ended_at"] is not None
    assert queue.claim("worker", [KIND]) is None
    assert told(database) == ["queued", "queued", "cancelled"]
    cancel(database, queue)
    assert told(database) == ["queued", "queued", "cancelled"]
    assert claim(queue, kinds=["export"]).kind == "export"


def test_the_worker_of_a_cancelled_job_is_told(database: Database, queue: Queue) -> None:
    put(database, queue)
    lease = claim(queue)
    assert queue.renew(lease) is False
    cancel(database, queue)
    assert told(database) == ["queued", "running"]
    assert queue.renew(lease) is True
    end(queue, lease, JobState.CANCELLED)
    assert job(database, lease.job_id)["state"] == JobState.CANCELLED
    assert told(database) == ["queued", "running", "cancelled"]


@pytest.mark.parametrize("left", ["expired", "released"])
def test_a_cancelled_job_that_its_worker_left_is_ended_by_the_next(database: Database, queue: Queue, left: str) -> None:
    first, second = put(database, queue, 2)
    lease = claim(queue)
    end(queue, claim(queue))
    cancel(database, queue)
    if left == "expired":
        expire(database, lease)
    else:
        queue.release(lease)
    assert queue.claim("bob", [KIND]) is None
    ended = job(database, first)
    assert (ended["state"], ended["reason"], ended["lock_token"]) == (JobState.CANCELLED, "", None)
    assert job(database, second)["state"] == JobState.COMPLETE
    assert told(database)[-1] == "cancelled"


def test_cancelling_what_is_over_changes_nothing(database: Database, queue: Queue) -> None:
    [job_id] = put(database, queue)
    end(queue, claim(queue))
    before = job(database, job_id)
    cancel(database, queue)
    assert job(database, job_id) == before
    assert told(database) == ["queued", "running", "complete"]


@pytest.mark.parametrize("kind", ["postgresql"])
@pytest.mark.parametrize("meanwhile", ["claimed", "released"])
def test_a_job_that_changes_hands_while_it_is_cancelled_is_cancelled(
    database: Database, queue: Queue, meanwhile: str
) -> None:
    """On PostgreSQL another transaction may be committed between two statements of this one."""
    [job_id] = put(database, queue)
    lease = claim(queue) if meanwhile == "released" else None
    others: list[threading.Thread] = []

    def change_hands(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("UPDATE jobs") and not others:
            change = (lambda: queue.claim("bob", [KIND])) if lease is None else (lambda: queue.release(lease))
            others.append(threading.Thread(target=change))
            others[0].start()
            others[0].join(timeout=0.5)

    event.listen(database.engine, "after_cursor_execute", change_hands)
    cancel(database, queue)
    others[0].join()
    event.remove(database.engine, "after_cursor_execute", change_hands)
    assert job(database, job_id)["cancel_requested"]
    assert queue.claim("carol", [KIND]) is None
    assert told(database)[-1] == "cancelled"


@pytest.mark.parametrize("state", JobState)
def test_a_state_is_over_if_nothing_follows_it(state: JobState) -> None:
    assert state.is_over == (state.value in {"complete", "failed", "cancelled"})


def _work(url: str) -> None:
    """Claims and ends jobs until it is killed."""
    database = Database(url)
    queue = Queue(database, lease_s=1.0)
    while True:
        lease = queue.claim(f"worker {os.getpid()}", [KIND])
        if lease is None:
            time.sleep(0.02)
            continue
        time.sleep(random.uniform(0.0, 0.1))
        with suppress(LeaseLostError):
            end(queue, lease)


def test_workers_killed_and_paused_at_random_lose_no_job_and_end_none_twice(
    database: Database, queue: Queue, url: str
) -> None:
    ids = put(database, queue, 60)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    chance = random.Random(0)
    workers = [context.Process(target=_work, args=(url,), daemon=True) for _ in range(3)]
    for worker in workers:
        worker.start()
    still = select(func.count()).where(tables.jobs.c.state.in_([JobState.QUEUED, JobState.RUNNING]))
    num_killed, deadline = 0, time.monotonic() + 60.0
    paused: tuple[float, int] | None = None
    try:
        while time.monotonic() < deadline:
            with database.reading() as connection:
                if connection.execute(still).scalar_one() == 0:
                    break
            time.sleep(chance.uniform(0.0, 0.2))
            if paused is not None and time.monotonic() > paused[0]:
                os.kill(paused[1], signal.SIGCONT)
                paused = None
            if num_killed >= 20:
                continue
            at = chance.randrange(3)
            pid = workers[at].pid
            assert pid is not None
            if paused is None and chance.random() < 0.2:
                os.kill(pid, signal.SIGSTOP)
                paused = (time.monotonic() + 1.3, pid)  # past its lease
            elif paused is None or paused[1] != pid:
                os.kill(pid, signal.SIGKILL)
                workers[at].join()
                workers[at] = context.Process(target=_work, args=(url,), daemon=True)
                workers[at].start()
                num_killed += 1
    finally:
        for worker in workers:
            worker.kill()
            worker.join()
    assert num_killed >= 5
    assert Counter(written_jobs(database)) == Counter(ids)
    assert {job(database, job_id)["state"] for job_id in ids} == {JobState.COMPLETE}
    states = Counter(told(database))
    assert states["queued"] == states["complete"] == 60
    assert states["running"] >= 60
    assert sum(states.values()) == states["running"] + 120
