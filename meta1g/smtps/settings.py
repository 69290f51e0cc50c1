"""What a section of the configuration means for its sessions.

Ref: MeTA1 README, configuration of smtps (option names as in meta1.conf).
"""

from collections.abc import Mapping

from meta1g.base.dataclass import dataclass
from meta1g.base.errors import Module
from meta1g.base.rsc import Rsc
from meta1g.base.tlsfacts import TlsSettings
from meta1g.base.tlsneeds import TlsRequirements
from meta1g.conf.load import Config, Section
from meta1g.conf.snippet import parse_snippet
from meta1g.conf.tlsconf import tls_requirements, tls_settings
from meta1g.milter.settings import MilterSettings
from meta1g.rcb.smtps_smar import LookupFlags
from meta1g.smtp.address import Leniency
from meta1g.smtp.esmtp import Ext, offered_but
from meta1g.smtps.authsettings import AuthSettings, auth_settings
from meta1g.smtps.counting import Count
from meta1g.smtps.limits import SNIPPETS_KEPT, US
from meta1g.smtps.milters import PolicySettings, milters_of, policies_of
from meta1g.smtps.trust import Trusted, trusted
from meta1g.smtps.verify import Verification


@dataclass(frozen=True, slots=True)
class PartLimits:
    """Limits of header and body, 0 for none.

    Args:
        header_bytes: greatest header of a message.
        header_lines: lines of a header.
        body_bytes: greatest body.
    """

    header_bytes: int
    header_lines: int
    body_bytes: int


@dataclass(frozen=True, slots=True)
class Completion:
    """How messages of mail programs are completed; see meta1g.smtp.completion.

    Args:
        sender: a Sender field is added if From names somebody else than the envelope.
    """

    sender: bool


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of one smtps section.

    Args:
        name: name of the section, may be empty.
        hostname: our name in greetings and headers.
        io_timeout_us: how long a client may take for a command, or between two pieces of content.
        max_message_bytes: greatest message, 0 for no limit.
        parts: limits of header and body, None if there are none.
        max_recipients: recipients of one transaction.
        max_transactions: transactions of one session, 0 for no limit.
        by_min_s: least time for delivery in mode R, 0 for any.
        count_limits: negative replies of one session, by what they count as.
        max_noops: commands in a row that do not lead to a message.
        max_hops: Received fields in the header of a message.
        max_threads: sessions at the same time.
        wait_for_link_s: how long a client waits while the connection to qmgr or smar is made again.
        cdb_gid: group of content files, None for the group of the process.
        delay_checks: denials of the client and of MAIL are told at RCPT.
        strict_ehlo: EHLO needs a domain or an address literal.
        strict_lines: a text line longer than TEXT_LINE_MAX_BYTES is refused.
        lenient: what addresses may be beyond the syntax.
        soft_bounce: permanent refusals are told as temporary ones.
        lookup_flags: LookupFlags that hold for all sessions.
        verify: which addresses are probed.
        lmtp: LMTP is spoken.
        trusted: who may speak for other clients.
        greet_pause_us: how long clients that are not known wait for the greeting.
        completion: how messages are completed, None if they are not.
        offered: extensions with their arguments.
        offered_names: the extensions alone.
        offered_under_tls: extensions that are offered under TLS.
        auth: what clients may log in with, None if AUTH is not offered.
        require_auth: nobody sends mail without it.
        tls: certificates and what else TLS needs; None if there is no certificate.
        tls_needs: what TLS has to fulfil before mail is taken; None for nothing.
        milters: filters that mail passes, in their order.
        policies: policy milters of the section, which mail passes before.
    """

    name: str
    hostname: str
    io_timeout_us: int
    max_message_bytes: int
    parts: PartLimits | None
    max_recipients: int
    max_transactions: int
    by_min_s: int
    count_limits: Mapping[Count, int]
    max_noops: int
    max_hops: int
    max_threads: int
    wait_for_link_s: float
    cdb_gid: int | None
    delay_checks: bool
    strict_ehlo: bool
    strict_lines: bool
    lenient: Leniency
    soft_bounce: bool
    lookup_flags: LookupFlags
    verify: Verification
    lmtp: bool
    trusted: Trusted
    greet_pause_us: int
    completion: Completion | None
    offered: Mapping[Ext, str]
    offered_names: frozenset[Ext]
    offered_under_tls: Mapping[Ext, str]
    auth: AuthSettings | None = None
    require_auth: bool = False
    tls: TlsSettings | None = None
    tls_needs: TlsRequirements | None = None
    milters: tuple[MilterSettings, ...] = ()
    policies: tuple[PolicySettings, ...] = ()


def _lookup_flags(section: Section) -> LookupFlags:
    routing = LookupFlags.ROUTING if section.flag("allow_routing") else LookupFlags(0)
    return routing | (LookupFlags(0) if section.flag("access") else LookupFlags.NO_ACCESS)


def settings_from(config: Config, section: Section, hostname: str) -> Settings:
    """Reads the settings of a section."""
    tls = tls_settings(config, section.sub("tls"), server=True)
    offered = _offered(section, tls)
    auth = auth_settings(config, section.sub("auth")) if section.flag("auth") else None
    return Settings(
        name=section.name or "",
        hostname=hostname,
        io_timeout_us=section.get("io_timeout") * US,
        max_message_bytes=section.get("max_message_size"),
        parts=_parts(section),
        max_recipients=section.get("max_recipients"),
        max_transactions=section.get("max_transactions"),
        by_min_s=section.get("min_deliver_by"),
        count_limits=_count_limits(section),
        max_noops=section.get("max_noops"),
        max_hops=section.get("max_hops"),
        max_threads=section.get("max_threads"),
        wait_for_link_s=section.get("wait_for_link"),
        cdb_gid=section.get("cdb_gid") if section.given("cdb_gid") else None,
        delay_checks=section.flag("delay_checks"),
        strict_ehlo=section.flag("strict_ehlo"),
        strict_lines=section.flag("strict_lines"),
        lenient=_leniency(section, hostname),
        soft_bounce=section.get("soft_bounce"),
        lookup_flags=_lookup_flags(section),
        verify=_verification(section),
        lmtp=section.get("protocol") == "lmtp",
        trusted=trusted(*(section.get(name) for name in ("proxy_from", "xclient_from", "xforward_from"))),
        greet_pause_us=section.get("greet_pause") * US,
        completion=Completion(section.flag("add_sender")) if section.flag("submission") else None,
        offered=offered,
        offered_names=frozenset(offered if auth is None else (*offered, Ext.AUTH)),
        offered_under_tls=_under_tls(offered),
        auth=auth,
        require_auth=section.flag("require_auth"),
        tls=tls,
        tls_needs=tls_requirements(section),
        milters=milters_of(section, config.queue_directory),
        policies=policies_of(section, config.queue_directory),
    )


def _count_limits(section: Section) -> dict[Count, int]:
    return {
        Count.ERROR: section.get("max_bad_commands"),
        Count.REFUSAL: section.get("max_refusals"),
        Count.OVERSHOOT: section.get("max_overshoots"),
    }


def _leniency(section: Section, hostname: str) -> Leniency:
    return Leniency(
        bare=section.flag("accept_bare_addresses"),
        odd_dots=section.flag("accept_odd_dots"),
        sender_domain=hostname if section.flag("accept_local_senders") else "",
    )


def _under_tls(offered: Mapping[Ext, str]) -> dict[Ext, str]:
    """Gives what is offered under TLS: REQUIRETLS there only (RFC 8689 2)."""
    return {ext: offered.get(ext, "") for ext in (*offered, Ext.REQUIRETLS) if ext is not Ext.STARTTLS}


def _offered(section: Section, tls: TlsSettings | None) -> dict[Ext, str]:
    switches = {
        Ext.PIPELINING: section.flag("pipelining"),
        Ext.EIGHTBITMIME: section.flag("8bitmime"),
        Ext.SMTPUTF8: section.flag("smtputf8"),
        Ext.CHUNKING: section.flag("chunking"),
        Ext.BINARYMIME: section.flag("binarymime"),
        Ext.DELIVERBY: section.flag("deliverby"),
        Ext.MT_PRIORITY: section.flag("mt_priority"),
        Ext.LIMITS: section.flag("limits"),
        Ext.STARTTLS: tls is not None and section.flag("starttls"),
        Ext.XVERP: section.flag("xverp"),
    }
    by_s = section.get("min_deliver_by")
    arguments = {
        Ext.SIZE: str(section.get("max_message_size")),
        Ext.DELIVERBY: str(by_s) if by_s else "",
        Ext.MT_PRIORITY: "MIXER",
        Ext.LIMITS: _limits(section),
    }
    return offered_but({ext for ext, on in switches.items() if not on}, arguments)


def _limits(section: Section) -> str:
    """Gives the argument of LIMITS: what a client can obey without trying."""
    transactions = section.get("max_transactions")
    return f"RCPTMAX={section.get('max_recipients')}" + (f" MAILMAX={transactions}" if transactions else "")


def _parts(section: Section) -> PartLimits | None:
    limits = [section.get(name) for name in ("max_header_size", "max_header_lines", "max_body_size")]
    return PartLimits(*limits) if any(limits) else None


def _verification(section: Section) -> Verification:
    rcpts, senders = (frozenset(section.get(name)) for name in ("verify_recipients", "verify_senders"))
    return Verification(rcpts, senders, section.get("unverified") == "accept")


class ClientSettings:
    """The settings of clients that have a piece of configuration of their own.

    Args:
        config: the configuration.
        section: the section that the pieces change.
        hostname: our name.

    Owner: the process.
    """

    def __init__(self, config: Config, section: Section, hostname: str) -> None:
        self._config = config
        self._section = section
        self._hostname = hostname
        self._known: Rsc[str, Settings] = Rsc(SNIPPETS_KEPT, Module.SMTPS)

    def of(self, snippet: str) -> Settings:
        """Gives the settings of a client.

        Args:
            snippet: value of `smtps_session_conf:`, not empty.

        Raises:
            ConfigError: it is wrong; SMAR sends none that is.
        """
        settings = self._known.get(snippet)
        if settings is None:
            section = self._section.changed(parse_snippet(snippet, "smtps_session_conf"))
            settings = settings_from(self._config, section, self._hostname)
            self._known.put(snippet, settings)
        return settings
