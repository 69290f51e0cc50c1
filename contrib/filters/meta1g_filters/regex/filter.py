"""The filter: feeds what it is told to the rules, and answers by the first one that matches.

Discard and quarantine concern messages: a rule that matches before there is one holds for all messages of the session, and one
that matches at a recipient for its whole message.

Ref: milter-regex(8), "EVALUATION"; docs/filter-regex.md.
"""

from itertools import chain
from pathlib import Path
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.base.log import Log
from meta1g.conf.load import read_source
from meta1g.pmilter import ConfiguredFilter, Function, PmServer, PmSession, Status
from meta1g_filters.regex import macros
from meta1g_filters.regex.content import ContentLines
from meta1g_filters.regex.countries import CountryTable, read_countries
from meta1g_filters.regex.decide import BodySearch, Knowledge
from meta1g_filters.regex.grammar import parse
from meta1g_filters.regex.rules import MailPart, RegexRule, RuleAction, Ruleset
from meta1g_filters.regex.steps import RuleSteps, content_lines, end_of_envelope, first_match, macro_values, one_line

NAME: Final = "milter-regex"
_OF_MESSAGES: Final = frozenset((RuleAction.DISCARD, RuleAction.QUARANTINE))
#: Codes as in the original.
_REPLIES: Final = {RuleAction.REJECT: (554, "5.7.1"), RuleAction.TEMPFAIL: (451, "4.7.1")}


@dataclass(frozen=True, slots=True)
class RegexSettings:
    """What the configuration says, ready for use."""

    ruleset: Ruleset
    body: BodySearch
    countries: CountryTable


def read_rules_file(path: Path) -> RegexSettings:
    """Reads a configuration.  Blocks: yes (disk).

    Raises:
        ConfigError: it cannot be read, or is wrong.
        PermError: the same of a list of countries.
    """
    ruleset = parse(read_source(path))
    countries = read_countries(path.parent / one for one in ruleset.country_lists)
    return RegexSettings(ruleset, BodySearch(ruleset), countries)


class _Watched:
    """One session as the rules see it.  Owner: the session."""

    __slots__ = ("content", "knowledge", "matched", "settings", "standing")

    def __init__(self, settings: RegexSettings) -> None:
        self.settings = settings
        self.knowledge = Knowledge(settings.ruleset)
        self.standing: RegexRule | None = None  # holds for all messages
        self.matched: RegexRule | None = None  # holds for this one
        self.content: ContentLines | None = None


class RegexFilter(ConfiguredFilter[RegexSettings]):
    """Refuses, discards or holds mail by regular expressions.

    Args:
        path: its configuration.
        log: of the program.
        lines_max: lines of a body that are looked at, 0 for all.

    Raises:
        ConfigError: the configuration is wrong.
    """

    name = NAME
    functions = Function.QUARANTINE

    def __init__(self, path: Path, log: Log, lines_max: int = 0) -> None:
        super().__init__(path, read_rules_file, log)
        self._lines_max = lines_max

    def negotiate(self, server: PmServer) -> bool:
        """Asks for all macros that a condition can look at."""
        macros.ask_for_macros(server)
        return True

    def connect(self, session: PmSession) -> int:
        """Takes address and name of a client; an address in brackets is its name if it has none."""
        watched = session.data = _Watched(self.settings)
        knowledge, address = watched.knowledge, session.client_addr
        steps = chain(
            one_line(knowledge, MailPart.CONNECT, (_bytes(session.client_name or f"[{address}]"), _bytes(address))),
            one_line(knowledge, MailPart.COUNTRY, (_bytes(watched.settings.countries.country(address)),)),
            macro_values(knowledge, macros.at_connect(session)),
        )
        return self._before_message(session, watched, steps)

    def helo(self, session: PmSession, helo: str, ehlo: bool) -> int:
        """Takes what a client calls itself; what it said before is forgotten."""
        watched: _Watched = session.data
        if watched.standing is not None:
            return Status.CONT
        knowledge = watched.knowledge
        knowledge.forget(MailPart.HELO)
        steps = chain(
            macro_values(knowledge, (*macros.at_connect(session), *macros.at_helo(session))),
            one_line(knowledge, MailPart.HELO, (_bytes(helo),)),
        )
        return self._before_message(session, watched, steps)

    def _before_message(self, session: PmSession, watched: _Watched, steps: RuleSteps) -> int:
        rule = first_match(watched.knowledge, steps)
        if rule is not None and rule.action in _OF_MESSAGES:
            watched.standing = rule
        return self._answer(session, rule)

    def mail(self, session: PmSession, mail: str, args: tuple[str, ...]) -> int:
        """Takes a sender."""
        watched: _Watched = session.data
        watched.matched, watched.content = watched.standing, ContentLines(self._lines_max)
        if watched.standing is not None:
            return _begun(watched.standing)
        knowledge = watched.knowledge
        knowledge.forget(MailPart.ENVFROM)
        knowledge.end(MailPart.HELO)
        steps = chain(
            one_line(knowledge, MailPart.ENVFROM, (_bytes(mail),)),
            macro_values(knowledge, (*macros.at_connect(session), *macros.at_mail(session, mail))),
        )
        return self._in_envelope(session, watched, steps)

    def rcpt(self, session: PmSession, rcpt: str, args: tuple[str, ...]) -> int:
        """Takes a recipient: a refusal is about it alone, anything else about the message."""
        watched: _Watched = session.data
        if watched.matched is not None:
            return Status.CONT
        knowledge = watched.knowledge.copy()
        steps = chain(one_line(knowledge, MailPart.ENVRCPT, (_bytes(rcpt),)), macro_values(knowledge, macros.at_rcpt(rcpt)))
        rule = first_match(knowledge, steps)
        if rule is None:
            watched.knowledge.learn(knowledge)
        elif rule.action not in _REPLIES:
            watched.matched = rule
        status = self._answer(session, rule, rcpt)
        return Status.CONT if status == Status.DISCARD else status  # said at DATA: it is about the message

    def data(self, session: PmSession) -> int:
        """Knows all of the envelope."""
        watched: _Watched = session.data
        if watched.matched is not None:
            return _begun(watched.matched)
        return self._in_envelope(session, watched, end_of_envelope(watched.knowledge))

    def _in_envelope(self, session: PmSession, watched: _Watched, steps: RuleSteps) -> int:
        rule = watched.matched = first_match(watched.knowledge, steps)
        if rule is None and not watched.knowledge.is_open:
            return Status.ACCEPT  # no rule can match this message
        return self._answer(session, rule)

    def msg(self, session: PmSession, buf: bytes) -> int:
        """Takes a piece of the content."""
        watched: _Watched = session.data
        content, knowledge = watched.content, watched.knowledge
        if watched.matched is not None or content is None:
            return Status.SKIP
        rule = first_match(knowledge, content_lines(knowledge, watched.settings.body, content, content.feed(buf)))
        watched.matched = rule
        status = self._answer(session, rule)
        if status == Status.CONT and (rule is not None or (content.header_done and not knowledge.is_open)):
            return Status.SKIP  # nothing that still comes matters
        return status

    def eom(self, session: PmSession) -> int:
        """Knows all of the message."""
        watched: _Watched = session.data
        content, watched.content = watched.content, None
        rule, status = watched.matched, int(Status.CONT)
        if rule is None and content is not None:
            knowledge = watched.knowledge
            steps = content_lines(knowledge, watched.settings.body, content, content.finish(), last=True)
            rule = watched.matched = first_match(knowledge, steps)
            status = self._answer(session, rule)
        if rule is not None and rule.action is RuleAction.QUARANTINE:
            session.quarantine(rule.text)
        return status

    def abort(self, session: PmSession) -> None:
        """Forgets the content."""
        session.data.content = None

    def _answer(self, session: PmSession, rule: RegexRule | None, rcpt: str | None = None) -> int:
        """Gives the status of a rule that matches, or of none."""
        if rule is None:
            return Status.CONT
        what = rule.action.value
        self.note(session, f"{what}: {rule.text}" if rule.text else what, rule.where, rcpt=rcpt)
        if rule.action in _REPLIES:
            code, ecode = _REPLIES[rule.action]
            session.setreply(f"{code} {ecode} {rule.text}")
            return code
        if rule.action is RuleAction.ACCEPT:
            return Status.ACCEPT
        in_message = session.transaction is not None
        return Status.DISCARD if rule.action is RuleAction.DISCARD and in_message else Status.CONT


def _begun(rule: RegexRule) -> int:
    """Gives the status of a message for which a rule has matched before."""
    return Status.DISCARD if rule.action is RuleAction.DISCARD else Status.CONT


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
