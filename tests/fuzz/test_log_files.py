"""Whatever is done to a log's files is noticed, and the place is named."""

import random
from collections.abc import Callable

from lodeline.proof import encode_bundle, iter_bundle
from lodeline.tlog.fsck import check_folder
from logfiles import ORIGIN, SIGNER, ListLog, MemoryFolder, leaves, published

SEED = 20261127
ROUNDS = 2_000
Files = dict[str, bytes]

LOG = ListLog(leaves(530))
# With earlier edges beside, as a folder has that was published to more than once.
SOUND = published(LOG, 5, 300, 520, 525, 530).files


def flip(files: Files, chance: random.Random) -> set[str]:
    path = chance.choice(sorted(files))
    data = bytearray(files[path])
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    files[path] = bytes(data)
    return {path}


def truncate(files: Files, chance: random.Random) -> set[str]:
    path = chance.choice(sorted(files))
    files[path] = files[path][: chance.randrange(len(files[path]))]
    return {path}


def lengthen(files: Files, chance: random.Random) -> set[str]:
    path = chance.choice(sorted(files))
    files[path] += chance.randbytes(chance.choice([1, 2, 32, 40]))
    return {path}


def drop(files: Files, chance: random.Random) -> set[str]:
    path = chance.choice(sorted(published(LOG).files))
    del files[path]
    return {path}


def swap(files: Files, chance: random.Random) -> set[str]:
    while True:
        one, other = chance.sample(sorted(files), 2)
        if files[one] != files[other]:
            files[one], files[other] = files[other], files[one]
            return {one, other}


def copy_over(files: Files, chance: random.Random) -> set[str]:
    while True:
        one, other = chance.sample(sorted(files), 2)
        if files[one] != files[other]:
            files[one] = files[other]
            return {one}


def add(files: Files, chance: random.Random) -> set[str]:
    source = chance.choice(sorted(path for path in files if path.startswith("tile/")))
    path = chance.choice(
        ["tile/0/003", "tile/entries/003", "tile/1/001", "tile/2/000.p/1", "tile/0/002.p/20",
         "tile/0/002", "tile/entries/002", "tile/entries/002.p/19", "tile/7/000", "tile/0/x000/001",
         "tile/entries/000.p/256", "tile/0/000.bak", "tile/data/000"]
    )  # fmt: skip
    files[path] = files[source]
    return {path}


def change_entries(files: Files, chance: random.Random) -> set[str]:
    path = chance.choice(sorted(path for path in files if path.startswith("tile/entries/")))
    entries = list(iter_bundle(files[path]))
    before = list(entries)
    one, other = chance.randrange(len(entries)), chance.randrange(len(entries))
    act = chance.randrange(4)
    if act == 0:
        del entries[one]
    elif act == 1:
        entries.insert(one, entries[other])
    elif act == 2:
        entries[one], entries[other] = entries[other], entries[one]
    else:
        entries[one] = entries[other]
    if entries == before:
        entries.append(b"one more")
    files[path] = encode_bundle(entries)
    return {path}


def change_hashes(files: Files, chance: random.Random) -> set[str]:
    path = chance.choice(
        sorted(p for p in files if p.startswith(("tile/0", "tile/1")) and len(files[p]) > 64)
    )
    hashes = [files[path][i : i + 32] for i in range(0, len(files[path]), 32)]
    one, other = chance.sample(range(len(hashes)), 2)
    act = chance.randrange(3)
    if act == 0:
        del hashes[one]
    elif act == 1:
        hashes.insert(one, hashes[other])
    else:
        hashes[one], hashes[other] = hashes[other], hashes[one]
    files[path] = b"".join(hashes)
    return {path}


MUTATIONS: list[Callable[[Files, random.Random], set[str]]] = [
    flip, flip, truncate, lengthen, drop, swap, copy_over, add, change_entries, change_hashes,
]  # fmt: skip


def test_no_changed_folder_is_accepted_and_the_changed_file_is_named_first() -> None:
    assert check_folder(MemoryFolder(SOUND), verifiers=[SIGNER.verifier], origin=ORIGIN).ok
    chance = random.Random(SEED)
    for number in range(ROUNDS):
        files = dict(SOUND)
        mutate = MUTATIONS[number % len(MUTATIONS)]
        changed = mutate(files, chance)
        report = check_folder(MemoryFolder(files), verifiers=[SIGNER.verifier], origin=ORIGIN)
        told = (SEED, number, mutate.__name__, changed, report.to_json()["failures"])
        assert not report.ok, told
        assert report.faults[0].at in changed, told
        assert {fault.at for fault in report.faults} <= changed, told


def test_a_flipped_byte_is_found_at_its_offset() -> None:
    chance = random.Random(SEED)
    for number in range(300):
        files = dict(SOUND)
        path = chance.choice(sorted(set(files) - {"checkpoint"}))
        offset = chance.randrange(len(files[path]))
        data = bytearray(files[path])
        data[offset] ^= 1 << chance.randrange(8)
        files[path] = bytes(data)
        (fault,) = check_folder(MemoryFolder(files), verifiers=[SIGNER.verifier]).faults
        told = (SEED, number, path, offset, fault)
        assert fault.offset is not None, told
        if path.startswith("tile/entries/"):
            # Where in an entry, its hash does not tell: the entry's beginning is named.
            begin, entries = 0, list(iter_bundle(SOUND[path]))
            while begin + 2 + len(entries[0]) <= offset:
                begin += 2 + len(entries.pop(0))
            assert fault.offset in {begin, offset}, told
        else:
            assert fault.offset == offset, told


def test_without_keys_nothing_but_the_checkpoints_signature_escapes() -> None:
    chance = random.Random(SEED)
    for number in range(400):
        files = dict(SOUND)
        mutate = MUTATIONS[number % len(MUTATIONS)]
        changed = mutate(files, chance)
        report = check_folder(MemoryFolder(files))
        assert report.trust == "none"
        if report.ok:
            text = files["checkpoint"].split(b"\n\n")[0]
            assert changed == {"checkpoint"}, (SEED, number, mutate.__name__)
            assert text.split(b"\n")[1:] == SOUND["checkpoint"].split(b"\n\n")[0].split(b"\n")[1:]


def test_any_checkpoint_is_read_or_refused_within_bounds() -> None:
    chance = random.Random(SEED)
    sound = SOUND["checkpoint"]
    for _ in range(300):
        data = bytearray(sound)
        for _ in range(chance.randrange(1, 6)):
            at = chance.randrange(len(data) + 1)
            data[at : at + chance.randrange(4)] = chance.randbytes(chance.randrange(4))
        check_folder(MemoryFolder({"checkpoint": bytes(data)}))
    for size in (b"531", b"65536", b"9223372036854775807"):
        files = dict(SOUND, checkpoint=sound.replace(b"\n530\n", b"\n%s\n" % size))
        report = check_folder(MemoryFolder(files))
        assert not report.ok
        assert len(report.faults) <= 1_000
