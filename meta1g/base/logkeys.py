"""Registry of log keys and severities: what may stand in a log line, in which order.

Ref: MeTA1 design, "Implementation: Logging" (keys modelled on MeTA1's).
"""

from enum import IntEnum
from typing import Final


class Sev(IntEnum):
    """Severity of a log line; the number is the least log_level at which it is written."""

    FATAL = 0
    ERROR = 1
    WARN = 3
    NOTICE = 5
    INFO = 9
    DEBUG = 15


#: Keys that may stand in a line with their meaning, in the order in which they are written.
LOG_KEYS: Final[dict[str, str]] = {
    "ss_sess": "SMTP server session id",
    "ss_ta": "SMTP server transaction id",
    "da_sess": "delivery session id",
    "da_ta": "delivery transaction id",
    "rcpt_idx": "recipient index in the transaction",
    "client": "address of the SMTP client",
    "client_name": "name of the SMTP client, in brackets if it is not known",
    "ehlo": "argument of EHLO, HELO or LHLO",
    "orig_client": "address of the client behind the client, as XFORWARD tells it",
    "orig_name": "its name",
    "orig_ehlo": "argument of its EHLO or HELO",
    "orig_id": "id of the message at the host that told",
    "mail": "reverse-path",
    "rcpt": "forward-path",
    "orig_rcpt": "recipient before alias expansion",
    "owner": "envelope sender of a list expansion",
    "members": "members of an alias, parted by spaces",
    "told": "indexes of the recipients that a report tells of, parted by spaces",
    "da": "delivery agent",
    "server": "address of the SMTP or LMTP server",
    "port": "port of the SMTP server",
    "server_name": "host name of the SMTP server",
    "cdb_id": "content file id",
    "size": "size in bytes",
    "rcpts": "number of recipients",
    "msgid": "Message-ID of the content",
    "body": "BODY of MAIL (RFC 6152)",
    "ret": "RET of MAIL (RFC 3461)",
    "envid": "ENVID of MAIL (RFC 3461)",
    "by": "when it has to be delivered, and the mode behind a semicolon (RFC 2852)",
    "priority": "MT-PRIORITY of the message (RFC 6710)",
    "traits": "what else is known of a message: smtputf8, requiretls, automatic, tls_optional, parted by spaces",
    "notify": "NOTIFY of RCPT (RFC 3461)",
    "orcpt": "ORCPT of RCPT (RFC 3461)",
    "relay": "who delivered, or whether relaying was allowed",
    "tls": "TLS version and cipher suite",
    "bits": "strength of the key of the cipher",
    "verify": "what became of the peer's certificate: ok, or why not",
    "cert_subject": "subject of the peer's certificate",
    "cert_issuer": "issuer of the peer's certificate",
    "tls_policy": "what TLS has to fulfil, and who says so",
    "auth": "authenticated identity, or who the client said it is",
    "mechanism": "SASL mechanism",
    "reply": "SMTP reply code",
    "ecode": "enhanced status code",
    "delay_ms": "time in the queue, milliseconds",
    "tries": "number of delivery attempts",
    "next_try": "time of the next attempt, RFC 3339",
    "peer": "other end of a connection",
    "component": "component of meta1g",
    "pid": "process id",
    "exit": "exit code or signal of a process",
    "path": "file or socket",
    "offset": "place in a file, in bytes",
    "line": "line in a file",
    "listen": "address of a listening socket",
    "count": "how many",
    "resource": "resource of the load control",
    "usage": "use of a resource, 0 to 100",
    "limit": "limit that applies",
    "map": "map",
    "key": "look-up key with its tag",
    "answer": "result of a look-up",
    "name": "name asked for or found",
    "command": "command received",
    "time_ms": "time taken or allowed, milliseconds",
    "where": "part of the program",
}
