"""Aggregate reports: what is collected, the report, who gets it; dmarcrpt with a real SMTP server and a real name server."""

import email
import email.policy
import gzip
import json
import time
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from meta1g.base.cli import CliError
from meta1g.base.clock import rfc3339
from meta1g.base.log import Log
from meta1g_filters.auth import dmarcrpt
from meta1g_filters.auth.filter import AuthFilter
from meta1g_filters.dmarc.aggregate import AggregateReport
from meta1g_filters.dmarc.discovery import Discovery
from meta1g_filters.dmarc.external import report_targets
from meta1g_filters.dmarc.rows import PublishedPolicy, ReportRow, SignerResult, collect, line_of, row_from
from tests.fakes.nameserver import SERVFAIL
from tests.fakes.spfzone import SpfZone
from tests.system.conftest import KeepingSink
from tests.unit.filters.filtersession import FilterSession
from tests.unit.filters.test_authfilter import MAIL, ORIGIN, STRANGER, configured, server
from tests.unit.pmilter.conftest import checked_locks, make_system, serve, system

__all__ = ["checked_locks", "configured", "make_system", "serve", "server", "system"]

POLICY = PublishedPolicy("example.net", "r", "s", "reject", "none", 100, "0")
SIGNERS = (SignerResult("example.net", "s1", "pass"), SignerResult("other.example", "x", "fail"))
ROW = ReportRow(
    POLICY,
    "192.0.2.1",
    "none",
    "pass",
    "fail",
    "local_policy",
    "a.example.net",
    "b<&>.example",
    SIGNERS,
    "b.example",
    "mfrom",
    "softfail",
)
DAY_S = 86_400


@pytest.fixture
def sink(tmp_path):
    with KeepingSink(tmp_path / "maildir") as made:
        yield made


@pytest.fixture
def reporting(tmp_path, configured):
    """Gives reporting(more), which writes a configuration with reports; rows are collected in tmp_path/rows."""
    (tmp_path / "rows").mkdir()

    def reporting(more="", text=""):
        section = f'directory = "{tmp_path / "rows"}"; email = "dmarc@mx.example.org"; {more}'
        return configured(f"reports {{ {section} }} {text}")

    return reporting


def yesterday():
    return rfc3339(time.time() - DAY_S)[:10]


def fill(tmp_path, *rows, day=None):
    path = tmp_path / "rows" / f"{day or yesterday()}.jsonl"
    path.write_bytes(b"".join(line_of(row) for row in rows))
    return path


def test_a_row_comes_back_from_its_line():
    assert row_from(line_of(ROW)) == ROW
    for line in (b"", b"{}", b"[]", b"{", line_of(ROW)[:-20], b'{"policy": 1}', b'{"policy": {}, "signers": []}'):
        with pytest.raises(ValueError):
            row_from(line)


def test_the_report_has_the_form_of_rfc_7489():
    report = AggregateReport(POLICY, "2026-11-27", {ROW: 3}, "Example & Sons", "dmarc@mx.example.org", "mx.example.org")
    root = ElementTree.fromstring(gzip.decompress(report.packed()))
    assert [one.tag for one in root] == ["version", "report_metadata", "policy_published", "record"]
    assert root.findtext("report_metadata/org_name") == "Example & Sons"
    assert (root.findtext("report_metadata/date_range/begin"), root.findtext("report_metadata/date_range/end")) == (
        "1795737600",
        "1795823999",
    )
    assert [(one.tag, one.text) for one in root.find("policy_published")] == [
        ("domain", "example.net"),
        ("adkim", "r"),
        ("aspf", "s"),
        ("p", "reject"),
        ("sp", "none"),
        ("pct", "100"),
        ("fo", "0"),
    ]
    record = root.find("record")
    assert [one.tag for one in record] == ["row", "identifiers", "auth_results"]
    assert [one.tag for one in record.find("row")] == ["source_ip", "count", "policy_evaluated"]
    assert [(one.tag, one.text.strip()) for one in record.find("row/policy_evaluated")] == [
        ("disposition", "none"),
        ("dkim", "pass"),
        ("spf", "fail"),
        ("reason", ""),
    ]
    assert record.findtext("row/count") == "3"
    assert record.findtext("identifiers/envelope_from") == "b<&>.example"
    assert [[part.text for part in one] for one in record.find("auth_results")] == [
        ["example.net", "s1", "pass"],
        ["other.example", "x", "fail"],
        ["b.example", "mfrom", "softfail"],
    ]
    assert report.file_name.startswith("mx.example.org!example.net!1795737600!1795823999!")


@pytest.mark.parametrize(
    ("rua", "agreed", "targets"),
    [
        ("mailto:a@example.net,mailto:b@sub.example.net", None, ["a@example.net", "b@sub.example.net"]),
        ("mailto:a@other.example", None, []),
        ("mailto:a@other.example", "v=DMARC1", ["a@other.example"]),
        ("mailto:a@other.example", "v=DMARC1; rua=mailto:b@other.example", ["b@other.example"]),
        ("mailto:a@other.example", "v=DMARC1; rua=mailto:b@third.example", ["a@other.example"]),
        ("mailto:a@other.example", "no", []),
        ("", None, []),
        (None, None, []),
    ],
)
@pytest.mark.parametrize("how", Discovery)
def test_reports_go_to_who_wants_and_may_have_them(rua, agreed, targets, how):
    zone: dict = {"_dmarc.sub.example.net": []}
    if rua is not None:
        zone["_dmarc.example.net"] = [{"TXT": f"v=DMARC1; p=none; rua={rua}"}]
    if agreed is not None:
        zone["example.net._report._dmarc.other.example"] = [{"TXT": agreed}]
    assert [one.address for one in report_targets("example.net", SpfZone(zone), how)] == targets


def test_the_filter_collects_what_domains_want_to_hear_of(reporting, serve, server, tmp_path):
    server.add("_dmarc.wants.example", "TXT", '"v=DMARC1; p=reject; sp=none; rua=mailto:a@wants.example"')
    pmilter = AuthFilter(reporting(), Log("authfilter", level=0))
    session = FilterSession(serve(pmilter)())
    session.send(MAIL, ip=STRANGER)
    for author in (b"wants.example", b"sub.wants.example"):
        session.send(MAIL.replace(b"ada@example.net", b"ada@" + author), ip=ORIGIN)
    (path,) = (tmp_path / "rows").iterdir()
    first, second = [row_from(line) for line in path.read_bytes().splitlines()]
    assert (first.policy.p, first.policy.sp, first.disposition, first.reason) == ("reject", "none", "none", "local_policy")
    assert (first.spf_domain, first.spf_scope, first.spf_result, first.dkim, first.spf) == (
        "example.net",
        "mfrom",
        "pass",
        "fail",
        "fail",
    )
    assert (second.header_from, second.policy, second.reason) == ("sub.wants.example", first.policy, "")


def test_a_full_day_and_a_lost_directory_cost_no_mail_and_are_logged(reporting, serve, server, tmp_path, capfd):
    server.add("_dmarc.wants.example", "TXT", '"v=DMARC1; p=none; rua=mailto:a@wants.example"')
    session = FilterSession(serve(AuthFilter(reporting("max_day_size = 64KB;"), Log("authfilter", level=9)))())
    message = MAIL.replace(b"example.net", b"wants.example")
    path = fill(tmp_path, *[ROW] * 200, day=rfc3339(time.time())[:10])
    before = path.stat().st_size
    assert [session.send(message).said for _ in range(2)] == ["", ""]
    assert path.stat().st_size == before > 65536
    assert capfd.readouterr().err.count("func=pmilter.trouble") == 1
    path.unlink()
    (tmp_path / "rows").rmdir()
    assert session.send(message).said == ""
    assert "results for reports are not kept: No such file or directory" in capfd.readouterr().err


def test_reports_are_sent_once_and_the_day_is_done(reporting, server, sink, tmp_path, capsys):
    server.add("_dmarc.wants.example", "TXT", '"v=DMARC1; p=none; rua=mailto:a@wants.example,mailto:b@wants.example!1"')
    policy = PublishedPolicy("wants.example", "r", "r", "none", "none", 100, "0")
    row = ReportRow(policy, "192.0.2.1", "none", "pass", "pass", "", "wants.example", "", (), "h.example", "helo", "none")
    path = fill(tmp_path, row, row, ROW)
    path.write_bytes(path.read_bytes() + b'{"torn')
    path.with_suffix(".sent").write_bytes(b"\xff\xfe damaged\n")
    file = reporting(f"port = {sink.port};")
    assert dmarcrpt.main(["-f", str(file)]) == 0
    (envelope,) = sink.wait_for(1)
    assert (envelope["mail"], envelope["rcpts"]) == ("dmarc@mx.example.org", ["a@wants.example"])
    message = email.message_from_bytes(sink.content(envelope), policy=email.policy.SMTP)
    assert message["Subject"].startswith("Report Domain: wants.example Submitter: mx.example.org Report-ID: <")
    (attachment,) = message.iter_attachments()
    assert attachment.get_content_type() == "application/gzip"
    assert attachment.get_filename().endswith(".xml.gz")
    root = ElementTree.fromstring(gzip.decompress(attachment.get_content()))
    assert root.findtext("record/row/count") == "2"
    said = capsys.readouterr()
    assert said.out == f"wants.example {yesterday()}: sent to a@wants.example\n"
    assert ":4: " in said.err
    assert list((tmp_path / "rows").iterdir()) == []


def test_what_is_not_taken_waits_and_nobody_gets_a_report_twice(reporting, server, sink, tmp_path, capsys):
    for domain in ("example.net", "wants.example"):
        server.remove(f"_dmarc.{domain}", "TXT")
        server.add(f"_dmarc.{domain}", "TXT", f'"v=DMARC1; p=none; rua=mailto:a@{domain}"')
    server.script("_dmarc.wants.example", "TXT", *[SERVFAIL] * 2)
    policy = PublishedPolicy("wants.example", "r", "r", "none", "none", 100, "0")
    row = ReportRow(policy, "192.0.2.1", "none", "pass", "pass", "", "wants.example", "", (), "h.example", "helo", "none")
    fill(tmp_path, row, ROW)
    file = reporting(f"port = {sink.port};")
    assert dmarcrpt.main(["-f", str(file)]) == 75
    assert "DNS does not answer for _dmarc.wants.example; again at the next call" in capsys.readouterr().err
    assert sorted(path.suffix for path in (tmp_path / "rows").iterdir()) == [".jsonl", ".sent"]
    server._scripts.clear()
    assert dmarcrpt.main(["-f", str(file)]) == 0
    assert [one["rcpts"] for one in sink.wait_for(2)] == [["a@example.net"], ["a@wants.example"]]
    assert list((tmp_path / "rows").iterdir()) == []


def test_an_old_day_is_given_up(reporting, server, tmp_path, capsys):
    server.add("_dmarc.example.net", "TXT", '"v=DMARC1; p=none; rua=mailto:a@example.net"')
    server.remove("_dmarc.example.net", "TXT")
    server.add("_dmarc.example.net", "TXT", '"v=DMARC1; p=none; rua=mailto:a@example.net"')
    fill(tmp_path, ROW, day="2026-01-01")
    assert dmarcrpt.main(["-f", str(reporting("port = 1;"))]) == 0
    assert "2026-01-01: given up after 7 days" in capsys.readouterr().err
    assert list((tmp_path / "rows").iterdir()) == []


def test_reports_can_be_looked_at_before_anything_is_sent(reporting, tmp_path, capsys):
    path = fill(tmp_path, ROW, day=rfc3339(time.time())[:10])
    (tmp_path / "out").mkdir()
    file = reporting()
    assert dmarcrpt.main(["-f", str(file), "-w", str(tmp_path / "out"), "--day", path.stem]) == 0
    (made,) = (tmp_path / "out").iterdir()
    assert capsys.readouterr().out == f"{made}\n"
    assert b"<count>1</count>" in gzip.decompress(made.read_bytes())
    assert path.exists()
    with pytest.raises(CliError, match="is not over"):
        dmarcrpt.main(["-f", str(file), "--day", path.stem])


def test_what_is_missing_in_the_configuration_is_told(configured, reporting, tmp_path):
    with pytest.raises(CliError, match="nothing is collected; write reports"):
        dmarcrpt.main(["-f", str(configured())])
    file = reporting()
    file.write_text(file.read_text().replace('email = "dmarc@mx.example.org";', ""))
    with pytest.raises(CliError, match="who reports"):
        dmarcrpt.main(["-f", str(file)])


def test_a_row_is_written_for_the_day_of_its_time(tmp_path):
    assert collect(tmp_path, 1000, ROW, 1_795_737_600.0) == ""
    assert json.loads((tmp_path / "2026-11-27.jsonl").read_text())["header_from"] == "a.example.net"


def test_reports_of_the_longest_names_are_written_and_a_directory_that_takes_none_is_told(reporting, tmp_path, capsys):
    longest = ".".join(["a" * 63] * 3) + f".{'b' * 50}.example"
    file = reporting()
    fill(tmp_path, ROW, replace(ROW, policy=replace(POLICY, domain=longest)))
    target = tmp_path / "out"
    target.mkdir()
    assert dmarcrpt.main(["-f", str(file), "-w", str(target)]) == 0
    xml = [gzip.decompress(one.read_bytes()).decode() for one in target.iterdir()]
    assert sorted(one.partition("<domain>")[2].partition("</")[0] for one in xml) == [longest, "example.net"]
    with pytest.raises(CliError, match="out/none: No such file"):
        dmarcrpt.main(["-f", str(file), "-w", str(target / "none")])


def test_files_that_are_no_days_are_left_alone(reporting, tmp_path):
    file = reporting()
    other = fill(tmp_path, ROW, day="0-backup")
    assert dmarcrpt.main(["-f", str(file)]) == 0
    assert other.exists()


def test_a_domain_with_rows_that_all_differ_takes_no_room_of_others(reporting, tmp_path, capsys, monkeypatch):
    """Invariant I11."""
    monkeypatch.setattr(dmarcrpt, "ROWS_MAX", 10)
    many = [replace(ROW, policy=replace(POLICY, domain="many.example"), source_ip=f"192.0.2.{n}") for n in range(100)]
    file = reporting()
    fill(tmp_path, *many, ROW, replace(ROW, source_ip="192.0.2.7"), *many, ROW)
    assert dmarcrpt.main(["-f", str(file), "-w", str(tmp_path)]) == 0
    rows = {}
    for path in tmp_path.glob("*.xml.gz"):
        root = ElementTree.fromstring(gzip.decompress(path.read_bytes()))
        rows[root.findtext("policy_published/domain")] = [one.text for one in root.iterfind("record/row/count")]
    assert rows == {"many.example": ["2"] * 5, "example.net": ["2", "1"]}
    assert "many.example: 190 messages are in no report" in capsys.readouterr().err
