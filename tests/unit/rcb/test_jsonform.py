import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meta1g.base.reply import Reply
from meta1g.rcb.envelope import Attempt, DsnRcpt, RcptRecord, TaRecord
from meta1g.rcb.jsonform import from_object, to_object
from tests.fakes.envelopes import rcpt, ta
from tests.unit.rcb.samples import full, sparse

CLASSES = (TaRecord, RcptRecord, DsnRcpt, Attempt)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("make", [full, sparse])
@pytest.mark.parametrize("defaults", [True, False])
def test_a_record_comes_back_as_it_was(cls, make, defaults):
    record = make(cls)
    assert from_object(cls, json.loads(json.dumps(to_object(record, defaults=defaults)))) == record


@given(TEXTS, TEXTS, st.integers(0, 2**32 - 1), st.floats(0, 2**40).map(lambda when: round(when * 1e6) / 1e6))
def test_any_value_comes_back_as_it_was(text, line, number, when):
    attempt = Attempt(reply=Reply(450, "4.2.1", (text, line), text), count=number, first=when, last=when)
    record = rcpt(1, rcpt=text, sender=line, tries=number, next_try=when, attempts=(attempt,))
    assert from_object(RcptRecord, json.loads(json.dumps(to_object(record)))) == record


def test_fields_with_their_default_are_left_out():
    assert "tries" not in to_object(rcpt(1))
    assert to_object(rcpt(1), defaults=True)["tries"] == 0


@pytest.mark.parametrize(
    ("cls", "change", "told"),
    [(TaRecord, {"mail": 1}, "mail: not a text"), (TaRecord, {"size_bytes": "1"}, "size_bytes: not a number"),
     (TaRecord, {"size_bytes": True}, "not a number"), (TaRecord, {"size_bytes": -1}, "size_bytes"),
     (TaRecord, {"entered": "now"}, "entered: not a time"), (TaRecord, {"smtputf8": 1}, "smtputf8: neither true nor false"),
     (TaRecord, {"more": 1}, "not known: more"), (RcptRecord, {"failed": {}}, "failed: not a list"),
     (RcptRecord, {"failed": [1]}, "DsnRcpt: not an object"),
     (RcptRecord, {"failed": [{}]}, "DsnRcpt: fields that are missing"),
     (RcptRecord, {"attempts": [{"reply": 1, "first": 0.0, "last": 0.0}]}, "reply: not a reply")],
)  # fmt: skip
def test_what_no_record_can_hold_is_refused_with_the_field(cls, change, told):
    found = to_object(ta(1) if cls is TaRecord else rcpt(1))
    with pytest.raises(ValueError, match=r".") as caught:
        from_object(cls, {**found, **change})
    assert told in str(caught.value)


@pytest.mark.parametrize("found", [None, [], "x", {}])
def test_what_is_no_record_is_refused(found):
    with pytest.raises(ValueError, match="TaRecord"):
        from_object(TaRecord, found)
