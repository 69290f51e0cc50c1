"""The configuration of a real Dovecot in a directory of a test: its passwords in the file `users` there, its socket `auth`."""

from pathlib import Path

_CONF = """\
base_dir = {directory}/run
state_dir = {directory}/state
log_path = {directory}/dovecot.log
protocols = {protocols}
auth_mechanisms = {mechanisms}
disable_plaintext_auth = no
auth_failure_delay = 0
first_valid_uid = 1
mail_location = maildir:{directory}/mail/%u
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {directory}/users
}}
userdb {{
  driver = static
  args = uid=mail gid=mail home={directory}/mail/%u
}}
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service auth {{
  unix_listener {directory}/auth {{
    mode = 0666
  }}
}}
{more}
"""


def dovecot_conf(directory: Path, more: str = "ssl = no", *, mechanisms: str = "plain", lmtp: str = "") -> str:
    """Gives the text.

    Args:
        directory: where it lives.
        more: further options, such as those of TLS.
        mechanisms: of SASL, with blanks between them.
        lmtp: the path of its socket for LMTP, or a port of 127.0.0.1; if it is empty, Dovecot only authenticates.
    """
    inet = f"inet_listener lmtp {{\n    address = 127.0.0.1\n    port = {lmtp}"
    unix = f"unix_listener {lmtp} {{\n    mode = 0666"
    listener = f"service lmtp {{\n  {unix if '/' in lmtp else inet}\n  }}\n}}\n" if lmtp else ""
    return _CONF.format(
        directory=directory, protocols="lmtp" if lmtp else "", mechanisms=mechanisms, more=f"{more}\n{listener}"
    )
