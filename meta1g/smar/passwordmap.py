"""The map password_map: what is stored of the passwords of users, for smtps, which checks them.

    ann@example.org      {SCRAM-SHA-256}100000,...
    joe                  {ARGON2ID}$argon2id$... {SCRAM-SHA-1}4096,...
    *unknown             what users that are not there are compared with

A value is what stands in a password file behind the first colon.

Invariant: a value stands in no line of the log and in no error.

Ref: docs/auth.md; Dovecot, passwd-file (form of a value).
"""

from typing import Final

from meta1g.base.log import Log
from meta1g.base.reply import Reply
from meta1g.maps.base import Map, MapStatus
from meta1g.maps.wrong import WrongEntries
from meta1g.rcb.smtps_smar import UserEntry
from meta1g.sasl.users import name_problem, read_entry

#: Key of the entry that stands for users without one.
UNKNOWN: Final = "*unknown"
_HIDDEN: Final = "..."
_TEMP: Final = UserEntry(reply=Reply(451, "4.3.0", "Map of passwords temporarily not available"))


def user_problem(key: str) -> str:
    """Says why a key is no name of a user; empty if it is one."""
    return "" if key == UNKNOWN else name_problem(key)


def entry_problem(value: str) -> str:
    """Says why nobody can log in by an entry; empty if it is right."""
    try:
        read_entry(value)
    except ValueError as error:
        return str(error)
    return ""


class PasswordMap:
    """The map.

    Args:
        table: the map.
        wrong: is told of wrong entries.

    Locking: none needed.
    """

    def __init__(self, table: Map, wrong: WrongEntries | None = None) -> None:
        self._table = table
        self._wrong = WrongEntries(Log("smar")) if wrong is None else wrong
        self.blocking = table.blocking

    def find(self, user: str) -> UserEntry:
        """Gives what is stored of a user: 250, or 550 if there is no such user, or 451.  Blocks: if the map does.

        Args:
            user: its name in lower case; no name of a user is UNKNOWN.
        """
        result = self._table.lookup(user)
        if result.status in (MapStatus.NOTFOUND, MapStatus.NOMORE):
            return UserEntry(reply=Reply(550, "5.1.1", "No such user"))
        if result.status is not MapStatus.OK:
            return _TEMP
        if problem := entry_problem(result.value):
            self._wrong.tell(self._table.name, user, _HIDDEN, problem, "nobody logs in by it")
            return _TEMP
        return UserEntry(reply=Reply(250), stored=result.value.partition(":")[0])
