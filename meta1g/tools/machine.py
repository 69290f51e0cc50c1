"""What a configuration needs of its machine: a name, accounts, maps that their readers come to and that say something.

Maps are looked at by the check of SMAR: as root in a child that has become the account of their reader, else as whoever asks.

Ref: MeTA1 sm.check.sh (purpose modelled on).
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from functools import partial

from meta1g.base import asaccount, hostname, paths
from meta1g.base.accounts import account_of, account_problem, group_entry, user_entry
from meta1g.base.selfcheck import Findings
from meta1g.conf.config import Config, Section, UnreadError
from meta1g.smar.check import look_at_maps
from meta1g.smar.mapcheck import check_server_names
from meta1g.smtpc import check as smtpc_check
from meta1g.smtps import check as smtps_check


def uses_accounts(config: Config) -> bool:
    """Tells whether each component has an account of its own: where sm.setup has been at work, but not with --no-accounts."""
    queue = config.queue_directory
    return queue.exists() and not (queue / paths.MCP_NO_ACCOUNTS).exists()


def problems(config: Config, *, whole: bool = True) -> list[str]:
    """Gives all that is wrong, each with its place and what to do.

    Args:
        config: the configuration.
        whole: it has no errors; else only what could be read of it is looked at.
    """
    found: list[str] = []
    with contextlib.suppress(UnreadError):
        found += name_problems(config)
    with contextlib.suppress(UnreadError):
        use_accounts = uses_accounts(config)
        found += account_problems(config, use_accounts=use_accounts)
        found += map_problems(config, use_accounts=use_accounts, whole=whole)
    return list(dict.fromkeys(found))


def name_problems(config: Config) -> Iterator[str]:
    """Says that there is no name for greetings and headers; a file without components needs none."""
    text = hostname.problem(config.hostname) if config.all_sections else ""
    if text:
        yield f"{config.path}: {text}"


def account_problems(config: Config, *, use_accounts: bool) -> Iterator[str]:
    """Gives the accounts that components are to have and that do not exist, under the names that the file has for them."""
    for section in config.all_sections:
        default = paths.COMPONENT_ACCOUNTS[section.keyword] if use_accounts else ""
        text = account_problem(section.title, section.get("user"), section.get("group"), default)
        if text:
            yield f"{section.where}: {text}"


def map_problems(config: Config, *, use_accounts: bool, whole: bool = True) -> Iterator[str]:
    """Gives what is wrong with the maps of SMAR and QMGR, and their entries."""
    for owner in (*config.sections("smar"), *config.sections("qmgr")):
        question = partial(_lines, config, owner, whole and owner.keyword == "smar")
        yield from _as_its_account(owner, question, "maps", use_accounts=use_accounts)


def file_findings(config: Config) -> Iterator[str]:
    """Gives what is wrong with the files and back ends of TLS and AUTH, and what is worth a warning, which it begins with.

    Only root, and who runs all components, may read what they read.

    Args:
        config: the configuration; it has no errors.
    """
    use_accounts = uses_accounts(config)
    if use_accounts and os.geteuid() != 0:
        return
    for owner in (*config.sections("smtps"), *config.sections("smtpc")):
        yield from _as_its_account(owner, partial(_file_lines, config, owner), "files", use_accounts=use_accounts)


def _as_its_account(owner: Section, question: Callable[[], list[str]], what: str, *, use_accounts: bool) -> list[str]:
    """Asks a question as the account of a component; as the caller if there is nobody to become, or no right to."""
    name = account_of(owner, owner.keyword) if use_accounts or owner.get("user") else ""
    entry = user_entry(name) if name and os.geteuid() == 0 else None
    if entry is None:
        return question()
    group = group_entry(owner.get("group")) if owner.get("group") else None
    gid = entry.pw_gid if group is None else group.gr_gid
    lines = asaccount.ask(partial(asaccount.become_user, entry, gid), question)
    return [f"{owner.where}: the {what} could not be looked at as user {name}"] if lines is None else lines


def map_warnings(config: Config) -> Iterator[str]:
    """Gives the socket maps whose socket nobody has made: their server may still come, and until then mail waits."""
    for section in (one for owner in config.all_sections if "map" in owner.definition.by_section for one in owner.subs("map")):
        with contextlib.suppress(UnreadError, PermissionError):
            path = (
                config.queue_directory / section.get("path")
                if section.get("type") == "socket" and section.get("path")
                else None
            )
            if path is not None and not path.exists():
                yield f"{section.where}: {path}: no such socket; start the server of map {section.name}, or mend path"


def _file_lines(config: Config, owner: Section) -> list[str]:
    found = Findings(owner.keyword)
    if owner.keyword == "smtps":
        for text in check_server_names(config, owner):
            found.add(text)
        smtps_check.look_at_files(found, config, owner)
    else:
        smtpc_check.look_at_files(found, config)
    return found.lines


def _lines(config: Config, owner: Section, whole: bool) -> list[str]:
    found = Findings(owner.keyword)
    look_at_maps(found, config, owner, entries=True, whole=whole)
    return found.lines
