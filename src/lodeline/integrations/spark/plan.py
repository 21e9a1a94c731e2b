"""Column lineage out of a logical plan of Spark, as `TreeNode.toJSON` writes it.

A tree is a list of its nodes in pre-order, each with `num-children`; expressions and the plans of
sub-queries lie as further lists in the fields of a node. Columns are told apart by their `exprId`,
which is unique in a session, so a name that occurs twice cannot be mistaken.

What is followed is where values come from: projections, aggregates, windows, unions, generators.
That a filter, a join's condition or a grouping decides *which* rows there are is left out, as in
the column lineage of SQL (`columns`). An operator whose function sees whole rows (`mapInPandas`)
makes columns of unknown origin, and is named.

Source: `org.apache.spark.sql.catalyst.trees.TreeNode.toJSON`, Spark 3.5 and 4.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

Node = Mapping[str, Any]
# A column of a leaf: the leaf's own list of column ids names the leaf, the name the column.
Source = tuple[int, str]

_EXPRESSION_ID: Final = "exprId"
# Of a join, these give the rows of the left side alone.
_LEFT_ONLY: Final = frozenset({"LeftSemi", "LeftAnti"})
# Rows of every side are among the result. (Those of INTERSECT and EXCEPT are the first side's.)
_POSITIONAL: Final = frozenset({"Union"})


@dataclass(frozen=True)
class Column:
    """One column that a plan gives.

    Attributes:
        name: as the plan names it.
        sources: identifiers of leaf columns and their names, where its values come from.
        followed: every way its values could come is among `sources`.
    """

    name: str
    sources: frozenset[Source]
    followed: bool


@dataclass(frozen=True)
class PlanLineage:
    """What a plan reads, and what its columns are made of.

    Attributes:
        columns: the plan's output, in order.
        leaves: for each leaf in pre-order its class and the ids of its columns.
        unfollowed: class names of operators that columns could not be followed through.
    """

    columns: tuple[Column, ...]
    leaves: tuple[tuple[str, tuple[int, ...]], ...]
    unfollowed: tuple[str, ...]


@dataclass
class _Tree:
    node: Node
    children: list[_Tree] = field(default_factory=list)

    @property
    def kind(self) -> str:
        return str(self.node.get("class", "")).rpartition(".")[2]


def trace_plan(nodes: list[Node]) -> PlanLineage:
    """Follow every column of a plan to the leaves.

    Args:
        nodes: the parsed JSON of `toJSON`.

    Raises:
        ValueError: not a tree.
    """
    tree = _build(nodes)
    tracer = _Tracer()
    output = tracer.visit(tree)
    columns = tuple(
        Column(
            tracer.names.get(one, ""),
            frozenset(tracer.sources.get(one, ())),
            one in tracer.sources and one not in tracer.opaque,
        )
        for one in output
    )
    return PlanLineage(columns, tuple(tracer.leaves), tuple(dict.fromkeys(tracer.unfollowed)))


def _build(nodes: list[Node]) -> _Tree:
    """A pre-order list as a tree, without recursion: plans are deep."""
    root: _Tree | None = None
    open_trees: list[tuple[_Tree, int]] = []
    for node in nodes:
        tree = _Tree(node)
        if root is None:
            root = tree
        elif open_trees:
            parent, missing = open_trees.pop()
            parent.children.append(tree)
            if missing > 1:
                open_trees.append((parent, missing - 1))
        else:
            raise ValueError("more nodes than the tree has places for")
        count = int(node.get("num-children", 0))
        if count:
            open_trees.append((tree, count))
    if root is None or open_trees:
        raise ValueError("fewer nodes than the tree has places for")
    return root


class _Tracer:
    def __init__(self) -> None:
        self.sources: dict[int, set[Source]] = {}
        self.names: dict[int, str] = {}
        self.opaque: set[int] = set()
        self.leaves: list[tuple[str, tuple[int, ...]]] = []
        self.unfollowed: list[str] = []
        self._inner: dict[int, list[int]] = {}
        self._shared: dict[int, list[int]] = {}

    # Plans

    def _visit_once(self, plan: list[Node]) -> list[int]:
        """Follow a plan that stands in a field; several look at it, its leaves count once."""
        key = id(plan)
        if key not in self._inner:
            self._inner[key] = self.visit(_build(plan))
        return self._inner[key]

    def visit(self, root: _Tree) -> list[int]:
        """Follow a plan, children first; gives the ids of its output."""
        outputs: dict[int, list[int]] = {}
        waiting = [(root, False)]
        while waiting:
            tree, ready = waiting.pop()
            if not ready:
                waiting.append((tree, True))
                waiting += [(child, False) for child in reversed(tree.children)]
                continue
            below = [outputs.pop(id(child)) for child in tree.children]
            outputs[id(tree)] = self._finish(tree, below)
        return outputs[id(root)]

    def _finish(self, tree: _Tree, below: list[list[int]]) -> list[int]:
        node, kind = tree.node, tree.kind
        inner = [self._visit_once(plan) for plan in _iter_plans(node)]
        for expression in _iter_expressions(node):
            self._define(_build(expression))
        named = self._outputs_of(node)
        if kind == "CTERelationDef":
            self._shared[int(node["id"])] = below[0]
            return below[0]
        if kind == "CTERelationRef" and int(node["cteId"]) in self._shared:
            return self._repeat(named, self._shared[int(node["cteId"])])
        if not tree.children and not inner:
            return self._leaf(kind, named)
        if kind in {"Project", "Aggregate"}:
            return self._named(node["projectList" if kind == "Project" else "aggregateExpressions"])
        if kind == "Window":
            return below[0] + self._named(node["windowExpressions"])
        if kind == "Generate":
            return self._generate(node, below[0])
        if kind == "Expand":
            return self._expand(node, below)
        if kind in _POSITIONAL:
            return self._merge(below)
        if kind in {"Intersect", "Except"}:
            return below[0]
        if kind == "Join":
            left_only = _object_of(node.get("joinType")) in _LEFT_ONLY
            return below[0] if left_only else below[0] + below[1]
        if named and any(one not in self.sources for one in named):
            return self._black_box(kind, named, below)
        # A command's own query stands in its fields or below it.
        return named or (below or inner)[-1]

    def _leaf(self, kind: str, named: list[int]) -> list[int]:
        self.leaves.append((kind, tuple(named)))
        for one in named:
            self.sources[one] = {(one, self.names[one])}
        return named

    def _outputs_of(self, node: Node) -> list[int]:
        listed = node.get("output")
        return self._named(listed) if isinstance(listed, list) else []

    def _named(self, expressions: list[Any]) -> list[int]:
        """The ids of a list of named expressions."""
        found: list[int] = []
        for expression in expressions:
            head = expression[0] if isinstance(expression, list) and expression else {}
            one = _id_of(head)
            if one is not None:
                self.names[one] = str(head.get("name", ""))
                found.append(one)
        return found

    def _generate(self, node: Node, child: list[int]) -> list[int]:
        made = self._named(node.get("generatorOutput", []))
        came = self._referred(node.get("generator", []))
        for one in made:
            self.sources[one] = came
        return child + made

    def _repeat(self, named: list[int], shared: list[int]) -> list[int]:
        """A common table expression used again: the same columns under other ids."""
        for one, original in zip(named, shared, strict=False):
            self.sources[one] = set(self.sources.get(original, ()))
            if original in self.opaque:
                self.opaque.add(one)
        return named

    def _expand(self, node: Node, below: list[list[int]]) -> list[int]:
        made = self._named(node.get("output", []))
        if not node.get("projections"):
            # Some versions write lists of lists as null.
            return self._black_box("Expand", made, below)
        for row in node["projections"]:
            for one, expression in zip(made, row, strict=False):
                self.sources.setdefault(one, set()).update(self._referred(expression))
        return made

    def _merge(self, below: list[list[int]]) -> list[int]:
        """Column n of the result may come from column n of each side."""
        first, *others = below
        for index, one in enumerate(first):
            merged = set(self.sources.get(one, ()))
            for other in others:
                if index < len(other):
                    merged |= self.sources.get(other[index], set())
                    if other[index] in self.opaque:
                        self.opaque.add(one)
            self.sources[one] = merged
        return first

    def _black_box(self, kind: str, named: list[int], below: list[list[int]]) -> list[int]:
        self.unfollowed.append(kind)
        everything: set[Source] = set()
        for output in below:
            for one in output:
                everything |= self.sources.get(one, set())
        for one in named:
            if one not in self.sources:
                self.sources[one] = everything
                self.opaque.add(one)
        return named

    # Expressions

    def _define(self, tree: _Tree) -> None:
        """Note what each alias in an expression is made of."""
        waiting = [tree]
        while waiting:
            current = waiting.pop()
            one = _id_of(current.node)
            if one is not None and current.kind != "AttributeReference" and current.children:
                self.names.setdefault(one, str(current.node.get("name", "")))
                self.sources[one] = self._referred_below(current)
                if self._is_opaque(current):
                    self.opaque.add(one)
            for plan in _iter_plans(current.node):
                self._visit_once(plan)
            waiting += current.children

    def _referred(self, nodes: list[Node]) -> set[Source]:
        return self._referred_below(_build(nodes)) if nodes else set()

    def _iter_references(self, tree: _Tree) -> Iterator[int]:
        waiting = [tree]
        while waiting:
            current = waiting.pop()
            if current.kind in {"AttributeReference", "OuterReference"}:
                one = _id_of(current.node)
                if one is not None:
                    yield one
            plans = list(_iter_plans(current.node))
            for plan in plans:
                yield from self._visit_once(plan)
            if not plans:
                waiting += current.children
            # Below a sub-query stand the outer columns of its conditions; those of its values its
            # own plan names.

    def _referred_below(self, tree: _Tree) -> set[Source]:
        found: set[Source] = set()
        for one in self._iter_references(tree):
            found |= self.sources.get(one, set())
        return found

    def _is_opaque(self, tree: _Tree) -> bool:
        return any(
            one in self.opaque or one not in self.sources for one in self._iter_references(tree)
        )


def _id_of(node: Any) -> int | None:
    found = node.get(_EXPRESSION_ID) if isinstance(node, Mapping) else None
    return int(found["id"]) if isinstance(found, Mapping) and "id" in found else None


def _object_of(value: Any) -> str:
    """The last word of a Scala object's or class's name."""
    if isinstance(value, Mapping):
        text = str(value.get("object") or value.get("product-class") or "")
        return text.rpartition(".")[2].rstrip("$")
    return str(value)


def _is_tree(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and isinstance(value[0], Mapping)
        and "class" in value[0]
    )


def _is_plan(value: Any) -> bool:
    return _is_tree(value) and ".expressions." not in value[0]["class"]


def _iter_plans(node: Node) -> Iterator[list[Node]]:
    """Plans that stand in a node's fields: a command's query, a sub-query."""
    for value in node.values():
        if _is_plan(value):
            yield value
        elif isinstance(value, list):
            for member in value:
                if _is_plan(member):
                    yield member


def _iter_expressions(node: Node) -> Iterator[list[Node]]:
    """Expressions in a node's fields: trees, lists of trees, and lists of those."""
    waiting = list(node.values())
    while waiting:
        value = waiting.pop()
        if _is_tree(value):
            if not _is_plan(value):
                yield value
        elif isinstance(value, list):
            waiting += value
