"""Whatever a server, a command or a file says, the client's half of AUTH comes to an end, and shows no secret."""

import base64
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meta1g.base.errors import PermError, TempError
from meta1g.rcb.smtpc_qmgr import DeliverRcpt
from meta1g.smtpc.auth import CANCEL, MECHANISMS, Exchange, Secrets, choose, offered_mechanisms
from meta1g.smtpc.logins import parse_logins
from meta1g.smtpc.serverlimits import parse_limits
from meta1g.smtpc.token import parse_token

SECRET = "s3cret-words"
WHO = Secrets(user="user", secret=SECRET, host="mx", port=25, nonce="cnonce", binding=b"b" * 32, plus_offered=True)
parts = st.builds(
    lambda nonce, salt, count: base64.b64encode(f"r={nonce},s={salt},i={count}".encode()).decode(),
    st.sampled_from(["cnonce1", "cnonce", "x", ""]),
    st.sampled_from(["c2FsdA==", "", "*"]),
    st.sampled_from(["1", "0", "4096", "-1", "x", "1e3"]),
)
signatures = st.binary(max_size=40).map(lambda data: base64.b64encode(b"v=" + base64.b64encode(data)).decode())
octets = st.binary(max_size=60).map(lambda data: base64.b64encode(data).decode())
challenges = st.lists(st.text(max_size=60) | octets | parts | signatures)
words = st.lists(st.sampled_from(["mx.example", "ada", "password", "token_command", '"', "/x", ":", "\n", "#"]))
limits = st.lists(st.sampled_from(["RCPTMAX=2", "RCPTDOMAINMAX=1", "MAILMAX=0", "X=1", "RCPTMAX"]))


@pytest.mark.parametrize("name", MECHANISMS)
@given(said=challenges)
def test_an_exchange_ends_whatever_is_said(name, said):
    exchange = Exchange(name, WHO)
    lines = [exchange.command(), *map(exchange.answer, said)]
    assert all(line.isascii() and line.isprintable() for line in lines)
    assert len([line for line in lines[1:] if line != CANCEL]) <= 3
    assert SECRET not in exchange.trouble + repr(exchange)
    if name.startswith("SCRAM"):
        assert not exchange.is_proven, "nobody here knows the password"


offers = st.lists(st.sampled_from([*MECHANISMS, "X", "="])).map(" ".join)


@given(keywords=st.dictionaries(st.text(max_size=9) | st.just("AUTH"), st.text(max_size=40) | offers), known=st.booleans())
def test_any_keywords_offer_something_or_nothing(keywords, known):
    chosen = choose(offered_mechanisms(keywords), MECHANISMS, token=False, can_bind=True, known=known)
    assert chosen == "" or (chosen in MECHANISMS and (known or MECHANISMS[chosen].discreet))


@given(text=st.text() | words.map(" ".join))
def test_any_file_is_read_or_refused_without_its_secrets(text):
    with suppress(PermError):
        parse_logins(text, "logins")
    with pytest.raises(PermError) as caught:
        parse_logins(f"{text}\nmx.example ada pasword {SECRET}", "logins")
    assert SECRET not in str(caught.value)


@given(output=st.binary() | st.text().map(str.encode) | st.text().map(lambda text: b'{"access_token": ' + text.encode()))
def test_any_output_is_a_token_or_none(output):
    with suppress(TempError):
        assert parse_token(output, "/bin/get").text.isascii()


@given(
    argument=st.text() | limits.map(" ".join),
    rcpts=st.lists(st.sampled_from(["a@x", "b@y", "c@X", "d"]), min_size=1),
)
def test_any_limits_leave_somebody_to_be_asked_for(argument, rcpts):
    all_of_them = [DeliverRcpt(rcpt_idx=idx, rcpt=rcpt) for idx, rcpt in enumerate(rcpts)]
    fits, left = parse_limits(argument).first(all_of_them)
    assert fits
    assert sorted(one.rcpt_idx for one in (*fits, *left)) == list(range(len(rcpts)))
