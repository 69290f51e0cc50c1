"""Questions: every look-up in order, its answer, the verdict; what is asked are the objects that decide at work."""

import pytest

from meta1g.conf.access import TAGS
from meta1g.conf.load import load_file
from meta1g.rcb.smtps_smar import ClientResolve
from meta1g.smar import questions
from meta1g.smar.trace import QUESTIONS, Mail, QuestionError, resolve_of

CONF = """\
hostname = gw.example;
smar {
  map own { type = static; entries = { "root ann@far.example", "owner-root boss@far.example" }; }
  map more { type = text; file = more; }
  map all { type = sequence; maps = { own, more }; }
  aliases { name = all; flags = { localpart }; }
  access_map { file = access; type = text; }
  mailertable { file = routes; type = regex; }
  local_user_map { file = users; type = text; flags = { localpart, local_domains }; }
  local_domains = { gw.example };
  tls_policy { file = tls; type = text; }
  auth_sender { file = senders; type = text; }
  relay_from = { 127.0.0.1 };
  dnsbl { zone = list.example; }
}
"""
FILES = {
    "more": "ann@far.example: bob@far.example\n",
    "access": (
        "cltaddr:192.0.2 cont\ncltname:.bad.example reject\ncltresolve:forged error:450 4.7.1 later\n"
        "ehlo:.liar.example reject\nfrom:closed@ quick:reject\nto:.relay.example relay\n"
        "from:thrown@ discard\nto:thrown.example discard\n"
        "protectedrcpt:list@gw.example far.example\n"
        "dnsbl0:127.0.0.2 discard\nsmtps_session_conf:192.0.2 max_recipients = 5;\n"
    ),
    "routes": "/^far\\.example$/ 26^[192.0.2.9]\n/broken/ 0^[192.0.2.9]\n",
    "users": "joe\nlist\n",
    "senders": "joe own sales@far.example\nbad sales@\n",
    "tls": "far.example verify\n.strict.example dane\n[mx.example]:587 secure\n",
}
TRACES = """\
cltaddr:192.0.2.7
  access_map  cltaddr:192.0.2.7  not found
  access_map  cltaddr:192.0.2  OK  cont
= cont

CLTNAME:a.bad.example
  access_map  cltname:a.bad.example  not found
  access_map  cltname:.bad.example  OK  reject
= refuse 550 5.7.1 Access denied

cltresolve:forged
  access_map  cltresolve:forged  OK  error:450 4.7.1 later
= refuse 450 4.7.1 later

ehlo:liar.example
  access_map  ehlo:liar.example  not found
  access_map  ehlo:.example  not found
= no entry

from:closed+x@gw.example
  access_map  from:closed+x@gw.example  not found
  access_map  from:closed+*@gw.example  not found
  access_map  from:closed@gw.example  not found
  access_map  from:closed+x@  not found
  access_map  from:closed+*@  not found
  access_map  from:closed@  OK  quick:reject
= quick:refuse 550 5.7.1 Access denied

dnsbl0:127.0.0.2
  access_map  dnsbl0:127.0.0.2  OK  discard
= discard

smtps_session_conf:192.0.2.7
  access_map  smtps_session_conf:192.0.2.7  not found
  access_map  smtps_session_conf:192.0.2  OK  max_recipients = 5;
= max_recipients = 5;

mailertable:far.example
  mailertable  far.example  OK  26^[192.0.2.9]
= esmtp 192.0.2.9 port 26

mailertable:broken
  mailertable  broken  OK  0^[192.0.2.9]
  mailertable  broken  wrong: mailertable value 0^[192.0.2.9]: port is not 1 to 65535; mail is put off until it is mended
= 451 4.3.5 mailertable value 0^[192.0.2.9]: port is not 1 to 65535

local_user_map:joe+x@gw.example
  local_user_map  joe+x@gw.example  not found
  local_user_map  joe+*@gw.example  not found
  local_user_map  joe@gw.example  not found
  local_user_map  joe+x  not found
  local_user_map  joe+*  not found
  local_user_map  joe  OK
= a user

tls_policy:far.example
  tls_policy  far.example:25  not found
  tls_policy  far.example  OK  verify
= verify

tls_policy:[192.0.2.1]
  tls_policy  [192.0.2.1]:25  not found
  tls_policy  [192.0.2.1]  not found
  tls_policy  .  not found
= no entry

tls_policy:a.strict.example
  tls_policy  a.strict.example:25  not found
  tls_policy  a.strict.example  not found
  tls_policy  .strict.example  OK  dane
  tls_policy  .strict.example  wrong: needs DNS_flags = { trust_ad } in section smar; mail is put off until it is mended
= no mail goes there: its TLS policy is wrong, see the log of smar

tls_policy:[mx.example]:587
  tls_policy  [mx.example]:587  OK  secure
= verify

protectedrcpt:list@gw.example
  access_map  protectedrcpt:list@gw.example  OK  far.example
= <> from 192.0.2.7 may not write
"""
STRANGER = Mail(client="192.0.2.7")


@pytest.fixture
def ask(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "meta1.conf").write_text(CONF)
    config = load_file(tmp_path / "meta1.conf")

    def asked(question, mail=STRANGER):
        return questions.of_configuration(config, question, mail)

    return asked


@pytest.mark.parametrize("block", TRACES.split("\n\n"))
def test_one_question_and_all_its_look_ups(ask, block):
    question, *lines = block.strip().split("\n")
    assert ask(question) == lines


def test_an_alias_is_expanded_through_the_maps_of_a_sequence(ask):
    lines = ask("aliases:root")
    assert lines[-1] == "= bob@far.example, sender <boss@far.example>"
    assert [line.split()[0] for line in lines if "  ann@far.example  " in line] == ["own", "more"]


def test_a_recipient_is_asked_as_an_smtp_client_would(ask):
    lines = ask("rcpt:u@a.relay.example", Mail(client="203.0.113.1", name="mx.good.example", resolve=ClientResolve.OK))
    heads = [line for line in lines if line[0] not in " ="]
    assert heads == ["client 203.0.113.1", "mail <>", "rcpt <u@a.relay.example>", "alias", "route", "tls a.relay.example"]
    assert [line for line in lines if line[0] == "="] == [
        "= 220",
        "= 250",
        "= 250 (relay)",
        "= no alias",
        "= esmtp a.relay.example port 25 (MX records)",
        "= no entry",
    ]


def test_what_an_answer_allows_counts_for_the_next_question(ask):
    trusted = Mail(client="127.0.0.1")
    assert "= esmtp other.example port 25 (MX records)" in ask("rcpt:u@other.example", trusted)
    assert ask("rcpt:u@other.example")[-2:] == ["= 550 5.7.1 Relaying denied", "= refused at RCPT: 550 5.7.1 Relaying denied"]
    assert ask("mail:<>", Mail(client="192.0.2.7", ehlo="a.liar.example"))[-2] == "= 550 5.7.1 Access denied"


FAR = {"client": "203.0.113.1", "name": "mx.good.example", "resolve": ClientResolve.OK}


@pytest.mark.parametrize(
    ("question", "facts", "verdict"),
    [
        ("rcpt:u@a.relay.example", {"name": "mx.bad.example"}, "= refused at connect: 550 5.7.1 Access denied"),
        ("rcpt:u@a.relay.example", {"resolve": ClientResolve.FORGED}, "= refused at connect: 450 4.7.1 later"),
        ("rcpt:u@a.relay.example", {"sender": "closed@b.example"}, "= refused at MAIL: 550 5.7.1 Access denied"),
        ("rcpt:u@a.relay.example", {"ehlo": "a.liar.example"}, "= refused at MAIL: 550 5.7.1 Access denied"),
        ("rcpt:nobody@far.example", {}, "= refused at RCPT: 550 5.7.1 Relaying denied"),
        ("rcpt:u@a.relay.example", {"sender": "thrown@b.example"}, "= discarded at MAIL"),
        ("rcpt:u@thrown.example", {}, "= discarded at RCPT"),
        ("mail:s@b.example", {"name": "mx.bad.example"}, "= refused at connect: 550 5.7.1 Access denied"),
    ],
)
def test_the_verdict_is_that_of_the_step_that_ends_the_mail(ask, question, facts, verdict):
    lines = ask(question, Mail(**{**FAR, **facts}))
    assert lines[-1] == verdict
    assert not {"alias", "route"} & set(lines)


@pytest.mark.parametrize(
    ("question", "sender", "verdict"),
    [
        ("auth_sender:joe", "", "= own, sales@far.example"),
        ("auth_sender:Joe", "joe+x@gw.example", "= Joe may write as <joe+x@gw.example>"),
        ("auth_sender:joe", "ann@far.example", "= joe may not write as <ann@far.example>"),
        ("auth_sender:ann", "", "= no sender but <>"),
        ("auth_sender:bad", "", "= mail is put off"),
        ("auth_sender:bad", "x@far.example", "= bad cannot be told whether it may write as <x@far.example>"),
    ],
)
def test_which_senders_a_user_may_have(ask, question, sender, verdict):
    assert ask(question, Mail(client="192.0.2.7", sender=sender))[-1] == verdict


@pytest.mark.parametrize(
    ("bare", "question"),
    [
        ("192.0.2.7", "client:192.0.2.7"),
        ("2001:db8::1", "client:2001:db8::1"),
        ("joe@gw.example", "rcpt:joe@gw.example"),
        ("far.example", "mailertable:far.example"),
    ],
)
def test_a_question_without_a_word_is_told_by_its_form(ask, bare, question):
    assert ask(bare) == ask(question)


@pytest.mark.parametrize(
    ("use", "name", "bare", "verdict"),
    [
        ("mailertable", "x", "ann@far.example", "= esmtp 192.0.2.9 port 26"),
        ("auth_sender", "x", "joe", "= own, sales@far.example"),
        ("tls_policy", "x", "far.example", "= verify"),
        (None, "users", "joe", "= a user"),
        (None, "aliases", "ann@far.example", "= bob@far.example"),
    ],
)
def test_a_map_alone_is_asked_for_what_it_is_for(tmp_path, use, name, bare, verdict):
    source = {"mailertable": "routes", "auth_sender": "senders", "tls_policy": "tls"}.get(
        use, "more" if name == "aliases" else name
    )
    (tmp_path / name).write_text(FILES[source])
    kind = "regex" if source == "routes" else "text"
    assert questions.of_file(tmp_path / name, kind, use, bare, STRANGER)[-1] == verdict


def test_a_map_that_may_be_an_access_map_wants_a_tag(tmp_path):
    (tmp_path / "x").write_text(FILES["access"])
    with pytest.raises(QuestionError, match=r"write from:joe or another tag; -k prints the value of a key as it stands"):
        questions.of_file(tmp_path / "x", "text", None, "joe", STRANGER)


def test_a_question_is_answered_the_same_again(ask):
    assert ask("rcpt:joe@gw.example") == ask("rcpt:joe@gw.example")


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ("fron:a@b.org", "did you mean from?"),
        ("from:nobody", "write an address"),
        ("to:<>", "write an address"),
        ("client:mx", "is no IP address"),
        ("cltresolve:often", "possible are ok, no, forged, temp"),
        ("", "possible are"),
    ],
)
def test_what_is_no_question(ask, question, message):
    with pytest.raises(QuestionError, match=message.replace("?", r"\?")):
        ask(question)


@pytest.mark.parametrize(
    "question", ["from:a@b.org", "aliases:root", "local_user_map:joe", "auth_sender:joe", "smtpc_rcpt_conf:a@b.org"]
)
def test_a_map_that_is_not_there_is_named(tmp_path, question):
    (tmp_path / "meta1.conf").write_text("hostname = gw.example; smar { }")
    with pytest.raises(QuestionError, match=r"name (one|a map) with"):
        questions.of_configuration(load_file(tmp_path / "meta1.conf"), question, STRANGER)


def test_there_is_a_question_for_each_tag_of_this_version():
    assert {row.tag for row in TAGS.values()} <= QUESTIONS.keys()


def test_words_of_a_look_up_of_a_name():
    assert resolve_of("Forged") is ClientResolve.FORGED
