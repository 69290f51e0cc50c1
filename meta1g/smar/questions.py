"""Opens what a question is about, a configuration or one map, and asks it.

Ref: trace.py.
"""

from pathlib import Path
from typing import Final

from meta1g.conf.config import Config
from meta1g.maps.base import Map
from meta1g.maps.registry import MapRegistry, MapSpec
from meta1g.smar.access import AccessMap
from meta1g.smar.authsender import AuthSenders
from meta1g.smar.checks import Policy
from meta1g.smar.entries import ACCESS, ALIASES, DEFAULTS, MAILERTABLE, PASSWORDS, POLICIES, SENDERS, USERS, EntryRules
from meta1g.smar.hostconf import HostConf
from meta1g.smar.localuser import LocalUsers
from meta1g.smar.mapcheck import NOWHERE, aliases_alone, use_of
from meta1g.smar.passwordmap import PasswordMap
from meta1g.smar.relay import RelayRules
from meta1g.smar.route import Routes
from meta1g.smar.settings import settings_from
from meta1g.smar.tlsmap import PolicyMap
from meta1g.smar.trace import LookupNotes, Mail, QuestionError, Tracer, WatchedMap, in_full

_DELIMITER: Final = "+"
#: What the questions about one map are for, if neither an option nor its name tells.
_USES: Final = {
    "mailertable": MAILERTABLE,
    "aliases": ALIASES,
    "local_user_map": USERS,
    "tls_policy": POLICIES,
    "auth_sender": SENDERS,
    "password_map": PASSWORDS,
}


def of_configuration(config: Config, question: str, mail: Mail) -> list[str]:
    """Asks the maps of a configuration, those of its first section smar.

    Raises:
        QuestionError: there is no such question, or no map for it.
        Meta1Error: a map cannot be opened.
    """
    notes = LookupNotes()
    sections = config.sections("smar")
    smar = sections[0] if sections else config.section("smar")
    settings = settings_from(config, smar, watch=lambda table: WatchedMap(table, notes), wrong=notes)
    try:
        tracer = Tracer(settings.policy, settings.aliases, notes, settings.hostname.lower(), settings.policy_map)
        return tracer.ask(question, mail)
    finally:
        settings.registry.close()


def of_file(path: Path, kind: str, use: str | None, question: str, mail: Mail) -> list[str]:
    """Asks one map, as the only one of a configuration without any options.

    Args:
        path: its file.
        kind: its type.
        use: what it is for; None to tell it by the question or its name.
        question: see trace.py.
        mail: what else is known.

    Raises:
        QuestionError: there is no such question, or another map answers it.
        Meta1Error: the map cannot be opened.
    """
    notes = LookupNotes()
    registry = MapRegistry((), None, lambda table, _spec: WatchedMap(table, notes))
    wanted = use or use_of(path) or _USES.get(question.partition(":")[0].lower(), ACCESS)
    if wanted in _USES.values():
        question = in_full(question, wanted)
    elif ":" not in question:
        raise QuestionError(f"{question}: write from:{question} or another tag; -k prints the value of a key as it stands")
    table = registry.add(MapSpec(name=path.name, type=kind, file=path))
    try:
        return _tracer(wanted, table, notes).ask(question, mail)
    finally:
        registry.close()


def _tracer(use: str, table: Map, notes: LookupNotes) -> Tracer:
    routes = Routes(table if use == MAILERTABLE else None, DEFAULTS, notes)
    aliases = aliases_alone(table, EntryRules(use=ALIASES), notes) if use == ALIASES else None
    users = LocalUsers(table, localpart=True, local_domains=False, delimiter=_DELIMITER) if use == USERS else None
    access = AccessMap(table, _DELIMITER, notes) if use == ACCESS else None
    conf = HostConf(table, _DELIMITER, notes) if use == ACCESS else None
    relay = RelayRules((), (), (NOWHERE,), routes)
    senders = AuthSenders(table, _DELIMITER, relay, NOWHERE, notes) if use == SENDERS else None
    passwords = PasswordMap(table, notes) if use == PASSWORDS else None
    policy = Policy(routes, relay, access, users, aliases, conf=conf, senders=senders, passwords=passwords)
    policies = PolicyMap(table, notes, dane=True) if use == POLICIES else None
    return Tracer(policy, aliases, notes, NOWHERE, policies)
