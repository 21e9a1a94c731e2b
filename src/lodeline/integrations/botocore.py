"""S3 through botocore: boto3, its transfers, and what stands on aiobotocore, such as s3fs.

Sessions of botocore emit events of each call, and hooks on them are public: what a call was asked
is noted before it, and told when the store has answered. An object's version is what the store
says: its version identifier, else its entity tag (`etag:…`), which readers and writers see alike.

Transfers of files are told as well by boto3's own class for them, which knows the file; their
pieces tell no more than that something was read before.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final
from weakref import WeakSet

from lodeline.capture.datasets import Dataset, file_dataset, find_dataset, readable
from lodeline.capture.patches import Patches
from lodeline.capture.process import ADAPTERS
from lodeline.capture.recorder import RECORDER, Recorder
from lodeline.limits import OBJECT_VERSIONS_MAX

_READING: Final = frozenset({"GetObject", "SelectObjectContent"})
_WRITING: Final = frozenset({"PutObject", "CompleteMultipartUpload", "CopyObject"})
_COPYING: Final = frozenset({"CopyObject", "UploadPartCopy"})
_REMOVING: Final = frozenset({"DeleteObject", "DeleteObjects"})
# Where the call's parameters lie between its two events.
_ASKED: Final = "lodeline"
_ASK: Final = "before-parameter-build.s3"
_ANSWER: Final = "after-call.s3"


class BotocoreIntegration:
    """botocore 1.27 and later, with boto3 and aiobotocore of the same time."""

    name = "botocore"
    supports = "botocore>=1.27,<2"

    def install(self, recorder: Recorder) -> Callable[[], None]:
        """Register with each session as it is made."""
        patches = Patches("botocore")
        observer = _Observer(recorder, patches)
        ADAPTERS.when_imported("botocore.session", observer.patch_sessions)
        ADAPTERS.when_imported("botocore.httpsession", observer.patch_sending)
        ADAPTERS.when_imported("aiobotocore.httpsession", observer.patch_sending)
        ADAPTERS.when_imported("boto3.s3.transfer", observer.patch_transfers)
        return patches.undo


class _Observer:
    def __init__(self, recorder: Recorder, patches: Patches) -> None:
        self._recorder = recorder
        self._patches = patches
        self._sessions: WeakSet[Any] = WeakSet()
        # The sources of uploads that are made of parts of other objects.
        self._parts: dict[str, set[Dataset]] = {}
        # The version that an object had when this program last put it, or read it as it was.
        self._current: dict[Dataset, str] = {}
        patches.on_undo(self._leave)

    def patch_sessions(self, module: Any) -> None:
        def made(result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            del result, kwargs
            session = args[0]
            session.register(_ASK, self._asked)
            session.register(_ANSWER, self._answered)
            self._sessions.add(session)

        self._patches.after(module.Session, "__init__", made)

    def _leave(self) -> None:
        for session in list(self._sessions):
            session.unregister(_ASK, self._asked)
            session.unregister(_ANSWER, self._answered)

    def patch_sending(self, module: Any) -> None:
        """Connections that are made for a call are no gap."""
        for name, wrap in (("URLLib3Session", _sending), ("AIOHTTPSession", _sending_awaited)):
            kind = getattr(module, name, None)
            original = None if kind is None else vars(kind).get("send")
            if original is not None:
                self._patches.wrap(kind, "send", original, wrap)

    def patch_transfers(self, module: Any) -> None:
        self._patches.after(module.S3Transfer, "upload_file", self._uploaded)
        self._patches.after(module.S3Transfer, "download_file", self._downloaded)

    # Calls

    def _asked(self, params: Any, model: Any, context: Any, **rest: Any) -> None:
        del rest
        try:
            if model.name in _READING | _WRITING | _COPYING | _REMOVING:
                context[_ASKED] = dict(params)
        except Exception as error:  # capture's outermost door
            self._recorder.trouble("botocore.asked", error)

    def _answered(
        self, http_response: Any, parsed: Any, model: Any, context: Any, **rest: Any
    ) -> None:
        del rest
        try:
            asked = context.pop(_ASKED, None)
            if asked is not None and http_response.status_code < 300 and "Error" not in parsed:
                self._tell(model.name, asked, parsed)
        except Exception as error:  # capture's outermost door
            self._recorder.trouble("botocore.answered", error)

    def _tell(self, name: str, asked: dict[str, Any], answer: dict[str, Any]) -> None:
        if name in _REMOVING:
            self._removed(asked, answer)
            return
        dataset = _object(asked["Bucket"], asked["Key"])
        self._note_current(dataset, asked, answer)
        if name in _READING:
            flow = self._recorder.read(dataset, facets=_version(answer))
            if "Body" in answer:
                self._recorder.tag(answer["Body"], flow)
        elif name == "UploadPartCopy":
            if len(self._parts) < 1_000:
                self._parts.setdefault(asked["UploadId"], set()).add(self._copied(asked, answer))
        elif name == "CopyObject":
            source = self._copied(asked, answer)
            version = _version({**answer, **answer.get("CopyObjectResult", {})})
            self._recorder.put(dataset, version=version, inputs=[source])
        elif name == "PutObject":
            body = _of_file(asked.get("Body"))
            self._recorder.put(
                dataset, version=_version(answer), inputs=None if body is None else [body]
            )
        else:
            parts = self._parts.pop(asked.get("UploadId", ""), None)
            self._recorder.put(dataset, version=_version(answer), inputs=parts)

    def _note_current(
        self, dataset: Dataset, asked: dict[str, Any], answer: dict[str, Any]
    ) -> None:
        stated = answer.get("VersionId")
        room = dataset in self._current or len(self._current) < OBJECT_VERSIONS_MAX
        if stated and room and not asked.get("VersionId"):
            self._current[dataset] = str(stated)

    def _removed(self, asked: dict[str, Any], answer: dict[str, Any]) -> None:
        """Objects that are no more. A store says the same of one that never was.

        It does not say either whether a version that was deleted was the one that counted: where
        this program saw a later one, an old one went, and the object stands as it was.
        """
        failed = {one.get("Key") for one in answer.get("Errors") or ()}
        for one in asked["Delete"]["Objects"] if "Delete" in asked else [asked]:
            dataset = _object(asked["Bucket"], one["Key"])
            if one.get("VersionId"):
                if self._current.get(dataset, one["VersionId"]) != one["VersionId"]:
                    continue
                detail = "one of its versions was deleted; whether it is there still is not known"
                self._recorder.gap(f"{dataset.namespace}/{dataset.name}", "capture", detail)
            elif one["Key"] not in failed:
                self._current.pop(dataset, None)
                self._recorder.removed(dataset)

    def _copied(self, asked: dict[str, Any], answer: dict[str, Any]) -> Dataset:
        from urllib.parse import unquote

        source = asked["CopySource"]
        if isinstance(source, dict):
            bucket, key = source["Bucket"], source["Key"]
            version = source.get("VersionId")
        else:
            path, _, version = unquote(source.lstrip("/")).partition("?versionId=")
            bucket, _, key = path.partition("/")
        dataset = _object(bucket, key)
        told = answer.get("CopySourceVersionId") or version
        self._recorder.read(dataset, facets=_version({"VersionId": told}))
        return dataset

    # Files

    def _uploaded(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        del result
        path, bucket, key = _arguments(args, kwargs, ("filename", "bucket", "key"))
        self._recorder.put_file(_object(bucket, key), file_dataset(path))

    def _downloaded(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        del result
        bucket, key, path = _arguments(args, kwargs, ("bucket", "key", "filename"))
        source = _object(bucket, key)
        self._recorder.write(file_dataset(path), flow=self._recorder.flow.note_read(source))


def _sending(original: Any) -> Any:
    connecting = RECORDER.connecting

    def lodeline(*args: Any, **kwargs: Any) -> Any:
        token = connecting.set(True)
        try:
            return original(*args, **kwargs)
        finally:
            connecting.reset(token)

    return lodeline


def _sending_awaited(original: Any) -> Any:
    connecting = RECORDER.connecting

    async def lodeline(*args: Any, **kwargs: Any) -> Any:
        token = connecting.set(True)
        try:
            return await original(*args, **kwargs)
        finally:
            connecting.reset(token)

    return lodeline


def _arguments(
    args: tuple[Any, ...], kwargs: dict[str, Any], names: tuple[str, ...]
) -> tuple[Any, ...]:
    """Arguments of a method, by position or by name."""
    given = args[1:]
    return tuple(given[i] if i < len(given) else kwargs[name] for i, name in enumerate(names))


def _object(bucket: str, key: str) -> Dataset:
    """Name an object as OpenLineage does. An access point stands for its bucket."""
    return Dataset(readable(f"s3://{bucket}"), readable(key))


def _version(answer: dict[str, Any]) -> dict[str, dict[str, Any]] | None:
    """The version that the store states; `null` is that of a bucket without versions."""
    stated = answer.get("VersionId")
    if stated and stated != "null":
        return {"version": {"datasetVersion": str(stated)}}
    tag = str(answer.get("ETag") or "").strip('"')
    return {"version": {"datasetVersion": f"etag:{tag}"}} if tag else None


def _of_file(body: Any) -> Dataset | None:
    """The plain file that a request's body is read from."""
    name = getattr(body, "name", None)
    if isinstance(name, (str, bytes)) and os.path.isabs(os.path.abspath(name)):
        found = find_dataset(body)
        return found if found is not None and os.path.isfile(found.name) else None
    return None
