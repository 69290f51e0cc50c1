"""What becomes known at each stage, bit by bit: a rule may match after each of these steps, and the first one that does acts.

At one stage conditions that are fulfilled come before those that are not, as in the original.

Pure.  Ref: milter-regex(8), "EVALUATION".
"""

from collections.abc import Iterable, Iterator

from meta1g_filters.regex.content import ContentLines
from meta1g_filters.regex.decide import BodySearch, Knowledge, PartTexts
from meta1g_filters.regex.rules import MailPart, RegexRule

RuleSteps = Iterator[None]


def first_match(knowledge: Knowledge, steps: RuleSteps) -> RegexRule | None:
    """Takes steps until a rule matches; gives that one."""
    for _ in steps:
        rule = knowledge.decide()
        if rule is not None:
            return rule
    return None


def one_line(knowledge: Knowledge, part: MailPart, line: PartTexts) -> RuleSteps:
    """Takes a part that has one line only."""
    knowledge.take(part, line)
    yield
    knowledge.end(part)
    yield


def macro_values(knowledge: Knowledge, items: Iterable[PartTexts]) -> RuleSteps:
    """Takes macros."""
    for item in items:
        knowledge.take(MailPart.MACRO, item)
    yield


def end_of_envelope(knowledge: Knowledge) -> RuleSteps:
    """Takes the end of recipients and macros."""
    knowledge.end(MailPart.ENVRCPT)
    knowledge.end(MailPart.MACRO)
    yield


def content_lines(
    knowledge: Knowledge, search: BodySearch, content: ContentLines, body: bytes, *, last: bool = False
) -> RuleSteps:
    """Takes what has come of the content; with last all of it has."""
    for field in content.fields():
        knowledge.take(MailPart.HEADER, field)
        yield
    if content.header_done:
        knowledge.end(MailPart.HEADER)
        yield
        for line in content.lines(body, last=last):
            search.take(knowledge, line)
            yield
    if last:
        knowledge.end(MailPart.BODY)
        yield
