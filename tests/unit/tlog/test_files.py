"""A log is published as the files of tlog-tiles, only what is new, and nothing that is wrong."""

import random
from pathlib import Path

import pytest

from lodeline.errors import (
    FolderBusyError,
    FolderUnreachableError,
    OtherLogError,
    StoreCorruptError,
)
from lodeline.proof import (
    Signer,
    TreeHead,
    encode_bundle,
    hash_leaf,
    perfect_root,
    tile_path,
    verify_checkpoint,
)
from lodeline.tlog import sign_checkpoint
from lodeline.tlog.folders import Directory
from lodeline.tlog.fsck import check_folder
from lodeline.tlog.publication import publish
from lodeline.tlog.resources import Resource, find_resource, iter_edge, width_at
from logfiles import ORIGIN, SIGNER, ListLog, MemoryFolder, leaves, published

KEYS = [SIGNER.verifier]


def test_a_log_becomes_exactly_the_files_of_its_tree() -> None:
    log = ListLog(leaves(70_000))
    folder = published(log)
    hashes = [hash_leaf(leaf) for leaf in log.leaves]
    roots = [perfect_root(b"".join(hashes[i : i + 256])) for i in range(0, 69_888, 256)]
    expected = {"checkpoint": log.checkpoint().note.encode()}
    for number in range(273):
        part = slice(number * 256, number * 256 + 256)
        expected[Resource(0, number).path] = b"".join(hashes[part])
        expected[Resource(-1, number).path] = encode_bundle(log.leaves[part])
    expected["tile/0/273.p/112"] = b"".join(hashes[69_888:])
    expected["tile/entries/273.p/112"] = encode_bundle(log.leaves[69_888:])
    expected["tile/1/000"] = b"".join(roots[:256])
    expected["tile/1/001.p/17"] = b"".join(roots[256:])
    expected["tile/2/000.p/1"] = perfect_root(b"".join(roots[:256]))
    assert folder.files == expected


def test_a_tile_beyond_the_thousandth_lies_in_a_folder_of_its_own() -> None:
    assert tile_path(0, 1_234_067) == "tile/0/x001/x234/067"
    for path in ("tile/0/x001/x234/067", "tile/entries/000.p/5", "tile/12/255", "tile/0/x001/000"):
        resource = find_resource(path)
        assert resource is not None
        assert resource.path == path
    for path in (
        "tile/0/1", "tile/0/x000/001", "tile/00/001", "tile/0/000.p/256", "tile/0/000.p/0",
        "tile/0/000.p/05", "tile/0/000/", "tile/entries/x01/000", "tile/-1/000", "tile/0/٠٠٠",
    ):  # fmt: skip
        assert find_resource(path) is None, path


def test_the_edge_of_a_tree_is_its_unfinished_tiles() -> None:
    assert list(iter_edge(0)) == []
    assert [edge.path for edge in iter_edge(70_000)] == [
        "tile/entries/273.p/112",
        "tile/0/273.p/112",
        "tile/1/001.p/17",
        "tile/2/000.p/1",
    ]
    assert [edge.path for edge in iter_edge(65_536)] == ["tile/2/000.p/1"]
    assert (width_at(0, 3, 700), width_at(0, 2, 700), width_at(1, 0, 700)) == (0, 188, 2)


def test_publishing_in_steps_leaves_the_files_of_publishing_at_once_and_earlier_edges() -> None:
    log = ListLog(leaves(1_400))
    chance = random.Random(7)
    for _ in range(20):
        sizes = sorted({*chance.sample(range(1, 1_400), 4), 1_400})
        stepped, at_once = published(log, *sizes), published(log)
        assert at_once.files.items() <= stepped.files.items()
        for path in stepped.files.keys() - at_once.files.keys():
            resource = find_resource(path)
            assert resource is not None
            # Replaced ones are gone; what is left is the beginning of an unfinished tile.
            assert resource.width < width_at(resource.level, resource.number, 1_400) < 256
        assert check_folder(stepped, verifiers=KEYS).ok


def test_a_second_publication_writes_only_what_is_new() -> None:
    log = ListLog(leaves(1_000))
    folder = published(log, 600)
    before = dict(folder.files)
    done = publish(log, log.checkpoint(), folder, verifiers=KEYS)
    assert (done.size_earlier, done.size, done.bundles) == (600, 1_000, 2)
    assert {"tile/0/000", "tile/0/001"}.isdisjoint(folder.files.keys() - before.keys())
    again = publish(log, log.checkpoint(), folder, verifiers=KEYS)
    assert (again.tiles, again.bundles, again.bytes_written) == (0, 0, 0)


def test_a_checkpoint_that_gained_a_signature_takes_the_place_of_the_one_without() -> None:
    log = ListLog(leaves(600))
    folder = published(log)
    before = dict(folder.files)
    witness = Signer("example.com/witness", b"w" * 32)
    head = TreeHead(ORIGIN, 600, log.checkpoint().root_hash)
    both = sign_checkpoint(head, log_time_us=0, signers=[SIGNER, witness])
    done = publish(log, both, folder, verifiers=KEYS)
    assert (done.size_earlier, done.size, done.bytes_written) == (600, 600, 0)
    assert folder.files == {**before, "checkpoint": both.note.encode()}
    assert check_folder(folder, verifiers=KEYS).ok
    assert check_folder(folder, verifiers=[witness.verifier], origin=ORIGIN).ok


def test_an_empty_log_is_a_checkpoint_alone() -> None:
    folder = published(ListLog([]), 0)
    assert list(folder.files) == ["checkpoint"]
    assert check_folder(folder, verifiers=KEYS).ok


class Dying(MemoryFolder):
    """Takes so many writes and then no more, as a killed process does."""

    def __init__(self, files: dict[str, bytes], writes: int) -> None:
        super().__init__(files)
        self.writes = writes

    def write(self, path: str, data: bytes) -> None:
        self.writes -= 1
        if self.writes < 0:
            raise FolderUnreachableError(self.name, "gone")
        super().write(path, data)


def test_a_publication_that_stops_at_any_write_leaves_a_sound_folder_and_can_be_repeated() -> None:
    log = ListLog(leaves(900))
    for first in (0, 300):
        begin = published(log, first).files if first else {}
        whole = publish(log, log.checkpoint(), MemoryFolder(begin), verifiers=KEYS)
        writes = whole.tiles + whole.bundles + 2
        for count in range(writes):
            folder = Dying(begin, count)
            with pytest.raises(FolderUnreachableError):
                publish(log, log.checkpoint(), folder, verifiers=KEYS)
            if first:
                report = check_folder(folder, verifiers=KEYS)
                assert report.ok, report.to_json()
                assert report.head is not None
                assert report.head.size == 300
                assert report.pending == max(count - 1, 0)
            folder.writes = writes
            publish(log, log.checkpoint(), folder, verifiers=KEYS)
            report = check_folder(folder, verifiers=KEYS)
            assert (report.ok, report.pending, report.entries) == (True, 0, 900)


def test_another_logs_folder_is_left_alone() -> None:
    log = ListLog(leaves(600))
    fork = ListLog(leaves(500, "forked "))
    stranger = ListLog(leaves(500), "example.com/other", Signer("example.com/other", b"o" * 32))
    longer = ListLog(leaves(700))
    damaged = published(log, 500)
    damaged.files["checkpoint"] = b"\xff" + damaged.files["checkpoint"]
    for folder in (published(fork), published(stranger), published(longer), damaged):
        before = dict(folder.files)
        with pytest.raises(OtherLogError):
            publish(log, log.checkpoint(), folder, verifiers=KEYS)
        assert folder.files == before


def test_a_damaged_log_is_not_given_a_checkpoint() -> None:
    log = ListLog(leaves(600))
    checkpoint = log.checkpoint()
    for changed in ([*log.leaves[:550], b"other", *log.leaves[551:]], log.leaves[:500]):
        folder = published(log, 300)
        note = folder.files["checkpoint"]
        source = ListLog(log.leaves)
        source.leaves = changed
        with pytest.raises(StoreCorruptError):
            publish(source, checkpoint, folder, verifiers=KEYS)
        assert folder.files["checkpoint"] == note


def test_a_directory_lets_one_writer_in_and_leaves_nothing_but_the_layout(tmp_path: Path) -> None:
    log = ListLog(leaves(600))
    folder = Directory(tmp_path / "new" / "log")
    publish(log, log.checkpoint(300), folder, verifiers=KEYS)
    (folder.path / ".begun").write_bytes(b"of a killed writer")
    with Directory(folder.path).writing(), pytest.raises(FolderBusyError):
        publish(log, log.checkpoint(), folder, verifiers=KEYS)
    publish(log, log.checkpoint(), folder, verifiers=KEYS)
    assert {path: folder.read(path) for path in folder.paths()} == published(log, 300, 600).files
    assert not (folder.path / ".begun").exists()
    note = (folder.path / "checkpoint").read_text()
    assert verify_checkpoint(note, KEYS, origin=ORIGIN).size == 600


def test_a_directory_that_cannot_be_written_is_our_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    log = ListLog(leaves(3))
    with pytest.raises(FolderUnreachableError):
        publish(log, log.checkpoint(), Directory(tmp_path / "file"), verifiers=KEYS)
