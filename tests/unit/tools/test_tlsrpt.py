"""tlsrpt shows what is counted."""

import json

import pytest

from meta1g.base.cli import CliError
from meta1g.tls.rptday import RptDay, content_of
from meta1g.tls.tlsrpt import PolicyType, ResultType, RptFailure, RptPolicy
from meta1g.tools import tlsrpt

EXPIRED = RptFailure(ResultType.CERTIFICATE_EXPIRED, "", "mx.example.org", "192.0.2.1", reason="certificate has\x1b expired")


@pytest.fixture
def queue(tmp_path):
    day = RptDay("2026-11-26")
    for failure in (None, EXPIRED, EXPIRED):
        day.add(RptPolicy(PolicyType.STS, "example.org", ("version: STSv1",), ("mx.example.org",)), failure)
    day.add(RptPolicy(PolicyType.NONE, "other.example"), None)
    (tmp_path / "smar/tlsrpt").mkdir(parents=True)
    (tmp_path / "smar/tlsrpt/2026-11-26.rpt").write_bytes(content_of(list(day.lines())))
    (tmp_path / "smar/tlsrpt/2026-11-25.rpt.damaged").write_bytes(b"")
    return tmp_path


def test_all_is_shown(queue, capsys):
    assert tlsrpt.main(["--queue-directory", str(queue)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "2026-11-26  example.org  sts  good 1  failed 2",
        "    2  certificate-expired  mx.example.org[192.0.2.1]  certificate has\\x1B expired",
        "2026-11-26  other.example  no-policy-found  good 1  failed 0",
    ]


def test_one_domain_for_programs(queue, capsys):
    assert tlsrpt.main(["--queue-directory", str(queue), "--json", "Example.org"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    found = json.loads(line)
    assert (found["day"], found["domain"], found["policy"]["policy-type"]) == ("2026-11-26", "example.org", "sts")
    assert found["summary"] == {"total-successful-session-count": 1, "total-failure-session-count": 2}


def test_what_cannot_be_read_is_told(queue, tmp_path):
    (queue / "smar/tlsrpt/2026-11-26.rpt").write_bytes(b"x")
    with pytest.raises(CliError, match="checksum"):
        tlsrpt.main(["--queue-directory", str(queue)])
    with pytest.raises(CliError, match=r"none/smar/tlsrpt: No such file"):
        tlsrpt.main(["--queue-directory", str(tmp_path / "none")])
