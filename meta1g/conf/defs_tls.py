"""The sections tls { }, tls_requirements { } and auth { } of smtps and smtpc.

Ref: MeTA1 README, "STARTTLS", "STARTTLS Restrictions", "AUTH" (options modelled on; request_cert as in MeTA1).
"""

from typing import Final

from meta1g.conf.defs_common import NAME, OWN, PATH, R, S
from meta1g.conf.schema import SectionDef, option
from meta1g.conf.values import Bool, Choice, Flag, Flags, Int, ListOf, Text, Time

_SERVER_MECHANISMS: Final = ListOf(
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
        "Cipher suites of TLS 1.2; without it those with forward secrecy and authenticated encryption, and for smtpc others "
        "after them.",
    ),
)

_NAMES: Final = ListOf(Text("name", max_chars=1024))
TLS_REQUIREMENTS: Final = SectionDef(
    "tls_requirements",
    "What TLS has to fulfil, or no mail is taken or sent.",
    R,
    (
        option(
            "flags",
            Flags(
                (
                    Flag("encrypted", False, "The session has to use TLS.", "R"),
                    Flag(
                        "verified", False, "The certificate has to be verified by a trusted authority; implies encrypted.", "R"
                    ),
                )
            ),
            None,
            R,
            "What has to hold.",
        ),
        option("min_cipher_bits", Int(0, 4096), "0", R, "Least bits of the cipher, implies encrypted; 0 for any."),
        option("cert_issuer", _NAMES, None, R, "Distinguished names of right issuers, as the log has them; implies verified."),
        option("cert_subject", _NAMES, None, R, "The same for the subject; implies verified."),
        option("common_name", _NAMES, None, R, "Common names (CN of the subject) that are right; implies verified."),
        option(
            "violation",
            Choice(("temporary", "permanent", "abort")),
            "temporary",
            R,
            "What a violation is: mail has to wait, is refused, or has to wait and the session ends.",
        ),
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
            "ticket_secret_file",
            PATH,
            None,
            OWN,
            "Secret of session tickets, 32 random bytes or more; with it several smtps take each other's tickets, also after a "
            "restart.",
        ),
        option(
            "flags",
            Flags((Flag("request_cert", True, "Clients are asked for a certificate.", "S"),)),
            None,
            S,
            "How the server behaves.",
        ),
    ),
    (
        SectionDef(
            "server_names",
            "Certificates by the name that a client asks for (SNI); without an entry it gets the one of the section.",
            OWN,
            (
                option(
                    "file",
                    PATH,
                    None,
                    OWN,
                    "A map: name, then certificate and key, relative to the configuration directory.",
                    required=True,
                ),
                option("type", Choice(("hash", "btree", "text")), "hash", OWN, "Type of the file."),
            ),
        ),
    ),
)
CLIENT_TLS: Final = SectionDef(
    "tls", "STARTTLS of the client; without CAcert_file and CAcert_directory it trusts whom the system trusts.", R, _FILES
)

#: Options of which one says who checks passwords.
BACK_ENDS: Final = ("password_file", "password_map", "saslauthd_socket", "dovecot_socket")
SERVER_AUTH: Final = SectionDef(
    "auth",
    "SMTP AUTH of the server, with one of password_file, password_map, saslauthd_socket and dovecot_socket.",
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
            "password_map",
            Bool(),
            "false",
            OWN,
            "Users and hashed passwords are in a map of smar, its section password_map.",
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
            Flags(
                (
                    Flag("without_tls", False, "AUTH is used without TLS, too: secrets may go in clear, and to anybody."),
                    Flag(
                        "unverified_tls",
                        False,
                        "Passwords and tokens go to servers whose certificate is not verified, too; otherwise only SCRAM is "
                        "used there.",
                    ),
                )
            ),
            None,
            OWN,
            "How the client behaves.",
        ),
    ),
)
