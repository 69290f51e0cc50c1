"""What mcp has to know of a component, taken from its section of the configuration.

A section with `processes = N` makes N services; each has a label of its own (`smtps`, `smtps MSA`, `smtps MSA[1]`) and
an index that is unique among all processes of its kind.

Pure.
Ref: meta1.conf(5), process control (`start_action`, `restart_dependencies`, `pass_fd_socket`, `listen_socket`).
"""

import shlex
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final

from meta1g.base.cli import CliError
from meta1g.base.dataclass import dataclass
from meta1g.conf.config import Section
from meta1g.mcp.limits import PROCESSES_MAX, READY_BOUND_S, READY_MARGIN_S
from meta1g.mcp.order import Dependents

COMPONENTS: Final = ("smtps", "qmgr", "smtpc", "smar")
#: Components of which there may be several processes.
SEVERAL: Final = frozenset({"smtps", "smtpc"})


class StartAction(StrEnum):
    """How a component comes to its connections."""

    WAIT = "wait"  # it opens its own sockets
    PASS = "pass"  # noqa: S105 - mcp binds, and passes the listening sockets through pass_fd_socket
    ACCEPT = "accept"  # mcp accepts, each connection gets a process with it as standard input and output
    NOSTARTACCEPT = "nostartaccept"  # mcp binds, the program accepts from its standard input


#: Actions for which mcp binds the listen_socket entries.
BINDS: Final = frozenset({StartAction.PASS, StartAction.ACCEPT, StartAction.NOSTARTACCEPT})


@dataclass(frozen=True, slots=True)
class Listen:
    """One `listen_socket`.

    address is empty for all addresses; path is empty for TCP and relative to the queue directory otherwise.
    """

    where: str
    address: str = ""
    port: int = 0
    path: str = ""
    permissions: int | None = None

    @property
    def text(self) -> str:
        """What logs and errors call it; the same text means the same socket."""
        if self.path:
            return self.path
        return f"{self.address or '*'} port {self.port}"


@dataclass(frozen=True, slots=True)
class Service:
    """One process to be watched.

    Args:
        label: its name in logs, unique.
        kind: the keyword of the section, such as `smtps`.
        name: the name of the section.
        index: process index, unique among the processes of its kind.
        where: file and line of the section.
        path: the program; empty for the bundled one.
        arguments: the words of `arguments`, the program's name included.
        dependents: names from `restart_dependencies`.
        ready_bound_s: it counts as ready after so many seconds, whatever it says.
    """

    label: str
    kind: str
    where: str
    name: str | None = None
    index: int = 0
    start_action: StartAction = StartAction.WAIT
    user: str = ""
    group: str = ""
    path: str = ""
    arguments: tuple[str, ...] = ()
    dependents: tuple[str, ...] = ()
    pass_fd_socket: str = ""
    listens: tuple[Listen, ...] = ()
    ready_bound_s: float = READY_BOUND_S

    @property
    def section(self) -> tuple[str, str | None]:
        """Keyword and name of the section; processes of one section share it."""
        return self.kind, self.name


def services_of(sections: Iterable[Section]) -> list[Service]:
    """Gives the services of a configuration in the order of the file.

    Args:
        sections: all top-level sections; those of other keywords than the components are passed over.

    Raises:
        CliError: a section cannot be run as it is.
    """
    made: list[Service] = []
    counts = dict.fromkeys(COMPONENTS, 0)
    for section in sections:
        if section.keyword in counts:
            number = _processes(section, counts[section.keyword])
            first = _service(section)
            made += [_numbered(first, k, counts[section.keyword], number) for k in range(number)]
            counts[section.keyword] += number
    if not made:
        raise CliError(f"there is no section of {', '.join(COMPONENTS)}: nothing to start")
    return made


def _processes(section: Section, so_far: int) -> int:
    number: int = section.get("processes") or 1
    if so_far + number > 1 and section.keyword not in SEVERAL:
        raise CliError(f"{section.where}: there can be only one {section.keyword} process")
    if so_far + number > PROCESSES_MAX:
        raise CliError(f"{section.where}: more than {PROCESSES_MAX} {section.keyword} processes; lower processes")
    return number


def _service(section: Section) -> Service:
    label = f"{section.keyword} {section.name}" if section.name else section.keyword
    try:
        arguments = tuple(shlex.split(section.get("arguments") or ""))
    except ValueError as error:
        raise CliError(f"{section.where}: arguments of {label} cannot be split: {error}") from error
    made = Service(
        label=label,
        kind=section.keyword,
        name=section.name,
        where=section.where,
        start_action=StartAction(section.get("start_action") or "wait"),
        user=section.get("user") or "",
        group=section.get("group") or "",
        path=section.get("path") or "",
        arguments=arguments,
        dependents=tuple(section.get("restart_dependencies") or ()),
        pass_fd_socket=section.get("pass_fd_socket") or "",
        listens=tuple(_listen(sub) for sub in section.subs("listen_socket")),
        ready_bound_s=_ready_bound_s(section),
    )
    _check_sockets(made)
    return made


def _ready_bound_s(section: Section) -> float:
    waits_s: int = section.get("wait_for_server") if "wait_for_server" in section.definition.by_option else 0
    return max(READY_BOUND_S, waits_s + READY_MARGIN_S)


def _listen(sub: Section) -> Listen:
    path = sub.get("path") or ""
    if sub.get("type") == "unix" or path:
        if not path:
            raise CliError(f"{sub.where}: listen_socket of type unix needs a path")
        return Listen(sub.where, path=path, permissions=sub.get("permissions"))
    return Listen(sub.where, address=sub.get("address") or "", port=sub.get("port"))


def _check_sockets(made: Service) -> None:
    action = made.start_action
    if action in BINDS and not made.listens:
        raise CliError(f"{made.where}: start_action = {action} of {made.label} needs a listen_socket")
    if action is StartAction.PASS and not made.pass_fd_socket:
        raise CliError(f"{made.where}: start_action = pass of {made.label} needs pass_fd_socket, such as smtps/smtpsfd")
    if action in (StartAction.ACCEPT, StartAction.NOSTARTACCEPT) and len(made.listens) > 1:
        raise CliError(f"{made.where}: start_action = {action} of {made.label} takes one listen_socket only")


def _numbered(first: Service, number: int, start: int, processes: int) -> Service:
    label = f"{first.label}[{number}]" if processes > 1 else first.label
    values = {name: getattr(first, name) for name in Service.__slots__}
    return Service(**{**values, "label": label, "index": start + number})


def dependents_of(services: Sequence[Service]) -> Dependents:
    """Gives for each label the labels of those who restart with it; names without a section mean nobody."""
    by_name: dict[str, set[str]] = {}
    for service in services:
        for name in {service.kind, service.name or service.kind}:
            by_name.setdefault(name, set()).add(service.label)
    found: dict[str, frozenset[str]] = {}
    for service in services:
        own = {other.label for other in services if other.section == service.section}
        labels = {label for name in service.dependents for label in by_name.get(name, ())}
        found[service.label] = frozenset(labels - own)
    return found


def options_of(section: Section) -> object:
    """Gives all values of a section and of those inside it; two results are equal if the sections mean the same."""
    values = tuple((item.row.name, item.value) for item in section.items())
    return section.keyword, section.name, values, tuple(options_of(sub) for sub in section.children())


def same(old: Service, new: Service) -> bool:
    """Tells whether two services are the same but for their places in the file."""
    return _without_places(old) == _without_places(new)


def _without_places(service: Service) -> tuple[object, ...]:
    listens = tuple((x.text, x.permissions) for x in service.listens)
    rest = (getattr(service, name) for name in Service.__slots__ if name not in ("where", "listens"))
    return (listens, *rest)
