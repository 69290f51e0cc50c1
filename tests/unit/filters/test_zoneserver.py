"""The name server of the quickstart: what its file says is what a resolver gets."""

import subprocess
import sys
from pathlib import Path

import pytest

from contrib.loadtest.zoneserver import read_zone
from meta1g_filters.dns import FilterResolver, NamesAnswer, TxtAnswer

PROGRAM = Path(__file__).parents[3] / "contrib/loadtest/zoneserver.py"
ZONE = """
; a comment
Example.org.  60 IN TXT "v=spf1 " "-all"   ; one record
s1._domainkey.example.org 60 IN TXT (
    "v=DKIM1; (k=rsa)"
    "a \\"b\\""
)
example.org 60 IN A 192.0.2.1
"""


def test_records_are_answered_and_a_changed_file_is_read_again(tmp_path):
    file = tmp_path / "zone"
    file.write_text(ZONE)
    command = [sys.executable, str(PROGRAM), "--listen", "127.0.0.1:0", str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        host, _, port = process.stdout.readline().strip().rpartition(":")
        resolver = FilterResolver([(host, int(port))])
        assert resolver.txt("example.org") == TxtAnswer("ok", (b"v=spf1 -all",))
        assert resolver.txt("S1._domainkey.example.org") == TxtAnswer("ok", (b'v=DKIM1; (k=rsa)a "b"',))
        assert resolver.addresses("example.org", "A") == NamesAnswer("ok", ("192.0.2.1",))
        assert resolver.txt("_domainkey.example.org").status == "nodata"
        assert resolver.txt("other.example").status == "nxdomain"
        file.write_text(ZONE + 'other.example 60 IN TXT "new"\n')
        assert resolver.txt("other.example") == TxtAnswer("ok", (b"new",))
        process.terminate()
    assert process.returncode == 0


@pytest.mark.parametrize(
    "line", ["example.org 60 IN MX 10 x", "example.org 60 IN A x", "example.org TXT", 'a 60 IN TXT "' + "x" * 256 + '"']
)
def test_what_is_no_record_is_told_with_its_line(line):
    with pytest.raises(ValueError, match="line 2: write NAME TTL IN"):
        read_zone(f"\n{line}\n")
