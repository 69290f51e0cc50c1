"""What all maps in files have in common, and what each of them makes of its file."""

import threading
from pathlib import Path

import pytest

from meta1g.base.errors import PermError
from meta1g.db.mapfile import MapFile
from meta1g.maps.base import MapResult, MapStatus
from meta1g.maps.bdbmap import BdbMap
from meta1g.maps.cidrmap import CidrMap
from meta1g.maps.regexmap import RegexMap
from meta1g.maps.textmap import TextMap


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


def put(path, text):
    """Replaces a file as a whole, as an editor does."""
    path.with_suffix(".new").write_text(text)
    path.with_suffix(".new").replace(path)


def write_text(path, value):
    put(path, f"192.0.2.1 {value}\n")


def write_regex(path, value):
    put(path, f"/^192\\.0\\.2\\.1$/ {value}\n")


def write_hash(path, value):
    MapFile.build(path, [(b"192.0.2.1", value.encode())])


def write_btree(path, value):
    MapFile.build(path, [(b"192.0.2.1", value.encode())], "btree")


KINDS = [(TextMap, write_text), (CidrMap, write_text), (RegexMap, write_regex), (BdbMap, write_hash), (BdbMap, write_btree)]


@pytest.fixture(params=KINDS, ids=["text", "cidr", "regex", "hash", "btree"])
def kind(request):
    return request.param


@pytest.fixture
def opened(kind, tmp_path, clock):
    maker, write = kind
    write(tmp_path / "map", "one")
    made = maker("m", tmp_path / "map", clock)
    yield made
    made.close()


def test_a_key_is_found_or_not(opened):
    assert opened.lookup("192.0.2.1") == MapResult(MapStatus.OK, "one")
    assert opened.lookup("192.0.2.2").status is MapStatus.NOTFOUND
    assert not opened.blocking


def test_a_changed_file_is_noticed_within_a_second(opened, kind, tmp_path, clock):
    before = opened.version()
    kind[1](tmp_path / "map", "two")
    assert opened.lookup("192.0.2.1").value == "one"
    clock.now_s += 1
    assert opened.version() > before
    assert opened.lookup("192.0.2.1").value == "two"


def test_a_file_that_is_missing_for_a_moment_leaves_the_old_content(opened, kind, tmp_path, clock):
    (tmp_path / "map").unlink()
    clock.now_s += 1
    assert opened.lookup("192.0.2.1").value == "one"
    kind[1](tmp_path / "map", "two")
    clock.now_s += 1
    assert opened.lookup("192.0.2.1").value == "two"


def test_a_missing_file_is_an_error_that_names_it(kind, tmp_path):
    with pytest.raises(PermError, match=str(tmp_path / "none")):
        kind[0]("m", tmp_path / "none")


def test_many_threads_may_ask_at_the_same_time(opened, kind, tmp_path, clock):
    results, barrier = set(), threading.Barrier(8)

    def ask():
        barrier.wait(10)
        for _ in range(300):
            clock.now_s += 0.01
            results.add(opened.lookup("192.0.2.1").value)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for number in range(20):
        kind[1](tmp_path / "map", f"v{number}")
    for thread in threads:
        thread.join(30)
    assert results <= {"one", *(f"v{number}" for number in range(20))}
    assert results


class TestBdb:
    def test_a_file_is_in_use_until_the_next_one_was_read_however_many_ask_and_nobody_hangs_at_the_end(self, tmp_path, clock):
        write_hash(tmp_path / "map", "one")
        made = BdbMap("m", tmp_path / "map", clock)
        handles = made._file.content
        held = [handles._idle.pop()]  # as if a thread were at work with it
        write_hash(tmp_path / "map", "two")
        assert made.lookup("192.0.2.1").value == "one"
        (tmp_path / "map").unlink()
        held.append(handles._idle.pop())
        assert made.lookup("192.0.2.1").value == "one"
        for handle in held:
            handle.close()
        made.close()
        assert made.lookup("192.0.2.1").status is MapStatus.TEMP

    def test_a_file_that_is_no_map_after_a_change_is_a_temporary_error(self, tmp_path, clock):
        write_hash(tmp_path / "map", "one")
        made = BdbMap("m", tmp_path / "map", clock)
        (tmp_path / "new").write_bytes(b"garbage" * 1000)
        (tmp_path / "new").replace(tmp_path / "map")
        clock.now_s += 1
        assert made.lookup("192.0.2.1").status is MapStatus.TEMP
        write_hash(tmp_path / "map", "two")
        clock.now_s += 1
        assert made.lookup("192.0.2.1").value == "two"
        made.close()

    def test_handles_are_bounded_and_closed(self, tmp_path, clock):
        write_hash(tmp_path / "map", "one")
        made = BdbMap("m", tmp_path / "map", clock)
        made.lookup("x")
        before = open_files()
        for number in range(30):
            write_hash(tmp_path / "map", str(number))
            clock.now_s += 1
            assert made.lookup("192.0.2.1").value == str(number)
        assert open_files() <= before + 1
        made.close()
        assert open_files() < before + 1

    def test_bytes_that_are_no_utf_8_survive(self, tmp_path):
        MapFile.build(tmp_path / "map", [(b"k\xff", b"v\xfe")])
        made = BdbMap("m", tmp_path / "map")
        assert made.lookup("k\udcff").value == "v\udcfe"
        made.close()


class TestText:
    def made(self, tmp_path, text):
        (tmp_path / "map").write_text(text)
        return TextMap("m", tmp_path / "map")

    def test_comments_blank_lines_and_continuations(self, tmp_path):
        made = self.made(
            tmp_path, "# comment\n\nlist:\n  a@example.org\n  b@example.org # not a comment\nkey  value with  blanks\n"
        )
        assert made.lookup("list").value == "a@example.org b@example.org # not a comment"
        assert made.lookup("key").value == "value with  blanks"

    def test_keys_are_folded_to_lower_case_and_values_are_not(self, tmp_path):
        assert self.made(tmp_path, "KEY Value\n").lookup("key").value == "Value"

    def test_a_key_alone_has_an_empty_value(self, tmp_path):
        assert self.made(tmp_path, "key\n").lookup("key") == MapResult(MapStatus.OK, "")

    def test_a_tag_keeps_its_colon(self, tmp_path):
        assert self.made(tmp_path, "to:list@ reject\n").lookup("to:list@").value == "reject"

    @pytest.mark.parametrize("begin", [b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"])
    def test_a_file_with_a_byte_order_mark_is_refused(self, tmp_path, begin):
        (tmp_path / "map").write_bytes(begin + b"key value\n")
        with pytest.raises(PermError, match=r"map:1: .*; save it as UTF-8"):
            TextMap("m", tmp_path / "map")

    def test_a_file_that_is_no_text_is_refused(self, tmp_path):
        (tmp_path / "map").write_bytes(b"key \xff\n")
        with pytest.raises(PermError, match="map:1: byte 0xff is no UTF-8"):
            TextMap("m", tmp_path / "map")

    def test_a_file_that_became_unreadable_leaves_the_old_content(self, tmp_path, clock):
        (tmp_path / "map").write_text("key value\n")
        made = TextMap("m", tmp_path / "map", clock)
        (tmp_path / "map").write_bytes(b"key \xff\n")
        clock.now_s += 1
        assert made.lookup("key").value == "value"


class TestCidr:
    def made(self, tmp_path, text):
        (tmp_path / "map").write_text(text)
        return CidrMap("m", tmp_path / "map")

    def test_the_most_specific_network_wins_in_any_order(self, tmp_path):
        made = self.made(
            tmp_path, "0.0.0.0/0 all\n192.0.2.0/24 net\n192.0.2.128/25 half\n192.0.2.200 host\n2001:db8::/32 six\n"
        )
        assert [made.lookup(key).value for key in ("192.0.2.200", "192.0.2.201", "192.0.2.1", "203.0.113.1")] == [
            "host",
            "half",
            "net",
            "all",
        ]
        assert made.lookup("2001:db8::1").value == "six"
        assert made.lookup("2001:db9::1").status is MapStatus.NOTFOUND

    def test_an_ipv4_address_inside_ipv6_is_taken_as_ipv4(self, tmp_path):
        assert self.made(tmp_path, "192.0.2.0/24 net\n").lookup("::ffff:192.0.2.1").value == "net"

    def test_a_tag_before_the_network_is_part_of_the_key(self, tmp_path):
        made = self.made(
            tmp_path, "CltAddr:192.0.2.0/25 reject\ncltaddr:2001:db8::/32 relay\ndnsbl0:127.0.0.0/30 ok\n192.0.2.0/24 bare\n"
        )
        assert [made.lookup(f"cltaddr:{key}").value for key in ("192.0.2.9", "2001:db8::1")] == ["reject", "relay"]
        assert [made.lookup(key).value for key in ("dnsbl0:127.0.0.2", "192.0.2.9")] == ["ok", "bare"]
        for key in ("cltaddr:192.0.2.129", "dnsbl0:192.0.2.9", "cltaddr:192.0.2", "from:192.0.2.9", "cltaddr:"):
            assert made.lookup(key).status is MapStatus.NOTFOUND

    @pytest.mark.parametrize("key", ["", "unix:/x", "example.org", "192.0.2"])
    def test_what_is_no_address_is_not_found(self, tmp_path, key):
        assert self.made(tmp_path, "0.0.0.0/0 all\n").lookup(key).status is MapStatus.NOTFOUND

    @pytest.mark.parametrize("text", ["192.0.2.1/24 net\n", "example.org x\n", "192.0.2.0/33 x\n", "cltaddr:192.0.2.1/24 x\n"])
    def test_a_wrong_network_is_an_error_with_its_line(self, tmp_path, text):
        with pytest.raises(PermError, match=r"map:2: "):
            self.made(tmp_path, f"# comment\n{text}")


class TestRegex:
    def made(self, tmp_path, text):
        (tmp_path / "map").write_text(text)
        return RegexMap("m", tmp_path / "map")

    def test_the_first_match_gives_the_value_with_its_groups(self, tmp_path):
        made = self.made(tmp_path, "/^(.*)-owner@(.+)$/ ${1}@lists.${2}\n/@/ any ${0}\n")
        assert made.lookup("x-owner@example.org").value == "x@lists.example.org"
        assert made.lookup("y@example.org").value == "any @"
        assert made.lookup("y").status is MapStatus.NOTFOUND

    def test_case_does_not_matter_and_a_slash_is_quoted(self, tmp_path):
        assert self.made(tmp_path, "/^a\\/B$/ yes\n").lookup("A/b").value == "yes"

    @pytest.mark.parametrize("text", ["key value\n", "/(/ value\n", "/a b/ value\n"])
    def test_a_wrong_line_is_an_error_with_its_number(self, tmp_path, text):
        with pytest.raises(PermError, match=r"map:1: "):
            self.made(tmp_path, text)

    def test_a_key_that_is_far_too_long_is_refused(self, tmp_path):
        assert self.made(tmp_path, "/a/ v\n").lookup("a" * 2000).status is MapStatus.PERM
