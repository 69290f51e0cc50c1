"""The maps that a section of the configuration declares, and those that its sub-sections use by name or file.

Ref: MeTA1 README, "Maps" (`map NAME { type = ...; }`, users by `name` or `file`).
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from meta1g.conf.config import Config, Section
from meta1g.maps.base import Map
from meta1g.maps.registry import MapRegistry, MapSpec
from meta1g.maps.watch import Loader


class DeclaredMaps:
    """The maps of one section.

    Args:
        config: the whole configuration.
        section: the section.
        loader: where changed files of maps are read.
        wrap: called with each map that was made and its declaration; gives what is used.

    Attributes:
        registry: all maps that were opened.

    Raises:
        PermError: two maps have the same name.

    Owner: the process (filled before the first thread).
    """

    def __init__(
        self,
        config: Config,
        section: Section,
        loader: Loader | None = None,
        wrap: Callable[[Map, MapSpec], Map] | None = None,
    ) -> None:
        self._config = config
        self._section = section
        self.registry = MapRegistry(tuple(self._spec(one) for one in section.subs("map")), loader, wrap)

    def openers(self, *keywords: str) -> Iterator[Callable[[], object]]:
        """Gives what opens one map each: all that are declared, then those of sub-sections."""
        for section in self._section.subs("map"):
            yield partial(self.registry.get, section.name or "", section.where)
        for keyword in keywords:
            yield partial(self.used_by, keyword)

    def used_by(self, keyword: str) -> Map | None:
        """Gives the map that a sub-section names or describes, None if there is no such sub-section.

        Raises:
            PermError: the map cannot be used.
            TempError: the system is short of something.
        """
        section = self._section.sub(keyword)
        name, file = section.get("name"), section.get("file")
        if name:
            return self.registry.get(name, section.where)
        if not file:
            return None
        return self.registry.add(MapSpec(name=keyword, type=section.get("type"), where=section.where, file=self._path(file)))

    def _path(self, text: str) -> Path:
        path: Path = self._config.configuration_directory / text
        return path

    def _spec(self, section: Section) -> MapSpec:
        file, path = section.get("file"), section.get("path")
        return MapSpec(
            name=section.name or "",
            type=section.get("type"),
            where=section.where,
            file=self._path(file) if file else None,
            path=self._config.queue_directory / path if path else None,
            address=section.get("address") or "",
            port=section.get("port") or 0,
            timeout_s=section.get("timeout"),
            mapname=section.get("mapname") or "",
            maps=tuple(section.get("maps")),
            entries=_entries(section),
        )


def _entries(section: Section) -> dict[str, str]:
    """Gives the content of a static map."""
    entries = {}
    for text in section.get("entries"):
        key, _, value = str(text).partition(" ")
        entries[key] = value.strip()
    return entries
