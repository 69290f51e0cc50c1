"""As whom a service runs: user, group, supplementary groups (invariant I7: only mcp is root).

Ref: MeTA1 design, "Architecture: security model, accounts, directories"; initgroups(3).
"""

import os
import pwd
from collections.abc import Sequence
from typing import Final

from meta1g.base import paths
from meta1g.base.accounts import account_problem, group_entry, user_entry
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


def check_accounts(services: Sequence[Service], *, use_accounts: bool) -> None:
    """Looks whether all services have an account, if accounts count.

    Args:
        services: all services.
        use_accounts: a service without `user` gets the account of its component; otherwise it runs as the caller.

    Raises:
        CliError: users or groups do not exist, or are root; the text has a line for each.
    """
    if os.geteuid() != 0:
        return
    wrong = [
        f"{service.where}: {text}"
        for service in services
        if (text := account_problem(service.label, service.user, service.group, _default(service, use_accounts)))
    ]
    if wrong:
        raise CliError("\n".join(dict.fromkeys(wrong)))


def identities(services: Sequence[Service], *, use_accounts: bool) -> dict[str, Identity]:
    """Gives the identity of each service by its label; that of the caller to those that check_accounts() refuses.

    Args:
        services: all services.
        use_accounts: as for check_accounts().
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


def _default(service: Service, use_accounts: bool) -> str:
    return paths.COMPONENT_ACCOUNTS[service.kind] if use_accounts else ""


def _identity(service: Service, use_accounts: bool) -> Identity:
    name = service.user or _default(service, use_accounts)
    entry = user_entry(name) if name else None
    if entry is None:
        return caller()
    group = group_entry(service.group) if service.group else None
    gid = entry.pw_gid if group is None else group.gr_gid
    return Identity(entry.pw_name, entry.pw_uid, gid, tuple(sorted(set(os.getgrouplist(entry.pw_name, gid)))))
