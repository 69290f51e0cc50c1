"""Limits that the operator reads and changes while QMGR runs.

They have the names, bounds and units that they have in meta1.conf, and hold until they are taken back (`NAME=default`, or
`default` for all) or meta1.conf is changed: what is to stay is written there.  They outlast the process (standing.py).

Locking: takes IQDB or AQ where they guard what is changed.
Ref: docs/operating.md (qmgrctl limits); meta1.conf(5).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from meta1g.base.dataclass import dataclass
from meta1g.conf.defs_qmgr import QMGR
from meta1g.conf.schema import OptionDef
from meta1g.db.occ import Occ
from meta1g.db.orderfile import LimitOrder
from meta1g.qmgr.active import Active
from meta1g.qmgr.env import Env
from meta1g.qmgr.intake import Intake
from meta1g.qmgr.limits import DEST_CLOSED_MAX_S, EDBC_FACTOR
from meta1g.qmgr.resources import Resources

#: Stands for what meta1.conf says.
DEFAULT: Final = "default"


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit.

    Args:
        field: of Settings.
        apply: tells the part that works with it; nothing to do where Settings is asked each time.
        most: the limit that it must not exceed, empty if there is none.
    """

    field: str
    apply: "Callable[[Tuning], None]" = lambda tuning: None
    most: str = ""


class Tuning:
    """The limits.

    Args:
        env: surroundings; its settings are changed as well.
        active: recipients in AQ.
        intake: sessions and transactions that come in.
        occ: destinations.
        resources: disks.
    """

    def __init__(self, env: Env, active: Active, intake: Intake, occ: Occ, resources: Resources) -> None:
        self._settings = env.settings
        self._clock = env.clock
        self._active = active
        self._intake = intake
        self._occ = occ
        self._resources = resources
        self._configured = {name: self._value(name) for name in LIMITS}
        self._orders: dict[str, LimitOrder] = {}

    def _value(self, name: str) -> int:
        value: int = getattr(self._settings, LIMITS[name].field)
        return value

    def orders(self) -> Mapping[str, LimitOrder]:
        """Gives what was changed and not taken back."""
        return self._orders

    def rows(self) -> list[dict[str, Any]]:
        """Gives all limits: name, value, both values with units, whether and since when it was changed, meaning."""
        return [self._row(name) for name in LIMITS]

    def _row(self, name: str) -> dict[str, Any]:
        order = self._orders.get(name)
        return {
            "name": name,
            "value": self._value(name),
            "text": _text(name, self._value(name)),
            "configured": _text(name, self._configured[name]),
            "changed": order is not None,
            "since": 0.0 if order is None else order.since,
            "meaning": _option(name).meaning,
        }

    def change(self, words: Sequence[str]) -> list[dict[str, Any]]:
        """Changes limits, all of them or none.

        Args:
            words: NAME=VALUE, or DEFAULT in the place of a value or of it all; case does not matter in names.

        Returns:
            The rows of those that were named.

        Raises:
            ValueError: what is wrong.
        """
        values: dict[str, int] = {}
        for word in words:
            values |= self._configured if word.lower() == DEFAULT else [self._read(word)]
        self._check(values)
        now = self._clock.now()
        self._set(values, dict.fromkeys(values, now))
        return [self._row(name) for name in values]

    def restore(self, orders: Mapping[str, LimitOrder]) -> Mapping[str, LimitOrder]:
        """Changes limits as they were changed in an earlier process, unless meta1.conf has changed since.

        Returns:
            What holds again.
        """
        due = {name: one for name, one in orders.items() if self._holds(name, one)}
        try:
            values = dict(self._read(f"{name}={one.value}") for name, one in due.items())
            self._check(values)
        except ValueError:  # they do not go with the new configuration
            return {}
        self._set(values, {name: one.since for name, one in due.items()})
        return due

    def _holds(self, name: str, order: LimitOrder) -> bool:
        return name in LIMITS and order.configured == _text(name, self._configured[name])

    def _read(self, word: str) -> tuple[str, int]:
        """Reads NAME=VALUE, or NAME=default."""
        text, equals, value = word.partition("=")
        name = _NAMES.get(text.lower())
        if name is None or not equals:
            raise ValueError(f"{word}: write NAME=VALUE, NAME={DEFAULT} or {DEFAULT}; names are: {' '.join(LIMITS)}")
        if value.lower() == DEFAULT:
            return name, self._configured[name]
        try:
            kind = _option(name).kind
            return name, kind.combine([kind.parse(value)])
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error

    def _set(self, values: Mapping[str, int], since: Mapping[str, float]) -> None:
        orders = self._orders.copy()
        for name, number in values.items():
            setattr(self._settings, LIMITS[name].field, number)
            configured = self._configured[name]
            if number == configured:
                orders.pop(name, None)
            else:
                orders[name] = LimitOrder(_text(name, number), _text(name, configured), since[name])
        self._orders = orders
        for name in values:
            LIMITS[name].apply(self)

    def _check(self, values: Mapping[str, int]) -> None:
        for name, limit in LIMITS.items():
            if limit.most and (name in values or limit.most in values):
                low = values.get(name, getattr(self._settings, limit.field))
                high = values.get(limit.most, getattr(self._settings, LIMITS[limit.most].field))
                if low > high:
                    raise ValueError(f"{name} would be greater than {limit.most}")

    # -- the parts -----------------------------------------------------------------------------------------------------

    def set_aq(self) -> None:
        """Tells AQ and its window."""
        with self._active.lock:
            self._active.aq.set_limit(self._settings.aq_max_entries)
            self._active.edbc.limit = self._settings.aq_max_entries * EDBC_FACTOR

    def set_incoming(self) -> None:
        """Tells IQDB and ICC."""
        settings = self._settings
        self._intake.set_limits(settings.iqdb_max_entries, settings.smtps_max_connections, settings.smtps_max_rate)

    def set_outgoing(self) -> None:
        """Tells OCC."""
        settings = self._settings
        close_s = min(DEST_CLOSED_MAX_S, settings.min_retry_delay_s)
        with self._active.lock:
            self._occ.set_limits(settings.smtpc_initial_connections, settings.smtpc_max_connections, close_s)
            self._active.queues.unblock_all()
        self._active.ready.ring()

    def set_disks(self) -> None:
        """Tells the watch of the disks."""
        self._resources.set_bounds(self._settings.min_free_disk, self._settings.ok_free_disk)


LIMITS: Final[Mapping[str, Limit]] = {
    "AQ_max_entries": Limit("aq_max_entries", Tuning.set_aq),
    "IQDB_max_entries": Limit("iqdb_max_entries", Tuning.set_incoming),
    "smtps.max_connections": Limit("smtps_max_connections", Tuning.set_incoming),
    "smtps.max_connection_rate": Limit("smtps_max_rate", Tuning.set_incoming),
    "smtpc.initial_connections": Limit("smtpc_initial_connections", Tuning.set_outgoing, "smtpc.max_connections"),
    "smtpc.max_connections": Limit("smtpc_max_connections", Tuning.set_outgoing),
    "min_retry_delay": Limit("min_retry_delay_s", Tuning.set_outgoing, "max_retry_delay"),
    "max_retry_delay": Limit("max_retry_delay_s"),
    "delay_dsn_timeout": Limit("delay_dsn_timeout_s"),
    "return_timeout": Limit("return_timeout_s"),
    "max_rcpts_per_transaction": Limit("max_rcpts_per_transaction"),
    "min_free_disk": Limit("min_free_disk", Tuning.set_disks, "ok_free_disk"),
    "ok_free_disk": Limit("ok_free_disk", Tuning.set_disks),
    "IBDB.max_open": Limit("ibdb_max_open"),
}
_NAMES: Final = {name.lower(): name for name in LIMITS}


def _option(name: str) -> OptionDef:
    """Gives the row of meta1.conf."""
    section, dot, option = name.lower().rpartition(".")
    place = QMGR.by_section[section] if dot else QMGR
    return place.by_option[option]


def _text(name: str, value: int) -> str:
    """Writes a value as in meta1.conf."""
    return " ".join(_option(name).kind.words(value))
