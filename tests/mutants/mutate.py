"""All the mutants of a source: mutmut's operators everywhere, and entries of tables dropped or led astray.

Left out is what cannot change behaviour. *Wording*: a text with a space in it is read by people, so neither it nor what
is put into it is changed; a text without one is a code, and is. *Types*: annotations and `TypeVar` are mypy's to judge.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import unified_diff

import libcst as cst
from mutmut.mutation.mutators import mutation_operators

_TYPE_CALLS = {"TypeVar", "NewType"}
_UNCHANGED_CALLS = {"len", "isinstance"}
"""mutmut leaves these alone too: all that comes of it is a TypeError."""
_WORDING_NAMES = {"message"}
"""Names that hold nothing but words for people."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """A source with one change. `where`: the function or class around it; `was` and `now`: the lines that differ."""

    file: str
    where: str
    was: str
    now: str
    source: str

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What it is called by: nothing in it moves when other lines do."""
        return self.file, self.where, self.was, self.now


def mutants_of(file: str, source: str) -> Iterator[Mutant]:
    """Every mutant of a source, in the order of its text. Two changes that come to the same text are one mutant."""
    module = cst.parse_module(source)
    seen = {source}
    for where, node in _places(module, ""):
        for changed in _changes(node):
            text = module.deep_replace(node, changed).code
            if text not in seen:
                seen.add(text)
                yield Mutant(file, where, *_difference(source, text), text)


def _places(node: cst.CSTNode, where: str) -> Iterator[tuple[str, cst.CSTNode]]:
    """The nodes that may be changed, with the name of what is around them."""
    if isinstance(node, cst.Annotation | cst.Decorator | cst.Import | cst.ImportFrom) or _is_wording(node):
        return
    if isinstance(node, cst.Call) and isinstance(node.func, cst.Name) and node.func.value in _UNCHANGED_CALLS:
        return
    if isinstance(node, cst.Assign | cst.AnnAssign) and _is_for_types(node):
        return
    if isinstance(node, cst.FunctionDef | cst.ClassDef):
        where = f"{where}.{node.name.value}".removeprefix(".")
    yield where, node
    for child in node.children:
        yield from _places(child, where)


def _changes(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    for kind, operator in mutation_operators:
        if isinstance(node, kind):
            yield from (changed for changed in operator(node) if not _changes_wording(node, changed))
    if isinstance(node, cst.Dict | cst.Set | cst.Tuple | cst.List):
        yield from _without_an_entry(node)
    if isinstance(node, cst.Dict):
        yield from _led_astray(node)


def _without_an_entry(table: cst.Dict | cst.Set | cst.Tuple | cst.List) -> Iterator[cst.CSTNode]:
    for at, entry in enumerate(table.elements):
        left = [*table.elements[:at], *table.elements[at + 1 :]]
        if left and not isinstance(entry, cst.StarredElement):
            yield table.with_changes(elements=left)


def _led_astray(table: cst.Dict) -> Iterator[cst.CSTNode]:
    """Each entry with the value of the one after it."""
    for at, entry in enumerate(table.elements):
        other = table.elements[(at + 1) % len(table.elements)]
        if not entry.value.deep_equals(other.value):
            changed = entry.with_changes(value=other.value.deep_clone())
            yield table.with_changes(elements=[*table.elements[:at], changed, *table.elements[at + 1 :]])


# ------------------------------------------------------------------------------------------------- what is left out


def _is_wording(node: cst.CSTNode) -> bool:
    if isinstance(node, cst.SimpleString):
        return " " in node.value
    if isinstance(node, cst.FormattedString):
        return any(isinstance(part, cst.FormattedStringText) and " " in part.value for part in node.parts)
    if isinstance(node, cst.ConcatenatedString):
        return _is_wording(node.left) or _is_wording(node.right)
    return isinstance(node, cst.Name) and node.value in _WORDING_NAMES


def _changes_wording(node: cst.CSTNode, changed: cst.CSTNode) -> bool:
    """Whether all that happened is that a text for people became None."""
    if isinstance(node, cst.Assign) and isinstance(changed, cst.Assign):
        return _is_wording(node.value)
    if isinstance(node, cst.Call) and isinstance(changed, cst.Call) and len(node.args) == len(changed.args):
        replaced = [a.value for a, b in zip(node.args, changed.args, strict=True) if a is not b]
        return len(replaced) == 1 and _is_wording(replaced[0])
    return False


def _is_for_types(node: cst.Assign | cst.AnnAssign) -> bool:
    """Whether a name is given to a type: `Known = Mapping[Txid, Intent]`, `_State = TypeVar("_State")`."""
    if isinstance(node.value, cst.Call):
        return isinstance(node.value.func, cst.Name) and node.value.func.value in _TYPE_CALLS
    return isinstance(node, cst.Assign) and isinstance(node.value, cst.Subscript) and _starts_upper(node.targets[0])


def _starts_upper(target: cst.AssignTarget) -> bool:
    return isinstance(target.target, cst.Name) and target.target.value.lstrip("_")[:1].isupper()


def _difference(source: str, text: str) -> tuple[str, str]:
    lines = list(unified_diff(source.splitlines(), text.splitlines(), lineterm="", n=0))[2:]
    was = "\n".join(line[1:].strip() for line in lines if line.startswith("-"))
    now = "\n".join(line[1:].strip() for line in lines if line.startswith("+"))
    return was, now
