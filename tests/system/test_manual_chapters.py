"""The manual does what it says: each page is played in a directory of its own, with real processes."""

import pytest

from contrib.lib.gateway import wait_until
from tests.manual.blocks import Block, blocks, blocks_of, is_played, pages
from tests.manual.player import ManualError, Player
from tests.manual.scratch import scratch

DEFAULTS = """
```console
$ sm.setup
sm.setup: made /var/spool/meta1
...
$ smconf -p | grep queue_directory
queue_directory = /var/spool/meta1; ...
$ (echo ready; exec sleep 1000) > /var/log/sleep.log 2>&1 &
```
"""


@pytest.mark.system
@pytest.mark.parametrize("page", [page for page in pages() if is_played(page)])
def test_what_the_page_says_is_so(page):
    with scratch() as place:
        player = Player(place)
        player.play(blocks(page))
        wanted = [
            one for block in blocks(page) if block.kind == "console" and "debian" not in block.words for one in block.commands()
        ]
        assert len(player.ran) == len(wanted)


@pytest.mark.parametrize(
    ("kind", "words", "text", "told"),
    [
        ("console", (), "$ false\n", "exit 1, should be 0"),
        ("console", (), "$ echo a\nb\n", "it printed:\na"),
        ("console", ("exit 3",), "$ true\n", "exit 0, should be 3"),
        ("conf", (), "qmgr { AQ_max_entris = 5; }\n", "AQ_max_entries"),
        ("conf", ("in qmgr",), "smtpc { max_connections = many; }\n", "checked.conf:2"),
        ("conf", ("file=/etc/meta1/meta1.conf",), "nothing = 5;\n", "smconf --text /etc/meta1/meta1.conf"),
        ("access", (), "frm:x reject\n", "frm"),
        ("map", ("regex",), "/(/ x\n", "missing"),
        ("mailertable", ("file=/etc/meta1/m",), "a b\na c\n", "key a: is already at"),
    ],
)
def test_what_is_not_so_is_found(kind, words, text, told):
    with scratch() as place, pytest.raises(ManualError, match=r"docs/page\.md:7") as found:
        Player(place).play([Block("page.md", 7, kind, words, text)])
    assert told in str(found.value)


def test_what_programs_have_by_default_is_in_the_directory_and_nothing_survives_it():
    with scratch() as place:
        player = Player(place)
        player.play(list(blocks_of(DEFAULTS, "page.md")))
        assert (place.directory / "etc/meta1/meta1.conf").exists()
        assert (place.directory / "var/spool/meta1/ibdb").is_dir()
        wait_until(lambda: len(place.processes()) == 1, 30, "a process that has begun")
    assert place.processes() == {}


def test_nothing_outside_of_the_directory_is_named():
    with scratch() as place:
        for text in ("createmap /etc/meta1/a.db < /etc/meta1/a", '"/var/spool/x"', "unix:/run/x", "file=/tmp/x", "(/home/x)"):
            assert str(place.directory) in place.rewritten(text), text
            assert place.restored(place.rewritten(text)) == text
        assert place.rewritten("lmtp:2424^[127.0.0.1]") != "lmtp:2424^[127.0.0.1]"
        assert place.rewritten("contrib/etc/x /usr/sbin/y 10.0.0.0/8") == "contrib/etc/x /usr/sbin/y 10.0.0.0/8"
