"""What the sections mta_sts { } and tls_reports { } of smar mean.

Ref: RFC 8461, RFC 8460 (options are ours).
"""

import ipaddress
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from meta1g.base.dataclass import dataclass
from meta1g.base.errors import Module, PermError
from meta1g.base.paths import STS_DIRECTORY, TLSRPT_DIRECTORY
from meta1g.base.plainfile import open_plain
from meta1g.conf.config import Config, Section
from meta1g.smar.relay import network_table
from meta1g.tls.tlsrpt import RptSender


@dataclass(frozen=True, slots=True)
class StsSettings:
    """How policies of MTA-STS are fetched.

    Args:
        ca_file: the authorities that policy servers are trusted by; None for those of the system.
        port: port of policy servers.
        directory: where policies are kept.
    """

    ca_file: Path | None
    port: int
    directory: Path


@dataclass(frozen=True, slots=True)
class RptSettings:
    """How reports about TLS are made and sent.

    Args:
        sender: who reports.
        hostname: our name.
        smtps: address and port of the own SMTP server, which reports go through.
        delay_s: a report is sent at most so long after its day, seconds.
        directory: where what is counted is kept.
    """

    sender: RptSender
    hostname: str
    smtps: tuple[str, int]
    delay_s: int
    directory: Path


def sts_settings(config: Config, smar: Section) -> StsSettings | None:
    """Gives how policies of MTA-STS are fetched, None without a section mta_sts.

    Raises:
        PermError: the file of authorities cannot be read.
    """
    section = smar.sub("mta_sts")
    if not section.exists:
        return None
    name = section.get("CAcert_file")
    path = config.configuration_directory / name if name else None
    if path is not None:
        _check_authorities(path, section.where)
    return StsSettings(path, section.get("port"), config.queue_directory / STS_DIRECTORY)


def _check_authorities(path: Path, where: str) -> None:
    """Reads the certificates of authorities as those will who fetch policies.

    Raises:
        PermError: they cannot be read, or there are none.
    """
    from meta1g.smar.https import HttpsClient, HttpsError  # loads much, for those who name some

    try:
        open_plain(path).close()
        HttpsClient(path).context()
    except OSError as error:
        raise PermError(Module.SMAR, f"{where}: CAcert_file: {path}: {error.strerror}") from None
    except HttpsError as error:
        raise PermError(Module.SMAR, f"{where}: CAcert_file: {error.cause}") from None


def rpt_settings(config: Config, smar: Section, name: str) -> RptSettings | None:
    """Gives how reports about TLS are made and sent, None without a section tls_reports.

    Args:
        config: the whole configuration.
        smar: the section.
        name: our host name.

    Raises:
        PermError: smtps does not take them.
    """
    section = smar.sub("tls_reports")
    if not section.exists:
        return None
    address, port = _listener(config, section)
    if not network_table(smar.get("relay_from"), smar.where).find(address):
        text = f"reports of tls_reports are sent through smtps at {address}: add {address} to relay_from"
        raise PermError(Module.SMAR, f"{section.where}: {text}")
    contact: str = section.get("from")
    sender = RptSender(section.get("organization") or contact.rpartition("@")[2], contact, contact.rpartition("@")[2].lower())
    smtps = (str(address), port)
    return RptSettings(sender, name, smtps, section.get("delay"), config.queue_directory / TLSRPT_DIRECTORY)


def _listener(config: Config, section: Section) -> tuple[IPv4Address | IPv6Address, int]:
    """Gives address and port of the first smtps that speaks SMTP with anybody.

    Raises:
        PermError: there is none.
    """
    for smtps in config.sections("smtps"):
        for one in smtps.subs("listen_socket"):
            address = ipaddress.ip_address(one.get("address") or "0.0.0.0")
            if address.is_unspecified:
                address = IPv4Address("127.0.0.1") if isinstance(address, IPv4Address) else IPv6Address("::1")
            proxied = network_table(smtps.get("proxy_from"), smtps.where).find(address)
            plain = smtps.get("protocol") == "smtp" and not smtps.flag("require_auth") and not one.get("implicit_tls")
            if plain and not proxied and not one.get("path"):
                return address, int(one.get("port"))
    text = "tls_reports needs an smtps to send by, with a listen_socket of type inet, without LMTP, proxies, AUTH, implicit TLS"
    raise PermError(Module.SMAR, f"{section.where}: {text}")
