"""What several filters want changed is what a policy milter can ask for, or the error of the filter that wants it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meta1g.milter.changes import AddRcpt, ChangeSender, DeleteRcpt, HoldMail, change_of
from meta1g.milter.errors import MilterProtocolError
from meta1g.milter.frames import FieldData, IndexedField, Smfir, TextData, WordsData
from meta1g.pmilter import Function, HeaderChange, Pmilter, PmServer, PmSession
from meta1g.pmilter.modify import Modifications
from meta1g_filters.pmult.changes import AllChanges, check, field_change

ALL = ~Function(0)
TEXT = st.binary(max_size=40).map(lambda octets: octets.replace(b"\0", b""))


def session():
    made = PmSession(PmServer("mx", Pmilter().wants(), ALL, Pmilter().wants(), ALL), "s1")
    made.changes = Modifications(ALL)
    return made


def asked_for(*changes):
    all_changes, one = AllChanges(), session()
    for change in changes:
        all_changes.add(change, "milter x")
    all_changes.ask_for(one, None)
    return one.changes


FRAMES = st.one_of(
    st.builds(lambda name, value: (Smfir.ADDHEADER, FieldData(name, value)), TEXT, TEXT),
    st.builds(lambda at, name, value: (Smfir.INSHEADER, IndexedField(at, name, value)), st.integers(0, 1 << 32), TEXT, TEXT),
    st.builds(lambda at, name, value: (Smfir.CHGHEADER, IndexedField(at, name, value)), st.integers(0, 99), TEXT, TEXT),
    st.builds(lambda path: (Smfir.ADDRCPT, TextData(path)), TEXT),
    st.builds(lambda path: (Smfir.DELRCPT, TextData(path)), TEXT),
    st.builds(lambda words: (Smfir.ADDRCPT_PAR, WordsData(tuple(words))), st.lists(TEXT, min_size=1, max_size=3)),
    st.builds(lambda words: (Smfir.CHGFROM, WordsData(tuple(words))), st.lists(TEXT, min_size=1, max_size=3)),
    st.builds(lambda text: (Smfir.QUARANTINE, TextData(b"x" + text)), TEXT),
)


@given(FRAMES, st.booleans())
def test_what_passes_the_check_can_be_asked_for(frame, space):
    try:
        change = change_of(*frame, leading_space=space)
        check(change)
    except MilterProtocolError:
        return
    assert asked_for(change)


@pytest.mark.parametrize(
    ("frame", "wanted"),
    [
        ((Smfir.ADDHEADER, FieldData(b"X", b"a\nb")), (HeaderChange.APPEND, b"X: a\r\n\tb", 0)),
        ((Smfir.INSHEADER, IndexedField(3, b"X", b"a")), (HeaderChange.INSERT, b"X: a", 3)),
        ((Smfir.CHGHEADER, IndexedField(2, b"X", b"a")), (HeaderChange.REPLACE, b"X: a", 1)),
        ((Smfir.CHGHEADER, IndexedField(2, b"X", b"")), (HeaderChange.REMOVE, b"X", 1)),
    ],
)
def test_places_in_the_header_are_counted_as_policy_milters_do(frame, wanted):
    assert field_change(change_of(*frame, leading_space=False)) == wanted


def test_the_last_word_about_a_recipient_and_the_sender_counts():
    made = asked_for(
        DeleteRcpt(b"<a@X.example>"),
        AddRcpt(b"a@x.EXAMPLE"),
        AddRcpt(b"<b@x.example>", b"NOTIFY=NEVER"),
        AddRcpt(b"<c@x.example>"),
        DeleteRcpt(b"c@x.example"),
        ChangeSender(b"<one@x.example>"),
        ChangeSender(b"", b"RET=HDRS"),
    )
    assert made.added == ["<a@x.EXAMPLE>", "<b@x.example> NOTIFY=NEVER"]
    assert made.removed == ["<c@x.example>"]
    assert made.mail == "<> RET=HDRS"


def test_the_reason_of_a_quarantine_names_the_filter_and_is_short():
    made = asked_for(HoldMail("a\x01" + "b" * 300))
    assert made.quarantine.startswith("milter x: a?bbb")
    assert len(made.quarantine) == 200


@pytest.mark.parametrize("change", [AddRcpt(b"a\nb@c"), AddRcpt(b"<a@b>", b"no=x y z=\xff"), DeleteRcpt(b"<a><b>")])
def test_what_is_no_address_is_the_error_of_the_filter(change):
    with pytest.raises(MilterProtocolError):
        check(change)
