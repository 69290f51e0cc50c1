"""Zone data as the test suites of SPF write them, as a resolver for the evaluator.

    {"example.org": [{"TXT": "v=spf1 -all"}, {"A": "192.0.2.1"}, {"MX": [10, "mx.example.org"]}, "TIMEOUT"]}

A record `SPF` is one of TXT too unless the name has a TXT record; `TXT: NONE` says that it has none.  TIMEOUT stands for all
types that the name does not list.
"""

from meta1g_filters.dns import NamesAnswer, TxtAnswer

_ALIASES_MAX = 10


class SpfZone:
    """The zones of a scenario; counts what is asked."""

    def __init__(self, zonedata: dict) -> None:
        self._names = {str(name).lower().rstrip("."): entries for name, entries in zonedata.items()}
        self.asked: list[tuple[str, str]] = []

    def txt(self, name: str) -> TxtAnswer:
        status, values = self._find(name, "TXT")
        return TxtAnswer(status, tuple(_octets(value) for value in values))

    def addresses(self, name: str, kind: str) -> NamesAnswer:
        status, values = self._find(name, kind)
        return NamesAnswer(status, tuple(values))

    def mail_servers(self, name: str) -> NamesAnswer:
        status, values = self._find(name, "MX")
        return NamesAnswer(status, tuple(host for _preference, host in sorted(values, key=lambda value: value[0])))

    def names(self, reverse: str) -> NamesAnswer:
        status, values = self._find(reverse, "PTR")
        return NamesAnswer(status, tuple(value.rstrip(".") for value in values))

    def _find(self, name: str, kind: str) -> tuple[str, list]:
        self.asked.append((name, kind))
        for _ in range(_ALIASES_MAX):
            entries = self._names.get(name.lower().rstrip("."))
            if entries is None:
                return "nxdomain", []
            records = [next(iter(entry.items())) for entry in entries if isinstance(entry, dict)]
            alias = next((value for rrtype, value in records if rrtype == "CNAME"), None)
            if alias is None or kind == "CNAME":
                return _answer(entries, records, kind)
            name = alias
        return "temperror", []


def _answer(entries: list, records: list, kind: str) -> tuple[str, list]:
    values = [value for rrtype, value in records if rrtype == kind]
    if kind == "TXT" and not values:
        values = [value for rrtype, value in records if rrtype == "SPF"]
    values = [value for value in values if value != "NONE"]
    if not values and "TIMEOUT" in entries:
        return "temperror", []
    return ("ok" if values else "nodata"), values


def _octets(value: str | list) -> bytes:
    text = "".join(value) if isinstance(value, list) else value
    return text.encode("utf-8" if any(ord(char) > 0xFF for char in text) else "latin-1")
