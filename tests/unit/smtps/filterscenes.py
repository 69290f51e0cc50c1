"""Scenes with two filters, a and b, that hold wherever they are asked: by smtps itself, or by pmult.

A module that has a fixture `scene` (process, filter a, filter b) imports the tests; each of them leaves nothing behind.
"""

import pytest

HEADER = b"From: a@example.org\r\nSubject: one\r\n two\r\n"
MESSAGE = HEADER + b"\r\nbody\r\n"
OWN = [["REPLYCODE", "554 5.7.9 own words"]]
STEPS = ["HELO", "MAIL", "RCPT", "DATA", "HEADER", "EOH", "BODY", "BODYEOB"]


def until_refused(client):
    """Says a whole message; gives the first refusal and the command it answers."""
    for line in ("EHLO client.example", "MAIL FROM:<s@example.org> SIZE=10", "RCPT TO:<r@example.org>", "DATA"):
        client.send(line.encode() + b"\r\n")
        reply = client.reply()
        if reply[:1] > "3":
            return line.partition(" ")[0], reply
    client.send(MESSAGE + b".\r\n")
    return "end", client.reply()


def stored(process):
    """Gives the only content file without our Received field, and removes it."""
    (file,) = process.content_files()
    text = file.read_bytes()
    file.unlink()
    received, _, rest = text.partition(b"\r\n")
    assert received.startswith(b"Received: ")
    while rest.startswith((b"\t", b" ")):
        rest = rest.partition(b"\r\n")[2]
    return rest


def kinds(heard):
    return [one[0] for one in heard if one[0] != "MACRO"]


def quit_(client):
    client.command("QUIT", "221")
    client.expect("")


WHOLE = ["OPTNEG", "CONNECT", "HELO", "MAIL", "RCPT", "DATA", "HEADER", "HEADER", "EOH", "BODY", "BODYEOB", "QUIT"]


def test_both_filters_hear_the_whole_session_and_the_file_is_what_came(scene):
    smtps, a, b = scene
    with smtps.client() as client:
        client.message(MESSAGE)
        quit_(client)
    heard = a.heard()
    assert kinds(heard) == kinds(b.heard()) == WHOLE
    told = {one[0]: one[1:] for one in heard}
    assert told["CONNECT"][0] == "client.example"
    assert told["CONNECT"][1][0::2] == ["INET", "127.0.0.1"]
    assert (told["HELO"], told["MAIL"], told["RCPT"]) == (["client.example"], [["<s@example.org>"]], [["<r@example.org>"]])
    assert [one[1:] for one in heard if one[0] == "HEADER"] == [["From", "a@example.org"], ["Subject", "one\n two"]]
    assert told["BODY"] == ["body\r\n"]
    assert stored(smtps) == MESSAGE


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ([["REJECT"]], "550 5.7.1 Command rejected"),
        ([["TEMPFAIL"]], "451 4.7.1 Service unavailable - try again later"),
        ([["PROGRESS"], *OWN], "554 5.7.9 own words"),
        ([["SHUTDOWN"]], "421 4.7.0 Service unavailable - closing connection"),
    ],
)
def test_a_refusal_is_told_at_its_step(scene, step, answer, text):
    smtps, a, b = scene
    a.script(answers={step: answer})
    with smtps.client(hello=False) as client:
        client.expect("220")
        asked, reply = until_refused(client)
        assert (asked, reply) == ({"HELO": "EHLO"}.get(step, step if step in ("MAIL", "RCPT", "DATA") else "end"), text)
        if text.startswith("421"):
            client.expect("")
        else:
            quit_(client)
    a.heard()
    assert step not in kinds(b.heard()), "what one refuses, the next one does not hear of"
    assert smtps.content_files() == []


def test_a_refused_client_is_sent_away(scene):
    smtps, a, b = scene
    a.script(answers={"CONNECT": OWN})
    with smtps.client(hello=False) as client:
        client.expect("554 5.7.9 own words")
        quit_(client)
    assert (kinds(a.heard()), kinds(b.heard())) == (["OPTNEG", "CONNECT", "QUIT"], ["OPTNEG", "QUIT"])


def test_a_refused_helo_stays_refused(scene):
    smtps, a, b = scene
    a.script(answers={"HELO": OWN})
    with smtps.client(hello=False) as client:
        client.expect("220")
        for _ in range(2):
            client.command("EHLO x.example", "554 5.7.9 own words")
        client.command("MAIL FROM:<a@b.example>", "503")
        quit_(client)
    a.heard(), b.heard()


def test_an_unknown_command_may_be_refused_in_other_words(scene):
    smtps, a, b = scene
    a.script(answers={"UNKNOWN": OWN})
    with smtps.client() as client:
        client.command("FOO bar", "554 5.7.9 own words")
        quit_(client)
    assert ["UNKNOWN", "FOO bar"] in a.heard()
    b.heard()
