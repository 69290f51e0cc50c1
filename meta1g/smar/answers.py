"""How mapchk writes what a look-up comes to: one line for each verdict, behind `= `.

Pure.  Ref: trace.py.
"""

from meta1g.base.reply import Reply
from meta1g.conf.access import Action, Decision
from meta1g.rcb.common import DeliveryAgent
from meta1g.rcb.qmgr_smar import Members, Unresolved
from meta1g.rcb.smtps_smar import VerdictFlags
from meta1g.smar.route import RoutePlan
from meta1g.smar.tlsmap import PolicyEntry


def said(reply: Reply, flags: int) -> str:
    """Writes a verdict that an SMTP client hears."""
    names = ", ".join(str(flag.name).lower() for flag in VerdictFlags if flags & flag)
    return f"= {reply}{f' ({names})' if names else ''}".rstrip()


def end_of(step: str, reply: Reply, flags: int) -> str:
    """Writes what a verdict means for the whole mail, if it ends it; else nothing."""
    if not reply.is_ok:
        return f"= refused at {step}: {reply}".rstrip()
    return f"= discarded at {step}" if flags & VerdictFlags.DISCARD else ""


def decided(decision: Decision) -> str:
    """Writes what the access map says."""
    if decision.action is Action.NONE:
        return "= no entry"
    quick = "quick:" if decision.quick else ""
    reply = f" {decision.reply}" if decision.action is Action.REFUSE else ""
    return f"= {quick}{decision.action.name.lower()}{reply}"


def configured(snippet: str | None) -> str:
    """Writes a piece of configuration, None for a wrong one."""
    if snippet is None:
        return "= 451 4.3.5 wrong, or not in this version: mail has to wait"
    return f"= {snippet}" if snippet else "= no entry"


def demanded(entry: PolicyEntry | None) -> str:
    """Writes what the map of TLS policies demands."""
    if entry is None:
        return "= no entry"
    if entry.policy.refused and not entry.dane:
        return f"= no mail goes there: {entry.policy.refused}"
    return f"= {'dane, else ' if entry.dane else ''}{entry.policy.refused or entry.policy.level}"


def expanded(members: Members | Unresolved) -> str:
    """Writes the members of an alias."""
    if isinstance(members, Unresolved):
        return f"= {members.reply}"
    owner = f", sender <{members.owner}>" if members.owner else ""
    return f"= {' '.join(members.members)}{owner}"


def routed(plan: RoutePlan, domain: str) -> str:
    """Writes where mail for a domain goes."""
    if isinstance(plan.answer, Unresolved):
        return f"= {plan.answer.reply}"
    agent = DeliveryAgent(plan.da).name.lower()
    targets = [
        f"{one.host}{f' port {one.port}' if one.port else ''}{' (MX records)' if one.use_mx else ''}" for one in plan.targets
    ]
    return f"= {agent} {', '.join(targets)}" if targets else f"= no route to {domain}"
