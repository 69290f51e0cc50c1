"""Which filters a section of smtps has.

Ref: MeTA1 README, "policy_milter" (flags and time-out modelled on).
"""

from pathlib import Path

from meta1g.base.dataclass import dataclass
from meta1g.conf.errors import ConfigError
from meta1g.conf.load import Section
from meta1g.milter.settings import DefaultAction, MilterSettings, filter_address, milter_settings
from meta1g.smtps.limits import US


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """One policy milter.

    Args:
        name: of its section, may be empty.
        address: where it listens: a path, or address and port.
        reply_timeout_us: for each answer.
        default_action: what happens without it.
        max_message_bytes: greatest message that may take the place of another one, 0 for no limit.
    """

    name: str
    address: str | tuple[str, int]
    reply_timeout_us: int
    default_action: DefaultAction
    max_message_bytes: int


def policies_of(section: Section, queue_directory: Path) -> tuple[PolicySettings, ...]:
    """Gives the policy milters of a section, in their order; paths of sockets are relative to the queue directory."""
    return tuple(_policy(one, queue_directory, section.get("max_message_size")) for one in section.subs("policy_milter"))


def _policy(section: Section, queue_directory: Path, max_message_bytes: int) -> PolicySettings:
    action = DefaultAction.TEMPFAIL
    if section.flag("abort"):
        action = DefaultAction.ABORT
    elif section.flag("accept_but_reconnect"):
        action = DefaultAction.ACCEPT
    return PolicySettings(
        name=section.name or "",
        address=filter_address(section.sub("socket"), queue_directory),
        reply_timeout_us=section.get("timeout") * US,
        default_action=action,
        max_message_bytes=max_message_bytes,
    )


def milters_of(section: Section, queue_directory: Path, *, every: bool = False) -> tuple[MilterSettings, ...]:
    """Gives the filters of a section, in their order.

    Args:
        section: of smtps, or as a client's piece of configuration changes it.
        queue_directory: paths of sockets are relative to it.
        every: those too that `milters` does not name, in the order of the file.

    Raises:
        ConfigError: a name has no section: a client's piece of configuration has it.
    """
    found = {one.name or "": one for one in section.subs("milter")}
    if not found and not section.given("milters"):
        return ()
    names = section.get("milters") if section.given("milters") and not every else tuple(found)
    missing = [name for name in names if name not in found]
    if missing:
        raise ConfigError(f"{section.where}: milters: there is no section milter {missing[0]}; add it, or remove the name")
    return tuple(milter_settings(found[name], queue_directory) for name in names)
