"""Back end of AUTH that is a map of SMAR: SMAR says what is stored of a user, passwords are checked here, by native threads.

A user that is not there takes as much time as one that is: what it is compared with is asked before, and kept for UNKNOWN_S.

Owner: the process (all state threads of it).
Ref: docs/auth.md; meta1g/smar/passwordmap.py.
"""

import hashlib
import os
import secrets
from collections.abc import Callable
from functools import partial
from typing import Final

from meta1g.base.clock import Clock
from meta1g.base.errors import Module, TempError
from meta1g.rcb.smtps_smar import UserEntry
from meta1g.sasl.base import Found
from meta1g.sasl.scram import SALT_BYTES
from meta1g.sasl.stored import EXTERNAL, Stored, check_stored, make_stored
from meta1g.sasl.users import Users, in_realm, name_problem, read_entry
from meta1g.smtps.backends import BackEnd
from meta1g.smtps.limits import AUTH_PLACES
from meta1g.smtps.mechanisms import PASSWORDS
from meta1g.smtps.turnstile import Turnstile
from meta1g.st import offload

#: Key of the entry that stands for users without one; no user has such a name.
UNKNOWN: Final = "*unknown"
#: How long it is kept.
UNKNOWN_S: Final = 60.0
_KIND: Final = "SCRAM-SHA-256"


class MapBackEnd(BackEnd):
    """A map of SMAR.

    Args:
        ask: gives what SMAR says of a user; switches, and raises TempError if it says nothing.
        realm: put behind users without one, empty for nothing.
        timeout_s: how long a check may wait for its turn.
        clock: the clock.

    Owner: the process.
    """

    def __init__(self, ask: Callable[[str], UserEntry], realm: str, timeout_s: float, clock: Clock) -> None:
        self._ask = ask
        self._realm = realm
        self._clock = clock
        self._turns = Turnstile(max(1, (os.cpu_count() or 1) // 2), AUTH_PLACES, AUTH_PLACES, timeout_s, clock)
        self._nobody = Users({}, b"")  # who is not there
        self._asked_s = -UNKNOWN_S

    def can_do(self) -> tuple[str, ...]:
        """Gives PLAIN and LOGIN: whether all users have verifiers of SCRAM is not known."""
        return PASSWORDS

    def known_user(self, name: str) -> str:
        """Gives a name with the realm."""
        return in_realm(name, self._realm)

    def password_ok(self, user: str, password: str, client: str) -> bool:
        """Compares with what is stored, or as if it were.  Switches: yes."""
        stored = next((one for one in self._entry(user) if one.checks_passwords), None)
        other = stored or self._nobody.nobody
        assert other is not None
        right = self._turns.run(client, partial(offload, check_stored, other, password))
        return right and stored is not None

    def verifier(self, user: str, kind: str) -> Found:
        """Gives the verifier of a user, or one that nobody has.  Switches: yes."""
        found = next((one.verifier for one in self._entry(user) if one.kind == kind), None)
        return Found(found or self._nobody.unknown(user, kind), found is not None)

    def has_certificate(self, user: str) -> bool:
        """Tells whether the entry of a user says so.  Switches: yes."""
        return any(one.kind == EXTERNAL for one in self._entry(user))

    def _entry(self, user: str) -> tuple[Stored, ...]:
        """Gives what is stored of a user; nothing if there is no such user.  Switches: yes.

        Raises:
            TempError: SMAR does not say it now.
        """
        if self._clock.monotonic() - self._asked_s >= UNKNOWN_S:
            stored = self._stored(UNKNOWN)
            if not any(one.checks_passwords for one in stored):
                stored = self._nobody.of(UNKNOWN) or (_of_nobody(),)
            self._nobody = Users({UNKNOWN: stored}, hashlib.sha256(" ".join(map(str, stored)).encode()).digest())
            self._asked_s = self._clock.monotonic()
        return () if name_problem(user) else self._stored(user)

    def _stored(self, user: str) -> tuple[Stored, ...]:
        """Switches: yes."""
        entry = self._ask(user)
        if entry.reply.is_perm:
            return ()
        try:
            if entry.reply.is_ok:
                return read_entry(entry.stored)
        except ValueError as error:
            raise TempError(Module.SMTPS, f"SMAR: {error}") from error
        raise TempError(Module.SMTPS, f"SMAR: {entry.reply.one_line}")


def _of_nobody() -> Stored:
    """Gives what is stored of a password that nobody knows."""
    return make_stored(_KIND, secrets.token_hex(), secrets.token_bytes(SALT_BYTES))
