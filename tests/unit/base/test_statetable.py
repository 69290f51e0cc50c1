"""A machine goes where its table says, and what the table does not know is a fault that names state, event and owner."""

from enum import IntEnum, auto

import pytest

from meta1g.base.errors import BugError, Module
from meta1g.base.statetable import follow, follower


class Light(IntEnum):
    RED = auto()
    GREEN = auto()


class Turn(IntEnum):
    GO = auto()


TABLE = {(Light.RED, Turn.GO): Light.GREEN}


def test_the_table_says_where_it_goes():
    assert follow(TABLE, Module.SMTPS, Light.RED, Turn.GO, lambda: "x") is Light.GREEN
    assert follower(TABLE, Module.SMTPS)(Light.RED, Turn.GO) is Light.GREEN


def test_what_it_does_not_know_is_a_fault_that_says_whose():
    with pytest.raises(BugError, match="crossing 7: GO in state GREEN"):
        follow(TABLE, Module.SMTPS, Light.GREEN, Turn.GO, lambda: "crossing 7")
    with pytest.raises(BugError, match="GO in state GREEN") as caught:
        follower(TABLE, Module.MCP)(Light.GREEN, Turn.GO)
    assert caught.value.module is Module.MCP
