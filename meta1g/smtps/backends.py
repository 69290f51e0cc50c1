"""Who knows whether a password is right: what all back ends have in common, and the password file.

    BackEnd.password_ok(user, password)     all of them
    BackEnd.verifier(user, mechanism)       the password file
    BackEnd.relay(mechanism)                Dovecot: it speaks with the client itself (authdaemons.py)

Invariant: who does not answer has not said no: the client is told to come again.

Owner: the process (all state threads of it).
Ref: MeTA1 design, "Functional Specification: SMTPS, AUTH" (back ends are ours).
"""

import os
from abc import ABC, abstractmethod
from typing import Final

from meta1g.base.errors import Module, TempError
from meta1g.sasl.base import Challenge, Found, SaslIdentity
from meta1g.sasl.stored import check_stored
from meta1g.sasl.users import in_realm
from meta1g.smtps.limits import AUTH_QUESTIONS_AT_ONCE
from meta1g.smtps.mechanisms import MECHANISMS, PASSWORDS, Mechanism, Way
from meta1g.smtps.passwords import PasswordFile
from meta1g.st import offload

_SCRAMS: Final = tuple(row.name for row in MECHANISMS.values() if row.way is Way.SCRAM)


class Relayed(ABC):
    """An exchange that the back end leads.  Owner: one state thread."""

    @abstractmethod
    def step(self, data: bytes | None) -> Challenge | SaslIdentity:
        """Passes on what the client said; gives what it is told, or who it is.

        Args:
            data: what came with AUTH, None if nothing did; then each response.

        Raises:
            SaslError: it failed.
            TempError: the back end does not answer.

        Switches: yes.
        """

    @abstractmethod
    def close(self) -> None:
        """Ends it; again does nothing."""


class BackEnd(ABC):
    """Knows users.  Owner: the process."""

    @abstractmethod
    def can_do(self) -> tuple[str, ...]:
        """Gives the mechanisms that work for all its users."""

    @abstractmethod
    def password_ok(self, user: str, password: str, client: str) -> bool:
        """Tells whether a password is right.

        Args:
            user: its name.
            password: what the client says.
            client: its address.

        Raises:
            TempError: nobody says it now.

        Switches: yes.
        """

    #: Checks that run at the same time.
    at_once = AUTH_QUESTIONS_AT_ONCE

    def leads(self, row: Mechanism) -> bool:
        """Tells whether relay() is for this mechanism."""
        return False

    def known_user(self, name: str) -> str:
        """Gives the name of a user as it is known here."""
        return name

    def refresh(self) -> None:  # noqa: B027  most have nothing to do
        """Lets a change of the users count.  Switches: yes, if there is one."""

    def no_passwords_for(self, row: Mechanism) -> bool:
        """Tells whether no user has what a mechanism needs."""
        return False

    def verifier(self, user: str, kind: str) -> Found:
        """Gives what SCRAM needs.

        Args:
            user: its name.
            kind: of what is stored.

        Raises:
            TempError: this back end has no verifiers.
        """
        raise TempError(Module.SMTPS, f"the back end has no {kind}")

    def has_certificate(self, user: str) -> bool:
        """Tells whether a user may be known by its certificate."""
        return False

    def relay(self, row: Mechanism, client: str, *, tls: bool) -> Relayed:
        """Begins an exchange that the back end leads.

        Raises:
            TempError: this back end leads none.
        """
        raise TempError(Module.SMTPS, f"the back end does not speak {row.name}")


class FileBackEnd(BackEnd):
    """A password file.

    Args:
        file: the file.
        realm: put behind users without one that are not in the file as they are; empty for nothing.

    Owner: the process.
    """

    at_once = max(1, (os.cpu_count() or 1) // 2)  # each has a processor busy

    def __init__(self, file: PasswordFile, realm: str) -> None:
        self._file = file
        self._realm = realm

    def refresh(self) -> None:
        """Reads the file again if it has changed.  Switches: yes, if it has."""
        self._file.reread()

    def can_do(self) -> tuple[str, ...]:
        """Gives PLAIN and LOGIN, and SCRAM's mechanisms that everybody has a verifier for."""
        users = self._file.users
        return (*(name for name in _SCRAMS if users.all_have(MECHANISMS[name].stored)), *PASSWORDS)

    def known_user(self, name: str) -> str:
        """Gives a name with the realm, if it is not in the file without."""
        return name if name in self._file.users else in_realm(name, self._realm)

    def password_ok(self, user: str, password: str, client: str) -> bool:
        """Compares with what is stored, or as if it were.  Switches: yes."""
        users = self._file.users
        stored = users.password(user)
        other = stored or users.nobody
        right = other is not None and offload(check_stored, other, password)
        return right and stored is not None

    def verifier(self, user: str, kind: str) -> Found:
        """Gives the verifier of a user, or one that nobody has."""
        users = self._file.users
        found = users.verifier(user, kind)
        return Found(found or users.unknown(user, kind), found is not None)

    def no_passwords_for(self, row: Mechanism) -> bool:
        """Tells whether nobody in the file has a verifier of this kind."""
        return row.way is Way.SCRAM and not self._file.users.some_have(row.stored)

    def has_certificate(self, user: str) -> bool:
        """Tells whether the entry of a user says so."""
        return self._file.users.has_certificate(user)
