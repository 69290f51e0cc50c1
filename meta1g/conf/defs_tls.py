"""The sections tls { } and auth { } of smtps and smtpc.

Ref: MeTA1 README, "STARTTLS", "AUTH" (file options modelled on; request_cert as in MeTA1).
"""

from typing import Final

from meta1g.conf.defs_common import NAME, OWN, PATH, R, S
from meta1g.conf.schema import SectionDef, option
from meta1g.conf.values import Choice, Flag, Flags, Int, ListOf, Text, Time

_SERVER_MECHANISMS: Final = ListOf(
    Choice(("plain", "login", "scram-sha-256", "scram-sha-256-plus", "scram-sha-1", "cram-md5", "external"))
)
_MECHANISMS: Final = ListOf(
    Choice(("plain", "login", "scram-sha-256", "scram-sha-256-plus", "scram-sha-1", "cram-md5", "external"))
)
_FILES: Final = (
    option("cert_file", PATH, None, R, "Certificate with its chain (PEM), relative to the configuration directory."),
    option("key_file", PATH, None, R, "Private key (PEM)."),
    option("DSA_cert_file", PATH, None, R, "Second certificate, with a key of another type."),
    option("DSA_key_file", PATH, None, R, "Private key of the second certificate."),
    option("CAcert_file", PATH, None, R, "Certificates of the authorities that are trusted (PEM)."),
    option("CAcert_directory", PATH, None, R, "Directory of such certificates, named by their hashes."),
    option("CRL_file", PATH, None, R, "Revoked certificates (PEM)."),
    option("min_version", Choice(("tls1.2", "tls1.3")), "tls1.2", OWN, "Oldest version of TLS."),
    option(
        "ciphers",
        Text("OpenSSL cipher list"),
        None,
        OWN,
        "Cipher suites of TLS 1.2; with forward secrecy first if it is not given.",
    ),
)

SERVER_TLS: Final = SectionDef(
    "tls",
    "STARTTLS of the server.",
    S,
    (
        *_FILES,
        option("DH_file", PATH, None, R, "Diffie-Hellman parameters (PEM); those that suit the key if it is not given."),
        option(
            "flags",
            Flags((Flag("request_cert", True, "Clients are asked for a certificate.", "S"),)),
            None,
            S,
            "How the server behaves.",
        ),
    ),
)
CLIENT_TLS: Final = SectionDef(
    "tls", "STARTTLS of the client; without CAcert_file and CAcert_directory it trusts whom the system trusts.", R, _FILES
)

SERVER_AUTH: Final = SectionDef(
    "auth",
    "SMTP AUTH of the server, with one of password_file, saslauthd_socket and dovecot_socket.",
    R,
    (
        option(
            "mechanisms",
            _SERVER_MECHANISMS,
            None,
            R,
            "Mechanisms that are offered where they can be used: plain, login, external, cram-md5 and scram-sha-256-plus only "
            "under TLS; if none is given, plain and login, and those of SCRAM that all users of the password file have a "
            "verifier for.",
        ),
        option(
            "trusted_mechanisms",
            _SERVER_MECHANISMS,
            None,
            R,
            "Mechanisms whose users may relay, and overrule delayed denials; all that are offered if none is given.",
        ),
        option("realm", NAME, None, OWN, "Realm of users that log in without one: joe is joe@REALM then."),
        option(
            "password_file",
            PATH,
            None,
            OWN,
            "File of users and hashed passwords, relative to the configuration directory; see smpasswd(8).",
        ),
        option(
            "saslauthd_socket",
            PATH,
            None,
            OWN,
            "Socket of saslauthd, which checks plain passwords, such as /run/saslauthd/mux; relative to the queue directory.",
        ),
        option(
            "dovecot_socket",
            PATH,
            None,
            OWN,
            "Authentication socket of Dovecot (auth-client), relative to the queue directory.",
        ),
        option("timeout", Time(1, 300), "30s", OWN, "How long a check may take, and may wait for its turn; then it is 454."),
        option("max_failures", Int(1, 1000), "3", OWN, "Failures of one session, then it is closed."),
        option(
            "max_client_failures",
            Int(1, 1_000_000),
            "20",
            OWN,
            "Failures of one client address (IPv6: of its /64) within failure_window; then it is told to come later.",
        ),
        option(
            "max_user_failures",
            Int(1, 1_000_000),
            "10",
            OWN,
            "Failures of one user within failure_window, from clients that have not logged in as this user before.",
        ),
        option("failure_window", Time(1, 86400), "10m", OWN, "How long failures count, from the first one on."),
        option("failure_delay", Time(0, 60), "2s", OWN, "A client waits so long for its first failure, twice for its second."),
        option(
            "flags",
            Flags((Flag("plaintext_without_tls", False, "PLAIN and LOGIN are offered without TLS too."),)),
            None,
            OWN,
            "How the server behaves.",
        ),
    ),
)
#: What smtpc can do; the strongest first.
_CLIENT_MECHANISMS: Final = ListOf(
    Choice(
        (
            *("scram-sha-256-plus", "scram-sha-256", "scram-sha-1-plus", "scram-sha-1", "cram-md5", "plain", "login"),
            *("oauthbearer", "xoauth2"),
        )
    )
)
CLIENT_AUTH: Final = SectionDef(
    "auth",
    "SMTP AUTH of the client.",
    R,
    (
        option(
            "mechanisms", _CLIENT_MECHANISMS, None, R, "Mechanisms that may be used, preferred first; all if none is given."
        ),
        option(
            "file",
            PATH,
            None,
            R,
            "File of logins by server, relative to the configuration directory; only its owner and its group may read it.",
        ),
        option(
            "flags",
            Flags((Flag("without_tls", False, "AUTH is used without TLS, too: secrets may go in clear."),)),
            None,
            OWN,
            "How the client behaves.",
        ),
    ),
)
