"""Who ran it, without saying who: an opaque id that stays the same, and a role.

The id is an HMAC of the account under a salt that lies beside the store and is never sent. The
display name lies there too, apart from everything signed, and can be erased alone.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from lodeline.capture.environment import find_ci

_SALT: Final = "salt"
_NAMES: Final = "names.json"
# Where Kubernetes mounts a pod's service account.
_SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
# Uids below this belong to the system on Linux (login.defs, UID_MIN).
_FIRST_USER: Final = 1_000


def describe_agents(folder: Path, environment: Mapping[str, str]) -> list[dict[str, str]]:
    """List the agents of a run: the continuous integration or service, and the OS user.

    Args:
        folder: where salt and display names are kept; made when missing.
        environment: variables of the run.
    """
    agents = []
    ci = find_ci(environment)
    if ci is not None:
        account = environment.get("GITHUB_ACTOR") or environment.get("GITLAB_USER_LOGIN") or ""
        agents.append(_agent(folder, "ci", f"{ci['system']}:{account}", account or ci["system"]))
    if _SERVICE_ACCOUNT.exists():
        namespace = _SERVICE_ACCOUNT.read_text(encoding="utf-8").strip()
        host = os.uname().nodename.rsplit("-", 2)[0]
        agents.append(_agent(folder, "service", f"k8s:{namespace}:{host}", f"{namespace}/{host}"))
    agents.append(_describe_user(folder, environment))
    return agents


def _describe_user(folder: Path, environment: Mapping[str, str]) -> dict[str, str]:
    uid = os.getuid()
    name = environment.get("SUDO_USER") or environment.get("LOGNAME") or environment.get("USER", "")
    try:
        import pwd

        name = name if environment.get("SUDO_USER") else pwd.getpwuid(uid).pw_name
    except KeyError:
        name = name or f"uid {uid}"
    kind = "user" if uid >= _FIRST_USER or uid == 0 else "service"
    return _agent(folder, kind, f"{os.uname().nodename}:{uid}:{name}", name)


def _agent(folder: Path, kind: str, account: str, display: str) -> dict[str, str]:
    identity = hmac.new(_salt(folder), f"{kind}:{account}".encode(), hashlib.sha256)
    agent = {"type": kind, "id": identity.hexdigest()[:32], "role": "executor"}
    _keep_name(folder, agent["id"], display)
    return agent


def _salt(folder: Path) -> bytes:
    path = folder / _SALT
    try:
        return path.read_bytes()
    except FileNotFoundError:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        new = folder / f"{_SALT}.{os.getpid()}"
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(os.urandom(32))
        try:
            # A link fails when another process made one first: everybody reads the same salt.
            os.link(new, path)
        except FileExistsError:
            pass
        finally:
            new.unlink()
        return path.read_bytes()


def _keep_name(folder: Path, identity: str, display: str) -> None:
    path = folder / _NAMES
    try:
        names: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError):
        names = {}
    if names.get(identity) == display:
        return
    names[identity] = display
    new = folder / f"{_NAMES}.{os.getpid()}"
    new.write_text(json.dumps(names), encoding="utf-8")
    new.rename(path)
