"""A small part of tests/fuzz/dkim_fuzz.py, in each run."""

import pytest

from tests.fuzz.dkim_fuzz import MESSAGE, TARGETS, ForgeryError, look
from tests.fuzz.runner import run


def test_damaged_messages_raise_nothing_and_do_not_pass():
    ends = run(TARGETS, 2000, 6376)
    assert (
        min(ends[f"message dkim {word}"] for word in ("pass", "fail", "policy", "neutral", "temperror", "permerror", "none"))
        > 0
    )
    assert min(ends[f"message arc {word}"] for word in ("pass", "fail", "none")) > 0


def test_a_forgery_would_be_found(monkeypatch):
    import random

    monkeypatch.setattr("meta1g_filters.dkim.signature.is_signature", lambda *_: True)
    with pytest.raises(ForgeryError):
        look(MESSAGE.replace(b"bob@", b"eve@"), random.Random(3))
