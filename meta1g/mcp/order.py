"""In which order components start and stop, and who restarts with whom.

Components start from the last section of the configuration file to the first and stop in the order of the file.
`restart_dependencies` of a component names its dependents: they stop before it stops and start after it has started, and
they restart when it restarts, and so do theirs.  Where two depend on each other the order of the file decides.

Pure.  Ref: GNU pies manual, "include-meta1" (order of start and stop, dependents); MeTA1 design, "Functional
Specification: Supervisor".
"""

from collections.abc import Iterable, Mapping, Sequence

#: component name -> names of its dependents
Dependents = Mapping[str, frozenset[str]]


def closure(name: str, dependents: Dependents) -> frozenset[str]:
    """Gives everybody who restarts when `name` restarts, without itself: its dependents, theirs, and so on."""
    found: set[str] = set()
    todo = [name]
    while todo:
        for other in dependents.get(todo.pop(), frozenset()):
            if other not in found:
                found.add(other)
                todo.append(other)
    return frozenset(found - {name})


def start_order(names: Iterable[str]) -> list[str]:
    """Gives the order in which a system starts: last section first.

    Args:
        names: components in the order of the file.
    """
    return list(reversed(list(names)))


def restart_order(restarting: str, names: Sequence[str], dependents: Dependents) -> list[str]:
    """Gives the order in which a component and everybody who restarts with it start: itself, then the others."""
    return [restarting, *by_dependence(closure(restarting, dependents), names, dependents)]


def stop_first(name: str, names: Sequence[str], dependents: Dependents) -> frozenset[str]:
    """Gives those who have to be stopped before `name` stops: its dependents.

    Of two that depend on each other, the one that is earlier in the file stops first.

    Args:
        name: a component.
        names: all components in the order of the file.
        dependents: who depends on whom.
    """
    place = {other: number for number, other in enumerate(names)}
    found = closure(name, dependents)
    mutual = {other for other in found if name in closure(other, dependents)}
    return found - {other for other in mutual if place.get(other, 0) > place.get(name, 0)}


def start_first(name: str, earlier: Iterable[str], dependents: Dependents) -> list[str]:
    """Gives those of `earlier` that have to be ready before `name` starts: those that it is a dependent of."""
    return [other for other in earlier if name in dependents.get(other, frozenset())]


def by_dependence(wanted: Iterable[str], names: Sequence[str], dependents: Dependents) -> list[str]:
    """Gives `wanted` in an order in which everybody comes after those it depends on; otherwise the order of the file."""
    left = set(wanted)
    rest = [name for name in names if name in left]
    made: list[str] = []
    while rest:
        free = [name for name in rest if not any(_only(other, name, dependents) for other in rest)]
        made.append(free[0])
        rest.remove(free[0])
    return made


def _only(name: str, dependent: str, dependents: Dependents) -> bool:
    """Tells whether `dependent` depends on `name` and not the other way round."""
    return dependent in closure(name, dependents) and name not in closure(dependent, dependents)
