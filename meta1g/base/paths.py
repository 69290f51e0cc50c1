"""Names, owners and modes of everything below the queue directory.

Ref: MeTA1 design, "Architecture: security model, accounts, directories" (accounts 260 to 264 as in MeTA1's packages,
directory names modelled on MeTA1's).
"""

from pathlib import Path
from typing import Final

from meta1g.base.dataclass import dataclass

DEFAULT_QUEUE_DIRECTORY: Final = Path("/var/spool/meta1")
DEFAULT_CONFIG_DIRECTORY: Final = Path("/etc/meta1")
DEFAULT_CONFIG_FILE: Final = DEFAULT_CONFIG_DIRECTORY / "meta1.conf"

# sockets, relative to the queue directory
QMGR_SMTPS_SOCKET: Final = "qmgr/smtps"
QMGR_SMTPC_SOCKET: Final = "qmgr/smtpc"
QMGR_CONTROL_SOCKET: Final = "qmgr/control"
SMAR_SMTPS_SOCKET: Final = "smar/smtps"
SMAR_QMGR_SOCKET: Final = "smar/qmgr"
MCP_STATUS_SOCKET: Final = "mcp/status"
#: If it is there, `sm.setup --no-accounts` was used: as root, components without `user` keep the account of mcp.
MCP_NO_ACCOUNTS: Final = "mcp/no_accounts"

# stores, relative to the queue directory
CDB_DIRECTORY: Final = "cdb"
IBDB_DIRECTORY: Final = "ibdb"
DEFEDB_DIRECTORY: Final = "defedb"
LOST_FOUND_DIRECTORY: Final = "lost+found"
QMGR_LOCK_FILE: Final = "qmgr/lock"
PASSED_CLIENTS: Final = "smtps/passed"
VERIFIED_FILE: Final = "qmgr/verified"
ORDERS_FILE: Final = "qmgr/orders"
STS_DIRECTORY: Final = "smar/mta-sts"
TLSRPT_DIRECTORY: Final = "smar/tlsrpt"
CDB_SUBDIRECTORIES: Final = "0123456789ABCDEF"

SOCKET_MODE: Final = 0o660
CDB_FILE_MODE: Final = 0o640
QUEUE_FILE_MODE: Final = 0o600


@dataclass(frozen=True, slots=True)
class Account:
    """One of the five accounts; group of the same name and number."""

    name: str
    number: int
    comment: str
    member_of: tuple[str, ...] = ()


ACCOUNTS: Final = (
    Account("meta1s", 260, "MeTA1 SMTPS", ("meta1c", "meta1m")),
    Account("meta1q", 261, "MeTA1 QMGR", ("meta1m",)),
    Account("meta1c", 262, "MeTA1 SMTPC"),
    Account("meta1m", 263, "MeTA1 misc"),
    Account("meta1", 264, "MeTA1 other"),
)

#: account of each component, if its section names no `user`
COMPONENT_ACCOUNTS: Final = {"smtps": "meta1s", "qmgr": "meta1q", "smtpc": "meta1c", "smar": "meta1m"}


@dataclass(frozen=True, slots=True)
class QueueDir:
    """One directory below the queue directory.

    Args:
        name: its path in the queue directory.
        user: its owner, an account.
        group: its group, an account.
        mode: its mode.
        made_at_need: its component makes it, so that nobody has to run sm.setup after an upgrade.
        spread: directories in it are to lie apart from each other on the disk.
    """

    name: str
    user: str
    group: str
    mode: int
    made_at_need: bool = False
    spread: bool = False


#: cdb/X: smtps creates, smtpc passes through and reads by the group of the file, qmgr removes.
QUEUE_DIRECTORIES: Final = (
    QueueDir(".", "root", "meta1", 0o755),
    QueueDir("cdb", "meta1q", "meta1q", 0o711, spread=True),
    *(QueueDir(f"cdb/{digit}", "meta1s", "meta1q", 0o771) for digit in CDB_SUBDIRECTORIES),
    QueueDir("ibdb", "meta1q", "meta1q", 0o700),
    QueueDir("defedb", "meta1q", "meta1q", 0o700),
    QueueDir("lost+found", "meta1q", "meta1q", 0o700),
    QueueDir("qmgr", "meta1q", "meta1q", 0o711),
    QueueDir("smar", "meta1m", "meta1m", 0o710),
    QueueDir("smar/mta-sts", "meta1m", "meta1m", 0o700, made_at_need=True),
    QueueDir("smar/tlsrpt", "meta1m", "meta1m", 0o700, made_at_need=True),
    QueueDir("smtps", "meta1s", "meta1s", 0o711),
    QueueDir("smtpc", "meta1c", "meta1c", 0o711),
    QueueDir("mcp", "root", "meta1", 0o710),
)
#: Those without which nothing starts.
NEEDED_DIRECTORIES: Final = tuple(row for row in QUEUE_DIRECTORIES if not row.made_at_need)
