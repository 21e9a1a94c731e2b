"""Go's own packages for transparency logs verify what Lodeline wrote.

`tests/go/verify.go` uses golang.org/x/mod/sumdb/note and sumdb/tlog as Debian packages them.
"""

import random
from pathlib import Path

import pytest
from going import Verify, proof_file

from lodeline.proof import Verifier, hash_leaf
from lodeline.store import AcceptedEvent, open_segment
from lodeline.tlog.folders import Directory
from lodeline.tlog.publication import publish

SIZES = (70_000, 70_300)


def append(store: Path, first: int, stop: int) -> None:
    with open_segment(f"sqlite:///{store}") as segment:
        for begin in range(first, stop, 5_000):
            events = [b'{"number":%d}' % n for n in range(begin, min(begin + 5_000, stop))]
            segment.append([AcceptedEvent(event, [("", event)]) for event in events])


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """A log of some 70,000 entries, exported twice, with the first checkpoint kept."""
    folder = tmp_path_factory.mktemp("exported")
    store, kept = folder / "lodeline.db", folder / "kept"
    first = 0
    for size in SIZES:
        append(store, first, size)
        first = size
        with open_segment(f"sqlite:///{store}") as segment:
            checkpoint, verifiers = segment.checkpoint(), segment.verifiers()
            publish(segment, checkpoint, Directory(folder / "log"), verifiers=verifiers)
            if not kept.exists():
                kept.write_text(checkpoint.note)
    return folder / "log", kept, verifiers[0].vkey


def test_go_verifies_signature_inclusion_and_consistency_of_seventy_thousand_entries(
    go_verify: Verify, exported: tuple[Path, Path, str]
) -> None:
    log, kept, vkey = exported
    done = go_verify("folder", log, vkey, kept)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "70302 entries, 275 inclusion proofs, 1 consistency proofs\n"


def test_go_catches_one_flipped_bit_anywhere(
    go_verify: Verify, exported: tuple[Path, Path, str]
) -> None:
    log, kept, vkey = exported
    chance = random.Random(11)
    paths = ["checkpoint", "tile/0/000", "tile/0/274.p/158", "tile/1/000", "tile/1/001.p/18",
             "tile/2/000.p/1", "tile/entries/000", "tile/entries/199", "tile/entries/274.p/158"]  # fmt: skip
    for path in paths:
        file = log / path
        sound = file.read_bytes()
        # The padding of a signature's base64 has bits that Go ignores; Lodeline refuses them.
        offset = chance.randrange(len(sound) - 4)
        changed = bytearray(sound)
        changed[offset] ^= 1 << chance.randrange(8)
        file.write_bytes(changed)
        done = go_verify("folder", log, vkey, kept)
        file.write_bytes(sound)
        assert done.returncode == 1, (path, offset, done)
        assert done.stderr.startswith("not verified: ")
    assert go_verify("folder", log, vkey, kept).returncode == 0


def test_go_refuses_another_key_and_another_history(
    go_verify: Verify, exported: tuple[Path, Path, str], tmp_path: Path
) -> None:
    log, _, vkey = exported
    verifier = Verifier.from_vkey(vkey)
    assert go_verify("folder", log, Verifier(verifier.name, b"k" * 32).vkey).returncode == 1
    append(tmp_path / "other.db", 0, 10)
    with open_segment(f"sqlite:///{tmp_path}/other.db") as segment:
        (tmp_path / "kept").write_text(segment.checkpoint().note)
    assert go_verify("folder", log, vkey, tmp_path / "kept").returncode == 1


def test_go_verifies_proofs_without_the_log(go_verify: Verify, tmp_path: Path) -> None:
    append(tmp_path / "lodeline.db", 0, 1_000)
    lines = []
    with open_segment(f"sqlite:///{tmp_path}/lodeline.db") as segment:
        checkpoint, (verifier,) = segment.checkpoint(), segment.verifiers()
        for position in (0, 1, 500, 1_001):
            (entry,) = segment.iter_entries(position, position + 1)
            path = ",".join(value.hex() for value in segment.inclusion_path(position, 1_002))
            lines.append(f"inclusion {position} 1002 {hash_leaf(entry.leaf).hex()} {path}")
        for size in (1, 256, 999):
            path = ",".join(value.hex() for value in segment.consistency_path(size, 1_002))
            lines.append(f"consistency {size} {segment.root_at(size).hex()} {path}")
    sound = proof_file(tmp_path / "proofs", checkpoint.note, lines)
    done = go_verify("proofs", sound, verifier.vkey)
    assert (done.returncode, done.stdout) == (0, "7 proofs\n")
    for number, line in enumerate(lines):
        words = line.split(" ")
        last = words[-1]
        words[-1] = last[:-1] + ("0" if last[-1] != "0" else "1")
        changed = [*lines[:number], " ".join(words), *lines[number + 1 :]]
        assert (
            go_verify(
                "proofs", proof_file(tmp_path / "bad", checkpoint.note, changed), verifier.vkey
            ).returncode
            == 1
        )
    note = checkpoint.note.replace("1002", "1003")
    assert (
        go_verify("proofs", proof_file(tmp_path / "bad", note, lines), verifier.vkey).returncode
        == 1
    )
