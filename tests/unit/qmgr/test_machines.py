"""The state machines of QMGR: their tables are asked by step() alone."""

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
MACHINES = sorted(path.stem for path in HERE.glob("*_fsm.py"))


def test_there_are_three_machines():
    assert MACHINES == ["da_fsm", "rcpt_fsm", "ta_fsm"]


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
