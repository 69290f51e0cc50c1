"""What section auth of smtps means.

Pure.  Ref: RFC 4954; MeTA1 README, "AUTH" (mechanisms, trusted_mechanisms modelled on).
"""

from pathlib import Path

from meta1g.base.dataclass import dataclass
from meta1g.conf.config import Config, Section
from meta1g.smtps.attempts import AttemptLimits
from meta1g.smtps.limits import US


@dataclass(frozen=True, slots=True)
class AuthSettings:
    """What clients may log in with.

    Args:
        mechanisms: names that may be offered; none for what the back end can do.
        trusted: names whose users may relay; none for all.
        realm: put behind users without one, empty for nothing.
        password_file: file of users, if it is the back end.
        password_map: a map of SMAR is the back end.
        saslauthd_socket: socket of saslauthd, if it is the back end.
        dovecot_socket: socket of Dovecot, if it is the back end.
        plaintext: passwords may go in clear.
        max_failures: failures of one session, then it is ended.
        limits: failures of a client and of a user.
        failure_delay_us: how long a client waits for the answer to its first failure; it grows with each one.
        timeout_us: how long the back end may take.
    """

    mechanisms: tuple[str, ...]
    trusted: frozenset[str]
    realm: str
    password_file: Path | None
    password_map: bool
    saslauthd_socket: Path | None
    dovecot_socket: Path | None
    plaintext: bool
    max_failures: int
    limits: AttemptLimits
    failure_delay_us: int
    timeout_us: int


def auth_settings(config: Config, section: Section) -> AuthSettings | None:
    """Reads a section.

    Args:
        config: has the directories that paths are relative to.
        section: auth of smtps; it may not be given.

    Returns:
        The settings; None without a back end.
    """
    file, by_map = section.get("password_file"), section.get("password_map")
    saslauthd, dovecot = section.get("saslauthd_socket"), section.get("dovecot_socket")
    if not (file or by_map or saslauthd or dovecot):
        return None
    queue = config.queue_directory
    return AuthSettings(
        mechanisms=tuple(name.upper() for name in section.get("mechanisms")),
        trusted=frozenset(name.upper() for name in section.get("trusted_mechanisms")),
        realm=section.get("realm") or "",
        password_file=config.configuration_directory / file if file else None,
        password_map=by_map,
        saslauthd_socket=queue / saslauthd if saslauthd else None,
        dovecot_socket=queue / dovecot if dovecot else None,
        plaintext=section.flag("plaintext_without_tls"),
        max_failures=section.get("max_failures"),
        limits=AttemptLimits(
            section.get("max_client_failures"), section.get("max_user_failures"), section.get("failure_window")
        ),
        failure_delay_us=section.get("failure_delay") * US,
        timeout_us=section.get("timeout") * US,
    )
