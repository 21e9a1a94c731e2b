"""The spool keeps what it takes, in order, whatever dies around it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lodeline.spool import Spool, drop_oldest, measure_loss, open_drain, spool_directory


def records_of(directory: Path) -> list[bytes]:
    with open_drain(directory) as drain:
        assert drain is not None
        return [
            record.body for name in drain.iter_segments() for record in drain.iter_records(name)
        ]


def drain_all(directory: Path) -> list[bytes]:
    bodies = []
    with open_drain(directory) as drain:
        assert drain is not None
        for name in list(drain.iter_segments()):
            for record in drain.iter_records(name):
                bodies.append(record.body)
                drain.acknowledge({name: record.end})
        drain.remove_delivered()
    return bodies


def test_records_come_out_in_the_order_they_went_in(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    sent = [f"record {i}".encode() for i in range(100)]
    assert all(spool.append(record) for record in sent)
    assert spool.flush() == 100
    assert records_of(tmp_path / "spool") == sent


def test_unacknowledged_records_come_again_and_acknowledged_ones_do_not(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for i in range(10):
        spool.append(b"%d" % i)
    with open_drain(tmp_path) as drain:
        assert drain is not None
        (segment,) = drain.iter_segments()
        records = list(drain.iter_records(segment))
        drain.acknowledge({segment: records[3].end})
    assert records_of(tmp_path) == [b"4", b"5", b"6", b"7", b"8", b"9"]


def test_only_one_process_drains_at_a_time(tmp_path: Path) -> None:
    with open_drain(tmp_path) as first, open_drain(tmp_path) as second:
        assert first is not None
        assert second is None


def test_a_delivered_segment_goes_when_its_writer_lets_it_go(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append(b"one")
    assert drain_all(tmp_path) == [b"one"]
    assert len(list(tmp_path.glob("*.segment"))) == 1
    spool.append(b"two")
    spool.close()
    assert drain_all(tmp_path) == [b"two"]
    assert not list(tmp_path.glob("*.segment"))


def test_a_writer_goes_on_in_a_new_segment_when_one_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lodeline.spool.queue.SPOOL_SEGMENT_BYTES", 4096)
    spool = Spool(tmp_path)
    sent = [b"%06d" % i + b"x" * 500 for i in range(40)]
    for record in sent:
        spool.append(record)
    assert len(list(tmp_path.glob("*.segment"))) > 3
    assert drain_all(tmp_path) == sent
    assert len(list(tmp_path.glob("*.segment"))) == 1


def test_a_fork_writes_a_segment_of_its_own(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append(b"parent 1")
    writer = spool.writer
    child = os.fork()
    if child == 0:
        spool.append(b"child")
        os._exit(0 if spool.writer != writer else 1)
    assert os.waitpid(child, 0)[1] == 0
    spool.append(b"parent 2")
    assert sorted(records_of(tmp_path)) == [b"child", b"parent 1", b"parent 2"]
    assert len(list(tmp_path.glob("*.segment"))) == 2


def test_threads_and_processes_write_at_once_without_losing_a_record(tmp_path: Path) -> None:
    code = (
        "import sys, threading; from lodeline.spool import Spool\n"
        "spool = Spool(sys.argv[1])\n"
        "def write(t):\n"
        "    for i in range(200): spool.append(f'{sys.argv[2]} {t} {i}'.encode())\n"
        "threads = [threading.Thread(target=write, args=(t,)) for t in range(4)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(n)]) for n in range(3)
    ]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    records = [record.decode().split() for record in drain_all(tmp_path)]
    assert len(records) == 3 * 4 * 200
    for n in "012":
        for t in "0123":
            assert [int(i) for a, b, i in records if (a, b) == (n, t)] == list(range(200))


def test_a_torn_tail_is_ignored_and_counted_once(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append(b"whole")
    spool.append(b"cut off")
    spool.close()
    (segment,) = tmp_path.glob("*.segment")
    segment.write_bytes(segment.read_bytes()[:-3])
    assert records_of(tmp_path) == [b"whole"]
    assert drain_all(tmp_path) == [b"whole"]
    assert measure_loss(tmp_path).torn == 1
    assert not list(tmp_path.glob("*.segment"))


def test_damage_in_the_middle_costs_only_the_damaged_record(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for body in (b"first", b"damaged", b"last"):
        spool.append(body)
    spool.close()
    (segment,) = tmp_path.glob("*.segment")
    segment.write_bytes(segment.read_bytes().replace(b"damaged", b"dAmaged"))
    assert drain_all(tmp_path) == [b"first", b"last"]
    assert measure_loss(tmp_path).torn == 1


@pytest.mark.parametrize("cut", range(1, 30))
def test_no_half_record_is_ever_delivered(tmp_path: Path, cut: int) -> None:
    spool = Spool(tmp_path)
    spool.append(b"a" * 10)
    spool.append(b"b" * 17)
    spool.close()
    (segment,) = tmp_path.glob("*.segment")
    segment.write_bytes(segment.read_bytes()[:-cut])
    assert all(body in (b"a" * 10, b"b" * 17) for body in records_of(tmp_path))
    assert b"a" * 10 in records_of(tmp_path) or cut > 29


def test_a_write_under_way_is_waited_for_while_its_writer_lives(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append(b"whole")
    spool.append(b"under way")
    (segment,) = tmp_path.glob("*.segment")
    data = segment.read_bytes()
    os.truncate(segment, len(data) - 4)
    assert drain_all(tmp_path) == [b"whole"]
    segment.write_bytes(data)
    assert drain_all(tmp_path) == [b"under way"]
    assert measure_loss(tmp_path).torn == 0


def test_beyond_its_bound_the_spool_counts_what_it_drops(tmp_path: Path) -> None:
    spool = Spool(tmp_path, bytes_max=3 * 1024 * 1024)
    taken = sum(spool.append(b"x" * 100_000) for _ in range(100))
    assert 20 < taken < 50
    assert spool.loss.records == 100 - taken
    assert measure_loss(tmp_path).records == 100 - taken
    spool.close()
    drain_all(tmp_path)
    assert measure_loss(tmp_path).records == 100 - taken


def test_a_full_spool_drops_its_oldest_segments_and_counts_them(tmp_path: Path) -> None:
    for number in range(4):
        # A program that ended long ago: its segment has no writer any more.
        gone = Spool(tmp_path, bytes_max=10 * 1024 * 1024)
        assert all(gone.append(b"%d" % number + b"x" * 99_999) for _ in range(10))
        gone.close()
    spool = Spool(tmp_path, bytes_max=5 * 1024 * 1024)
    assert all(spool.append(b"n" + b"x" * 99_999) for _ in range(25))
    spool.close()
    assert spool.loss.records == 0
    lost = measure_loss(tmp_path)
    left = [record[:1] for record in drain_all(tmp_path)]
    assert left[0] != b"0"
    assert left == sorted(left)
    assert left.count(b"n") == 25
    assert (lost.records, lost.bytes) == (65 - len(left), (65 - len(left)) * 100_000)
    assert measure_loss(tmp_path) == lost


def test_what_waited_too_long_is_dropped_and_counted_and_what_is_young_stays(
    tmp_path: Path,
) -> None:
    for name in (b"old", b"young"):
        writer = Spool(tmp_path)
        writer.append(name)
        writer.close()
    oldest = min(tmp_path.glob("*.segment"))
    os.utime(oldest, (1_000_000_000, 1_000_000_000))
    live = Spool(tmp_path)
    live.append(b"live")
    assert drop_oldest(tmp_path, written_before=1_000_000_001) > 0
    assert drain_all(tmp_path) == [b"young", b"live"]
    assert measure_loss(tmp_path).records == 1


def test_nothing_is_dropped_while_somebody_delivers(tmp_path: Path) -> None:
    writer = Spool(tmp_path)
    writer.append(b"one")
    writer.close()
    with open_drain(tmp_path):
        assert drop_oldest(tmp_path, bytes_wanted=1) == 0
    assert drain_all(tmp_path) == [b"one"]


def test_a_full_disk_is_counted_and_does_not_reach_the_program(tmp_path: Path) -> None:
    # The kernel refuses bytes beyond the limit, in the middle of a record, as a full disk does.
    code = (
        "import resource, sys, time; from lodeline.spool import Spool\n"
        "spool = Spool(sys.argv[1])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))\n"
        "taken = [spool.append(b'%06d' % i + b'x' * 994) for i in range(20)]\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)\n"
        "time.sleep(1.1)\n"
        "assert spool.append(b'after')\n"
        "print(sum(taken), spool.loss.records)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True, check=True
    )
    assert done.stdout.split() == ["9", "11"]
    assert measure_loss(tmp_path).records == 11
    bodies = records_of(tmp_path)
    assert [len(body) for body in bodies] == [1000] * 9 + [5]
    assert [int(body[:6]) for body in bodies[:9]] == list(range(9))


def test_a_spool_that_cannot_be_made_costs_records_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    spool = Spool(tmp_path / "file" / "spool")
    assert not spool.append(b"record")
    assert spool.loss.records == 1
    assert spool.flush() == 0
    spool.close()


def test_a_record_beyond_the_limit_is_lost_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lodeline.spool.queue.SPOOL_RECORD_BYTES_MAX", 100)
    spool = Spool(tmp_path)
    assert not spool.append(b"x" * 101)
    assert spool.append(b"x" * 100)
    assert spool.loss.records == 1


def test_what_was_appended_survives_the_death_of_its_writer(tmp_path: Path) -> None:
    code = (
        "import os, sys; from lodeline.spool import Spool\n"
        "spool = Spool(sys.argv[1])\n"
        "for i in range(10**9):\n"
        "    if spool.append(b'%d' % i): print(i, flush=True)\n"
    )
    for _ in range(10):
        child = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        for _ in range(50):
            child.stdout.readline()
        child.send_signal(signal.SIGKILL)
        confirmed = child.stdout.read().split("\n")
        child.wait()
        last = max(int(line) for line in confirmed[:-1]) if len(confirmed) > 1 else 49
        assert [int(body) for body in drain_all(tmp_path)][: last + 1] == list(range(last + 1))


def test_appending_while_appending_keeps_both_records(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append(b"open")

    class Late:
        def __del__(self) -> None:
            spool.append(b"inner")

    late: list[object] = [Late()]
    with spool._lock:
        late.clear()
        spool.append(b"outer")
    assert records_of(tmp_path) == [b"open", b"inner", b"outer"]


def test_a_lock_held_at_the_fork_does_not_hang_the_child(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with spool._lock:
            held.set()
            done.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    child = os.fork()
    if child == 0:
        os._exit(0 if spool.append(b"child") else 1)
    status = os.waitpid(child, 0)[1]
    done.set()
    thread.join()
    assert status == 0


def test_the_spool_lies_beside_its_store(tmp_path: Path) -> None:
    assert spool_directory(f"sqlite:///{tmp_path}/a.db") == tmp_path / "a.db.spool"


def test_what_a_writer_left_half_made_is_removed_in_time(tmp_path: Path) -> None:
    left, fresh = tmp_path / "0-a-0.new", tmp_path / "1-b-0.new"
    left.write_bytes(b"")
    fresh.write_bytes(b"")
    os.utime(left, (0, 0))
    drain_all(tmp_path)
    assert not left.exists()
    assert fresh.exists()
