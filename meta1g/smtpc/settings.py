"""The configuration of SMTPC as the sessions use it.

Ref: MeTA1 README, "SMTP Client"; RFC 5321 4.5.3.2 (defaults of the time-outs are in the option table).
"""

import socket

from meta1g.base.dataclass import dataclass
from meta1g.conf.config import Config


@dataclass(frozen=True, slots=True)
class Settings:
    """What smtpc { } says; times in seconds."""

    hostname: str
    connect_timeout_s: int
    greeting_timeout_s: int
    command_timeout_s: int
    data_timeout_s: int
    block_timeout_s: int
    dot_timeout_s: int
    source_address: str
    max_threads: int
    pipelining: bool

    @classmethod
    def from_config(cls, config: Config) -> "Settings":
        """Reads section smtpc; IO_timeout, if given, is the time-out of every step that has none of its own."""
        section = config.section("smtpc")

        def step_s(option: str) -> int:
            own = section.given(option) or not section.given("IO_timeout")
            seconds: int = section.get(option if own else "IO_timeout")
            return seconds

        return cls(
            hostname=config.hostname or socket.getfqdn(),
            connect_timeout_s=section.get("connect_timeout"),
            greeting_timeout_s=step_s("greeting_timeout"),
            command_timeout_s=step_s("command_timeout"),
            data_timeout_s=step_s("data_timeout"),
            block_timeout_s=step_s("block_timeout"),
            dot_timeout_s=step_s("dot_timeout"),
            source_address=section.get("source_address") or "",
            max_threads=section.get("max_threads"),
            pipelining=section.flag("pipelining"),
        )
