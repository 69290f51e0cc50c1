"""The password file of SMTPS without a process: what a shortage costs while it is read anew."""

import os

from contrib.lib.gateway import wait_until
from meta1g import st
from meta1g.base.log import Log
from meta1g.sasl.stored import make_stored
from meta1g.smtps.passwords import LOOK_S, PasswordFile
from tests.fakes.lines import Lines
from tests.fakes.shortage import no_descriptors
from tests.unit.smtps.test_certificates import Clock


def write_users(path, *names):
    stored = make_stored("SCRAM-SHA-256", "pencil", b"salt" * 4, 4096)
    path.write_text("".join(f"{line}\n" for line in (":a-secret-of-the-file", *(f"{name}:{stored}" for name in names))))


def test_a_shortage_costs_a_changed_file_a_moment_only(tmp_path):
    st.st_init()
    st.offload(int)  # its pipe and its thread are there
    path, lines, clock = tmp_path / "users", Lines(), Clock()
    write_users(path, "ann")
    file = PasswordFile(path, Log("smtps", sink=lines), clock)
    write_users(path, "ann", "bob")
    clock.now_s += 2 * LOOK_S
    with no_descriptors():
        file.reread()
    assert file.users.names() == ["ann"]
    assert "Too many open files; the old one is used on" in "\n".join(lines.lines)
    clock.now_s += 2 * LOOK_S
    file.reread()
    assert file.users.names() == ["ann", "bob"]


def test_a_fifo_in_the_place_of_a_changed_file_holds_nobody_up(tmp_path):
    st.st_init()
    path, lines, clock = tmp_path / "users", Lines(), Clock()
    write_users(path, "ann")
    file = PasswordFile(path, Log("smtps", sink=lines), clock)
    path.unlink()
    os.mkfifo(path)
    clock.now_s += 2 * LOOK_S
    reading = st.st_thread_create(lambda _arg: file.reread(), joinable=True)
    st.st_usleep(0)
    wait_until(lambda: st.st_usleep(10_000) or reading.greenlet is None, 10, "the end of reading")
    assert "is no plain file; the old one is used on" in "\n".join(lines.lines)
    st.st_thread_join(reading)
    assert file.users.names() == ["ann"]
