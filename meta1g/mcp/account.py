"""As whom a service runs: user, group, supplementary groups (invariant I7: only mcp is root).

Ref: MeTA1 design, "Architecture: security model, accounts, directories"; initgroups(3).
"""

import os
import pwd
from collections.abc import Sequence
from typing import Final

from meta1g.base import paths
from meta1g.base.accounts import group_entry, user_entry
from meta1g.base.cli import CliError
from meta1g.base.dataclass import dataclass
from meta1g.mcp.service import Service

#: qmgr gives sockets to the groups of those who connect; only a member of a group may do that.
_QMGR_SERVES: Final = ("smtps", "smtpc")


@dataclass(frozen=True, slots=True)
class Identity:
    """User id, group id and supplementary groups of a process.

    drop is False if the process keeps those of mcp.
    """

    user: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    drop: bool = True


def caller() -> Identity:
    """Gives the identity of this process."""
    uid = os.geteuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    return Identity(name, uid, os.getegid(), tuple(sorted(os.getgroups())), drop=False)


def identities(services: Sequence[Service], *, use_accounts: bool) -> dict[str, Identity]:
    """Gives the identity of each service by its label.

    Args:
        services: all services.
        use_accounts: a service without `user` gets the account of its component; otherwise it runs as the caller.

    Raises:
        CliError: a user or group does not exist, or is root.
    """
    if os.geteuid() != 0:
        return {service.label: caller() for service in services}
    plain = {service.label: _identity(service, use_accounts) for service in services}
    served = {plain[s.label].gid for s in services if s.kind in _QMGR_SERVES and plain[s.label].drop}
    return {
        s.label: _with_groups(plain[s.label], served) if s.kind == "qmgr" and plain[s.label].drop else plain[s.label]
        for s in services
    }


def _with_groups(identity: Identity, more: set[int]) -> Identity:
    return Identity(identity.user, identity.uid, identity.gid, tuple(sorted({*identity.groups, *more})))


def _identity(service: Service, use_accounts: bool) -> Identity:
    name = service.user or (paths.COMPONENT_ACCOUNTS[service.kind] if use_accounts else "")
    if not name:
        return caller()
    entry = _user(name, service)
    if entry.pw_uid == 0:
        raise CliError(f"{service.where}: {service.label} must not run as root; set user to an account of its own")
    gid = _group(service) if service.group else entry.pw_gid
    return Identity(entry.pw_name, entry.pw_uid, gid, tuple(sorted(set(os.getgrouplist(entry.pw_name, gid)))))


def _user(name: str, service: Service) -> pwd.struct_passwd:
    entry = user_entry(name)
    if entry is None:
        advice = "create it or mend user" if service.user else "run sm.setup, or name another one with user"
        raise CliError(f"{service.where}: user {name} of {service.label} does not exist; {advice}")
    return entry


def _group(service: Service) -> int:
    entry = group_entry(service.group)
    if entry is None:
        name = service.group
        raise CliError(f"{service.where}: group {name} of {service.label} does not exist; create it or mend group")
    return entry.gr_gid
