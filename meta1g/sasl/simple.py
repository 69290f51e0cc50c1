"""Mechanisms of one or two messages.

    server   PLAIN, LOGIN, EXTERNAL
    client   PLAIN, LOGIN, CRAM-MD5, XOAUTH2, OAUTHBEARER

Pure.  Ref: RFC 4616 (PLAIN), RFC 4422 Appendix A (EXTERNAL), RFC 7628 (OAUTHBEARER), RFC 2195 (CRAM-MD5); LOGIN and XOAUTH2
have no RFC: what clients and servers do.
"""

import hmac
from typing import Final

from meta1g.sasl.base import (
    VALUE_MAX_BYTES,
    Challenge,
    CheckPassword,
    ClientExchange,
    SaslError,
    SaslIdentity,
    ServerExchange,
    malformed,
    of_kind,
    text_of,
)
from meta1g.sasl.prep import prepared_or_none, saslprep

_PLAIN_PARTS: Final = 3
_REFUSED: Final = "wrong password or no such user"


def plain_server(initial: bytes | None) -> ServerExchange:
    """PLAIN: authzid NUL authcid NUL password.

    Args:
        initial: what came with AUTH; None if nothing did.

    Raises:
        SaslError: it fails.
    """
    data = of_kind((yield Challenge(b"")), bytes) if initial is None else initial
    parts = data.split(b"\0")
    if len(parts) != _PLAIN_PARTS:
        raise malformed("PLAIN has three parts with a NUL between them")
    authzid, authcid, password = (text_of(part, "a part of PLAIN") for part in parts)
    return (yield from _checked(authzid, authcid, password))


def login_server(initial: bytes | None) -> ServerExchange:
    """LOGIN: the user, then the password.  Arguments and errors as those of plain_server()."""
    user = of_kind((yield Challenge(b"Username:")), bytes) if initial is None else initial
    password = of_kind((yield Challenge(b"Password:")), bytes)
    return (yield from _checked("", text_of(user, "the user"), text_of(password, "the password")))


def _checked(authzid: str, authcid: str, password: str) -> ServerExchange:
    user, secret = prepared_or_none(authcid), prepared_or_none(password)
    if not authcid or not password:
        raise malformed("user or password is empty")
    if not user or not secret or max(len(user.encode()), len(secret.encode())) > VALUE_MAX_BYTES:
        raise SaslError(_REFUSED)  # it got longer when it was prepared
    if not (yield CheckPassword(user, secret)):
        raise SaslError(_REFUSED)
    return SaslIdentity(user, authzid or user)


def external_server(initial: bytes | None, authcid: str) -> ServerExchange:
    """EXTERNAL: the client is who its certificate says.

    Args:
        initial: what came with AUTH: the one it wants to act as, empty for itself; None if nothing did.
        authcid: who the certificate says it is; empty if there is none that counts.

    Raises:
        SaslError: it fails.
    """
    data = of_kind((yield Challenge(b"")), bytes) if initial is None else initial
    authzid = text_of(data, "the name")
    if not authcid:
        raise SaslError("there is no certificate that says who the client is")
    return SaslIdentity(authcid, authzid or authcid)


def plain_client(authcid: str, password: str) -> ClientExchange:
    """PLAIN."""
    yield f"\0{saslprep(authcid)}\0{saslprep(password)}".encode()


def login_client(authcid: str, password: str) -> ClientExchange:
    """LOGIN, for servers that ask for the user first."""
    yield saslprep(authcid).encode()
    yield saslprep(password).encode()


def cram_md5_client(authcid: str, password: str, challenge: bytes) -> ClientExchange:
    """CRAM-MD5: the server speaks first.

    Args:
        authcid: the user.
        password: its password.
        challenge: what the server said.
    """
    digest = hmac.new(saslprep(password).encode(), challenge, "md5").hexdigest()
    yield f"{saslprep(authcid)} {digest}".encode()


def xoauth2_client(user: str, token: str) -> ClientExchange:
    """XOAUTH2; a server that refuses says why in one more challenge, which is answered with nothing."""
    reason = yield f"user={user}\1auth=Bearer {token}\1\1".encode()
    if reason:
        yield b""


def oauthbearer_client(user: str, token: str, host: str, port: int) -> ClientExchange:
    """OAUTHBEARER (RFC 7628 3.1); a server that refuses says why in one more challenge, which is answered with a ^A."""
    name = user.replace("=", "=3D").replace(",", "=2C")
    reason = yield f"n,a={name},\1host={host}\1port={port}\1auth=Bearer {token}\1\1".encode()
    if reason:
        yield b"\1"
