"""Search: nodes that have every word in their names, columns, tags, owners, descriptions or types.

Names come before what is said of a node: the whole name, then names that begin with the words,
then those that have the words, then those that contain them; namespaces and descriptions follow,
and columns come after their datasets. If nothing has the words, words that differ from them by a
mistyped letter or two are tried, and the answer says which.

The index (`search_index`) finds candidates; here they are looked at with the moment's and the
reader's eyes, before anything is counted. What the index does not hold, since it came in a moment
ago or since the question is about an earlier moment, is scanned. Personal values are not searched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

from lodeline.errors import (
    AmbiguousIdentifierError,
    MalformedIdentifierError,
    UnknownNodeError,
    UsageError,
)
from lodeline.limits import (
    SEARCH_ASKED_MAX,
    SEARCH_FACET_VALUES_MAX,
    SEARCH_HIDDEN_MAX,
    SEARCH_MATCHES_MAX,
)
from lodeline.model import KINDS, NodeId, format_time
from lodeline.query.answers import Gap, Page
from lodeline.query.asking import Inquiry
from lodeline.query.parameters import SearchQuestion
from lodeline.query.search_candidates import find_candidates
from lodeline.query.search_index import index_state
from lodeline.query.search_matches import Match, Matches
from lodeline.query.search_terms import asked_words, mark, name_keys, plain
from lodeline.query.versions import newest_versions
from lodeline.query.view import View

Answer = dict[str, Any]

_AMONG: Final = "IN (SELECT value FROM json_each(:ids))"
# What people look for first, among equally good matches.
_KINDS_FIRST: Final = ("dataset", "model", "job", "deployment", "feature", "datasetField")
_KIND_RANK: Final = {kind: rank for rank, kind in enumerate(_KINDS_FIRST)}


def search(inquiry: Inquiry, question: SearchQuestion, page: Page) -> Answer:
    """Answer a search: best matches first, `total` over all pages."""
    if question.kind is not None and question.kind not in KINDS:
        raise UsageError(f"no kind {question.kind!r}; there are {', '.join(sorted(KINDS))}")
    text = plain(" ".join(question.q.split()))
    words = asked_words(text)
    if not text:
        raise UsageError("search for at least one word")
    if len(words) > SEARCH_ASKED_MAX:
        raise UsageError(f"search for at most {SEARCH_ASKED_MAX} words, not {len(words)}")
    named = _find_named(inquiry, question.q.strip())
    if named is not None:
        found = Found([_match_of(inquiry.view, named)], [])
    else:
        found = _find(inquiry, question, text, words)
    admits = _filter(inquiry, question)
    admitted = [match for match in found.matches if admits(match)]
    admitted.sort(key=_ranking(text, found.groups))
    shown = admitted[page.offset : page.offset + page.limit]
    more = page.offset + page.limit < len(admitted)
    updated = _updated(inquiry.view, shown)
    versions = _newest_versions(inquiry, shown)
    answer: Answer = {
        "total": len(admitted),
        "total_exact": not found.cut,
        "results": [
            _result(match, found.groups, versions.get(match.node), updated.get(match.node))
            for match in shown
        ],
        "facets": _count_facets(admitted),
        # What a word was corrected to may be a word of hidden names.
        "corrected": found.corrected if inquiry.authoriser.sees_all else {},
        "next": page.next_cursor(inquiry.moment) if more else None,
        "as_of": inquiry.moment.to_json(),
        "trees": inquiry.moment.trees_json(),
    }
    if found.gaps:
        answer["gaps"] = [gap.to_json() for gap in found.gaps]
    return answer


class Found:
    """What a search found, before the reader's filters and rights.

    Attributes:
        matches: in no order.
        groups: per word asked for, the words that count as it.
        corrected: words tried in the place of others.
        gaps: what was not looked at.
        cut: whether there may be more.
    """

    def __init__(self, matches: Sequence[Match], groups: Sequence[Sequence[str]]) -> None:
        self.matches = matches
        self.groups = groups
        self.corrected: dict[str, list[str]] = {}
        self.gaps: list[Gap] = []
        self.cut = False


def _find_named(inquiry: Inquiry, text: str) -> NodeId | None:
    """Find the node that the whole question is the identifier of."""
    kind = text.partition(":")[0]
    if kind not in KINDS - {"prediction"} or (kind == "run" and not inquiry.authoriser.sees_all):
        # Who may see a run hangs on its jobs; `show` looks at them.
        return None
    try:
        return inquiry.resolve(text)
    except (AmbiguousIdentifierError, MalformedIdentifierError, UnknownNodeError):
        return None


def _match_of(view: View, node: NodeId) -> Match:
    numbers = view.members(node)
    match = Match(node, node, numbers[0] if numbers else 0)
    match.numbers = numbers
    return match


def _find(inquiry: Inquiry, question: SearchQuestion, text: str, words: list[str]) -> Found:
    view = inquiry.view
    state = index_state(view.connection)
    newest = inquiry.moment.newest and inquiry.moment.valid_us is None
    changed = state.changed or not state.usable
    matches = Matches(view, inquiry.authoriser, newest=newest, changed=changed)
    groups: list[list[str]] = [[word] for word in words]
    found = Found([], groups)
    if not words:
        return found
    if state.usable:
        limit = SEARCH_MATCHES_MAX if inquiry.authoriser.sees_all else SEARCH_HIDDEN_MAX
        candidates = find_candidates(
            view.connection, text, words, said=newest, marks=_marks(question), limit=limit
        )
        found.corrected = candidates.corrected
        for i, word in enumerate(words):
            groups[i] += candidates.corrected.get(word, ())
        matches.add_indexed(candidates.numbers)
        found.cut = candidates.cut or matches.cut
    if not (state.complete and newest):
        matches.scan(groups, question, after=state.indexed_node if state.usable else 0)
        found.gaps = matches.gaps(str(question.q))
    found.matches = list(matches.found.values())
    return found


def _marks(question: SearchQuestion) -> list[str]:
    said = {"k": question.kind, "n": question.namespace, "t": question.tag, "o": question.owner}
    return [mark(sort, text) for sort, text in said.items() if text is not None]


def _filter(inquiry: Inquiry, question: SearchQuestion) -> Callable[[Match], bool]:
    """Give the test of what the question's filters let through and the reader may see."""
    reader = inquiry.authoriser
    kind, namespace, tag = question.kind, question.namespace, question.tag
    owner = None if question.owner is None else plain(question.owner)

    def admits(match: Match) -> bool:
        node = match.node
        return (
            kind in {None, node.kind}
            and namespace in {None, node.namespace}
            and (tag is None or match.has_tag(tag))
            and (owner is None or owner in map(plain, match.owners))
            and (reader.sees_all or reader.may_see(node))
        )

    return admits


def _ranking(
    text: str, groups: Sequence[Sequence[str]]
) -> Callable[[Match], tuple[int, int, int, NodeId]]:
    """Give the sort key of matches: whole names first; see the module."""
    others = len(_KIND_RANK)

    def key(match: Match) -> tuple[int, int, int, NodeId]:
        node = match.node
        kind = _KIND_RANK.get(node.kind, others)
        return (_tier(match, text, groups), kind, len(node.part or node.name), node)

    return key


def _tier(match: Match, text: str, groups: Sequence[Sequence[str]]) -> int:
    # Loops, since this runs for every match: generators cost more than what they compare.
    for name in match.names:
        keys = name_keys(name.part or name.name)
        if text in keys:
            return 0
        for key in keys:
            if key.startswith(text):
                return 1
    own = f" {match.own} "
    best, worst = _ABSENT, 0
    for group in groups:
        place = _ABSENT
        for word in group:
            place = min(place, _place(word, own))
        best, worst = min(best, place), max(worst, place)
    if worst < _ABSENT:
        return 2 + worst
    if match.node.part:
        # A column of something that matches comes last, without a word of its own.
        return 5 if best < _ABSENT else 7
    around = f"{own} {match.around}"
    return 5 if all(any(word in around for word in group) for group in groups) else 6


_ABSENT: Final = 3


def _place(word: str, text: str) -> int:
    """Tell how a word stands in a text: 0 whole, 1 at a word's beginning, 2 within, 3 not."""
    if word not in text:
        return _ABSENT
    if f" {word}" not in text:
        return 2
    return 0 if f" {word} " in text else 1


def _newest_versions(inquiry: Inquiry, matches: Sequence[Match]) -> dict[NodeId, str]:
    versioned = [one for one in matches if one.node.kind in {"dataset", "model", "deployment"}]
    # Their numbers are known; looked up by name each would cost a statement.
    inquiry.view.canonical_names({number for one in versioned for number in one.numbers})
    return newest_versions(inquiry.groups, [one.node for one in versioned])


def _result(
    match: Match, groups: Sequence[Sequence[str]], version: str | None, updated: int | None
) -> Answer:
    node = match.node
    words = [word for group in groups for word in group]
    fields = match.fields()
    return {
        **node.at(version or node.version).to_json(),
        "id": str(node),
        "matched": sorted(
            field for field, text in fields.items() if any(word in text for word in words)
        ),
        "updated": None if updated is None else format_time(updated),
    }


def _count_facets(matches: Sequence[Match]) -> dict[str, dict[str, int]]:
    """Count what the matches are, the most frequent values first."""
    counts = {
        "kind": Counter([match.node.kind for match in matches]),
        "namespace": Counter([match.node.namespace for match in matches if match.node.namespace]),
        "tag": Counter([tag for match in matches if match.tags for tag in match.tags]),
        "owner": Counter([owner for match in matches if match.owners for owner in match.owners]),
    }
    return {
        name: dict(
            sorted(count.items(), key=lambda item: (-item[1], item[0]))[:SEARCH_FACET_VALUES_MAX]
        )
        for name, count in counts.items()
    }


def _updated(view: View, matches: Sequence[Match]) -> dict[NodeId, int]:
    """Give the event time of each match's last mention, write or run; of a column its dataset's."""
    homes = {number: match.node for match in matches for number in match.numbers}
    columns = [number for number, node in homes.items() if node.part]
    rows = view.select_among(
        "SELECT n.node_id, h.node_id FROM node n JOIN node h ON h.kind = 'dataset'"
        " AND h.namespace = n.namespace AND h.name = n.name AND h.part = ''"
        f" WHERE n.part <> '' AND n.node_id {_AMONG}",
        columns,
    )
    asked: dict[int, list[NodeId]] = {number: [node] for number, node in homes.items()}
    for column, home in rows:
        asked.setdefault(home, []).append(homes[column])
    # Each in the order of an index: a much used node has a hundred thousand rows.
    times = view.select_among(
        "SELECT n.node_id,"
        " (SELECT t.event_time FROM mention t WHERE t.node_id = n.node_id"
        f" AND {view.point('t')} ORDER BY t.event_time DESC LIMIT 1),"
        ' (SELECT t.time_us FROM "write" t WHERE t.node_id = n.node_id'
        f" AND {view.rectangle('t')} ORDER BY t.time_us DESC LIMIT 1),"
        " (SELECT max(t.last_us) FROM run_state t WHERE t.job_node = n.node_id"
        f" AND {view.rectangle('t')}) FROM node n WHERE n.node_id {_AMONG}",
        asked,
    )
    found: dict[NodeId, int] = {}
    for number, *stated in times:
        for node in asked[number]:
            known = [time for time in (*stated, found.get(node)) if time is not None]
            if known:
                found[node] = max(known)
    return found
