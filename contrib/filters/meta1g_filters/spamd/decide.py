"""What becomes of a message by what spamd says: fields of the header, its Subject, an action.

Pure.  Ref: docs/filter-spamd.md; Mail::SpamAssassin::Conf, add_header (names and forms of the fields modelled on).
"""

from collections.abc import Iterator, Sequence
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.smtp.header import Field
from meta1g_filters.spamd.protocol import Method, SpamdReply
from meta1g_filters.spamd.settings import SpamdSettings

_PREFIX: Final = b"x-spam-"
_SUBJECT: Final = b"subject"
_STARS_MAX: Final = 50
_LINE_CHARS: Final = 76


@dataclass(frozen=True, slots=True)
class SpamVerdict:
    """What is done with a message.

    Args:
        action: `reject`, `discard`, `hold`, or empty: it passes.
        fields: that are put on top of it, in order.
        subject: the whole field Subject that takes the place of its first one, None for that one.
        message: that takes its place; empty for itself.
    """

    action: str
    fields: tuple[bytes, ...]
    subject: bytes | None = None
    message: bytes = b""


def forged(header: Sequence[Field]) -> Iterator[tuple[str, int]]:
    """Gives the fields X-Spam-... that somebody else has put there: name and number among those of its name, the last first."""
    counts: dict[bytes, int] = {}
    found = []
    for field in header:
        name = field.name.lower()
        if name.startswith(_PREFIX):
            found.append((field.name.decode("ascii"), counts.get(name, 0)))
            counts[name] = counts.get(name, 0) + 1
    yield from reversed(found)


def spam_verdict(settings: SpamdSettings, reply: SpamdReply, header: Sequence[Field], head: bytes) -> SpamVerdict:
    """Decides.

    Args:
        settings: the configuration.
        reply: what spamd says.
        header: of the message.
        head: what stood in front of it for spamd.
    """
    action = next((name for score, name in settings.limits if reply.score >= score), "")
    if settings.method is Method.PROCESS and reply.is_spam:
        return SpamVerdict(action, (), message=_replacement(settings, reply, head))
    if settings.method in (Method.HEADERS, Method.PROCESS):
        made = [field for field in reply.fields if field.name.lower().startswith(_PREFIX)]
        marks = tuple(field.raw.rstrip(b"\r\n") for field in made)
        subject = _tagged(settings, reply, _subjects(reply.fields) or list(header)) or _rewritten(reply, header)
    else:
        marks = tuple(line.encode() for line in _marks(reply))
        subject = _tagged(settings, reply, list(header))
    if not reply.is_spam and "mark_ham" not in settings.flags:
        marks = ()
    return SpamVerdict(action, marks, subject)


def _marks(reply: SpamdReply) -> Iterator[str]:
    """Gives the fields of a message as SpamAssassin writes them."""
    if reply.is_spam:
        yield "X-Spam-Flag: YES"
    yield f"X-Spam-Score: {reply.score:.1f}"
    if reply.score >= 1:
        yield f"X-Spam-Level: {'*' * min(int(reply.score), _STARS_MAX)}"
    status = f"X-Spam-Status: {'Yes' if reply.is_spam else 'No'}, score={reply.score:.1f} required={reply.required:.1f}"
    yield _folded(status, reply.tests)


def _folded(status: str, tests: Sequence[str]) -> str:
    lines, words = [status], [f"{name}," for name in tests]
    if words:
        words[0], words[-1] = f"tests={words[0]}", words[-1]
        words[-1] = words[-1].removesuffix(",")
        lines.append("")
        for word in words:
            if lines[-1] and len(lines[-1]) + len(word) > _LINE_CHARS:
                lines.append("")
            lines[-1] += word
    return "\r\n\t".join(lines)


def _subjects(header: Sequence[Field]) -> list[Field]:
    return [field for field in header if field.name.lower() == _SUBJECT]


def _tagged(settings: SpamdSettings, reply: SpamdReply, header: list[Field]) -> bytes | None:
    """Gives the Subject with the tag in front, None if it stays."""
    tag = settings.subject_tag.encode()
    if not tag or not reply.is_spam:
        return None
    value = next((field.raw.partition(b":")[2].strip(b" \t\r\n") for field in _subjects(header)), b"")
    return None if value.startswith(tag) else (b"Subject: %s %s" % (tag, value)).rstrip(b" ")


def _rewritten(reply: SpamdReply, header: Sequence[Field]) -> bytes | None:
    """Gives the Subject that SpamAssassin has written, None if it is the one that came."""
    made, came = _subjects(reply.fields), _subjects(header)
    if not made or (came and made[0].value == came[0].value):
        return None
    return made[0].raw.rstrip(b"\r\n")


def _replacement(settings: SpamdSettings, reply: SpamdReply, head: bytes) -> bytes:
    """Gives the message that SpamAssassin has made, with the tag, without what stood in front for it alone."""
    tagged = _tagged(settings, reply, list(reply.fields))
    first = next(iter(_subjects(reply.fields)), None)
    kept = [field.raw for field in reply.fields if field.raw not in head and (tagged is None or field is not first)]
    if tagged is not None:
        kept.append(tagged + b"\r\n")
    return b"".join(kept) + reply.message[sum(len(field.raw) for field in reply.fields) :]
