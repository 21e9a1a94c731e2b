"""What a run ran in: interpreter, packages, platform, container, host, continuous integration.

Packages are read off the names of the `*.dist-info` folders on the observed process's import
path: every installed distribution with its version, for the cost of listing a few folders, and
right for an interpreter other than our own.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from lodeline.credentials import redact_value
from lodeline.limits import PACKAGES_MAX

# Variables that change what programs compute. Values of others may be secrets.
VARIABLES: Final = (
    "CUDA_VISIBLE_DEVICES",
    "LANG",
    "LC_ALL",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "PYTHONHASHSEED",
    "PYTHONOPTIMIZE",
    "PYTHONUTF8",
    "TZ",
)
# Continuous integration systems: variable that tells, name, variable with the run's address.
_CI: Final = (
    ("GITHUB_ACTIONS", "github", "GITHUB_RUN_ID"),
    ("GITLAB_CI", "gitlab", "CI_PIPELINE_ID"),
    ("JENKINS_URL", "jenkins", "BUILD_ID"),
    ("BUILDKITE", "buildkite", "BUILDKITE_BUILD_ID"),
    ("CIRCLECI", "circleci", "CIRCLE_WORKFLOW_ID"),
    ("TF_BUILD", "azure", "BUILD_BUILDID"),
    ("CI", "unknown", ""),
)
_DISTRIBUTION: Final = re.compile(r"(.+?)-([^-]+)(?:-py[\d.]+)?\.(?:dist|egg)-info$")


def describe_environment(
    header: Mapping[str, Any],
    environment: Mapping[str, str],
    *,
    variables: Iterable[str] = (),
) -> dict[str, Any]:
    """Give `lodeline_environment`, without stamps.

    Args:
        header: the facts that the observed process noted about itself.
        environment: its variables.
        variables: names that are recorded beside `VARIABLES`.
    """
    core: dict[str, Any] = {
        "interpreter": {
            "implementation": str(header.get("implementation", "")),
            "version": str(header.get("version", "")),
        },
        "platform": _platform(),
        "packages": list_packages(tuple(header.get("path", ()))),
        "variables": {
            name: redact_value(name, environment[name])
            for name in sorted({*VARIABLES, *variables})
            if name in environment
        },
    }
    digest = hashlib.sha256(json.dumps(core, sort_keys=True).encode()).hexdigest()
    container = find_container()
    ci = find_ci(environment)
    facet = {**core, "host": os.uname().nodename, "digest": f"sha256:{digest}"}
    if container is not None:
        facet["container"] = container
    if ci is not None:
        facet["ci"] = ci
    return facet


def _platform() -> str:
    """What `platform.platform()` says, without the process that it starts to ask for a processor.

    On Linux it names the processor only where that is not the machine, which `uname -p` does not
    say there.
    """
    kernel = os.uname()
    try:
        library = (os.confstr("CS_GNU_LIBC_VERSION") or "").replace(" ", "", 1)
    except (ValueError, OSError):
        library = ""
    if kernel.sysname != "Linux" or not library:
        # Only here: Linux with the GNU library answers by itself.
        import platform

        return platform.platform()
    parts = [kernel.sysname, kernel.release, kernel.machine, "with", library]
    return "-".join(part for part in parts if part).replace(" ", "_")


@lru_cache(maxsize=32)
def list_packages(path: Iterable[str]) -> dict[str, str]:
    """Name and version of each distribution on an import path; the first of a name wins."""
    found: dict[str, str] = {}
    for folder in path:
        try:
            names = os.listdir(folder)
        except OSError:
            continue
        for name in names:
            match = _DISTRIBUTION.match(name)
            if match is not None and len(found) < PACKAGES_MAX:
                found.setdefault(match[1].replace("_", "-").lower(), match[2])
    return dict(sorted(found.items()))


def find_container() -> str | None:
    """Which kind of container this is, and its id where the kernel shows it."""
    kind = os.environ.get("KUBERNETES_SERVICE_HOST") and "kubernetes"
    if not kind and Path("/.dockerenv").exists():
        kind = "docker"
    if not kind and Path("/run/.containerenv").exists():
        kind = "podman"
    if not kind:
        return None
    try:
        text = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return kind
    match = re.search(r"/(?:containers|docker)/([0-9a-f]{64})/", text)
    return f"{kind}:{match[1]}" if match else kind


def find_ci(environment: Mapping[str, str]) -> dict[str, str] | None:
    """Which continuous integration system this is, and its run."""
    for variable, name, run in _CI:
        if environment.get(variable):
            found = {"system": name}
            if environment.get(run):
                found["run"] = environment[run]
            return found
    return None
