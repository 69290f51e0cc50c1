"""From a recipient to its answer: alias members, server addresses, or an error.

An answer that needed no look-up in the DNS and no map that blocks is kept until one of the maps changes.

Ref: MeTA1 design, "Functional Specification: SMAR, resolving a recipient" (modelled on).
"""

from collections.abc import Callable
from typing import Final

from meta1g.rcb.qmgr_smar import Members, Resolve, ResolveFlags, Route, Unresolved
from meta1g.smar.alias import Aliases
from meta1g.smar.limits import RCPT_CACHE_ENTRIES
from meta1g.smar.memo import Memo
from meta1g.smar.rcpt_fsm import TRANSITIONS, Event, State
from meta1g.smar.request import Resolution
from meta1g.smar.resolver import Resolver
from meta1g.smar.route import RoutePlan, Routes
from meta1g.smtp.address import Address, AddressError, parse_path

Answer = Route | Members | Unresolved
OnAnswer = Callable[[Answer], None]

_BAD_ADDRESS: Final = Unresolved(code=553, ecode="5.1.3", text="Recipient address is not valid")


class Recipients:
    """Resolves recipients.

    Args:
        routes: where domains go.
        aliases: the aliases, None without any.
        resolver: asks the DNS.
        hostname: our name: domain of addresses without one; mail must not come back to us.

    Locking: none needed.
    """

    def __init__(self, routes: Routes, aliases: Aliases | None, resolver: Resolver, hostname: str) -> None:
        self._routes = routes
        self._aliases = aliases
        self._resolver = resolver
        self._hostname = hostname.lower()
        self._own_names = frozenset((self._hostname,))
        self._known: Memo[tuple[str, int], Answer] = Memo(RCPT_CACHE_ENTRIES)
        self.blocking = routes.blocking or (aliases is not None and aliases.blocking)

    def resolve(self, msg: Resolve, on_answer: OnAnswer) -> None:
        """Resolves a recipient.

        Args:
            msg: the question.
            on_answer: called once with the answer, at once or in a worker.

        Blocks: if a map does.
        """
        version = self._version()
        key = (msg.rcpt, msg.flags)
        if version is not None:
            known = self._known.get(key, version)
            if known is not None:
                on_answer(known)
                return
        found = self._decide(msg)
        if isinstance(found, RoutePlan):
            Resolution(found, self._resolver, self._own_names, on_answer).start()
            return
        if version is not None and not isinstance(found, Unresolved):
            self._known.put(key, version, found)
        on_answer(found)

    def _version(self) -> int | None:
        """Gives a number that grows when one of the maps changes; None if answers may not be kept."""
        route_version = self._routes.version()
        if route_version is None or self._aliases is None:
            return route_version
        return None if self._aliases.blocking else route_version + self._aliases.version()

    def _decide(self, msg: Resolve) -> Answer | RoutePlan:
        """Walks through ALIAS and ROUTE; gives the answer, or the plan of the walks that follow.  Blocks: if a map does."""
        try:
            rcpt = parse_path(msg.rcpt, utf8=True)
        except AddressError:
            return _BAD_ADDRESS
        found = None if msg.flags & ResolveFlags.NO_ALIAS else self._alias(rcpt)
        event = Event.NO_ALIAS if found is None else Event.FAILED if isinstance(found, Unresolved) else Event.MEMBERS
        if TRANSITIONS[State.ALIAS, event] is not State.ROUTE and found is not None:
            return found
        plan = self._routes.plan(rcpt.domain.lower() or self._hostname)
        return plan if plan.answer is None else plan.answer

    def _alias(self, rcpt: Address) -> Members | Unresolved | None:
        return None if self._aliases is None else self._aliases.expand(rcpt)
