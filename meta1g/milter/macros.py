"""Macros: which ones a filter gets at which stage, and how they are named on the wire.

Pure.  A name stands without braces here: `i`, `client_addr`.
Ref: sendmail 8, doc/op ("Milter.macros.*"); Postfix, MILTER_README (the lists are its defaults and sendmail's joined).
"""

from collections.abc import Iterable, Mapping
from typing import Final

from meta1g.milter.errors import MilterProtocolError
from meta1g.milter.flags import MacroStage
from meta1g.milter.frames import MacroList, MilterMacro
from meta1g.milter.limits import MACROS_MAX

_M = MacroStage
_CLIENT: Final = ("client_addr", "client_name", "client_port", "client_ptr", "client_resolve")
_TLS: Final = ("tls_version", "cipher", "cipher_bits", "cert_subject", "cert_issuer", "verify")
_AUTH: Final = ("auth_type", "auth_authen", "auth_author")
#: What a filter gets that does not ask for a list of its own.
DEFAULT_MACROS: Final[Mapping[MacroStage, tuple[str, ...]]] = {
    _M.CONNECT: ("j", "v", "_", "daemon_name", "daemon_addr", "daemon_port", "if_name", "if_addr", *_CLIENT),
    _M.HELO: _TLS,
    _M.ENVFROM: ("i", *_AUTH, "mail_addr", "mail_host", "mail_mailer"),
    _M.ENVRCPT: ("i", "rcpt_addr", "rcpt_host", "rcpt_mailer"),
    _M.DATA: ("i",),
    _M.EOM: ("i", "msg_id"),
    _M.EOH: ("i",),
}


#: All that have a value at some time; what else a filter asks for it does not get.
MACROS: Final = frozenset(name for names in DEFAULT_MACROS.values() for name in names) | frozenset(
    ("b", "c", "f", "r", "s", "alg_bits", "cn_subject", "cn_issuer")
)


def wire_name(name: str) -> bytes:
    """Gives a name as filters look for it: one letter bare, others in braces."""
    return name.encode() if len(name) == 1 else f"{{{name}}}".encode()


def asked_for(lists: Iterable[MacroList]) -> dict[MacroStage, tuple[str, ...]]:
    """Gives the lists that a filter wants, by stage.

    Raises:
        MilterProtocolError: there is no such stage, or a list is too long.
    """
    found: dict[MacroStage, tuple[str, ...]] = {}
    for one in lists:
        try:
            stage = MacroStage(one.stage)
        except ValueError:
            raise MilterProtocolError(f"a list of macros for stage {one.stage}, which is none") from None
        names = one.names.replace(b",", b" ").decode("ascii", "replace").split()
        if len(names) > MACROS_MAX:
            raise MilterProtocolError(f"a list of more than {MACROS_MAX} macros")
        found[stage] = tuple(name.removeprefix("{").removesuffix("}") for name in names)
    return found


def values_of(names: Iterable[str], known: Mapping[str, str]) -> tuple[MilterMacro, ...]:
    """Gives the macros of a list that have a value.

    Args:
        names: the list.
        known: values at this time; an empty one is none.
    """
    return tuple(
        MilterMacro(wire_name(name), value.replace("\0", "").encode("utf-8", "surrogateescape"))
        for name in names
        if (value := known.get(name))
    )
