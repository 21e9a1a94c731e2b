"""The mirror holds what the record says, byte for byte, or there is none."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from lodeline.errors import CannotReplayError, UsageError
from lodeline.model import NodeId, parse_identifier
from lodeline.replay import confinement
from lodeline.replay.mirror import Mirror, place_code, place_inputs
from lodeline.replay.recipe import Artifact, Part, Recipe, recipe_of
from lodeline.replay.surroundings import mirrored_argv, refuse_writes_outside
from lodeline.replay.swaps import apply_swaps


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def git(folder: Path, *words: str) -> str:
    named = ["-c", "user.name=t", "-c", "user.email=t@localhost"]
    return subprocess.run(
        ["git", "-C", str(folder), *named, *words], check=True, capture_output=True, text=True
    ).stdout


@pytest.fixture
def mirror(tmp_path: Path) -> Mirror:
    root = tmp_path / "mirror"
    root.mkdir()
    return Mirror(root)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    root.mkdir()
    git(root, "init", "--quiet")
    (root / "train.py").write_text("print(1)\n")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "one")
    return root


def recipe(cwd: Path, **changes: object) -> Recipe:
    whole: dict[str, object] = {
        "run_id": "r",
        "job_namespace": "default",
        "job_name": "train.py",
        "argv": ("python", "train.py"),
        "cwd": str(cwd),
        "exit_code": 0,
        "deterministic": False,
        "inputs": (),
        "outputs": (),
    }
    return Recipe(**(whole | changes))  # type: ignore[arg-type]


def file_artifact(path: Path, digest: str, parts: tuple[Part, ...] = ()) -> Artifact:
    node = NodeId("dataset", "file", str(path), version=f"sha256:{digest}")
    return Artifact(node, str(path), digest, parts=parts)


def none(_: str) -> list[Path]:
    return []


def test_the_code_of_a_commit_is_checked_out_though_the_tree_moved_on(
    mirror: Mirror, repository: Path
) -> None:
    commit = git(repository, "rev-parse", "HEAD").strip()
    (repository / "train.py").write_text("print(2)\n")
    git(repository, "commit", "--quiet", "-am", "two")
    code = {"commit": commit, "repositoryRoot": str(repository), "path": "train.py"}
    place_code(mirror, recipe(repository, code=code))
    assert mirror.of(repository / "train.py").read_text() == "print(1)\n"


def test_uncommitted_changes_and_new_files_come_back_from_the_recorded_patch(
    mirror: Mirror, repository: Path
) -> None:
    (repository / "train.py").write_text("print(3)\n")
    (repository / "new.py").write_text("NEW = 1\n")
    patch = (
        git(repository, "diff", "--binary", "HEAD")
        + f"new file new.py sha256:{sha(b'NEW = 1' + bytes([10]))}\n"
    )
    git(repository, "checkout", "--quiet", "train.py")
    code = {
        "commit": git(repository, "rev-parse", "HEAD").strip(),
        "repositoryRoot": str(repository),
        "path": "train.py",
        "patch": patch,
        "patchDigest": "sha256:" + sha(patch.encode()),
    }
    place_code(mirror, recipe(repository, code=code))
    assert mirror.of(repository / "train.py").read_text() == "print(3)\n"
    assert mirror.of(repository / "new.py").read_text() == "NEW = 1\n"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"commit": "0" * 40}, "commit 000000000000"),
        ({"patchDigest": "sha256:" + "1" * 64}, "digest alone"),
        ({"patchDigest": "sha256:" + "1" * 64, "patch": "x"}, "recorded digest"),
        ({"repositoryRoot": "/nowhere/at/all"}, "is gone"),
    ],
)
def test_code_that_cannot_be_had_as_it_was_is_a_reason_and_not_a_guess(
    mirror: Mirror, repository: Path, changes: dict[str, str], reason: str
) -> None:
    commit = git(repository, "rev-parse", "HEAD").strip()
    code = {"commit": commit, "repositoryRoot": str(repository), "path": "train.py"} | changes
    with pytest.raises(CannotReplayError, match=reason):
        place_code(mirror, recipe(repository, code=code))


def test_a_script_outside_any_repository_is_found_by_its_digest(
    mirror: Mirror, tmp_path: Path
) -> None:
    script = tmp_path / "train.py"
    script.write_text("print(1)\n")
    code = {"sourceDigest": "sha256:" + sha(b"print(1)\n")}
    place_code(mirror, recipe(tmp_path, code=code))
    assert mirror.of(script).read_text() == "print(1)\n"
    script.write_text("print(2)\n")
    with pytest.raises(CannotReplayError, match="gone or has changed"):
        place_code(Mirror(tmp_path / "other"), recipe(tmp_path, code=code))


def test_an_input_is_copied_only_when_its_bytes_are_those_of_the_record(
    mirror: Mirror, tmp_path: Path
) -> None:
    data = tmp_path / "data.csv"
    data.write_text("a\n1\n")
    wanted = file_artifact(data, sha(b"a\n1\n"))
    place_inputs(mirror, [wanted], nearby=[str(tmp_path)], find_copies=none)
    assert mirror.of(data).read_text() == "a\n1\n"
    assert not mirror.of(data).is_symlink()
    data.write_text("a\n2\n")
    with pytest.raises(CannotReplayError, match="no copy is known"):
        place_inputs(Mirror(tmp_path / "m2"), [wanted], nearby=[], find_copies=none)


def test_an_input_that_changed_comes_from_a_copy_with_the_recorded_digest(
    mirror: Mirror, tmp_path: Path
) -> None:
    data, copy = tmp_path / "data.csv", tmp_path / "copy.csv"
    data.write_text("new\n")
    copy.write_text("old\n")
    place_inputs(
        mirror,
        [file_artifact(data, sha(b"old\n"))],
        nearby=[str(tmp_path)],
        find_copies=lambda digest: [copy],
    )
    assert mirror.of(data).read_text() == "old\n"


def test_a_folder_of_many_files_is_verified_file_by_file(mirror: Mirror, tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / name).write_text(name)
    parts = tuple(Part(name, sha(name.encode())) for name in ("a", "b"))
    artifact = file_artifact(folder, "of the manifest", parts)
    place_inputs(mirror, [artifact], nearby=[], find_copies=none)
    assert mirror.of(folder / "b").read_text() == "b"
    (folder / "b").write_text("c")
    with pytest.raises(CannotReplayError, match="parts/b"):
        place_inputs(Mirror(tmp_path / "m2"), [artifact], nearby=[], find_copies=none)


def test_absolute_paths_of_the_record_are_led_into_the_mirror(
    mirror: Mirror, tmp_path: Path
) -> None:
    command = ("python", "train.py", "--out=" + str(tmp_path / "out"), "/etc/hosts", "-x", "3")
    words = mirrored_argv(mirror, recipe(tmp_path, argv=command))
    assert words[1:] == [
        "train.py",
        f"--out={mirror.of(tmp_path / 'out')}",
        "/etc/hosts",
        "-x",
        "3",
    ]


@pytest.mark.skipif(not confinement.is_available(), reason="this kernel has no Landlock")
def test_a_confined_program_writes_inside_its_folders_only(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    (outside / "kept").write_text("kept")
    program = (
        f"echo x > {inside}/a; echo y > {outside}/b; echo z > {outside}/kept;"
        f" rm {outside}/kept; mv {inside}/a {inside}/c; cat {outside}/kept"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "lodeline.replay.confinement",
            str(inside),
            "/dev",
            "--",
            "sh",
            "-c",
            program,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "kept"
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["c", "kept"]


def test_a_program_kept_from_its_absolute_output_is_told_from_one_that_failed(
    tmp_path: Path,
) -> None:
    output = file_artifact(tmp_path / "model.bin", "0" * 64)
    run = recipe(tmp_path, outputs=(output,))
    refuse_writes_outside(run, "ValueError: no such column")
    refuse_writes_outside(run, f"PermissionError: [Errno 13] Permission denied: '/m{output.path}'")
    with pytest.raises(CannotReplayError, match="by absolute path"):
        refuse_writes_outside(run, f"[Errno 13] Permission denied: '{output.path}'")


def test_a_swapped_input_keeps_its_place_and_takes_the_other_digest(tmp_path: Path) -> None:
    used = file_artifact(tmp_path / "data.csv", "0" * 64)
    other = used.node.at("sha256:" + "1" * 64)
    swapped = apply_swaps(recipe(tmp_path, inputs=(used,)), [other], [])
    assert [(i.path, i.digest) for i in swapped.inputs] == [(used.path, "1" * 64)]
    for wrong in (
        "dataset:file:/elsewhere#sha256:" + "1" * 64,
        str(used.node.at("")),
        str(used.node.at("x")),
    ):
        with pytest.raises(UsageError):
            apply_swaps(recipe(tmp_path, inputs=(used,)), [parse_identifier(wrong)], [])


def test_the_recipe_of_a_run_merges_its_events_by_event_time() -> None:
    def event(time: str, **run_facets: object) -> dict[str, object]:
        digest = {"value": "a" * 64} if "lodeline_capture" in run_facets else {"value": "b" * 64}
        return {
            "eventTime": time,
            "run": {"runId": "r", "facets": run_facets},
            "job": {"namespace": "ns", "name": "job"},
            "inputs": [{"namespace": "file", "name": "/d", "facets": {"lodeline_digest": digest}}],
        }

    capture = {"argv": ["python", "x.py"], "cwd": "/w", "exitCode": 0}
    later = event("2026-01-01T00:00:02Z", lodeline_capture=capture)
    earlier = event("2026-01-01T00:00:01Z")
    whole = recipe_of("r", [later, earlier])
    assert (whole.argv, whole.cwd, whole.inputs[0].digest) == (("python", "x.py"), "/w", "a" * 64)
    with pytest.raises(CannotReplayError, match="lodeline run"):
        recipe_of("r", [earlier])
