from meta1g.smar.rcpt_fsm import FINAL, TRANSITIONS, State
from tests.fsmwalk import check_table


def test_the_table_is_whole():
    check_table(TRANSITIONS, State.ALIAS, set(FINAL))
