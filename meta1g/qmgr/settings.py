"""The configuration of QMGR as its parts use it.

Ref: MeTA1 README, "QMGR" (option names as in meta1.conf).
"""

from dataclasses import field
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.base.hostname import system_name
from meta1g.conf.load import Config, load_templates, templates_of
from meta1g.conf.templates import Templates
from meta1g.qmgr.verified import VerifySettings
from meta1g.smtp import verp


@dataclass(frozen=True, slots=True)
class VerpSenders:
    """Senders whose recipients get a sender of their own: addresses and `@domain` in lower case."""

    names: frozenset[str]
    delimiters: str = verp.DELIMITERS

    def delimiters_for(self, sender: str) -> str:
        """Gives the delimiters for a sender, empty if it stays as it is."""
        if not self.names:
            return ""
        lowered = sender.lower()
        wanted = lowered in self.names or f"@{lowered.rpartition('@')[2]}" in self.names
        return self.delimiters if wanted and "@" in sender else ""


NO_VERP: Final = VerpSenders(frozenset())


@dataclass(slots=True, kw_only=True)
class Settings:
    """What qmgr { } says; times in seconds, sizes in bytes.

    Locking: none; a number is read when it is needed, and only `qmgrctl limits` changes any (tuning.py).
    """

    hostname: str
    aq_max_entries: int
    iqdb_max_entries: int
    smtps_max_connections: int
    smtps_max_rate: int
    smtpc_initial_connections: int
    smtpc_max_connections: int
    min_retry_delay_s: int
    max_retry_delay_s: int
    delay_dsn_timeout_s: int
    return_timeout_s: int
    double_bounce_address: str
    dsn_delay: bool
    dsn_headers_only: bool
    dsn_double_bounce: bool
    max_rcpts_per_transaction: int
    min_free_disk: int
    ok_free_disk: int
    ibdb_max_size: int
    ibdb_max_open: int
    defedb_cache_size: int
    defedb_log_directory: str
    checkpoint_interval_s: int
    verify: VerifySettings
    smtps_max_message_rate: int = 0
    smtps_max_recipient_rate: int = 0
    smtps_rate_unit_s: int = 60
    smtps_exempt: tuple[str, ...] = ()
    soft_bounce: bool = False
    always_bcc: str = ""
    wait_for_client_s: int = 0
    wait_for_server_s: int = 0
    verp: VerpSenders = NO_VERP
    templates: Templates = field(default_factory=load_templates)

    @classmethod
    def from_config(cls, config: Config) -> "Settings":
        """Reads section qmgr, and the texts of reports that it names.

        Raises:
            ConfigError: something is wrong with the texts.
        """
        section = config.section("qmgr")
        dsn_flags = section.get("dsn_flags")
        smtps, smtpc, ibdb, defedb = (section.sub(name) for name in ("smtps", "smtpc", "IBDB", "DEFEDB"))
        return cls(
            hostname=config.hostname or system_name(),
            aq_max_entries=section.get("AQ_max_entries"),
            iqdb_max_entries=section.get("IQDB_max_entries"),
            smtps_max_connections=smtps.get("max_connections"),
            smtps_max_rate=smtps.get("max_connection_rate"),
            smtpc_initial_connections=smtpc.get("initial_connections"),
            smtpc_max_connections=smtpc.get("max_connections"),
            min_retry_delay_s=section.get("min_retry_delay"),
            max_retry_delay_s=section.get("max_retry_delay"),
            delay_dsn_timeout_s=section.get("delay_dsn_timeout"),
            return_timeout_s=section.get("return_timeout"),
            double_bounce_address=section.get("double_bounce_address"),
            dsn_delay="delay" in dsn_flags,
            dsn_headers_only="headers_only" in dsn_flags,
            dsn_double_bounce="double_bounce" in dsn_flags,
            max_rcpts_per_transaction=section.get("max_rcpts_per_transaction"),
            min_free_disk=section.get("min_free_disk"),
            ok_free_disk=section.get("ok_free_disk"),
            ibdb_max_size=ibdb.get("max_size"),
            ibdb_max_open=ibdb.get("max_open"),
            defedb_cache_size=defedb.get("cache_size"),
            defedb_log_directory=defedb.get("log_directory") or "",
            checkpoint_interval_s=defedb.get("checkpoint_interval"),
            smtps_max_message_rate=smtps.get("max_message_rate"),
            smtps_max_recipient_rate=smtps.get("max_recipient_rate"),
            smtps_rate_unit_s=smtps.get("rate_time_unit"),
            smtps_exempt=smtps.get("rate_exempt"),
            verify=VerifySettings.from_section(section.sub("verify")),
            soft_bounce=section.get("soft_bounce"),
            always_bcc=section.get("always_bcc") or "",
            wait_for_client_s=section.get("wait_for_client"),
            wait_for_server_s=section.get("wait_for_server"),
            verp=VerpSenders(frozenset(one.lower() for one in section.get("verp_senders")), section.get("verp_delimiters")),
            templates=templates_of(config, section),
        )
