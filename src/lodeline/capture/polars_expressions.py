"""What an expression of polars does: whether it looks at its own row only, and at which columns.

Expressions are read in the JSON that polars itself writes of them. What is not known here counts as
looking at other rows.
"""

from __future__ import annotations

import io
import json
import warnings
from typing import Any, Final

from lodeline.errors import UnfollowedRowsError

_INNER: Final = frozenset({"Alias", "BinaryExpr", "Ternary", "Cast", "KeepName", "RenameAlias"})
# Functions of which each result is made of the values of its own row.
_LOCAL: Final = frozenset(
    {"TemporalExpr", "StructExpr", "CategoricalExpr", "ListExpr", "ArrayExpr", "FillNull", "Abs"}
    | {"Round", "RoundSF", "Floor", "Ceil", "Clip", "Log", "Log1p", "Exp", "Sign", "Pow", "Negate"}
    | {"Trigonometry", "Atan2", "Replace", "ReplaceStrict", "AsStruct", "MaxHorizontal", "Coalesce"}
    | {"MinHorizontal", "SumHorizontal", "MeanHorizontal", "Hash", "ToPhysical", "Cut", "Bitwise"}
    | {"IsNull", "IsNotNull", "IsNan", "IsNotNan", "IsFinite", "IsInfinite", "IsIn", "IsBetween"}
    | {"Not", "AllHorizontal", "AnyHorizontal"}
)
_TOGETHER: Final = frozenset({"ConcatVertical"})


def read(expression: Any) -> Any:
    """Give an expression as JSON; `None` where polars cannot write it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return json.loads(expression.meta.serialize(format="json"))
    except Exception:  # whatever polars finds; the expression counts as unknown
        return None


def is_local(tree: Any) -> bool:
    """Whether a result's row is made of the same row's values alone."""
    if not isinstance(tree, dict) or len(tree) != 1:
        return False
    ((kind, body),) = tree.items()
    if kind in {"Column", "Columns", "Literal", "Selector", "DtypeColumn", "Exclude"}:
        return not (kind == "Literal" and isinstance(body, dict) and "Series" in body)
    if kind in _INNER:
        return all(is_local(part) for part in parts_of(kind, body))
    if kind != "Function":
        return False
    return is_local_function(body) and all(is_local(part) for part in parts_of(kind, body))


def is_local_function(body: Any) -> bool:
    """Whether a function makes each result of the values of one row."""
    named = body["function"]
    while isinstance(named, dict):
        name, inner = next(iter(named.items()))
        if name in {"Boolean", "StringExpr"}:
            named = inner
            text = name == "StringExpr"
            first = inner if isinstance(inner, str) else next(iter(inner), "")
            if text:
                named = "" if first in _TOGETHER else "FillNull"
            continue
        named = name
    return named in _LOCAL


def _is_constant(tree: Any) -> bool:
    return isinstance(tree, dict) and "Literal" in tree


def parts_of(kind: str, body: Any) -> list[Any]:
    """Give the expressions that one is put together of, without constants of a function."""
    if kind == "Function":
        return [part for part in body["input"] if not _is_constant(part)]
    if kind in {"Alias", "RenameAlias"} and isinstance(body, list):
        return body[:1]
    if kind == "KeepName":
        return [body]
    if kind == "Cast":
        return [body["expr"]]
    names = {"BinaryExpr": ("left", "right"), "Ternary": ("predicate", "truthy", "falsy")}
    return [body[name] for name in names.get(kind, ("expr",))]


def has_column(tree: Any) -> bool:
    """Whether a tree names a column anywhere, so that its result is as long as the table."""
    if isinstance(tree, dict):
        if tree.keys() & {"Column", "Columns", "Selector", "DtypeColumn", "Exclude"}:
            return True
        return any(has_column(value) for value in tree.values())
    return isinstance(tree, list) and any(has_column(value) for value in tree)


def without(expression: Any, hidden: list[str]) -> Any:
    """Keep the wildcards and selectors of an expression from meeting our columns.

    Raises:
        UnfollowedRowsError: that cannot be made sure.
    """
    if isinstance(expression, str):
        if expression == "*" or expression.startswith("^"):
            raise UnfollowedRowsError("columns chosen by a pattern")
        return expression
    if isinstance(expression, (list, tuple)):
        return [without(one, hidden) for one in expression]
    if not hasattr(expression, "meta"):
        return expression
    text = ""
    if not expression.meta.has_multiple_outputs():
        text = json.dumps(read(expression))
        if '"Nth"' not in text and '"ByIndex"' not in text:
            return expression
        raise UnfollowedRowsError("columns chosen by place")
    tree = read(expression)
    text = json.dumps(tree)
    if tree is None or any(f'"{word}"' in text for word in ("Nth", "ByIndex", "AnonymousFunction")):
        raise UnfollowedRowsError("columns chosen by a pattern")
    changed = _narrowed(tree, hidden)
    if changed == tree:
        return expression
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return type(expression).deserialize(
                io.BytesIO(json.dumps(changed).encode()), format="json"
            )
    except Exception as error:  # as above
        raise UnfollowedRowsError("columns chosen by a pattern") from error


def _narrowed(tree: Any, hidden: list[str]) -> Any:
    """The same tree, its wildcards without some names, in the words of either release."""
    names = [{"Name": name} for name in hidden]
    if tree == "Wildcard":
        return {"Exclude": ["Wildcard", names]}
    if isinstance(tree, list):
        return [_narrowed(part, hidden) for part in tree]
    if not isinstance(tree, dict):
        return tree
    if "Selector" in tree:
        inner = tree["Selector"]
        if isinstance(inner, dict) and inner.keys() & {"Sub", "Add", "Root", "InterSect"}:
            raise UnfollowedRowsError("columns chosen by a selector")
        if isinstance(inner, dict) and "ByName" in inner:
            return tree
        ours = {"ByName": {"names": hidden, "strict": False}}
        return {"Selector": {"Difference": [inner, ours]}}
    if "DtypeColumn" in tree:
        return {"Exclude": [tree, names]}
    if "Exclude" in tree:
        root, others = tree["Exclude"]
        return {"Exclude": [root, [*others, *names]]}
    if isinstance(tree.get("Column"), str) and tree["Column"].startswith("^"):
        raise UnfollowedRowsError("columns chosen by a pattern")
    return {name: _narrowed(value, hidden) for name, value in tree.items()}
