"""Checking a log's files: whom it trusts, what it compares, and how it names a fault."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lodeline.proof import (
    CompactRange,
    Signer,
    TreeHead,
    Verifier,
    bundle_path,
    format_tree_head,
    hash_leaf,
    hash_node,
    iter_bundle,
    parse_note,
    parse_tree_head,
    perfect_root,
    sign_note,
)
from lodeline.tlog.faults import FsckReport
from lodeline.tlog.folders import Directory
from lodeline.tlog.fsck import check_folder
from logfiles import ORIGIN, SIGNER, ListLog, MemoryFolder, leaves, published

KEYS = [SIGNER.verifier]
LOG = ListLog(leaves(70_000))
SOUND = published(LOG).files
# Where levels do not matter.
SMALL_LOG = ListLog(leaves(1_000))
SMALL = published(SMALL_LOG).files


def check(files: dict[str, bytes], **options: object) -> FsckReport:
    return check_folder(MemoryFolder(files), **{"verifiers": KEYS, **options})  # type: ignore[arg-type]


def changed(files: dict[str, bytes], path: str, offset: int) -> dict[str, bytes]:
    data = bytearray(files[path])
    data[offset] ^= 1
    return {**files, path: bytes(data)}


def test_a_sound_folder_is_counted_and_says_whom_it_trusts() -> None:
    report = check(SOUND)
    assert report.to_json() == {
        "ok": True,
        "trust": "policy",
        "origin": ORIGIN,
        "size": 70_000,
        "root_hash": LOG.checkpoint().root_hash.hex(),
        "checked": {
            "entries": 70_000, "tiles": 277, "bundles": 274, "signatures": 1, "checkpoints": 0,
        },
        "pending": 0,
        "ignored": 0,
        "listed": True,
        "failures": [],
    }  # fmt: skip
    assert check(SOUND, verifiers=[]).trust == "none"


@pytest.mark.parametrize(
    ("path", "offset", "part"),
    [
        ("tile/0/000", 0, "hash 0"),
        ("tile/0/272", 8_191, "hash 69887"),
        ("tile/0/273.p/112", 40, "hash 69889"),
        ("tile/1/000", 3_200, "hash 100"),
        ("tile/1/001.p/17", 33, "hash 257"),
        ("tile/2/000.p/1", 31, "hash 0"),
    ],
)
def test_a_flipped_bit_of_a_tile_is_found_at_every_level(path: str, offset: int, part: str) -> None:
    (fault,) = check(changed(SOUND, path, offset)).faults
    assert (fault.code, fault.at, fault.offset, fault.part) == ("tile", path, offset, part)


@pytest.mark.parametrize(("number", "index"), [(0, 0), (100, 255), (273, 111)])
def test_a_changed_entry_is_named_by_its_position(number: int, index: int) -> None:
    path = bundle_path(number, width=112 if number == 273 else 256)
    offset = sum(2 + len(entry) for entry in list(iter_bundle(SOUND[path]))[:index])
    (fault,) = check(changed(SOUND, path, offset + 5)).faults
    assert (fault.code, fault.at, fault.offset) == ("entry", path, offset)
    assert fault.part == f"entry {number * 256 + index}"


def test_an_entry_and_its_hash_changed_together_are_found_by_the_tile_above() -> None:
    log = ListLog([*LOG.leaves[:300], b"forged", *LOG.leaves[301:]])
    forged = published(log).files
    paths = ["tile/0/001", "tile/entries/001"]
    report = check({**SOUND, **{path: forged[path] for path in paths}})
    assert [fault.at for fault in report.faults] == ["tile/0/001"]
    # And the whole way up: only the signed root is left to disagree.
    everything = {**forged, "checkpoint": SOUND["checkpoint"]}
    (fault,) = check(everything).faults
    assert (fault.code, fault.at) == ("root", "checkpoint")


def test_two_faults_in_places_that_do_not_hide_each_other_are_both_found() -> None:
    files = changed(changed(SOUND, "tile/0/005", 99), "tile/entries/200", 1_000)
    files = changed(files, "tile/1/001.p/17", 500)
    assert [fault.at for fault in check(files).faults] == [
        "tile/0/005", "tile/entries/200", "tile/1/001.p/17",
    ]  # fmt: skip


def test_a_missing_file_is_named_and_an_unfinished_one_is_read_out_of_the_full() -> None:
    for path in ("tile/0/100", "tile/1/000", "tile/entries/273.p/112", "tile/2/000.p/1"):
        (fault,) = check({name: data for name, data in SOUND.items() if name != path}).faults
        assert fault.code in {"tile.missing", "bundle.missing"}
        assert fault.at == path
    log = ListLog(leaves(512))
    files = {
        **published(log, 300, 512).files,
        "checkpoint": published(log, 300).files["checkpoint"],
    }
    assert "tile/0/001.p/44" not in files
    report = check({**files, "checkpoint.next": published(log).files["checkpoint"]})
    assert (report.ok, report.entries, report.pending) == (True, 300, 3)


def test_the_checkpoint_must_be_of_the_origin_and_signed_by_a_trusted_key() -> None:
    other = Signer("example.com/other", b"o" * 32)
    twin = Signer(ORIGIN, b"t" * 32)
    for options, code in [
        ({"verifiers": [other.verifier]}, "checkpoint.origin"),
        ({"origin": "example.com/other"}, "checkpoint.origin"),
        ({"verifiers": [], "origin": "example.com/other"}, "checkpoint.origin"),
        ({"verifiers": [twin.verifier]}, "checkpoint.signature"),
    ]:
        (fault,) = check(SMALL, **options).faults
        assert (fault.code, fault.at) == (code, "checkpoint")
    assert check(SMALL, verifiers=[twin.verifier, SIGNER.verifier]).ok
    assert check({}).faults[0].code == "checkpoint.missing"
    assert check({**SMALL, "checkpoint": b"\xff"}).faults[0].code == "checkpoint.malformed"


def test_bits_behind_the_last_byte_of_a_signature_are_no_second_form_of_it() -> None:
    note = SOUND["checkpoint"]
    assert note.endswith(b"=\n")
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    last = alphabet.index(note[-3:-2])
    other = note[:-3] + alphabet[last ^ 1 : (last ^ 1) + 1] + note[-2:]
    assert check({**SOUND, "checkpoint": other}).faults[0].code == "checkpoint.malformed"


def test_a_log_extends_the_checkpoints_kept_of_it() -> None:
    sizes = (0, 1, 255, 256, 257, 65_536, 69_999, 70_000)
    kept = [(str(size), LOG.checkpoint(size).note.encode()) for size in sizes]
    report = check(SOUND, earlier=kept)
    assert (report.ok, report.checkpoints, report.signatures) == (True, 8, 9)


def test_a_split_view_and_a_rolled_back_log_are_found_by_checkpoints_kept_elsewhere() -> None:
    fork = ListLog([*SMALL_LOG.leaves[:400], b"forked", *SMALL_LOG.leaves[401:]])
    for size in (401, 500, 1_000):
        report = check(SMALL, earlier=[("kept", fork.checkpoint(size).note.encode())])
        (fault,) = report.faults
        assert (fault.code, fault.at) == ("consistency.split_view", "kept")
        assert fault.expected == fork.checkpoint(size).root_hash.hex()
    assert check(SMALL, earlier=[("kept", fork.checkpoint(400).note.encode())]).ok
    longer = ListLog([*SMALL_LOG.leaves, b"one more"]).checkpoint()
    (fault,) = check(SMALL, earlier=[("kept", longer.note.encode())]).faults
    assert (fault.code, fault.at) == ("consistency.rollback", "checkpoint")
    unsigned = longer.note.replace("1001", "999").encode()
    (fault,) = check(SMALL, earlier=[("kept", unsigned)]).faults
    assert (fault.code, fault.at) == ("checkpoint.signature", "kept")


def test_an_added_file_is_superfluous_unless_a_publication_explains_it() -> None:
    for path in ("tile/0/004", "tile/entries/003", "tile/0/003.p/233", "tile/2/000", "tile/odd"):
        (fault,) = check({**SMALL, path: SMALL["tile/0/000"]}).faults
        assert (fault.code, fault.at) == ("extra", path)
    report = check({**SMALL, "README": b"mine"})
    assert (report.ok, report.ignored) == (True, 1)
    longer = published(ListLog(leaves(1_100))).files
    upcoming = {"checkpoint.next": longer["checkpoint"]}
    new = {path: data for path, data in longer.items() if path not in SMALL} | upcoming
    report = check({**new, **SMALL})
    assert (report.ok, report.pending) == (True, 5)
    report = check({**changed(new, "tile/entries/003", 4), **SMALL})
    assert [(fault.code, fault.at) for fault in report.faults] == [("entry", "tile/entries/003")]
    forged = upcoming["checkpoint.next"].replace(b"1100", b"2000")
    report = check({**SMALL, "checkpoint.next": forged})
    assert report.faults[0].at == "checkpoint.next"


def test_a_huge_claim_ends_at_the_bound_of_faults() -> None:
    head = TreeHead(ORIGIN, 1 << 62, b"r" * 32)
    note = sign_note(format_tree_head(head), [SIGNER]).encode()
    assert len(check({**SOUND, "checkpoint": note}).faults) == 1_000


@pytest.mark.vectors
def test_tesseras_log_is_sound_and_extends_all_of_its_checkpoints(
    vectors: Callable[[str], Path],
) -> None:
    folder = vectors("tessera-log")
    private, public = (folder / "keys.txt").read_text().split()
    kept = [(f"{size}", (folder / f"checkpoint.{size}").read_bytes()) for size in range(16)]
    report = check_folder(Directory(folder), verifiers=[Verifier.from_vkey(public)], earlier=kept)
    assert (report.ok, report.entries, report.checkpoints) == (True, 15, 16)
    # And made from its entries alone: tree, root, checkpoint and signature, byte for byte.
    entries = list(iter_bundle((folder / bundle_path(0, width=15)).read_bytes()))
    signer, tree = Signer.from_text(private), CompactRange()
    for size in range(16):
        head = TreeHead(signer.name, size, tree.root())
        assert sign_note(format_tree_head(head), [signer]).encode() == kept[size][1]
        if size < 15:
            tree.append(hash_leaf(entries[size]))
    files = {path: Directory(folder).read(path) or b"" for path in Directory(folder).paths()}
    for path in sorted(path for path in files if path.startswith("tile/")):
        for offset in range(0, len(files[path]), 7):
            faults = check(changed(files, path, offset), verifiers=[signer.verifier]).faults
            assert {fault.at for fault in faults} == {path}, offset


def test_the_root_of_a_checkpoint_is_the_root_of_its_tiles() -> None:
    text, _ = parse_note(SOUND["checkpoint"].decode())
    left = perfect_root(SOUND["tile/1/000"])
    assert SOUND["tile/2/000.p/1"] == left
    tree = CompactRange()
    for leaf in LOG.leaves[65_536:]:
        tree.append(hash_leaf(leaf))
    # The right part is no tree of its own place, but its root is computed alike.
    assert parse_tree_head(text).root_hash == hash_node(left, tree.root())
