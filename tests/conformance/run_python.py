"""Runs scenarios against meta1g.st and prints what each call gave; st_scenarios.c is the same for libst.

    python -m tests.conformance.run_python FILE

Each scenario runs in a process of its own; `== name` goes before each trace.  The language is told in scenarios.txt.
"""

import contextlib
import errno
import math
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from meta1g import st
from meta1g.st.limits import TURN_CALLS
from meta1g.st.sched import set_turn

BIG = 4_000_000
EVENTS = {"in": st.POLLIN, "out": st.POLLOUT, "inout": st.POLLIN | st.POLLOUT, "none": 0}


class Script:
    """A thread of a scenario and its calls."""

    def __init__(self, line: str) -> None:
        self.name, _, rest = line.partition(":")
        self.calls = [words for part in rest.split(";") if (words := part.split())]
        self.thread: Any = None


def us(word: str) -> int:
    return st.ST_UTIME_NO_TIMEOUT if word == "-" else int(word) * 1000


def errno_name(error: OSError) -> str:
    return "EDEADLK" if error.errno == errno.EDEADLK else errno.errorcode[error.errno]


def quoted(data: bytes) -> str:
    return f"'{data.decode()}'"


def bound(kind: int) -> st.NetFd:
    sock = socket.socket(socket.AF_INET, kind)
    sock.bind(("127.0.0.1", 0))
    if kind == socket.SOCK_STREAM:
        sock.listen(5)
    return st.st_netfd_open_socket(sock)


def value(word: str) -> str | None:
    return None if word == "none" else word


def destructor(name: str) -> Callable[[Any], None] | None:
    return None if name == "none" else lambda old: print("destroy", name, old)


class Scenario:
    """Interprets the calls of all threads; a method `c_NAME` is the call NAME and gives its result."""

    def __init__(self, lines: list[str]) -> None:
        self.scripts = {script.name: script for script in map(Script, lines)}
        self.conds = [st.st_cond_new() for _ in range(4)]
        self.mutexes = [st.st_mutex_new() for _ in range(4)]
        self.fds: dict[str, st.NetFd] = {}

    def run(self, script: Script) -> str | None:
        for name, *words in script.calls:
            if name == "return":
                return words[0]
            if name == "exit":
                st.st_thread_exit(words[0])
            try:
                result = getattr(self, f"c_{name}")(*words)
            except OSError as error:
                result = errno_name(error)
            print(f"{script.name}:", name, *words, "=", "none" if result is None else result)
        return None

    # -- threads

    def c_print(self, word):
        return word

    def c_usleep(self, ms):
        return st.st_usleep(us(ms)) or 0

    def c_sleep(self, secs):
        return st.st_sleep(int(secs)) or 0

    def c_interrupt(self, name):
        st.st_thread_interrupt(self.scripts[name].thread)
        return "done"

    def c_create(self, name, loner=None):
        script = self.scripts[name]
        script.thread = st.st_thread_create(self.run, script, loner is None)
        return "done"

    def c_join(self, name):
        return st.st_thread_join(self.scripts[name].thread)

    def c_self(self):
        return next(name for name, script in self.scripts.items() if script.thread is st.st_thread_self())

    def c_busy(self, ms):
        end = st.st_utime() + us(ms)
        while st.st_utime() < end:
            pass
        return "done"

    # -- condition variables, mutexes, keys

    def c_wait(self, cond):
        return st.st_cond_wait(self.conds[int(cond[1])])

    def c_timedwait(self, cond, ms):
        return st.st_cond_timedwait(self.conds[int(cond[1])], us(ms))

    def c_signal(self, cond):
        return st.st_cond_signal(self.conds[int(cond[1])])

    def c_broadcast(self, cond):
        return st.st_cond_broadcast(self.conds[int(cond[1])])

    def c_cond_destroy(self, cond):
        return st.st_cond_destroy(self.conds[int(cond[1])])

    def c_lock(self, mutex):
        return st.st_mutex_lock(self.mutexes[int(mutex[1])])

    def c_unlock(self, mutex):
        return st.st_mutex_unlock(self.mutexes[int(mutex[1])])

    def c_trylock(self, mutex):
        return st.st_mutex_trylock(self.mutexes[int(mutex[1])])

    def c_mutex_destroy(self, mutex):
        return st.st_mutex_destroy(self.mutexes[int(mutex[1])])

    def c_keylimit(self):
        return st.st_key_getlimit()

    def c_key(self, name):
        return st.st_key_create(destructor(name))

    def c_keys(self, count):
        return len([st.st_key_create() for _ in range(int(count))])

    def c_setspecific(self, key, word):
        return st.st_thread_setspecific(int(key), value(word))

    def c_getspecific(self, key):
        return st.st_thread_getspecific(int(key))

    # -- making descriptors

    def c_tcp(self, fd):
        self.fds[fd] = bound(socket.SOCK_STREAM)
        return "done"

    def c_udp(self, fd):
        self.fds[fd] = bound(socket.SOCK_DGRAM)
        return "done"

    def c_socket(self, fd):
        self.fds[fd] = st.st_netfd_open_socket(socket.socket())
        return "done"

    def c_pair(self, one, two):
        self.fds[one], self.fds[two] = map(st.st_netfd_open_socket, socket.socketpair())
        return "done"

    def c_pipe(self, one, two):
        self.fds[one], self.fds[two] = map(st.st_netfd_open, os.pipe())
        return "done"

    def c_fifo(self, one, two):
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "fifo"
            os.mkfifo(path)
            self.fds[one] = st.st_open(path, os.O_RDONLY)
            self.fds[two] = st.st_open(path, os.O_WRONLY)
        return 0

    def c_open_missing(self):
        st.st_open("/nonexistent/file", os.O_RDONLY)

    def c_close(self, fd):
        return st.st_netfd_close(self.fds[fd])

    def c_osclose(self, fd):
        os.close(st.st_netfd_fileno(self.fds[fd]))
        return 0

    def c_free_and_write(self, fd, word):
        number = st.st_netfd_fileno(self.fds[fd])
        st.st_netfd_free(self.fds[fd])
        return os.write(number, word.encode())

    def c_netfd_getspecific(self, fd):
        return st.st_netfd_getspecific(self.fds[fd])

    def c_netfd_setspecific(self, fd, word, name):
        st.st_netfd_setspecific(self.fds[fd], value(word), destructor(name))
        return "done"

    # -- connections

    def c_accept(self, made, fd, ms):
        self.fds[made], _ = st.st_accept(self.fds[fd], us(ms))
        return 0

    def _address(self, fd):
        sock = self.fds[fd].sock
        return sock.getsockname() if sock else ("127.0.0.1", 1)

    def c_connect(self, fd, to, ms):
        return st.st_connect(self.fds[fd], self._address(to), us(ms))

    def c_connect_closed(self, fd, to, ms):
        address = self._address(to)
        st.st_netfd_close(self.fds[to])
        return st.st_connect(self.fds[fd], address, us(ms))

    def c_connect_unix(self, fd, path, ms):
        self.fds[fd] = st.st_netfd_open_socket(socket.socket(socket.AF_UNIX))
        return st.st_connect(self.fds[fd], path, us(ms))

    # -- reading

    def c_read(self, fd, count, ms):
        return quoted(st.st_read(self.fds[fd], int(count), us(ms)))

    def c_read_fully(self, fd, count, ms):
        return quoted(st.st_read_fully(self.fds[fd], int(count), us(ms)))

    def c_drain(self, fd, count, ms):
        return len(st.st_read_fully(self.fds[fd], int(count), us(ms)))

    def c_read_resid(self, fd, count, ms):
        try:
            return f"0, {st.st_read_resid(self.fds[fd], bytearray(int(count)), us(ms))} missing"
        except st.StError as error:
            return f"{errno_name(error)}, {error.resid} missing"

    def c_readv(self, fd, sizes, ms):
        buffers = [bytearray(int(size)) for size in sizes.split(",")]
        total = st.st_readv(self.fds[fd], buffers, us(ms))
        shown = ""
        for buffer in buffers:
            shown += quoted(bytes(buffer[: min(total, len(buffer))]))
            total = max(0, total - len(buffer))
        return shown

    def _left(self, call, fd, iov, ms):
        try:
            call(self.fds[fd], iov, us(ms))
            done = "0"
        except st.StError as error:
            done = errno_name(error)
        return " ".join([f"{done}, left", *(str(len(part)) for part in iov)])

    def c_readv_resid(self, fd, sizes, ms):
        return self._left(st.st_readv_resid, fd, [memoryview(bytearray(int(size))) for size in sizes.split(",")], ms)

    # -- writing

    def c_write(self, fd, word, ms):
        return st.st_write(self.fds[fd], word.encode(), us(ms))

    def c_write_big(self, fd, count, ms):
        return st.st_write(self.fds[fd], bytes(int(count)), us(ms))

    def c_write_resid(self, fd, count, ms):
        try:
            left = st.st_write_resid(self.fds[fd], bytes(int(count)), us(ms))
            return f"0, {left or 'nothing'} left"
        except st.StError as error:
            return f"{errno_name(error)}, {'all' if error.resid == int(count) else 'some'} left"

    def c_writev(self, fd, words, ms):
        return st.st_writev(self.fds[fd], words.encode().split(b","), us(ms))

    def c_writev_resid(self, fd, words, ms):
        return self._left(st.st_writev_resid, fd, [memoryview(word) for word in words.encode().split(b",")], ms)

    def c_fill(self, fd):
        for size in (4096, 1):
            with contextlib.suppress(BlockingIOError):
                while True:
                    self.fds[fd].send(bytes(size))
        return "full"

    # -- datagrams and messages

    def c_sendto(self, fd, to, word, ms):
        return st.st_sendto(self.fds[fd], word.encode(), self._address(to), us(ms))

    def c_recvfrom(self, fd, count, ms):
        data, sender = st.st_recvfrom(self.fds[fd], int(count), us(ms))
        return f"{quoted(data)} from {next(name for name in self.fds if self._address(name) == sender)}"

    def c_sendmsg(self, fd, words, ms):
        return st.st_sendmsg(self.fds[fd], words.encode().split(b","), [], us(ms))

    def c_recvmsg(self, fd, count, ms):
        return quoted(st.st_recvmsg(self.fds[fd], int(count), 0, us(ms))[0])

    # -- polling

    def c_netfd_poll(self, fd, how, ms):
        return st.st_netfd_poll(self.fds[fd], EVENTS[how], us(ms))

    def c_poll(self, spec, ms):
        parts = [] if spec == "none" else [part.split(":") for part in spec.split(",")]
        pds = [st.PollFd(self.fds[fd].fd, EVENTS[how]) for fd, how in parts]
        count = st.st_poll(pds, us(ms))
        return " ".join(str(n) for n in [count, *(pd.revents for pd in pds if count)])

    # -- the library

    def c_switch_cb(self, word):
        on = word == "on"
        st.st_set_switch_in_cb((lambda: print("in", self.c_self())) if on else None)
        old = st.st_set_switch_out_cb((lambda: print("out", self.c_self())) if on else None)
        return "one before" if old else "none before"

    def c_init(self):
        return st.st_init()

    def c_set_eventsys(self):
        return st.st_set_eventsys(st.ST_EVENTSYS_ALT)

    def c_fdlimit(self):
        return "some" if st.st_getfdlimit() > 0 else "none"

    def c_timecache(self, on):
        return st.st_timecache_set(on == "1")

    def c_time(self):
        return "now" if abs(st.st_time() - time.time()) < 60 else "another time"

    def c_utime(self):
        before = st.st_utime()
        return "goes on" if st.st_utime() >= before else "goes back"

    def c_serialize(self):
        return st.st_netfd_serialize_accept(bound(socket.SOCK_STREAM))


def child(lines: list[str]) -> None:
    signal.alarm(10)
    st.st_init()
    set_turn(TURN_CALLS, math.inf)  # a slow machine must not change the order
    scenario = Scenario(lines)
    main = scenario.scripts["main"]
    main.thread = st.st_thread_self()
    scenario.run(main)


def run_one(name: str, lines: list[str]) -> None:
    print("==", name, flush=True)
    pid = os.fork()
    if not pid:
        code = 1
        try:
            child(lines)
            code = 0
        except SystemExit as ending:
            code = int(ending.code or 0)
        finally:
            sys.stdout.flush()
            os._exit(code)
    print("ended", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def read(path: Path) -> dict[str, tuple[list[str], list[str]]]:
    """Gives the scenarios: their scripts, and Python's own trace where it has to differ."""
    found: dict[str, tuple[list[str], list[str]]] = {}
    for line in path.read_text().splitlines():
        if line.startswith("== "):
            scripts, own = found[line[3:]] = ([], [])
        elif line.startswith("python> "):
            own.append(line[8:])
        elif line and not line.startswith("#"):
            scripts.append(line)
    return found


if __name__ == "__main__":
    for name, (lines, _) in read(Path(sys.argv[1])).items():
        run_one(name, lines)
