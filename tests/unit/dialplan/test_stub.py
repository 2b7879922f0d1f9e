"""`stub.pyi` says what `Sys` does: same names, same parameters."""

from __future__ import annotations

import ast
import inspect
from dataclasses import fields

import pytest

from tandem.dialplan import sysapi
from tandem.dialplan.sysapi import ATTRIBUTES, METHODS, REQUEST, WAITING, Sys, stub
from tandem.dialplan.world import Contact, HttpAnswer, LegResult, RunningCall

CLASSES = {n.name: n for n in ast.parse(stub()).body if isinstance(n, ast.ClassDef)}


def attributes(name: str) -> list[str]:
    nodes = [n.target for n in CLASSES[name].body if isinstance(n, ast.AnnAssign)]
    return [n.id for n in nodes if isinstance(n, ast.Name)]


def methods() -> dict[str, ast.FunctionDef]:
    return {n.name: n for n in CLASSES["Sys"].body if isinstance(n, ast.FunctionDef)}


def test_all_that_scripts_may_use_is_declared() -> None:
    assert set(attributes("Sys")) == ATTRIBUTES
    assert set(methods()) == METHODS
    assert set(attributes("Request")) == set(REQUEST)
    assert WAITING < METHODS
    for name in METHODS | ATTRIBUTES:
        assert hasattr(Sys, name)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_parameters_are_those_of_the_implementation(name: str) -> None:
    declared = methods()[name].args
    values = [ast.literal_eval(d) for d in declared.defaults]
    names = [a.arg for a in declared.args[1:]]
    defaults = dict(zip(names[len(names) - len(values) :], values, strict=True))
    signature = list(inspect.signature(getattr(Sys, name)).parameters.values())[1:]
    assert [p.name for p in signature] == names
    assert {p.name: p.default for p in signature if p.default is not p.empty} == defaults


@pytest.mark.parametrize(
    ("name", "kind"),
    [("Leg", LegResult), ("Binding", Contact), ("Call", RunningCall), ("WebAnswer", HttpAnswer)],
)
def test_results_have_the_declared_attributes(name: str, kind: type) -> None:
    assert attributes(name) == [field.name for field in fields(kind)]


def test_every_declaration_tells_what_it_is() -> None:
    for name, node in CLASSES.items():
        for before, after in zip(node.body, node.body[1:], strict=False):
            if isinstance(before, ast.AnnAssign):
                assert isinstance(after, ast.Expr), (name, ast.unparse(before))
        for method in (n for n in node.body if isinstance(n, ast.FunctionDef)):
            assert ast.get_docstring(method), (name, method.name)
    assert sysapi.stub().startswith('"""')
