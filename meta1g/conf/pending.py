"""What the tables know and the programs do not use yet: read, checked, documented, and without effect.

Documentation and `smconf -h` say so.  A section of this list that stands in a file is a warning, because its owner counts on
what it asks for.  A test compares the list with the programs.

Pure.
"""

from typing import Final

#: Sections by the keywords that lead to them; options behind their section; flags behind their option.
NO_EFFECT: Final = frozenset(
    {
        "smtps tls",
        "smtps auth",
        "smtps policy_milter",
        "smtps milter",
        "smtps min_threads",
        "smtps flags access",
        "smtps flags starttls",
        "smtps flags greylisting",
        "smtpc tls",
        "smtpc auth",
        "smtpc flags starttls",
        "smtpc min_threads",
        "smar greylisting",
        "qmgr conf_map",
        "qmgr wait_for_client",
        "component debug_level",
    }
)
MARK: Final = "Has no effect yet."


def has_no_effect(*path: str) -> bool:
    """Tells whether a section, option or flag, or what is around it, has no effect.

    Args:
        path: keywords from outside to inside, then the name of an option, then that of a flag.
    """
    return any(" ".join(path[: end + 1]) in NO_EFFECT for end in range(len(path)))
