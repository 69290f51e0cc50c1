"""The state machines of QMGR are the truth: every event is fed, and nothing sets a state but the table."""

import ast
from collections.abc import Iterator
from enum import IntEnum
from importlib import import_module
from pathlib import Path

import pytest

import meta1g.qmgr
from meta1g.base.errors import BugError
from meta1g.db.aq_types import AqRcpt, AqTa, DestKey, Home, RcptState
from meta1g.db.dadb import Agent, DaSession
from meta1g.db.iqdb import IqTa
from meta1g.rcb.envelope import RcptRecord, TaRecord
from meta1g.rcb.smtps_qmgr import NewTransaction
from tests.fakes.envelopes import ta_id

HERE = Path(meta1g.qmgr.__path__[0])
DB = HERE.parent / "db"
MACHINES = sorted(path.stem for path in HERE.glob("*_fsm.py"))


def fed(machine: str) -> Iterator[str]:
    """Gives the events that the other files name."""
    for path in HERE.glob("*.py"):
        tree = ast.parse(path.read_text())
        names = {
            alias.asname or alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module == f"meta1g.qmgr.{machine}"
            for alias in node.names
            if alias.name == "Event"
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in names:
                yield node.attr


def state_setters(path: Path) -> Iterator[str]:
    """Gives the functions that assign to an attribute `state`."""
    for function in ast.walk(ast.parse(path.read_text())):
        if isinstance(function, ast.FunctionDef):
            for node in ast.walk(function):
                targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
                if any(isinstance(one, ast.Attribute) and one.attr == "state" for one in targets):
                    yield f"{path.name} {function.name}"


def test_there_are_three_machines():
    assert MACHINES == ["da_fsm", "rcpt_fsm", "ta_fsm"]


@pytest.mark.parametrize("machine", MACHINES)
def test_every_event_has_a_caller(machine):
    assert set(fed(machine)) == {event.name for event in import_module(f"meta1g.qmgr.{machine}").Event}


def test_only_the_tables_change_a_state():
    found = {one for directory in (HERE, DB) for path in directory.glob("*.py") for one in state_setters(path)}
    makers = {"aq_types.py __init__", "dadb.py __init__", "iqdb.py __init__", "intake.py __init__"}
    assert found == makers | {f"{machine}.py step" for machine in (*MACHINES, "ibdb_life")}


def test_nobody_else_looks_into_a_table():
    users = [path.stem for path in HERE.glob("*.py") if "TRANSITIONS" in path.read_text()]
    assert sorted(users) == MACHINES


def _subject(machine: str, state: IntEnum) -> object:
    if machine == "da_fsm":
        return DaSession("C1", Agent(None, 0, 1, 1), DestKey(0, "127.0.0.1", 25), state)
    if machine == "ta_fsm":
        return IqTa(None, NewTransaction(ta_id=ta_id(1), session_id=ta_id(2), mail=""), state, "192.0.2.1", 0.0)
    record = TaRecord(ta_id=ta_id(1), cdb_id=ta_id(1), mail="", size_bytes=1, entered=0.0, rcpts=1)
    rcpt = AqRcpt(
        AqTa(record, in_ibdb=True, in_defedb=False), RcptRecord(ta_id=ta_id(1), rcpt_idx=0, rcpt="a@b", entered=0.0), Home.IBDB
    )
    rcpt.state = state
    return rcpt


@pytest.mark.parametrize("machine", MACHINES)
def test_an_event_moves_its_subject_as_the_table_says_and_any_other_is_a_bug(machine):
    module = import_module(f"meta1g.qmgr.{machine}")
    for state in getattr(module, "State", RcptState):
        for event in module.Event:
            subject = _subject(machine, state)
            after = module.TRANSITIONS.get((state, event))
            if after is None:
                with pytest.raises(BugError, match=event.name):
                    module.step(subject, event)
                assert subject.state is state
            else:
                module.step(subject, event)
                assert subject.state is after
