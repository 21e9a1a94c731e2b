"""What a build is: commit, continuous integration, container image, results of tests.

Read from the variables that the systems set, from git where they say nothing, and from JUnit's XML
reports. Nothing here guesses: what nobody says stays empty.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as ET

import lodeline
from lodeline.capture.code import describe_code, strip_credentials
from lodeline.capture.command import find_repository
from lodeline.credentials import redact_text
from lodeline.errors import UsageError
from lodeline.limits import TEST_REPORT_BYTES_MAX

# System -> (variable that tells, commit, build, address, branch or tag, pull request).
_SYSTEMS: Final = {
    "github": ("GITHUB_ACTIONS", "GITHUB_SHA", "GITHUB_RUN_ID", "", "GITHUB_REF_NAME", ""),
    "gitlab": (
        "GITLAB_CI", "CI_COMMIT_SHA", "CI_PIPELINE_ID", "CI_PIPELINE_URL", "CI_COMMIT_REF_NAME",
        "CI_MERGE_REQUEST_IID",
    ),
    "jenkins": ("JENKINS_URL", "GIT_COMMIT", "BUILD_ID", "BUILD_URL", "GIT_BRANCH", "CHANGE_ID"),
}  # fmt: skip
_PULL: Final = re.compile(r"refs/pull/(\d+)/")
_DIGEST: Final = re.compile(r"(?:.*@)?(sha256:[0-9a-f]{64})$")


@dataclass(slots=True)
class Build:
    """One build.

    Attributes:
        facet: `lodeline_build`, without stamps.
        code: `lodeline_code`, likewise; empty outside a repository.
        location: `sourceCodeLocation`, where the code has an address.
        gaps: what could not be told of the code.
    """

    facet: dict[str, Any]
    code: dict[str, Any] = field(default_factory=dict)
    location: dict[str, Any] | None = None
    gaps: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The build in a line, for `LODELINE_BUILD`: what is deployed from it names it so."""
        known = {"commit": "commit", "build": "build", "image": "image"}
        return " ".join(
            f"{name}={self.facet[member]}" for name, member in known.items() if member in self.facet
        )


def describe_build(
    folder: Path,
    environment: Mapping[str, str] = os.environ,
    *,
    image: str | None = None,
    commit: str | None = None,
    reports: Iterable[Path] = (),
) -> Build:
    """Describe the build that runs here.

    Args:
        folder: in the repository.
        environment: variables of the build.
        image: digest of the container image, or a reference that ends with one.
        commit: instead of what the system or git says.
        reports: JUnit's XML files.

    Raises:
        UsageError: the image has no digest, or a report is no such file.
    """
    facet: dict[str, Any] = {"instrumentation": f"lodeline {lodeline.__version__}"}
    facet |= _of_system(environment)
    root = find_repository(folder / "-")
    code = describe_code(None, root=root)
    found = commit or facet.get("commit") or code.facet.get("commit")
    if found:
        facet["commit"] = found
    if image:
        match = _DIGEST.match(image)
        if match is None:
            raise UsageError(f"--image {image}: give a digest, sha256:… or NAME@sha256:…")
        facet["image"] = match[1]
    results = [read_report(path) for path in reports]
    if results:
        facet["tests"] = {name: round(sum(one[name] for one in results), 3) for name in results[0]}
    return Build(facet, code.facet if "version" in code.facet else {}, code.location, code.gaps)


def _of_system(environment: Mapping[str, str]) -> dict[str, Any]:
    for system, (tells, commit, build, url, ref, change) in _SYSTEMS.items():
        if not environment.get(tells):
            continue
        named = {"commit": commit, "build": build, "url": url, "ref": ref, "change": change}
        found: dict[str, Any] = {"system": system}
        found |= {name: environment[v] for name, v in named.items() if environment.get(v)}
        if system == "github":
            found |= _of_github(environment)
        if "url" in found:
            found["url"] = redact_text(strip_credentials(found["url"]))
        return found
    return {"system": "generic"} if environment.get("CI") else {}


def _of_github(environment: Mapping[str, str]) -> dict[str, str]:
    found = {}
    pull = _PULL.match(environment.get("GITHUB_REF", ""))
    if pull:
        found["change"] = pull[1]
    parts = [environment.get(f"GITHUB_{n}", "") for n in ("SERVER_URL", "REPOSITORY", "RUN_ID")]
    if all(parts):
        found["url"] = f"{parts[0]}/{parts[1]}/actions/runs/{parts[2]}"
    return found


def read_report(path: Path) -> dict[str, Any]:
    """Count what a JUnit XML report tells.

    Raises:
        UsageError: it cannot be read, is too large, or is none.
    """
    try:
        if path.stat().st_size > TEST_REPORT_BYTES_MAX:
            raise UsageError(f"{path}: larger than {TEST_REPORT_BYTES_MAX} bytes")
        text = path.read_bytes()
        # Entities are of no use in a report, and a way to make it endless.
        if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
            raise UsageError(f"{path}: a report needs no document type")
        root = ET.fromstring(text)  # noqa: S314  # without entities, within a bound
    except (OSError, ET.ParseError) as error:
        raise UsageError(f"cannot read the test report {path}: {error}") from error
    if root.tag not in {"testsuites", "testsuite"}:
        raise UsageError(f"{path}: no JUnit report, its root is {root.tag[:40]!r}")
    cases = list(root.iter("testcase"))
    return {
        "total": len(cases),
        "failed": sum(case.find("failure") is not None for case in cases),
        "errors": sum(case.find("error") is not None for case in cases),
        "skipped": sum(case.find("skipped") is not None for case in cases),
        "seconds": sum(_seconds(case.get("time", "0")) for case in cases),
    }


def _seconds(text: str) -> float:
    try:
        value = float(text.replace(",", ""))
    except ValueError:
        return 0.0
    return value if 0 <= value < 1e9 else 0.0
