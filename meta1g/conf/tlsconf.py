"""What the sections tls { } and tls_requirements { } mean: files of certificates and keys, versions, ciphers; demands.

Pure.  Ref: MeTA1 README, "STARTTLS" (names of the files modelled on).
"""

from pathlib import Path

from meta1g.base.tlsfacts import CIPHERS, SERVER_CIPHERS, KeyPair, ServerNamesFile, TlsSettings
from meta1g.base.tlsneeds import TlsRequirements, Violation
from meta1g.conf.config import Config, Section
from meta1g.conf.errors import ConfigError


def tls_settings(config: Config, section: Section, *, server: bool) -> TlsSettings | None:
    """Reads a section.

    Args:
        config: has the directory that paths are relative to.
        section: tls of smtps or smtpc; it may not be given.
        server: of smtps.

    Returns:
        The settings; None for a server without a certificate, which offers no STARTTLS.

    Raises:
        ConfigError: a key has no certificate.
    """

    def path(option: str) -> Path | None:
        value = section.get(option)
        return config.configuration_directory / value if value else None

    pairs = []
    for cert_option, key_option in (("cert_file", "key_file"), ("DSA_cert_file", "DSA_key_file")):
        cert, key = path(cert_option), path(key_option)
        if key is not None and cert is None:
            raise ConfigError(f"{section.where}: {key_option} is given without {cert_option}")
        if cert is not None:
            pairs.append(KeyPair(cert, key or cert))
    if server and not pairs:
        return None
    return TlsSettings(
        pairs=tuple(pairs),
        ca_file=path("CAcert_file"),
        ca_directory=path("CAcert_directory"),
        crl_file=path("CRL_file"),
        dh_file=path("DH_file") if server else None,
        system_ca=not server and path("CAcert_file") is None and path("CAcert_directory") is None,
        tls13_only=section.get("min_version") == "tls1.3",
        ciphers=section.get("ciphers") or (SERVER_CIPHERS if server else CIPHERS),
        request_cert=server and section.flag("request_cert"),
        ticket_secret_file=path("ticket_secret_file") if server else None,
        names=_server_names(config, section) if server else None,
    )


def _server_names(config: Config, section: Section) -> ServerNamesFile | None:
    names = section.sub("server_names")
    if not names.exists:
        return None
    directory = config.configuration_directory
    return ServerNamesFile(directory / names.get("file"), names.get("type"), directory)


def pairs_of(value: str, directory: Path) -> tuple[KeyPair, ...]:
    """Reads what stands behind a server name: files of a certificate and its key, perhaps of a second pair.

    Args:
        value: two or four words, or one if the key is in the same file.
        directory: what files are relative to.

    Raises:
        ValueError: it is something else; the text says what would be right.
    """
    words = [directory / word for word in value.split()]
    if len(words) not in (1, 2, 4):
        raise ValueError(f"has {len(words)} words; write CERT_FILE KEY_FILE, or two pairs of them (RSA and ECDSA)")
    if len(words) == 1:
        words *= 2
    return tuple(KeyPair(*words[at : at + 2]) for at in range(0, len(words), 2))


def tls_requirements(section: Section) -> TlsRequirements | None:
    """Reads the demands that a section has on TLS.

    Args:
        section: one with `tls_requirements` inside.

    Returns:
        The demands; None if it has none.
    """
    needs = section.sub("tls_requirements")
    if not needs.exists:
        return None
    return TlsRequirements(
        encrypted=needs.flag("encrypted"),
        verified=needs.flag("verified"),
        min_bits=needs.get("min_cipher_bits"),
        issuers=tuple(needs.get("cert_issuer") or ()),
        subjects=tuple(needs.get("cert_subject") or ()),
        common_names=tuple(needs.get("common_name") or ()),
        violation=Violation(needs.get("violation")),
    )
