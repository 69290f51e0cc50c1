from email.utils import formataddr

import pytest

from meta1g.conf.errors import ConfigError
from meta1g.conf.load import load_templates
from meta1g.conf.templates import FIELDS, fill, parse, periods, sender_of
from meta1g.conf.tree import Source

OWN = load_templates()
GERMAN = """\
# Texte
failure_template = <<EOF
Charset: utf-8
Subject: Unzustellbare Nachricht zurück an den Absender

Dies ist das Mailsystem von $hostname.

Preis: 5 $$.
EOF

delay_template = <<END
Subject: Verspätet

Versucht bis ${retry_until}; gewarnt nach $(delay_warning_time_hours) Stunden.
END
"""


def read(text: str):
    return parse(Source("texts", text), OWN)


def problems(text: str) -> str:
    with pytest.raises(ConfigError) as error:
        read(text)
    return str(error.value)


def test_there_is_a_text_for_every_kind_of_report_with_every_field_it_needs():
    assert set(OWN) == set(FIELDS)
    for name, template in OWN.items():
        assert set(template.fields) == set(FIELDS[name]) - {"Charset"}
        assert any(template.body)


def test_an_operator_changes_the_templates_and_fields_that_he_names_and_no_others():
    found = read(GERMAN)
    assert found["failure_template"].fields["Subject"] == "Unzustellbare Nachricht zurück an den Absender"
    assert found["failure_template"].fields["Answered"] == OWN["failure_template"].fields["Answered"]
    assert found["failure_template"].body[0] == "Dies ist das Mailsystem von $hostname."
    assert found["success_template"] == OWN["success_template"]
    assert found["double_bounce_template"] == OWN["double_bounce_template"]


def test_words_are_replaced_in_all_three_spellings():
    words = {"hostname": "mx.example", "retry_until": "then", **periods("delay_warning_time", 5 * 3600)}
    found = read(GERMAN)
    assert found["failure_template"].text(words)[2] == "Preis: 5 $."
    assert found["delay_template"].text(words) == ["Versucht bis then; gewarnt nach 5 Stunden."]
    assert fill("$hostname/${hostname}/$(hostname)/$$hostname", words) == "mx.example/mx.example/mx.example/$hostname"


def test_times_come_in_the_units_of_postfix():
    assert periods("t", 5 * 86400) == {
        "t_seconds": "432000", "t_minutes": "7200", "t_hours": "120", "t_days": "5", "t_weeks": "1",
    }  # fmt: skip


def test_a_file_with_the_line_ends_of_another_system_is_read():
    assert read(GERMAN.replace("\n", "\r\n")) == read(GERMAN)


GOOD = "failure_template = <<EOF\nSubject: no\n\ntext\nEOF\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Subject: no\n", "texts:1:1: expected NAME_template = <<EOF"),
        (GOOD.replace("failure", "failur"), "unknown template failur_template; did you mean failure_template?"),
        (GOOD + GOOD, "texts:6:1: failure_template is there twice"),
        (GOOD.replace("EOF\n", "", 2).replace("= <<", "= <<EOF\n"), "has no end; write EOF"),
        (GOOD.replace("Subject", "Sujet"), "texts:2:1: unknown field Sujet in failure_template; did you mean Subject?"),
        (GOOD.replace("Subject: no", "Subject:"), "the subject is empty"),
        (GOOD.replace("Subject: no", "Subject: a\nsubject: b"), "texts:3:1: field Subject is there twice"),
        (GOOD.replace("Subject: no", "Delivered: no"), "unknown field Delivered in failure_template"),
        (GOOD.replace("Subject: no", "no field"), "texts:2:1: expected a field such as Subject:"),
        (GOOD.replace("\n\ntext", "\n\n "), "failure_template has no text"),
        (GOOD.replace("\n\ntext", ""), "failure_template has no text"),
        (GOOD.replace("text", "$hostnam"), "texts:4:1: unknown word $hostnam; did you mean hostname?"),
        (GOOD.replace("text", "of $host"), "texts:4:4: unknown word $host"),
        (GOOD.replace("no\n", "$nowhere\n"), "texts:2:10: unknown word $nowhere"),
        (GOOD.replace("text", "5 $"), "texts:4:3: a $ without a word behind it"),
        (GOOD.replace("text", "$1"), "a $ without a word behind it"),
        (GOOD.replace("text", "a\x07b"), "texts:4:2: a control character"),
        (GOOD.replace("text", "x" * 300), "the line has more than 240 characters"),
        (GOOD.replace("Subject", "Charset: koi8-r\nSubject"), "charset koi8-r is not possible; save the file as UTF-8"),
        (
            GOOD.replace("Subject", "Charset: us-ascii\nSubject").replace("text", "tüxt"),
            "not in us-ascii; write Charset: utf-8",
        ),
        (GOOD.replace("Subject", "From: a b c\nSubject"), "From: a b c is no mail address"),
        (GOOD.replace("Subject", "From: <>\nSubject"), "is no mail address"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text, told):
    assert told in problems(text)


def test_all_that_is_wrong_is_told_at_once():
    assert problems(GOOD.replace("Subject", "Sujet").replace("text", "$x")).count("texts:") == 2


def test_a_file_that_cannot_be_read_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="cannot read"):
        load_templates(tmp_path / "missing")
    (tmp_path / "latin").write_bytes(GOOD.replace("text", "tüxt").encode("latin-1"))
    with pytest.raises(ConfigError, match="no UTF-8"):
        load_templates(tmp_path / "latin")


@pytest.mark.parametrize(
    ("value", "header"),
    [
        ("MAILER-DAEMON (Mail Delivery System)", "Mail Delivery System <MAILER-DAEMON@mx.example>"),
        ("Mail <daemon@a.example>", "Mail <daemon@a.example>"),
        ("daemon", "daemon@mx.example"),
        ("Zustelldienst für Post <d>", "=?utf-8?q?Zustelldienst_f=C3=BCr_Post?= <d@mx.example>"),
    ],
)
def test_the_sender_of_reports_is_an_address_here_or_elsewhere(value, header):
    assert formataddr(sender_of(value, "mx.example")) == header


def test_the_texts_in_other_languages_that_come_with_meta1g_are_right():
    from contrib.lib.gateway import ROOT

    files = sorted((ROOT / "contrib/etc").glob("reports.*"))
    assert files
    for path in files:
        assert set(load_templates(path)) == set(FIELDS)
        assert load_templates(path)["failure_template"] != OWN["failure_template"]
