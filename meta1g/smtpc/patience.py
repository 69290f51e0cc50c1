"""How long a server may take for a reply.

Pure.  Ref: RFC 5321 4.5.3.2.
"""

from meta1g.smtpc.fsm import Verb
from meta1g.smtpc.settings import Settings


def reply_s(settings: Settings, verb: Verb) -> int:
    """Gives how long a reply may take, seconds.

    Args:
        settings: those for the server.
        verb: what it answers.
    """
    if verb in (Verb.DOT, Verb.LAST, Verb.EMPTY):
        return settings.dot_timeout_s
    if verb is Verb.DATA:
        return settings.data_timeout_s
    return settings.greeting_timeout_s if verb is Verb.BANNER else settings.command_timeout_s
