"""What is accepted has effect: the code that uses each option, flag and value, and what has none in this version.

    USERS      section -> the code that asks for its options and flags; tags of the access map name theirs in conf/access.py
    VALUES     right-hand side -> the code that reads it
    WARNED     sections and flags without code that load with a warning, since MeTA1's own samples have them
    REFUSED    all else without code: an error, since a rule without effect lets mail go where it should not

Documentation and `smconf -h` mark the last two.  tests/test_effects.py compares all of it with the tables and the programs: a
row without user, and a user without row, is found.

Pure.
"""

from collections.abc import Mapping
from typing import Final

#: Sections by the keywords that lead to them; flags behind their option, if they are asked for.
WARNED: Final = frozenset(
    {
        "smtps flags greylisting",
        "smar greylisting",
    }
)
#: The same for what is an error, in files and in values of maps; `dont_FLAG` is a flag that is switched off.
REFUSED: Final = frozenset(
    {
        "smar DNS_flags dont_use_connect",
        "smtps_session_conf flags greylisting",
    }
)
_LOG: Final = ("meta1g.base.startup:open_log", "meta1g.base.startup:_sink")
_MAP: Final = ("meta1g.maps.declared:DeclaredMaps._spec", "meta1g.maps.declared:_entries")
_MAP_USER: Final = ("meta1g.maps.declared:DeclaredMaps.used_by",)
_QMGR: Final = "meta1g.qmgr.settings:Settings.from_config"
_SMTPS: Final = tuple(
    f"meta1g.smtps.{name}"
    for name in (
        "settings:settings_from",
        "settings:_lookup_flags",
        "settings:_count_limits",
        "settings:_leniency",
        "settings:_offered",
        "settings:_limits",
        "settings:_parts",
        "settings:_verification",
        "milters:milters_of",
        "milters:policies_of",
    )
)
_SMTPC: Final = "meta1g.smtpc.settings:Settings.from_section"
_TLS: Final = "meta1g.conf.tlsconf:tls_settings"
_NEEDS: Final = "meta1g.conf.tlsconf:tls_requirements"
_SMAR: Final = "meta1g.smar.settings:_Reader"
#: Sections by the keywords that lead to them, `component` for what all components have, `global` for what stands outside;
#: users as `module:attribute`.
USERS: Final[Mapping[str, tuple[str, ...]]] = {
    "global": ("meta1g.base.startup:_level", "meta1g.conf.config:Config", _QMGR, *_SMTPS),
    "log": _LOG,
    "mcp": ("meta1g.base.startup:_level",),
    "mcp log": _LOG,
    "component": ("meta1g.mcp.service:_service", "meta1g.mcp.service:_processes", "meta1g.base.startup:_level"),
    "component log": _LOG,
    "component listen_socket": ("meta1g.mcp.service:_listen", "meta1g.smtps.listen:_bind", "meta1g.smtps.listen:doors_of"),
    "qmgr": (_QMGR, "meta1g.conf.load:templates_of"),
    "qmgr smtps": (_QMGR,),
    "qmgr smtpc": (_QMGR,),
    "qmgr IBDB": (_QMGR,),
    "qmgr DEFEDB": (_QMGR,),
    "qmgr verify": ("meta1g.qmgr.verified:VerifySettings.from_section",),
    "qmgr conf_map": (*_MAP_USER, "meta1g.qmgr.destinations:configuration_map"),
    "qmgr map": _MAP,
    "smtps": (*_SMTPS, "meta1g.smtps.main:SmtpsProcess._tell_ready"),
    "smtps policy_milter": ("meta1g.smtps.milters:_policy",),
    "smtps policy_milter socket": ("meta1g.milter.settings:filter_address",),
    "smtps milter": ("meta1g.milter.settings:milter_settings",),
    "smtps milter socket": ("meta1g.milter.settings:filter_address",),
    "smtps tls": (_TLS,),
    "smtps tls server_names": ("meta1g.conf.tlsconf:_server_names",),
    "smtps tls_requirements": (_NEEDS,),
    "smtps_session_conf tls_requirements": (_NEEDS,),
    "smtps auth": ("meta1g.smtps.authsettings:auth_settings",),
    "smtpc tls": (_TLS,),
    "smtpc auth": ("meta1g.smtpc.settings:_auth_settings",),
    "smtpc": (
        _SMTPC,
        "meta1g.smtpc.settings:_sources",
        "meta1g.smtpc.main:Smtpc.__init__",
        f"{_SMAR}._route_defaults",
        f"{_SMAR}._myself",
    ),
    "smar": (
        f"{_SMAR}.__init__",
        f"{_SMAR}.read",
        f"{_SMAR}._myself",
        "meta1g.smar.settings:name_servers",
        "meta1g.smar.settings:_dns",
    ),
    "smar nameserver": ("meta1g.smar.settings:name_servers",),
    "smar map": _MAP,
    "smar aliases": (*_MAP_USER, f"{_SMAR}._aliases"),
    "smar local_user_map": (*_MAP_USER, f"{_SMAR}._users"),
    "smar mailertable": _MAP_USER,
    "smar access_map": _MAP_USER,
    "smar mta_sts": ("meta1g.smar.tlssettings:sts_settings",),
    "smar tls_reports": ("meta1g.smar.tlssettings:rpt_settings",),
    "smar tls_policy": _MAP_USER,
    "smar auth_sender": _MAP_USER,
    "smar password_map": _MAP_USER,
    "smar dnsbl": (f"{_SMAR}._lists",),
    "smtps_session_conf": ("meta1g.smtps.settings:ClientSettings.of", *_SMTPS),
    "smtpc_session_conf": ("meta1g.smtpc.settings:ServerSettings.of", _SMTPC, "meta1g.smtpc.settings:_sources"),
    "smtpc_session_conf tls_requirements": ("meta1g.conf.tlsconf:tls_requirements",),
    "smtpc_rcpt_conf": ("meta1g.smar.hostconf:HostConf.recipient",),
    "smtpc_rcpt_conf tls_requirements": ("meta1g.conf.tlsconf:tls_requirements",),
    "destination_conf": ("meta1g.qmgr.destinations:_limits_of",),
}
#: Right-hand sides by the map that they stand in; the words of the access map are conf.access.WORDS.
VALUES: Final[Mapping[str, str]] = {
    "access_map relay": "meta1g.smar.checks:Policy._relaying",
    "access_map ok": "meta1g.smar.access:_goes_on",
    "access_map cont": "meta1g.smar.access:_goes_on",
    "access_map reject": "meta1g.smar.checks:_refusal",
    "access_map discard": "meta1g.smar.checks:Policy.rcpt",
    "access_map error:": "meta1g.conf.access:_error_reply",
    "access_map quick:": "meta1g.smar.checks:_flags",
    "access_map list of writers": "meta1g.smar.localuser:may_write",
    "access_map snippet": "meta1g.conf.snippet:parse_snippet",
    "mailertable lmtp:": "meta1g.smar.route:_lmtp_target",
    "mailertable PORT^HOST": "meta1g.smar.route:_smtp_target",
    "mailertable [HOST]": "meta1g.smar.route:_smtp_target",
    "mailertable HOST": "meta1g.smar.route:_smtp_target",
    "aliases members": "meta1g.smar.alias:split_members",
    "aliases ${macro}": "meta1g.maps.rhs:replace",
    "auth_sender senders": "meta1g.smar.authsender:check_senders",
    "password_map stored": "meta1g.sasl.users:read_entry",
    "local_user_map anything": "meta1g.smar.localuser:LocalUsers.find",
    "tls_policy LEVEL": "meta1g.smar.tlsmap:read_entry",
    "tls_policy ATTRIBUTE": "meta1g.smar.tlsmap:read_entry",
    "conf_map snippet": "meta1g.qmgr.destinations:Destinations",
}
MARK: Final = "Not in this version."


def has_no_effect(*path: str) -> bool:
    """Tells whether a section, option or flag, or what is around it, has no effect.

    Args:
        path: keywords from outside to inside, then the name of an option, then that of a flag.
    """
    return any(" ".join(path[: end + 1]) in WARNED | REFUSED for end in range(len(path)))
