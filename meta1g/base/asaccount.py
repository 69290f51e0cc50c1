"""A question that is answered as another account would: in a child that has become it.

Ref: setresuid(2), initgroups(3); our choice, since only the kernel knows what an account may do.
"""

import os
import pwd
from collections.abc import Callable, Iterable


def ask(become: Callable[[], object], question: Callable[[], Iterable[str]]) -> list[str] | None:
    """Asks a question in a child.  Blocks: yes (as long as it takes).

    Args:
        become: called in the child first; takes the identity.
        question: called in the child; gives lines without line ends.

    Returns:
        The lines; None if the child could not become the account, or its answer is not whole.
    """
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
    try:
        pid = os.fork()
    except OSError:
        os.close(read_fd)
        os.close(write_fd)
        raise
    if pid == 0:
        _answer(become, question, write_fd)
    os.close(write_fd)
    with open(read_fd, "rb") as file:
        answer = file.read()
    os.waitpid(pid, 0)
    lines = answer.decode(errors="replace").splitlines()
    return lines[:-1] if lines[-1:] == ["."] else None


def _answer(become: Callable[[], object], question: Callable[[], Iterable[str]], write_fd: int) -> None:
    """Runs in the child, which never leaves this function; a closing dot says that the answer is whole."""
    try:
        become()
        with open(write_fd, "wb") as file:
            file.write("\n".join([*question(), "."]).encode(errors="replace"))
    finally:
        os._exit(0)


def become_user(entry: pwd.struct_passwd, gid: int) -> None:
    """Takes the ids of an account, with all its groups.

    Args:
        entry: the account.
        gid: its group.
    """
    os.setgroups(os.getgrouplist(entry.pw_name, gid))
    os.setresgid(gid, gid, gid)
    os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
