"""Files of maps that change while they are used: read beside the look-ups, damaged, short of descriptors."""

import contextlib
import os
import random
from collections import Counter

import pytest

from meta1g.base.errors import FullError, Module, PermError
from meta1g.base.log import Log
from meta1g.db.mapfile import MapFile
from meta1g.maps import regexmap
from meta1g.maps.base import MapStatus
from meta1g.maps.bdbmap import BdbMap
from meta1g.maps.cidrmap import CidrMap
from meta1g.maps.limits import REGEX_RULES_MAX
from meta1g.maps.regexmap import RegexMap
from meta1g.maps.textmap import TextMap, parse_entries
from meta1g.maps.watch import Loader
from tests.fakes.shortage import no_descriptors

from .test_files import put

PAGE = 4096


class Sink:
    """Keeps log lines.  Owner: the test."""

    def __init__(self):
        self.lines = []

    def write(self, sevr, stamp, head, text):
        self.lines.append(text)

    def reopen(self):
        """Has nothing to open."""


class LaterLoader(Loader):
    """Reads when the test says so."""

    def __init__(self):
        self.waiting, self.full, self.sink = [], False, Sink()
        super().__init__(self._keep, Log("test", sink=self.sink))

    def _keep(self, function):
        if self.full:
            raise FullError(Module.MAP, "of the test")
        self.waiting.append(function)

    def read(self):
        for function in self.waiting:
            function()
        self.waiting.clear()


@pytest.fixture
def loader():
    return LaterLoader()


@pytest.fixture
def text(tmp_path, clock, loader):
    put(tmp_path / "map", "key one\n")
    return TextMap("m", tmp_path / "map", clock, loader)


class TestBackground:
    def test_the_old_content_serves_until_the_new_one_is_complete(self, text, tmp_path, clock, loader):
        version = text.version()
        put(tmp_path / "map", "key two\n")
        clock.now_s += 1
        assert [text.lookup("key").value for _ in range(5)] == ["one"] * 5
        assert text.version() == version
        assert len(loader.waiting) == 1
        loader.read()
        assert text.lookup("key").value == "two"
        assert text.version() > version

    def test_a_file_that_changes_while_it_is_read_is_read_again(self, text, tmp_path, clock, loader, monkeypatch):
        put(tmp_path / "map", "key half\n")
        clock.now_s += 1
        text.lookup("key")
        real = text._file._read
        monkeypatch.setattr(text._file, "_read", lambda path: (real(path), put(path, "key whole and more\n"))[0], raising=False)
        loader.read()
        assert text.lookup("key").value == "one"
        monkeypatch.undo()
        clock.now_s += 1
        text.lookup("key")
        loader.read()
        assert text.lookup("key").value == "whole and more"

    def test_a_wrong_file_is_named_in_the_log_and_read_once(self, text, tmp_path, clock, loader):
        (tmp_path / "new").write_bytes(b"key \xff\n")
        (tmp_path / "new").replace(tmp_path / "map")
        for _ in range(5):
            clock.now_s += 1
            assert text.lookup("key").value == "one"
            loader.read()
        assert len(loader.sink.lines) == 1
        assert f"{tmp_path}/map:1: byte 0xff is no UTF-8" in loader.sink.lines[0]
        put(tmp_path / "map", "key two\n")
        clock.now_s += 1
        text.lookup("key")
        loader.read()
        assert text.lookup("key").value == "two"

    def test_a_reader_that_fails_unexpectedly_leaves_the_old_content(self, tmp_path, clock, loader, monkeypatch):
        put(tmp_path / "map", "192.0.2.1 one\n")
        made = CidrMap("m", tmp_path / "map", clock, loader)
        put(tmp_path / "map", "192.0.2.1 two\n")
        monkeypatch.setattr(made._file, "_read", lambda path: 1 / 0, raising=False)
        clock.now_s += 1
        assert made.lookup("192.0.2.1").value == "one"
        loader.read()
        assert made.lookup("192.0.2.1").value == "one"
        assert "ZeroDivisionError" in loader.sink.lines[0]

    def test_a_loader_that_is_full_is_asked_again(self, text, tmp_path, clock, loader):
        put(tmp_path / "map", "key two\n")
        loader.full = True
        clock.now_s += 1
        assert text.lookup("key").value == "one"
        loader.full = False
        assert text.lookup("key").value == "one"
        loader.read()
        assert text.lookup("key").value == "two"


@pytest.mark.parametrize("kind", ["text", "hash"])
def test_a_shortage_of_descriptors_leaves_the_old_content_and_passes(kind, tmp_path, clock, loader):
    path = tmp_path / "map"

    def write(value):
        if kind == "text":
            put(path, f"key {value}\n")
        else:
            MapFile.build(path, [(b"key", value.encode())])

    write("one")
    made = (TextMap if kind == "text" else BdbMap)("m", path, clock, loader)
    write("two")
    clock.now_s += 1
    assert made.lookup("key").value == "one"
    with no_descriptors():
        loader.read()
        assert made.lookup("key").value == "one"
        made.lookup("key")
        assert loader.waiting == []  # not tried again and again
    assert "Too many open files" in loader.sink.lines[0]
    clock.now_s += 1
    made.lookup("key")
    loader.read()
    assert made.lookup("key").value == "two"
    made.close()


def damaged(data, rng):
    """Gives a damaged copy of a file: cut, with a page of zeros, with changed bits, with two pages swapped."""
    copy = bytearray(data)
    pages = len(data) // PAGE
    how = rng.choice(["cut", "zero", "bits", "swap"])
    if how == "cut":
        del copy[rng.randrange(len(data)) :]
    elif how == "zero":
        at = rng.randrange(pages) * PAGE
        copy[at : at + PAGE] = bytes(PAGE)
    elif how == "bits":
        for _ in range(rng.choice([1, 5, 50])):
            copy[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    else:
        a, b = (one * PAGE for one in rng.sample(range(1, pages), 2))
        copy[a : a + PAGE], copy[b : b + PAGE] = copy[b : b + PAGE], copy[a : a + PAGE]
    return bytes(copy)


@pytest.mark.parametrize("kind", ["hash", "btree"])
@pytest.mark.parametrize("in_place", [False, True])
def test_a_damaged_map_file_gives_temporary_errors_and_never_a_wrong_answer(kind, in_place, tmp_path, clock, loader):
    rng, path = random.Random(7), tmp_path / "map"
    entries = {f"key{number}": f"value{number} " * 3 for number in range(1500)}
    MapFile.build(path, [(key.encode(), value.encode()) for key, value in entries.items()], kind)
    good = path.read_bytes()
    made = BdbMap("m", path, clock, loader)
    seen = Counter()
    for number in range(20):
        if in_place:
            path.write_bytes(damaged(good, rng))
        else:
            (tmp_path / "new").write_bytes(damaged(good, rng))
            (tmp_path / "new").replace(path)
        os.utime(path, (number, number))
        clock.now_s += 1
        made.version()
        loader.read()
        for key, value in entries.items():
            result = made.lookup(key)
            seen[result.status] += 1
            assert result.status is MapStatus.TEMP or result.value == value
    assert seen[MapStatus.TEMP] > 10 * len(entries)
    assert str(path) in made.lookup("key1").value or made.lookup("key1").value == entries["key1"]
    MapFile.build(path, [(b"key1", b"mended")], kind)
    clock.now_s += 1
    made.version()
    loader.read()
    assert made.lookup("key1").value == "mended"
    made.close()


@pytest.mark.parametrize("kind", ["hash", "btree"])
def test_a_map_file_with_a_page_of_zeros_is_refused_at_the_start(kind, tmp_path):
    path = tmp_path / "map"
    MapFile.build(path, [(b"k%d" % number, b"v" * 50) for number in range(3000)], kind)
    whole = path.read_bytes()
    refused = []
    for page in range(1, len(whole) // PAGE):
        if any(whole[page * PAGE : (page + 1) * PAGE]):
            path.write_bytes(whole[: page * PAGE] + bytes(PAGE) + whole[(page + 1) * PAGE :])
            with contextlib.suppress(PermError):
                opened = BdbMap("m", path)
                assert all(opened.lookup(f"k{number}").found for number in range(3000))  # a page without entries
                opened.close()
                continue
            refused.append(page)
    assert len(refused) > 10
    path.write_bytes(bytes(len(whole)))
    with pytest.raises(PermError, match=str(path)):
        BdbMap("m", path)


def test_tools_do_not_see_the_number_of_entries(tmp_path):
    MapFile.build(tmp_path / "map", [(b"k", b"v")])
    opened = MapFile.open_checked(tmp_path / "map")
    assert list(opened.items()) == [(b"k", b"v")]
    opened.close()


def test_an_entry_of_many_lines_is_read_in_one_pass():
    text = "list:\n" + "".join(f"  m{number}@far.org,\n" for number in range(60_000))
    ((number, key, value),) = parse_entries(text)
    assert (number, key) == (1, "list")
    assert value.count(",") == 60_000


def test_a_fifo_is_no_map(tmp_path):
    os.mkfifo(tmp_path / "map")
    with pytest.raises(PermError, match="no file"):
        TextMap("m", tmp_path / "map")


class TestExpressions:
    def made(self, tmp_path, text):
        (tmp_path / "map").write_text(text)
        return RegexMap("m", tmp_path / "map")

    @pytest.mark.parametrize(
        "expression",
        [r"^([a-z0-9]+[._-]?)+@lists\.example$", r"(a+)+$", r"(a|aa)+$", r"(.*a){20}$", r"^(\w+\s?)*$", r"(x+x+)+y"],
    )
    def test_no_expression_needs_time_beyond_the_length_of_the_key(self, tmp_path, expression):
        made = self.made(tmp_path, f"/{expression}/ value\n")
        assert made.lookup("a" * 1000 + "!@x.example").status in (MapStatus.NOTFOUND, MapStatus.OK)

    @pytest.mark.parametrize("expression", [r"(a)\1", "a(?=b)", "a(?!b)", "(?<=a)b", "(?<!a)b", "(?P<x>a)(?P=x)"])
    def test_what_needs_backtracking_is_refused_with_its_place(self, tmp_path, expression):
        with pytest.raises(PermError, match=r"map:2: wrong expression: .*without look-around and references back"):
            self.made(tmp_path, f"# comment\n/{expression}/ value\n")

    @pytest.mark.parametrize("expression", ["(a{1,100}){1,100}", "(a{1000}b{1000})", "((a?){30}){30}a{30}b"])
    def test_an_expression_that_is_too_large_is_refused(self, tmp_path, expression):
        with pytest.raises(PermError, match=r"map:1: "):
            self.made(tmp_path, f"/{expression}/ value\n")

    def test_a_flag_is_refused(self, tmp_path):
        with pytest.raises(PermError, match=r"map:1: write /expression/ value"):
            self.made(tmp_path, "/a/x value\n")

    def test_too_many_expressions_are_refused(self, tmp_path, monkeypatch):
        monkeypatch.setattr(regexmap, "REGEX_RULES_MAX", 3)
        assert REGEX_RULES_MAX > 3
        with pytest.raises(PermError, match=r"map:4: more than 3 expressions"):
            self.made(tmp_path, "".join(f"/a{number}/ v\n" for number in range(4)))

    def test_bytes_that_are_no_utf_8_match_a_question_mark(self, tmp_path):
        assert self.made(tmp_path, "/^caf.$/ yes\n").lookup("caf\udce9").value == "yes"
        assert self.made(tmp_path, "/^é$/ yes\n").lookup("É").value == "yes"
