"""SCRAM, both sides: SCRAM-SHA-1, SCRAM-SHA-256, and their forms with channel binding (-PLUS, tls-exporter).

    client   n,,n=user,r=CNONCE
    server                          r=CNONCE SNONCE,s=SALT,i=COUNT
    client   c=BINDING,r=CNONCE SNONCE,p=PROOF
    server                          v=SIGNATURE                       and the client says nothing, in one more message

A user that is not known has a verifier that the caller makes up, always the same for its name, and fails at the proof, as a
wrong password does.

Pure.  Ref: RFC 5802, RFC 7677, RFC 9266 (tls-exporter), RFC 4954.
"""

import base64
import binascii
import hashlib
import hmac
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.sasl.base import (
    VALUE_MAX_BYTES,
    Challenge,
    ClientExchange,
    FindVerifier,
    Found,
    SaslError,
    SaslIdentity,
    ServerExchange,
    Verifier,
    malformed,
    of_kind,
    text_of,
)
from meta1g.sasl.prep import prepared_or_none, saslprep

BINDING: Final = "tls-exporter"
#: RFC 7677 4 asks for at least 4096.
ITERATIONS: Final = 4096
#: More would let a server, or an entry of a file, keep a processor busy.
ITERATIONS_MAX: Final = 1_000_000
SALT_BYTES: Final = 16
MESSAGE_MAX_BYTES: Final = 4096


def make_verifier(hash_name: str, password: str, salt: bytes, iterations: int = ITERATIONS) -> Verifier:
    """Makes what is stored of a password.

    Args:
        hash_name: `sha1` or `sha256`.
        password: as the user gives it.
        salt: random bytes.
        iterations: of the hash; 4,096 take about 2 ms.

    Raises:
        SaslError: the password has characters that may not be in it.
    """
    salted = hashlib.pbkdf2_hmac(hash_name, saslprep(password).encode(), salt, iterations)
    stored = hashlib.new(hash_name, _hmac(hash_name, salted, b"Client Key")).digest()
    return Verifier(salt, iterations, stored, _hmac(hash_name, salted, b"Server Key"))


def check_verifier(hash_name: str, verifier: Verifier, password: str) -> bool:
    """Tells whether a verifier is that of a password."""
    prepared = prepared_or_none(password)
    if prepared is None:
        return False
    made = make_verifier(hash_name, prepared, verifier.salt, verifier.iterations)
    return hmac.compare_digest(made.stored_key, verifier.stored_key)


def _hmac(hash_name: str, key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, hash_name)


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _unb64(text: str, what: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise malformed(f"{what} is no base64") from None


def _name(text: str) -> str:
    """Reads a name: = and , stand as =3D and =2C (RFC 5802 5.1)."""
    rest = text.replace("=2C", "").replace("=3D", "")
    if "=" in rest or not 0 < len(text.encode()) <= VALUE_MAX_BYTES:
        raise malformed(f"a name is empty, has = without 2C or 3D, or more than {VALUE_MAX_BYTES} bytes")
    return text.replace("=2C", ",").replace("=3D", "=")


def _as_name(text: str) -> str:
    return text.replace("=", "=3D").replace(",", "=2C")


def _fields(message: str) -> dict[str, str]:
    """Reads `a=x,b=y`; one that the client does not know may follow, a mandatory one (m=) may not.

    Raises:
        SaslError: a part has another form, or stands twice.
    """
    found: dict[str, str] = {}
    for part in message.split(","):
        key, sign, value = part.partition("=")
        if not sign or len(key) != 1 or not key.isalpha() or not key.isascii() or key in found:
            raise malformed("a part of a message is not of the form a=value, or stands twice")
        found[key] = value
    if "m" in found:
        raise malformed("an extension that has to be understood is not")
    return found


def _wanted(fields: dict[str, str], *keys: str) -> list[str]:
    """Gives the values of the first fields, which have to be these, in this order."""
    if tuple(fields)[: len(keys)] != keys:
        raise malformed(f"a message does not begin with {', '.join(keys)}")
    return [fields[key] for key in keys]


@dataclass(frozen=True, slots=True)
class ClientFirst:
    """The client's first message.

    Args:
        gs2: its head, with both commas.
        bare: what follows the head.
        authcid: who the client says it is.
        authzid: whom it wants to act as, empty for the same.
        nonce: the client's part.
        binds: it binds the connection (`p=`).
    """

    gs2: str
    bare: str
    authcid: str
    authzid: str
    nonce: str
    binds: bool


def read_first(data: bytes, *, plus: bool, binding_offered: bool) -> ClientFirst:
    """Reads the client's first message.

    Args:
        data: the message.
        plus: the client chose a mechanism with channel binding.
        binding_offered: such a mechanism was offered.

    Raises:
        SaslError: it breaks the rules, or somebody took the stronger mechanism out of what the client saw.
    """
    message = _message(data)
    flag, comma, rest = message.partition(",")
    authzid, second, bare = rest.partition(",")
    if not comma or not second:
        raise malformed("the head of the first message is not whole")
    binds = flag.startswith("p=")
    if plus != binds or (binds and flag != f"p={BINDING}") or (not binds and flag not in ("n", "y")):
        raise malformed(f"the channel binding {flag!r} does not go with the mechanism")
    if flag == "y" and binding_offered:
        raise SaslError("the client did not see that channel binding is offered: somebody may have changed the list")
    if authzid and not authzid.startswith("a="):
        raise malformed("the head of the first message has something else than a name")
    authcid, nonce = _wanted(_fields(bare), "n", "r")
    if not nonce or not all("!" <= one <= "~" for one in nonce):
        raise malformed("the nonce is empty or has other than printable characters")
    acts_as = _name(authzid[2:]) if authzid[2:] else ""  # a= without a name is sent by some
    return ClientFirst(f"{flag},{authzid},", bare, _name(authcid), acts_as, nonce, binds)


def _message(data: bytes) -> str:
    if len(data) > MESSAGE_MAX_BYTES:
        raise malformed(f"a message is longer than {MESSAGE_MAX_BYTES} bytes")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise malformed("a message is no UTF-8") from None
    if "\0" in text:
        raise malformed("a message has a NUL")
    return text


@dataclass(frozen=True, slots=True)
class ScramServer:
    """What a server needs beside the dialogue.

    Args:
        hash_name: `sha1` or `sha256`.
        nonce: random printable characters without a comma, new for each exchange.
        binding: the channel binding of the connection for a mechanism of the -PLUS kind, None for the plain one.
        binding_offered: a mechanism of the -PLUS kind was offered.
    """

    hash_name: str
    nonce: str
    binding: bytes | None = None
    binding_offered: bool = False

    def exchange(self, initial: bytes | None) -> ServerExchange:
        """The server's side.

        Args:
            initial: what came with AUTH; None if nothing did.

        Raises:
            SaslError: it fails.
        """
        if initial is None:
            initial = of_kind((yield Challenge(b"")), bytes)
        first = read_first(initial, plus=self.binding is not None, binding_offered=self.binding_offered)
        authcid = prepared_or_none(first.authcid)
        found = of_kind((yield FindVerifier(authcid or first.authcid, self.hash_name)), Found)
        verifier = found.verifier
        nonce = first.nonce + self.nonce
        server_first = f"r={nonce},s={_b64(verifier.salt)},i={verifier.iterations}"
        final = _message(of_kind((yield Challenge(server_first.encode())), bytes))
        without_proof, _, _ = final.rpartition(",p=")
        auth_message = f"{first.bare},{server_first},{without_proof}".encode()
        self._check(first, nonce, final, verifier, auth_message)
        if not found.known or not authcid:
            raise SaslError("no such user, or none with a verifier for this mechanism")
        signature = _hmac(self.hash_name, verifier.server_key, auth_message)
        last = of_kind((yield Challenge(b"v=" + base64.b64encode(signature))), bytes)
        if last:
            raise malformed("the client has something to say after the end")
        return SaslIdentity(authcid, first.authzid or authcid)

    def _check(self, first: ClientFirst, nonce: str, final: str, verifier: Verifier, auth_message: bytes) -> None:
        """Checks the client's last message, all of it before anything is told."""
        fields = _fields(final)
        binding, said = _wanted(fields, "c", "r")
        if tuple(fields)[-1] != "p":
            raise malformed("the last message does not end with the proof")
        expected = first.gs2.encode() + (self.binding or b"")
        if not hmac.compare_digest(_unb64(binding, "the channel binding"), expected):
            raise SaslError("the channel binding is not that of this connection")
        if not hmac.compare_digest(said.encode(), nonce.encode()):
            raise SaslError("the nonce is not the one of this exchange")
        proof = _unb64(fields["p"], "the proof")
        if len(proof) != len(verifier.stored_key):
            raise malformed("the proof has a wrong length")
        key = _xor(proof, _hmac(self.hash_name, verifier.stored_key, auth_message))
        if not hmac.compare_digest(hashlib.new(self.hash_name, key).digest(), verifier.stored_key):
            raise SaslError("the password is wrong")


@dataclass(frozen=True, slots=True)
class ScramClient:
    """What a client needs beside the dialogue.

    Args:
        hash_name: `sha1` or `sha256`.
        authcid: the user.
        password: its password.
        nonce: random printable characters without a comma, new for each exchange.
        binding: the channel binding of the connection for a mechanism of the -PLUS kind, None for the plain one.
        could_bind: there is a channel binding, and the server offers no mechanism of the -PLUS kind.
    """

    hash_name: str
    authcid: str
    password: str
    nonce: str
    binding: bytes | None = None
    could_bind: bool = False

    def exchange(self) -> ClientExchange:
        """The client's side.

        Raises:
            SaslError: a message breaks the rules, or the server does not know the password.
        """
        flag = f"p={BINDING}" if self.binding is not None else "y" if self.could_bind else "n"
        gs2 = f"{flag},,"
        bare = f"n={_as_name(saslprep(self.authcid))},r={self.nonce}"
        server_first = _message((yield f"{gs2}{bare}".encode()))
        nonce, salt, count = _wanted(_fields(server_first), "r", "s", "i")
        if not nonce.startswith(self.nonce) or nonce == self.nonce:
            raise malformed("the server did not lengthen the nonce")
        if not count.isascii() or not count.isdecimal() or not 0 < int(count) <= ITERATIONS_MAX:
            raise malformed(f"the number of iterations is not between 1 and {ITERATIONS_MAX}")
        without_proof = f"c={_b64(gs2.encode() + (self.binding or b''))},r={nonce}"
        auth_message = f"{bare},{server_first},{without_proof}".encode()
        proof, signature = self._keys(_unb64(salt, "the salt"), int(count), auth_message)
        server_final = text_of((yield f"{without_proof},p={_b64(proof)}".encode()), "the last message")
        fields = _fields(server_final)
        if "e" in fields:
            raise SaslError(f"the server says {fields['e']}")
        if not hmac.compare_digest(_unb64(fields.get("v", ""), "the signature"), signature):
            raise SaslError("the server does not know the password")
        yield b""

    def _keys(self, salt: bytes, count: int, auth_message: bytes) -> tuple[bytes, bytes]:
        """Gives our proof and what the server has to prove itself with."""
        name = self.hash_name
        salted = hashlib.pbkdf2_hmac(name, saslprep(self.password).encode(), salt, count)
        client_key = _hmac(name, salted, b"Client Key")
        stored = hashlib.new(name, client_key).digest()
        proof = _xor(client_key, _hmac(name, stored, auth_message))
        return proof, _hmac(name, _hmac(name, salted, b"Server Key"), auth_message)
