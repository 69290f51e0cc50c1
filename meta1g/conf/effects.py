"""What has no code in this version: sections and flags that load with a warning, and what is refused by its name.

What MeTA1's own samples have loads, so that they work, and its owner is warned; all else that would be passed over in silence
is an error: a rule without effect lets mail go where it should not.  Documentation and `smconf -h` say so.  A test compares the
list with the programs.

Pure.
"""

from typing import Final

#: Sections by the keywords that lead to them; flags behind their option, if they are asked for.
WARNED: Final = frozenset(
    {
        "smtps auth",
        "smtps policy_milter",
        "smtps flags greylisting",
        "smtpc tls",
        "smtpc auth",
        "smtpc flags starttls",
        "smar greylisting",
    }
)
#: The same for what is an error, in files and in values of maps; `dont_FLAG` is a flag that is switched off.
REFUSED: Final = frozenset(
    {
        "smtps milter",
        "smar DNS_flags dont_use_connect",
        "smtps_session_conf flags starttls",
        "smtps_session_conf flags auth",
        "smtps_session_conf flags greylisting",
        "smtps_session_conf tls_requirements",
        "smtpc_session_conf flags starttls",
        "smtpc_session_conf tls_requirements",
        "smtpc_rcpt_conf tls_requirements",
    }
)
MARK: Final = "Not in this version."


def has_no_effect(*path: str) -> bool:
    """Tells whether a section, option or flag, or what is around it, has no effect.

    Args:
        path: keywords from outside to inside, then the name of an option, then that of a flag.
    """
    return any(" ".join(path[: end + 1]) in WARNED | REFUSED for end in range(len(path)))
