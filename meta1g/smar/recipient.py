"""From a recipient to its answer: alias members, server addresses, or an error.

An answer that needed no look-up in the DNS and no map that blocks is kept until one of the maps changes.

Ref: MeTA1 design, "Functional Specification: SMAR, resolving a recipient" (modelled on).
"""

import time
from collections.abc import Callable
from typing import Final

from meta1g.base.log import Log
from meta1g.base.reply import Reply
from meta1g.rcb.qmgr_smar import Members, Resolve, ResolveFlags, Route, Unresolved
from meta1g.smar.alias import Aliases, AliasResult, error_of
from meta1g.smar.expansions import Expansions
from meta1g.smar.limits import RCPT_CACHE_ENTRIES, RCPT_CACHE_MEMBERS, TURN_S
from meta1g.smar.memo import Memo
from meta1g.smar.myself import Myself
from meta1g.smar.rcpt_fsm import TRANSITIONS, Event, State
from meta1g.smar.request import Resolution, loops_at, without_us
from meta1g.smar.resolver import Resolver
from meta1g.smar.route import Routes
from meta1g.smar.tlspolicies import TlsPolicies
from meta1g.smar.turns import Steps, advance
from meta1g.smtp.address import Address, AddressError, parse_path

Answer = Route | Members | Unresolved
OnAnswer = Callable[[Answer], None]

_BAD_ADDRESS: Final = Unresolved(reply=Reply(553, "5.1.3", "Recipient address is not valid"))


class Recipients:
    """Resolves recipients.

    Args:
        routes: where domains go.
        aliases: the aliases, None without any.
        resolver: asks the DNS.
        hostname: our name: domain of addresses without one.
        myself: tells which servers are this gateway: mail must not come back to us.
        log: what fails is logged here.
        policies: what TLS has to fulfil at servers; None if nobody says anything about it.

    Attributes:
        by_domain: where a valid address goes depends on its domain alone.
        blocking: a look-up may block.

    Locking: none needed.
    """

    def __init__(
        self,
        routes: Routes,
        aliases: Aliases | None,
        resolver: Resolver,
        hostname: str,
        log: Log | None = None,
        myself: Myself | None = None,
        policies: TlsPolicies | None = None,
    ) -> None:
        self._policies = policies
        self._routes = routes
        self._aliases = aliases
        self._log = Log("smar") if log is None else log
        self._expansions = None if aliases is None else Expansions(aliases, self._log)
        self._resolver = resolver
        self._hostname = hostname.lower()
        self._myself = Myself((self._hostname,)) if myself is None else myself
        self._known: Memo[tuple[str, int], Answer] = Memo(RCPT_CACHE_ENTRIES)
        self.by_domain = aliases is None
        self.blocking = routes.blocking or (aliases is not None and aliases.blocking)
        self.blocking = self.blocking or (policies is not None and policies.blocking)

    def resolve(self, msg: Resolve, on_answer: OnAnswer) -> Steps | None:
        """Resolves a recipient.

        Args:
            msg: the question.
            on_answer: called once with the answer, at once, in a worker, or in a later step.

        Returns:
            Steps that are still to be taken; None if the answer comes without.

        Raises:
            MapBusyError: a map that may block has no room for the look-up; ask again.

        Blocks: if a map does.
        """
        version = self._version()
        if version is not None and not msg.offset:
            known = self._known.get((msg.rcpt, msg.flags), version)
            if known is not None:
                on_answer(known)
                return None
        try:
            rcpt = parse_path(msg.rcpt, utf8=True)
        except AddressError:
            on_answer(_BAD_ADDRESS)
            return None
        if self._expansions is None or msg.flags & ResolveFlags.NO_ALIAS:
            self._route(msg, rcpt, version, on_answer)
            return None
        return self._expand(msg, rcpt, version, on_answer)

    def _version(self) -> int | None:
        """Gives a number that grows when one of the maps changes; None if answers may not be kept."""
        route_version = self._routes.version()
        if route_version is None:
            return None
        route_version += self._myself.version()
        if self._aliases is None:
            return route_version
        return None if self._aliases.blocking else route_version + self._aliases.version()

    def _expand(self, msg: Resolve, rcpt: Address, version: int | None, on_answer: OnAnswer) -> Steps | None:
        """Walks through ALIAS.  Blocks: if a map does."""
        assert self._aliases is not None
        assert self._expansions is not None

        def on_outcome(outcome: AliasResult) -> None:
            event = _event_of(outcome)
            if TRANSITIONS[State.ALIAS, event] is State.ROUTE or outcome is None:
                self._route(msg, rcpt, version, on_answer)
            elif isinstance(outcome, Unresolved):
                on_answer(outcome)
            else:
                answer = outcome.part(msg.offset, msg.expansion)
                if version is not None and len(outcome.members) <= RCPT_CACHE_MEMBERS:
                    self._known.put((msg.rcpt, msg.flags), version, answer)
                on_answer(answer)

        kept = self._expansions.kept(msg.rcpt, version, msg.expansion)
        if kept is not None:
            on_outcome(kept)
            return None
        found = self._aliases.look_up(rcpt)
        if not found.found:
            on_outcome(error_of(found))
            return None
        steps = self._expansions.start(msg.rcpt, rcpt, found, version, on_outcome)
        return steps if steps is not None and advance(steps, time.monotonic() + TURN_S) else None

    def _route(self, msg: Resolve, rcpt: Address, version: int | None, on_answer: OnAnswer) -> None:
        """Walks through ROUTE; the walks of its hosts follow.  Blocks: if the mailertable does."""
        plan = self._routes.plan(rcpt.domain.lower() or self._hostname)
        if plan.answer is None or (self._policies is not None and any(target.port for target in plan.targets)):
            Resolution(plan, self._resolver, self._myself, on_answer, self._log, self._policies).start()
            return
        answer = plan.answer
        if isinstance(answer, Route):
            servers, own = without_us(answer.servers, self._myself)
            if own is not None:
                answer = Route(da=answer.da, servers=servers) if servers else loops_at(own)
        if version is not None and not isinstance(answer, Unresolved):
            self._known.put((msg.rcpt, msg.flags), version, answer)
        on_answer(answer)


def _event_of(outcome: AliasResult) -> Event:
    if outcome is None:
        return Event.NO_ALIAS
    return Event.FAILED if isinstance(outcome, Unresolved) else Event.MEMBERS
