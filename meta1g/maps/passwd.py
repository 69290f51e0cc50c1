"""The accounts of the system as a map: a user name gives its home directory.

Ref: MeTA1 sample configurations (map type `passwd`).
"""

import pwd

from meta1g.maps.base import NOTFOUND, MapResult, ok, temp


class PasswdMap:
    """System accounts.

    Args:
        name: names it in logs.

    Locking: none needed.
    """

    blocking = True  # the name service may ask a server

    def __init__(self, name: str) -> None:
        self.name = name

    def lookup(self, key: str) -> MapResult:
        """Looks a user name up; the value is the home directory.  Blocks: yes (name service)."""
        if "\0" in key:
            return NOTFOUND
        try:
            return ok(pwd.getpwnam(key).pw_dir)
        except KeyError:
            return NOTFOUND
        except OSError as error:
            return temp(f"name service: {error}")

    def version(self) -> int:
        """Gives 0: changes are not noticed, because nothing is kept."""
        return 0

    def close(self) -> None:
        """Has nothing to close."""
