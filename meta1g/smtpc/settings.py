"""The configuration of SMTPC as the sessions use it.

Ref: MeTA1 README, "SMTP Client"; RFC 5321 4.5.3.2 (defaults of the time-outs are in the option table).
"""

from dataclasses import replace

from meta1g.base.dataclass import dataclass
from meta1g.base.errors import Module
from meta1g.base.hostname import system_name
from meta1g.base.rsc import Rsc
from meta1g.base.tlsfacts import TlsSettings
from meta1g.base.tlsneeds import TlsRequirements
from meta1g.conf.config import Config, Section
from meta1g.conf.errors import ConfigError
from meta1g.conf.snippet import parse_snippet
from meta1g.conf.tlsconf import tls_requirements, tls_settings
from meta1g.smtpc.limits import SNIPPETS_KEPT
from meta1g.smtpc.logins import LoginSettings
from meta1g.smtpc.sources import Sources


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
    sources: Sources
    max_threads: int
    pipelining: bool
    chunking: bool = True
    xforward: bool = False
    tls: TlsSettings | None = None
    auth: LoginSettings | None = None
    needs: TlsRequirements | None = None

    @classmethod
    def from_config(cls, config: Config) -> "Settings":
        """Reads section smtpc."""
        return cls.from_section(config, config.section("smtpc"))

    @classmethod
    def from_section(cls, config: Config, section: Section) -> "Settings":
        """Reads a section; IO_timeout, if given, is the time-out of every step that has none of its own."""

        def step_s(option: str) -> int:
            own = section.given(option) or not section.given("IO_timeout")
            seconds: int = section.get(option if own else "IO_timeout")
            return seconds

        return cls(
            hostname=config.hostname or system_name(),
            connect_timeout_s=section.get("connect_timeout"),
            greeting_timeout_s=step_s("greeting_timeout"),
            command_timeout_s=step_s("command_timeout"),
            data_timeout_s=step_s("data_timeout"),
            block_timeout_s=step_s("block_timeout"),
            dot_timeout_s=step_s("dot_timeout"),
            sources=_sources(section),
            max_threads=section.get("max_threads"),
            pipelining=section.flag("pipelining"),
            chunking=section.flag("chunking"),
            xforward=section.flag("xforward"),
            tls=tls_settings(config, section.sub("tls"), server=False) if section.flag("starttls") else None,
            auth=_auth_settings(config, section.sub("auth")),
        )


def _sources(section: Section) -> Sources:
    """Reads source_address, which may be of either family, and source_address6.

    Raises:
        ConfigError: both are IPv6.
    """
    either, ipv6 = section.get("source_address") or "", section.get("source_address6") or ""
    if ":" not in either:
        return Sources(either, ipv6)
    if ipv6:
        raise ConfigError(f"{section.where}: source_address and source_address6 are both IPv6; leave one of them")
    return Sources("", either)


def _auth_settings(config: Config, section: Section) -> LoginSettings | None:
    """Reads section auth; None without a file of logins."""
    file = section.get("file")
    if not file:
        return None
    from meta1g.smtpc.auth import MECHANISMS

    return LoginSettings(
        file=config.configuration_directory / file,
        mechanisms=tuple(one.upper() for one in section.get("mechanisms")) or tuple(MECHANISMS),
        without_tls=section.flag("without_tls"),
        unverified_tls=section.flag("unverified_tls"),
    )


class ServerSettings:
    """The settings for servers that have a piece of configuration of their own.

    Args:
        config: the configuration.

    Attributes:
        common: those of all others.

    Owner: the process.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._section = config.section("smtpc")
        self.common = Settings.from_config(config)
        self._known: Rsc[str, Settings] = Rsc(SNIPPETS_KEPT, Module.SMTPC)
        self._rcpts: Rsc[str, TlsRequirements] = Rsc(SNIPPETS_KEPT, Module.SMTPC)

    def of(self, snippet: str) -> Settings:
        """Gives the settings for a server.

        Args:
            snippet: value of `smtpc_session_conf:`, empty without one.

        Raises:
            ConfigError: it is wrong; SMAR sends none that is.
        """
        if not snippet:
            return self.common
        settings = self._known.get(snippet)
        if settings is None:
            piece = parse_snippet(snippet, "smtpc_session_conf")
            changed = Settings.from_section(self._config, self._section.changed(piece))
            settings = replace(changed, needs=tls_requirements(piece))
            self._known.put(snippet, settings)
        return settings

    def needs_of(self, snippet: str) -> TlsRequirements | None:
        """Gives what TLS has to fulfil for a recipient.

        Args:
            snippet: value of `smtpc_rcpt_conf:`, empty without one.

        Raises:
            ConfigError: it is wrong; SMAR sends none that is.
        """
        if not snippet:
            return None
        needs = self._rcpts.get(snippet)
        if needs is None:
            needs = tls_requirements(parse_snippet(snippet, "smtpc_rcpt_conf")) or TlsRequirements()
            self._rcpts.put(snippet, needs)
        return needs
