"""The filter: feeds what it is told to the rules, and answers by the first one that matches.

Discard and quarantine concern messages: a rule that matches before there is one holds for all messages of the session, and one
that matches at a recipient for its whole message.

Ref: milter-regex(8), "EVALUATION"; docs/filter-regex.md.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.base.log import Log
from meta1g.conf.load import ConfigError, read_source
from meta1g.pmilter import ConfiguredFilter, Function, PmServer, PmSession, Status
from meta1g_filters.regex import macros
from meta1g_filters.regex.content import ContentLines
from meta1g_filters.regex.countries import CountryTable, read_countries
from meta1g_filters.regex.decide import BodySearch, Knowledge
from meta1g_filters.regex.grammar import parse
from meta1g_filters.regex.rules import MailPart, RegexRule, RuleAction, Ruleset

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
    if ruleset.numbers[MailPart.COUNTRY] and not ruleset.country_lists:
        raise ConfigError(f"{path}: country needs lists of the registries; name them by ipv4file and ipv6file")
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

    @property
    def is_decided(self) -> bool:
        """A rule has matched for this message."""
        return self.matched is not None


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
        knowledge, name = watched.knowledge, session.client_name or f"[{session.client_addr}]"
        for item in macros.at_connect(session):
            knowledge.take(MailPart.MACRO, item)
        knowledge.take(MailPart.CONNECT, (name.encode(), session.client_addr.encode()))
        knowledge.end(MailPart.CONNECT)
        knowledge.take(MailPart.COUNTRY, (watched.settings.countries.country(session.client_addr).encode(),))
        knowledge.end(MailPart.COUNTRY)
        return self._before_message(session, watched)

    def helo(self, session: PmSession, helo: str, ehlo: bool) -> int:
        """Takes what a client calls itself; what it said before is forgotten."""
        watched: _Watched = session.data
        if watched.standing is not None:
            return Status.CONT
        watched.knowledge.forget(MailPart.HELO)
        for item in (*macros.at_connect(session), *macros.at_helo(session)):
            watched.knowledge.take(MailPart.MACRO, item)
        watched.knowledge.take(MailPart.HELO, (_bytes(helo),))
        watched.knowledge.end(MailPart.HELO)
        return self._before_message(session, watched)

    def _before_message(self, session: PmSession, watched: _Watched) -> int:
        rule = watched.knowledge.decide()
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
        for item in (*macros.at_connect(session), *macros.at_mail(session, mail)):
            knowledge.take(MailPart.MACRO, item)
        knowledge.end(MailPart.HELO)
        knowledge.take(MailPart.ENVFROM, (_bytes(mail),))
        knowledge.end(MailPart.ENVFROM)
        return self._in_envelope(session, watched)

    def rcpt(self, session: PmSession, rcpt: str, args: tuple[str, ...]) -> int:
        """Takes a recipient: a refusal is about it alone, anything else about the message."""
        watched: _Watched = session.data
        if watched.matched is not None:
            return Status.CONT
        knowledge = watched.knowledge.copy()
        for item in macros.at_rcpt(rcpt):
            knowledge.take(MailPart.MACRO, item)
        knowledge.take(MailPart.ENVRCPT, (_bytes(rcpt),))
        knowledge.end(MailPart.ENVRCPT)
        rule = knowledge.decide()
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
        watched.knowledge.end(MailPart.ENVRCPT)
        watched.knowledge.end(MailPart.MACRO)
        return self._in_envelope(session, watched)

    def _in_envelope(self, session: PmSession, watched: _Watched) -> int:
        rule = watched.matched = watched.knowledge.decide()
        if rule is None and not watched.knowledge.is_open:
            return Status.ACCEPT  # no rule can match this message
        return self._answer(session, rule)

    def msg(self, session: PmSession, buf: bytes) -> int:
        """Takes a piece of the content."""
        watched: _Watched = session.data
        content = watched.content
        if watched.is_decided or content is None:
            return Status.SKIP
        body = content.feed(buf)
        status = self._look(session, watched, _steps(watched, content, content.lines(body)))
        if status == Status.CONT and (watched.is_decided or (content.header_done and not watched.knowledge.is_open)):
            return Status.SKIP  # nothing that still comes matters
        return status

    def eom(self, session: PmSession) -> int:
        """Knows all of the message."""
        watched: _Watched = session.data
        content, watched.content = watched.content, None
        status: int = Status.CONT
        if watched.matched is None and content is not None:
            body = content.finish()
            status = self._look(session, watched, _steps(watched, content, content.lines(body, last=True), last=True))
        if watched.matched is not None and watched.matched.action is RuleAction.QUARANTINE:
            session.quarantine(watched.matched.text)
        return status

    def abort(self, session: PmSession) -> None:
        """Forgets the content."""
        session.data.content = None

    def _look(self, session: PmSession, watched: _Watched, steps: Iterator[None]) -> int:
        for _ in steps:
            rule = watched.matched = watched.knowledge.decide()
            if rule is not None:
                return self._answer(session, rule)
        return Status.CONT

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


def _steps(watched: _Watched, content: ContentLines, lines: Iterator[bytes], *, last: bool = False) -> Iterator[None]:
    """Lets the rules know what has come of the content, and stops wherever one may match."""
    knowledge = watched.knowledge
    for field in content.fields():
        knowledge.take(MailPart.HEADER, field)
        yield
    if content.header_done:
        knowledge.end(MailPart.HEADER)
        yield
        for line in lines:
            watched.settings.body.take(knowledge, line)
            yield
    if last:
        knowledge.end(MailPart.BODY)
        yield


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
