"""Random input for what decides who a message is from: records of SPF and DMARC, From, Authentication-Results.

    python -m tests.fuzz.auth_fuzz 1000000

Each must give a value in bounded time, and never anything else.  What others can put into a field of results says nothing that
is not so, and an author that a simple reader finds is one that counts.
"""

import ipaddress
import random

from meta1g.base.clock import SystemClock
from meta1g_filters.authres.results import FIELD_NAME, MethodResult, authserv_of, claims, compose, has_result
from meta1g_filters.dmarc.author import author_domains
from meta1g_filters.dmarc.discovery import Discovery
from meta1g_filters.dmarc.evaluate import VouchedNames, evaluate
from meta1g_filters.dmarc.record import Disposition, selected_record
from meta1g_filters.spf.evaluate import EXPLANATION_MAX_CHARS, LOOKUPS_MAX, NAMES_MAX, SpfQuery, check_host
from tests.fakes.spfzone import SpfZone
from tests.fuzz.runner import asserting, main

_OURS = "mx.example.org"
_TERMS = (
    "a", "mx", "ptr", "all", "ip4:192.0.2.1", "ip6:2001:db8::/32", "include:", "exists:", "redirect=", "exp=", "-", "~", "?",
    "+", ":", "/24", "//64", "example.org", "a.example.org", "%{i}", "%{ir}", "%{l1r-}", "%{p}", "%{S}", "%{t}", "%%", "%",
    "%{", "}", "é", ".", "..", "x=y", "=", "192.0.2.0", "999", "org", "_", "v=spf1", " ", " ", " ", "  ", "\t",
)  # fmt: skip
_TAGS = (
    "v=DMARC1", ";", ";", "p=", "sp=", "np=", "reject", "quarantine", "none", "t=y", "psd=", "y", "n", "pct=", "30",
    "rua=mailto:a@b.example", "adkim=s", "aspf=", ",", "!10m", "=", "é", " ",
)  # fmt: skip
_FROM = (
    "<", ">", "(", ")", "\"", "\\", ",", ";", ":", "@", ".", "ada", "example.org", "bank.example", "ada@example.org", "é",
    "=?utf-8?q?", "?=", " ", "\r\n ",
)  # fmt: skip
_RESULTS = (
    _OURS, ";", "(", ")", "\"", "\\", "dmarc=pass", "dmarc", "=", "pass", "1", "spf=fail", "other.example", "\0", "é", " ",
    "\r\n ",
)  # fmt: skip


def some(chance: random.Random, words: tuple[str, ...], most: int) -> str:
    return "".join(chance.choices(words, k=chance.randrange(most)))


def spf(chance: random.Random) -> None:
    """Evaluates records that name each other."""
    names = ("example.org", "a.example.org", "b.example.org")
    zone = SpfZone(
        {
            name: [{"TXT": f"v=spf1 {some(chance, _TERMS, 12)}"}, {"A": "192.0.2.9"}, {"MX": [1, "a.example.org"]}]
            for name in names
        }
        | {"1.2.0.192.in-addr.arpa": [{"PTR": "a.example.org"}]}
    )
    query = SpfQuery(
        ipaddress.ip_address("192.0.2.1"), "example.org", f"{some(chance, _FROM, 4)}@example.org", "h.example", _OURS
    )
    result = check_host(query, zone, SystemClock())
    assert len(zone.asked) <= 2 + LOOKUPS_MAX * (2 + 2 * NAMES_MAX)
    assert len(result.explanation) <= EXPLANATION_MAX_CHARS
    assert result.explanation.isascii()
    assert result.explanation.isprintable() or not result.explanation


def dmarc(chance: random.Random) -> None:
    """Evaluates policies on the way up."""
    names = ("example.org", "a.example.org", "b.a.example.org", "org")
    texts = {f"_dmarc.{name}": [{"TXT": f"v=DMARC1;{some(chance, _TAGS, 12)}"}] for name in names}
    zone, how = SpfZone(texts), chance.choice(tuple(Discovery))
    signer = chance.choice(names)
    result = evaluate("b.a.example.org", VouchedNames("", [signer]), zone, how, lambda: 50.0)
    assert len(zone.asked) <= 20
    assert result.result in ("pass", "fail", "none")
    assert result.disposition is Disposition.NONE or result.result == "fail"
    assert result.result != "fail" or signer != "b.a.example.org"
    selected_record([some(chance, _TAGS, 12).encode()])


def author(chance: random.Random) -> None:
    """Finds authors; an address in angle brackets that nothing stands around always is one."""
    text = some(chance, _FROM, 12)
    found = author_domains([text.encode()])
    assert all("." in one and one == one.lower() for one in found if one)
    assert "bank.example" in author_domains([text.encode(), b" <boss@bank.example>"])


def results(chance: random.Random) -> None:
    """Writes what others have put into results: whoever reads it sees those that there are."""
    value, reason = some(chance, _RESULTS, 8), some(chance, _RESULTS, 8)
    field = compose(
        _OURS, [MethodResult("spf", "fail", reason, (("smtp.mailfrom", value), ("smtp.helo", value)), comment=reason)]
    )
    assert "\r\n" not in field.replace("\r\n\t", "")
    assert claims(field.encode(), _OURS)
    assert not has_result(f"{FIELD_NAME}:{field}".encode(), "dmarc", "pass")
    assert has_result(f"{FIELD_NAME}:{field}".encode(), "spf", "fail")


def forged(chance: random.Random) -> None:
    """Reads fields of others: what names us first is ours."""
    rest = some(chance, _RESULTS, 10)
    assert claims(f" {_OURS}; {rest}".encode(), _OURS)
    name = authserv_of(rest)
    assert name is None or (name and name.isascii())


TARGETS = asserting(spf, dmarc, author, results, forged)


if __name__ == "__main__":
    raise SystemExit(main(__doc__, TARGETS))
