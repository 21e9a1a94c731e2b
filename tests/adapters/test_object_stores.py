"""Objects in S3 through boto3, s3fs and frames, and files of fsspec, against a real store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from frameworks import interpreter_of
from object_stores import access, s3_server
from observing import Observed, python, run_plain

BUCKET = "s3://lake"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with s3_server(tmp_path_factory.mktemp("s3"), "lake", "kept") as endpoint:
        yield access(endpoint)


@pytest.fixture(scope="module", params=["oldest", "newest"])
def interpreter(request: pytest.FixtureRequest) -> str:
    """Of the whole module: starting a program takes longer than what it does."""
    return interpreter_of(request.param)


# Releases of 2023 do not read the store's address themselves.
CLIENT = """
import os, boto3
s3 = boto3.client('s3', endpoint_url=os.environ['AWS_ENDPOINT_URL'])
"""
FILESYSTEM = """
import s3fs
where = {'endpoint_url': os.environ['AWS_ENDPOINT_URL']}
fs = s3fs.S3FileSystem(client_kwargs=where)
"""


@dataclass
class Programs:
    """What the programs of this module did, in folders of their own."""

    calls: Observed
    frames: Observed
    later: Observed
    place: Path

    def file(self, program: str, name: str) -> tuple[str, str]:
        return "file", str(self.place / program / name)


@pytest.fixture(scope="module")
def programs(
    tmp_path_factory: pytest.TempPathFactory, interpreter: str, store: dict[str, str]
) -> Programs:
    place = tmp_path_factory.mktemp("programs")
    texts = {
        "calls": CLIENT + BOTO + PARTS + UNDONE,
        "frames": CLIENT + FILESYSTEM + FRAMES + VIEWS + VERSIONED,
        "later": CLIENT + FILESYSTEM + LATER,
    }
    seen = {}
    for name, text in texts.items():
        (place / name).mkdir()
        extra = {"FIRST": seen["frames"].stdout.split()[-3]} if name == "later" else {}
        seen[name] = python(place / name, text, interpreter, **store, **extra)
        quiet(seen[name])
    return Programs(**seen, place=place)


def named(done: Observed, side: str) -> dict[tuple[str, str], dict[str, Any]]:
    """All datasets of one side, as last told."""
    return {(d["namespace"], d["name"]): d for e in done.events for d in e[side]}


def version(dataset: dict[str, Any]) -> str:
    return str(dataset["facets"]["version"]["datasetVersion"])


def sources(dataset: dict[str, Any]) -> tuple[set[tuple[str, str]], bool]:
    facet = dataset["outputFacets"]["lodeline_observed"]
    return {(one["namespace"], one["name"]) for one in facet["inputs"]}, bool(facet.get("bound"))


def lifecycles(done: Observed) -> dict[str, tuple[str, str]]:
    """Name -> state and previous name, of the outputs of the last event."""
    states = {d["name"]: d["facets"].get("lifecycleStateChange") for d in done.last["outputs"]}
    return {
        name: (facet["lifecycleStateChange"], facet.get("previousIdentifier", {}).get("name", ""))
        for name, facet in states.items()
        if facet
    }


def quiet(done: Observed) -> None:
    """It did what it does, and nothing went wrong on our side."""
    assert done.status == 0, done.stderr
    assert not [gap for gap in done.gaps if "Error" in gap["detail"]], done.gaps
    assert not [gap for gap in done.gaps if "network" in gap["detail"]], done.gaps


BOTO = """
s3.put_object(Bucket='lake', Key='b/small.txt', Body=b'one')
print(s3.get_object(Bucket='lake', Key='b/small.txt')['Body'].read())
open('local.csv', 'w').write('a,b\\n1,2\\n')
s3.upload_file('local.csv', 'lake', 'b/up.csv')
s3.put_object(Bucket='lake', Key='b/body.csv', Body=open('local.csv', 'rb'))
s3.download_file('lake', 'b/up.csv', 'down.csv')
s3.copy_object(Bucket='lake', Key='b/copy.csv', CopySource={'Bucket': 'lake', 'Key': 'b/up.csv'})
try:
    s3.get_object(Bucket='lake', Key='b/none')
except s3.exceptions.NoSuchKey as error:
    print(type(error).__name__)
s3.delete_object(Bucket='lake', Key='b/old.txt')
s3.put_object(Bucket='lake', Key='b/scratch.txt', Body=b'one')
s3.delete_objects(Bucket='lake', Delete={'Objects': [{'Key': 'b/1'}, {'Key': 'b/scratch.txt'}]})
s3.delete_object(Bucket='lake', Key='b/copy.csv')
s3.copy_object(Bucket='lake', Key='b/copy.csv', CopySource={'Bucket': 'lake', 'Key': 'b/up.csv'})
print(open('down.csv').read())
"""


def test_calls_of_boto3_name_objects_with_the_versions_that_the_store_states(
    programs: Programs, interpreter: str, store: dict[str, str]
) -> None:
    done = programs.calls
    inputs, outputs = named(done, "inputs"), named(done, "outputs")
    assert (BUCKET, "b/none") not in inputs
    # Without versions of the bucket's, a tag tells the contents; for one part it is their MD5.
    assert version(outputs[BUCKET, "b/small.txt"]) == "etag:f97c5d29941bfb1b2fdab0874906ab82"
    # What the run put itself was scratch; the rest was there before, for all that is known.
    assert lifecycles(done) == {"b/old.txt": ("DROP", ""), "b/1": ("DROP", "")}
    local = programs.file("calls", "local.csv")
    for key in ("b/up.csv", "b/body.csv"):
        assert sources(outputs[BUCKET, key]) == ({local}, False), key
        assert version(outputs[BUCKET, key]).startswith("etag:")
    assert sources(outputs[BUCKET, "b/copy.csv"]) == ({(BUCKET, "b/up.csv")}, False)
    assert sources(outputs[programs.file("calls", "down.csv")]) == ({(BUCKET, "b/up.csv")}, False)
    alone = run_plain(programs.place / "calls", interpreter, "script.py", **store)
    assert (alone.status, alone.stdout) == (done.status, done.stdout)


VERSIONED = """
s3.put_bucket_versioning(Bucket='kept', VersioningConfiguration={'Status': 'Enabled'})
first = s3.put_object(Bucket='kept', Key='v.csv', Body=b'a\\n1\\n')['VersionId']
second = s3.put_object(Bucket='kept', Key='v.csv', Body=b'a\\n2\\n')['VersionId']
frame = pandas.read_csv(s3.get_object(Bucket='kept', Key='v.csv', VersionId=first)['Body'])
frame.to_csv('out.csv')
for body in (b'old', b'new', b'newer'):
    stated = s3.put_object(Bucket='kept', Key='w.csv', Body=body)['VersionId']
    if body == b'old':
        old = stated
s3.delete_object(Bucket='kept', Key='w.csv', VersionId=old)
print(first, second, len(frame))
"""


def test_a_version_identifier_of_the_store_is_the_version(programs: Programs) -> None:
    done = programs.frames
    first, second, _ = done.stdout.split()[-3:]
    assert version(named(done, "outputs")["s3://kept", "v.csv"]) == second
    assert sources(done.output("out.csv")) == ({("s3://kept", "v.csv")}, False)
    assert version(named(programs.later, "inputs")["s3://kept", "v.csv"]) == first


def test_an_old_version_that_is_deleted_leaves_its_object_and_one_of_unknown_age_is_a_gap(
    programs: Programs,
) -> None:
    # The first program put two later ones; the second saw none.
    assert not [gap for gap in programs.frames.gaps if "version" in gap["detail"]]
    [gap] = [gap for gap in programs.later.gaps if "version" in gap["detail"]]
    assert gap["at"] == "s3://kept/w.csv"
    assert "w.csv" not in lifecycles(programs.later)


PARTS = """
from boto3.s3.transfer import TransferConfig
small = TransferConfig(multipart_threshold=5 * 2**20, multipart_chunksize=5 * 2**20)
open('large.bin', 'wb').write(os.urandom(2**20) * 11)
s3.upload_file('large.bin', 'lake', 'p/large.bin', Config=small)
s3.download_file('lake', 'p/large.bin', 'again.bin', Config=small)
open('begun.bin', 'wb').write(b'x')
part = s3.create_multipart_upload(Bucket='lake', Key='p/begun.bin')
s3.upload_part(Bucket='lake', Key='p/begun.bin', PartNumber=1, UploadId=part['UploadId'], Body=b'x')
s3.abort_multipart_upload(Bucket='lake', Key='p/begun.bin', UploadId=part['UploadId'])
print(open('large.bin', 'rb').read() == open('again.bin', 'rb').read())
"""


def test_an_upload_in_parts_is_one_object_once_it_is_complete(
    programs: Programs,
) -> None:
    done = programs.calls
    assert done.stdout.endswith("\nTrue\n")
    outputs = named(done, "outputs")
    local = programs.file("calls", "large.bin")
    assert sources(outputs[BUCKET, "p/large.bin"]) == ({local}, False)
    # The tag of three parts.
    assert version(outputs[BUCKET, "p/large.bin"]).endswith("-3")
    assert (BUCKET, "p/begun.bin") not in outputs
    # The run's own object is no input of it.
    assert (BUCKET, "p/large.bin") not in named(done, "inputs")


FRAMES = """
import pandas, pyarrow.parquet as pq
options = {'client_kwargs': where}
frame = pandas.DataFrame({'a': [1, 2], 'b': [3, 4]})
frame.to_csv('s3://lake/f/in.csv', index=False, storage_options=options)
frame = pandas.read_csv('s3://lake/f/in.csv', storage_options=options)
frame.to_parquet('s3://lake/f/out.parquet', storage_options=options)
with fs.open('lake/f/open.parquet', 'wb') as file:
    frame.to_parquet(file)
with fs.open('lake/f/open.parquet', 'rb') as file:
    pandas.read_parquet(file).to_csv('local.csv')
table = pq.read_table('lake/f/out.parquet', filesystem=fs)
pq.write_table(table, 'lake/f/arrow.parquet', filesystem=fs)
with fs.open('lake/f/note.txt', 'w') as file:
    file.write('hello')
with fs.open('lake/f/note.txt', 'r') as file:
    print(file.read())
fs.pipe('lake/f/piped', b'bytes')
print(fs.cat('lake/f/piped'))
fs.put('local.csv', 'lake/f/put.csv')
fs.get('lake/f/put.csv', 'got.csv')
fs.cp_file('lake/f/put.csv', 'lake/f/cp.csv')
"""


# And a filesystem that others made, which removes in ways of its own.
LATER = """
from fsspec.spec import AbstractFileSystem

class Shelf(AbstractFileSystem):
    protocol, kept = 'shelf', {'deep/a': b'1', 'deep/c': b'2', 'deep/d': b'3', 'deep/x/e': b'4'}

    def ls(self, path, detail=True, **kwargs):
        if path == 'shut':
            raise PermissionError(path)
        found = {}
        for name in self.kept:
            if name.startswith(path + '/'):
                first, _, rest = name.removeprefix(path + '/').partition('/')
                kind = 'directory' if rest else 'file'
                found[first] = {'name': f'{path}/{first}', 'type': kind, 'size': 1}
        return list(found.values()) if detail else [one['name'] for one in found.values()]

    def info(self, path, **kwargs):
        return {'name': path, 'type': 'file', 'size': 1}

    def cp_file(self, source, target, **kwargs):
        self.kept[target] = self.kept[source]

    def _rm(self, path):
        del self.kept[path]

    def rm(self, path, recursive=False, maxdepth=None):
        if recursive:
            self.kept.clear()
        else:
            super().rm(path)

print(fs.cat('lake/f/in.csv'))
s3.get_object(Bucket='kept', Key='v.csv', VersionId=os.environ['FIRST'])['Body'].read()
fs.mv('lake/f/cp.csv', 'lake/f/moved.csv')
fs.rm('lake/f/piped')
fs.rm(['lake/f/note.txt', 'lake/f/open.parquet'])
shelf = Shelf()
shelf.mv('deep/a', 'deep/b')
shelf.rm_file('deep/c')
print(sorted(shelf.kept))
shelf.rm('deep', recursive=True)
shelf.rm('shut', recursive=True)
[stated] = [v['VersionId'] for v in s3.list_object_versions(Bucket='kept', Prefix='w.csv')['Versions']
            if v['IsLatest']]
s3.delete_object(Bucket='kept', Key='w.csv', VersionId=stated)
"""


def test_frames_through_s3fs_are_objects_with_versions_and_exact_sources(
    programs: Programs,
) -> None:
    done = programs.frames
    outputs = named(done, "outputs")
    table = (BUCKET, "f/in.csv")
    expected = {
        "f/out.parquet": table, "f/open.parquet": table, "f/arrow.parquet": (BUCKET, "f/out.parquet"),
        "f/cp.csv": (BUCKET, "f/put.csv"), "f/put.csv": programs.file("frames", "local.csv"),
    }  # fmt: skip
    for key, source in expected.items():
        assert sources(outputs[BUCKET, key]) == ({source}, False), key
        assert version(outputs[BUCKET, key]), key
    for key in ("f/out.parquet", "f/open.parquet", "f/arrow.parquet"):
        fields = outputs[BUCKET, key]["facets"]["schema"]["fields"]
        assert [field["name"] for field in fields] == ["a", "b"], key
    for key in ("f/note.txt", "f/piped"):
        assert sources(outputs[BUCKET, key])[1], key
    assert sources(done.output("local.csv")) == ({(BUCKET, "f/open.parquet")}, False)
    assert sources(done.output("got.csv")) == ({(BUCKET, "f/put.csv")}, False)
    assert version(named(programs.later, "inputs")[table]) == version(outputs[table])


def test_a_later_program_ends_what_it_removes_and_moves(programs: Programs) -> None:
    reader = programs.later
    assert lifecycles(reader) == {
        "f/moved.csv": ("RENAME", "f/cp.csv"),
        "f/piped": ("DROP", ""),
        "f/note.txt": ("DROP", ""),
        "f/open.parquet": ("DROP", ""),
        "c": ("DROP", ""),
        # What a folder held that the filesystem removed as a whole; `a` was `b` by then.
        "a": ("DROP", ""),
        "d": ("DROP", ""),
        "x/e": ("DROP", ""),
    }
    assert sources(named(reader, "outputs")[BUCKET, "f/moved.csv"]) == (
        {(BUCKET, "f/cp.csv")},
        False,
    )
    [gap] = [gap for gap in reader.gaps if "removed" in gap["detail"]]
    assert gap["at"] == "shelf://shut/"


VIEWS = """
import fsspec, zipfile
pandas.DataFrame({'a': [1]}).to_csv('plain.csv', index=False)
with zipfile.ZipFile('archive.zip', 'w') as archive:
    archive.write('plain.csv')
frame = pandas.read_csv('plain.csv')
frame.to_csv('memory://kept/x.csv', index=False)
pandas.read_csv('memory://kept/x.csv').to_csv('through.csv', index=False)
with fsspec.open('memory://raw.txt', 'w') as file:
    file.write(open('plain.csv').read())
with fsspec.open('memory://raw.txt') as file, open('raw.txt', 'wb') as copy:
    copy.write(file.read())
pandas.read_csv('zip://plain.csv::archive.zip', compression=None).to_csv('unpacked.csv', index=False)
with fsspec.open('simplecache::s3://lake/c/x.csv', 'w', s3={'client_kwargs': where}) as file:
    file.write('a\\n1\\n')
with fsspec.open('simplecache::s3://lake/c/x.csv', s3={'client_kwargs': where}) as file:
    pandas.read_csv(file).to_csv('cached.csv', index=False)
with fsspec.open('plain.csv', 'r') as file:
    print(file.read())
"""


def test_memory_archives_and_caches_lead_to_what_is_behind_them(
    programs: Programs,
) -> None:
    done = programs.frames
    assert not [
        d
        for e in done.events
        for s in ("inputs", "outputs")
        for d in e[s]
        if d["namespace"] == "memory"
    ]
    plain = programs.file("frames", "plain.csv")
    assert sources(done.output("through.csv")) == ({plain}, False)
    assert plain in sources(done.output("raw.txt"))[0]
    archive = programs.file("frames", "archive.zip")
    assert sources(done.output("unpacked.csv")) == ({archive}, False)
    assert sources(done.output("cached.csv")) == ({(BUCKET, "c/x.csv")}, False)
    outputs = named(done, "outputs")
    assert (BUCKET, "c/x.csv") in outputs
    # The oldest release leaves its cache behind, in a folder for temporary files.
    written = {Path(name) for space, name in outputs if space == "file"}
    of_views = ("plain.csv", "archive.zip", "through.csv", "raw.txt", "unpacked.csv", "cached.csv")
    of_others = ("local.csv", "got.csv", "out.csv")
    place = programs.place / "frames"
    assert {path for path in written if path.parent == place} == {
        place / name for name in (*of_views, *of_others)
    }


UNDONE = """
from lodeline.capture.process import ADAPTERS
s3.put_object(Bucket='lake', Key='u/one', Body=b'1')
ADAPTERS.stop()
s3 = boto3.session.Session().client('s3', endpoint_url=os.environ['AWS_ENDPOINT_URL'])
s3.put_object(Bucket='lake', Key='u/two', Body=b'2')
"""


def test_a_program_that_undoes_capture_is_alone_with_the_store(programs: Programs) -> None:
    outputs = named(programs.calls, "outputs")
    assert (BUCKET, "u/one") in outputs
    assert (BUCKET, "u/two") not in outputs
