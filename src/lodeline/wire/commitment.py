"""The fields of an event that are committed to one by one (design section 5).

Pointers are RFC 6901. The core is the whole event with each facet's value replaced by null: it
binds which facets there are, not what they say, so a facet can be erased and the rest still
proves.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from lodeline.wire.canonical import canonical_bytes
from lodeline.wire.scanning import escape_pointer

Fields: TypeAlias = list[tuple[str, bytes]]

# Where facets live in an event: container key -> facet containers within.
_RUN_OR_JOB: tuple[str, ...] = ("facets",)
_INPUT: tuple[str, ...] = ("facets", "inputFacets")
_OUTPUT: tuple[str, ...] = ("facets", "outputFacets")


def commitment_fields(event: dict[str, Any], *, finished: bool = False) -> Fields:
    """List the fields of an event with their canonical bytes, in pointer order.

    Args:
        event: the parsed event, as accepted by `decode_event`.
        finished: it has no floats but canonical tokens, as `parse_with_tokens` makes it.

    Returns:
        `("", core)` first, then one pair a facet, ordered by the UTF-8 bytes of the pointer.
    """
    fields: Fields = []
    core = dict(event)
    for key, containers in (
        ("run", _RUN_OR_JOB),
        ("job", _RUN_OR_JOB),
        ("dataset", _RUN_OR_JOB),
    ):
        if key in core:
            core[key] = without_facets(core[key], containers, f"/{key}", fields, finished=finished)
    for key, containers in (("inputs", _INPUT), ("outputs", _OUTPUT)):
        datasets = core.get(key)
        if isinstance(datasets, list):
            core[key] = [
                without_facets(dataset, containers, f"/{key}/{i}", fields, finished=finished)
                for i, dataset in enumerate(datasets)
            ]
    # Code points order as UTF-8 bytes do.
    fields.sort()
    fields.insert(0, ("", canonical_bytes(core, finished=finished)))
    return fields


def without_facets(
    subject: Any,
    containers: tuple[str, ...],
    pointer: str,
    fields: Fields,
    *,
    finished: bool,
) -> Any:
    """Give a run, job or dataset with the values of its facets replaced by null.

    Args:
        subject: parsed.
        containers: members that hold facets.
        pointer: of the subject.
        fields: gets the pointer and the canonical bytes of each facet.
        finished: as in `commitment_fields`.
    """
    if not isinstance(subject, dict):
        return subject
    bare: dict[str, Any] | None = None
    for container in containers:
        facets = subject.get(container)
        if not facets or not isinstance(facets, dict):
            continue
        prefix = f"{pointer}/{container}/"
        for name, value in facets.items():
            fields.append(
                (prefix + escape_pointer(name), canonical_bytes(value, finished=finished))
            )
        if bare is None:
            bare = dict(subject)
        bare[container] = dict.fromkeys(facets)
    return subject if bare is None else bare
