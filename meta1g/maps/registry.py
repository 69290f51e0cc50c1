"""Map types by name, and the maps that a configuration declares.

Ref: MeTA1 configuration, `map NAME { type = TYPE; ... }`.
"""

from collections.abc import Callable, Mapping
from dataclasses import field
from pathlib import Path
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.base.errors import Module, PermError
from meta1g.maps.base import Map
from meta1g.maps.bdbmap import BdbMap
from meta1g.maps.cidrmap import CidrMap
from meta1g.maps.limits import SEQUENCE_DEPTH_MAX, SOCKET_TIMEOUT_S
from meta1g.maps.regexmap import RegexMap
from meta1g.maps.sequence import SequenceMap
from meta1g.maps.sockmap import SocketMap
from meta1g.maps.static import StaticMap
from meta1g.maps.textmap import TextMap
from meta1g.maps.watch import Loader


@dataclass(frozen=True, slots=True, kw_only=True)
class MapSpec:
    """What the configuration says about a map.

    Args:
        name: name of the map.
        type: a key of TYPES.
        where: `file:line` of the declaration, for errors.
        file: file of a map in a file.
        path: Unix socket of a map server.
        address, port: TCP address of a map server, if there is no path.
        mapname: name that the map server knows the map by; the map's own name if empty.
        timeout_s: patience with a map server.
        maps: names of the maps of a sequence.
        entries: content of a static map.
    """

    name: str
    type: str
    where: str = ""
    file: Path | None = None
    path: Path | None = None
    address: str = ""
    port: int = 0
    mapname: str = ""
    timeout_s: float = SOCKET_TIMEOUT_S
    maps: tuple[str, ...] = ()
    entries: Mapping[str, str] = field(default_factory=dict)


class MapRegistry:
    """The maps of a configuration, made when first asked for.

    Args:
        specs: all declarations; a later one of the same name is an error.
        loader: where files that have changed are read.
        wrap: called as wrap(map, spec) with each map that was made; gives what is used.

    Raises:
        PermError: two maps have the same name.

    Owner: the process (filled before the first thread).
    """

    def __init__(
        self, specs: tuple[MapSpec, ...] = (), loader: Loader | None = None, wrap: Callable[[Map, MapSpec], Map] | None = None
    ) -> None:
        self._loader = Loader() if loader is None else loader
        self._wrap = _as_it_is if wrap is None else wrap
        self._specs: dict[str, MapSpec] = {}
        self._maps: dict[str, Map] = {}
        self._anonymous: list[Map] = []
        for spec in specs:
            if spec.name in self._specs:
                raise PermError(Module.MAP, f"{spec.where}: map {spec.name} is declared twice")
            self._specs[spec.name] = spec

    def get(self, name: str, where: str = "", depth: int = 0) -> Map:
        """Gives a map by its name.

        Args:
            name: name of the map.
            where: place in the configuration that asks, for errors.
            depth: how many sequences ask for it.

        Raises:
            PermError: it is not declared, its type is unknown, or its file cannot be used.
        """
        if name in self._maps:
            return self._maps[name]
        spec = self._specs.get(name)
        if spec is None:
            raise PermError(Module.MAP, f"{where}: map {name} is not declared; add map {name} {{ ... }}")
        if depth > SEQUENCE_DEPTH_MAX:
            raise PermError(Module.MAP, f"{spec.where}: map {name} contains itself")
        made = self.make(spec, depth)
        self._maps[name] = made
        return made

    def add(self, spec: MapSpec) -> Map:
        """Makes a map that its user describes in place; it has no name that others could use.

        Raises:
            PermError: its type is unknown, something is missing, or its file cannot be used.
        """
        made = self.make(spec)
        self._anonymous.append(made)
        return made

    def make(self, spec: MapSpec, depth: int = 0) -> Map:
        """Makes a map of a declaration.

        Raises:
            PermError: its type is unknown, something is missing, or its file cannot be used.
        """
        if spec.type == "sequence":
            parts = [self.get(name, spec.where, depth + 1) for name in spec.maps]
            if not parts:
                raise PermError(Module.MAP, f"{spec.where}: map {spec.name}: give maps = {{ ... }}")
            return SequenceMap(spec.name, parts)
        maker = TYPES.get(spec.type)
        if maker is None:
            known = ", ".join(sorted((*TYPES, "sequence")))
            raise PermError(Module.MAP, f"{spec.where}: map {spec.name}: type {spec.type} is unknown; use one of {known}")
        try:
            made = maker(spec, self._loader)
        except PermError as error:
            raise PermError(error.module, _placed(error.cause, spec)) from error
        return self._wrap(made, spec)

    def all(self) -> tuple[Map, ...]:
        """Gives all maps that were asked for."""
        return (*self._maps.values(), *self._anonymous)

    def close(self) -> None:
        """Closes all maps."""
        for one in self.all():
            one.close()


def _placed(cause: str, spec: MapSpec) -> str:
    """Says what is wrong with a map, and where it is declared."""
    return cause if not spec.where or cause.startswith(f"{spec.where}:") else f"{spec.where}: map {spec.name}: {cause}"


def _as_it_is(table: Map, spec: MapSpec) -> Map:
    return table


def _file(spec: MapSpec) -> Path:
    if spec.file is None:
        raise PermError(Module.MAP, f"{spec.where}: map {spec.name}: give file = ...")
    return spec.file


def _passwd(spec: MapSpec, loader: Loader) -> Map:
    from meta1g.maps.passwd import PasswdMap  # few need it, and ctypes with it

    return PasswdMap(spec.name)


def _socket(spec: MapSpec, loader: Loader) -> Map:
    mapname = spec.mapname or spec.name
    if spec.path is not None:
        return SocketMap(spec.name, str(spec.path), mapname, timeout_s=spec.timeout_s)
    if spec.address and spec.port:
        return SocketMap(spec.name, (spec.address, spec.port), mapname, timeout_s=spec.timeout_s)
    raise PermError(Module.MAP, f"{spec.where}: map {spec.name}: give path = ..., or address and port")


#: Type name -> maker; `sequence` is made by the registry itself, because it needs the other maps.
TYPES: Final[Mapping[str, Callable[[MapSpec, Loader], Map]]] = {
    "hash": lambda spec, loader: BdbMap(spec.name, _file(spec), loader=loader),
    "btree": lambda spec, loader: BdbMap(spec.name, _file(spec), loader=loader),
    "text": lambda spec, loader: TextMap(spec.name, _file(spec), loader=loader),
    "regex": lambda spec, loader: RegexMap(spec.name, _file(spec), loader=loader),
    "cidr": lambda spec, loader: CidrMap(spec.name, _file(spec), loader=loader),
    "passwd": _passwd,
    "socket": _socket,
    "static": lambda spec, loader: StaticMap(spec.name, spec.entries),
}
