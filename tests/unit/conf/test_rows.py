"""Every row of the tables works in a file: its default can be written, is read back, and stands where the table says."""

import pytest

from meta1g.conf.check import walk
from meta1g.conf.defs import ROOT
from meta1g.conf.dump import written
from meta1g.conf.schema import Naming
from tests.unit.conf.text import load

#: What sections need beside the option at hand.
NEEDED = {
    "map": "type = passwd;",
    "nameserver": "address = ::1;",
    "dnsbl": "zone = a.example;",
    "policy_milter": "socket { port = 1; }",
    "socket": "port = 1;",
    "tls_reports": "from = a@b.example;",
    **dict.fromkeys(
        (
            *("aliases", "local_user_map", "mailertable", "access_map", "auth_sender", "password_map", "conf_map"),
            *("server_names", "tls_policy"),
        ),
        "file = x;",
    ),
    "smtps auth": "password_file = x;",
    "smtps tls": "cert_file = x;",
    "smtpc auth": "file = x;",
}
#: The same for sections around it.
OUTSIDE = {("tls", "server_names"): "cert_file = x;"}
ROWS = [
    (path, row)
    for definition, path in walk(ROOT)
    for row in definition.options
    if row.default is not None and path[:2] != ("smtps", "milter")  # refused by its name
]


def around(path, text):
    """Puts a text into its sections, with what these need."""
    known, opened = ROOT, []
    for keyword in path:
        known = known.by_section[keyword.lower()]
        name = " N" if known.naming is Naming.MUST else ""
        needed = (
            NEEDED.get(" ".join(path), NEEDED.get(keyword, "")) if keyword == path[-1] else OUTSIDE.get((keyword, path[-1]), "")
        )
        if needed.split(" ")[0].lower() == text.split(" ")[0].lower():
            needed = ""
        opened.append(f"{keyword}{name} {{ {needed} ")
    if len(path) > 1 and path[1] == "listen_socket" and path[0] != "smtps":  # mcp has to open it
        opened[0] += "start_action = accept; "
    return "".join(opened) + text + " }" * len(path)


@pytest.mark.parametrize(("path", "row"), ROWS, ids=[" ".join((*path, row.name)) for path, row in ROWS])
def test_the_default_of_a_row_can_be_written_and_is_read_back(path, row):
    section = load(around(path, written(row, row.default))).glob
    for keyword in path:
        section = section.sub(keyword)
    assert section.given(row.name)
    assert section.get(row.name) == row.default
    assert section.get(row.name.upper()) == row.default


def test_no_name_stands_twice_in_a_table():
    for definition, path in walk(ROOT):
        names = [row.name.lower() for row in definition.options]
        assert len(names) == len(set(names)), path
        for row in definition.options:
            flags = [flag.name for flag in getattr(row.kind, "flags", ())]
            assert len(flags) == len(set(flags)), (path, row.name)
