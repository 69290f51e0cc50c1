"""What mapchk says would happen is what happens; a wrong entry that mail meets stands in the log; `mcp -c` finds it before."""

import contextlib
import io
import re
import smtplib
import subprocess
import sys
from collections.abc import Iterator

import pytest

from contrib.lib.gateway import Gateway, wait_until
from meta1g.db.mapfile import MapFile
from meta1g.tools.mapchk import main
from tests.system.conftest import directory_for_all, running

pytestmark = pytest.mark.xdist_group("checking")

ACCESS = """\
from:.bad.example        error:550 5.7.1 not from there
from:closed@             quick:reject
from:odd@back.example    rejct
to:list+*@ours.example   error:450 4.7.1 later
to:relay.example         relay
to:.relay.example        relay
protectedrcpt:all@ours.example   ann@back.example
"""
#: What no checker would let pass; as another program may have written it.
ROUTES = {"ours.example": "lmtp:", "broken.relay.example": "99999^[192.0.2.1]", ".": "[192.0.2.1]"}
ALIASES = "root: ann\nloop: pool\npool: loop\n"
USERS = "ann\nall\nlist\n"
SMAR = """
  access_map { file = "access"; type = text; }
  aliases { file = "aliases"; type = text; flags = { localpart, local_domains }; }
  local_user_map { file = "users"; type = text; flags = { localpart, local_domains }; }
"""
SENDERS = ("", "ann@back.example", "bob@back.example", "x@a.bad.example", "closed@back.example", "odd@back.example")
RCPTS = (
    "ann@ours.example", "ann+x@ours.example", "list+x@ours.example", "nobody@ours.example", "all@ours.example",
    "root@ours.example", "a@relay.example", "a@b.relay.example", "a@other.example", "a@broken.relay.example", "postmaster",
)  # fmt: skip


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with directory_for_all() as directory:
        made = Gateway(directory / "gateway", ". [192.0.2.1]", {"smar": SMAR}, relay_from="192.0.2.9")
        made.conf.parent.mkdir(parents=True)
        for name, text in {"access": ACCESS, "aliases": ALIASES, "users": USERS}.items():
            (made.conf.parent / name).write_text(text)
        with running(made):
            rows = sorted((key.encode(), value.encode()) for key, value in ROUTES.items())
            MapFile.build(made.conf.parent / "mailertable.db", rows)
            yield made


def mapchk(gateway: Gateway, *arguments: str) -> list[str]:
    with contextlib.redirect_stdout(io.StringIO()) as output:
        assert main(["-f", str(gateway.conf), *arguments]) == 0
    return output.getvalue().splitlines()


def said(reply: tuple[int, bytes]) -> str:
    """A reply as mapchk writes verdicts; what is said when all is well is the business of smtps."""
    code, text = reply
    return f"{code} {text.decode()}" if code // 100 != 2 else f"{code}"


def verdict(line: str) -> str:
    text = re.sub(r" \([a-z, ]+\)$", "", line.removeprefix("= "))
    return text if text[0] != "2" else text[:3]


def foretold(gateway: Gateway, sender: str, rcpt: str) -> tuple[str, str]:
    """What mapchk says about a sender and a recipient."""
    lines = mapchk(gateway, "-c", "127.0.0.1", "-s", sender, "-q", f"rcpt:{rcpt}")
    heads = {line.split()[0]: at for at, line in enumerate(lines) if line[0] not in " ="}
    of_mail = next(line for line in lines[heads["mail"] :] if line[0] == "=")
    of_rcpt = next(line for line in lines[heads["rcpt"] :] if line[0] == "=")
    return verdict(of_mail), verdict(of_rcpt)


def test_what_mapchk_foretells_is_what_a_client_hears(gateway):
    def is_read() -> bool:
        with smtplib.SMTP("127.0.0.1", gateway.port, timeout=60) as client:
            client.ehlo()
            client.mail("")
            return client.rcpt("ann@ours.example")[0] == 250

    wait_until(is_read, 30, "the new mailertable is in use")
    heard = set()
    with smtplib.SMTP("127.0.0.1", gateway.port, timeout=60) as client:
        client.ehlo()
        for sender, rcpts in [("", RCPTS), *((one, RCPTS[4:5]) for one in SENDERS[1:])]:
            client.rset()
            mail = said(client.mail(sender))
            for rcpt in rcpts:
                told = foretold(gateway, sender, rcpt)
                assert told[0] == mail, (sender, told)
                if mail == "250":
                    assert told[1] == said(client.rcpt(rcpt)), (sender, rcpt)
                    heard.add(told[1].partition(" ")[0])
                heard.add(mail.partition(" ")[0])
    assert heard == {"250", "450", "451", "550"}


def test_a_wrong_entry_that_mail_meets_is_logged_with_map_key_and_value(gateway):
    with smtplib.SMTP("127.0.0.1", gateway.port, timeout=60) as client:
        client.ehlo()
        assert client.mail("odd@back.example")[0] == 451
        client.mail("bob@back.example")
        client.rcpt("a@broken.relay.example")
    wanted = (
        "map=access_map, key=from:odd@back.example, answer=rejct",
        "map=mailertable, key=broken.relay.example, answer=99999^[192.0.2.1]",
    )
    wait_until(lambda: all(text in gateway.log.read_text() for text in wanted), 30, "both entries are logged")


def test_mcp_finds_all_of_them_before(gateway):
    etc = gateway.conf.parent
    command = [sys.executable, "-m", "meta1g.mcp.main", "-c", str(gateway.conf)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 78
    assert [line.partition("smar: ")[2] for line in result.stderr.splitlines()] == [
        f"{etc}/access:3: key from:odd@back.example: unknown value rejct; did you mean reject?",
        f"{etc}/mailertable.db: key broken.relay.example: mailertable value 99999^[192.0.2.1]: port is not 1 to 65535",
        f"{etc}/aliases:2: key loop: the alias leads only to itself; name an address that is no alias",
        f"{etc}/aliases:3: key pool: the alias leads only to itself; name an address that is no alias",
    ]
