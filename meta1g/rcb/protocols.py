"""All protocols and all records in one place, for documentation and tests.

Ref: MeTA1 design, "Functional Specification: IPC record format" (modelled on).
"""

from collections.abc import Iterator
from typing import Final

from meta1g.rcb import control, envelope, mcp_child, qmgr_smar, smtpc_qmgr, smtps_pmilter, smtps_qmgr, smtps_smar, verified
from meta1g.rcb.schema import FieldPlan, Message, Protocol

PROTOCOLS: Final[tuple[Protocol, ...]] = (
    smtps_qmgr.PROTOCOL,
    smtpc_qmgr.PROTOCOL,
    smtps_smar.PROTOCOL,
    qmgr_smar.PROTOCOL,
    smtps_pmilter.PROTOCOL,
    mcp_child.PROTOCOL,
    control.PROTOCOL,
)

DISK_RECORDS: Final[tuple[type[Message], ...]] = (
    envelope.TaRecord,
    envelope.RcptRecord,
    envelope.RcptDone,
    envelope.TaDone,
    envelope.TaCancel,
    verified.Verified,
)


def describe() -> str:
    """Gives the table of all messages and records as Markdown (docs/record-types.md)."""
    lines = [
        "# Record types",
        "",
        "Made from `meta1g/rcb` by `python -m meta1g.rcb.protocols`; do not edit.",
        "",
        "A frame is `total length u32 | record | record ...`; a record is `value length u32 | type u32 | value`, padded",
        "with NUL to a multiple of 4, all in network byte order.  The first record of a frame has the type of the message",
        "and the request id as value.  The first frame of a connection is the record PROT_VER (0x0001) with the version.",
        "A REPLY is `code u16 | length of ecode u16 | length of origin u16 | number of lines u16 | ecode | origin | text`;",
        "without lines the text is what is left, otherwise each line is `length u16 | line`.",
        "Names are modelled on MeTA1's; the numbers are ours.",
    ]
    for pair in PROTOCOLS:
        lines += ["", f"## {pair.name}, version {pair.version}"]
        for title, table in (("client to server", pair.from_client), ("server to client", pair.from_server)):
            for cls in table.values():
                lines += ["", f"### {cls.__name__} ({title}, {cls.PLAN.role.name.lower()}) {cls.PLAN.rt.name}", ""]
                lines += _describe(cls)
    lines += ["", "## Records on disk (IBDB, DEFEDB, verified addresses)"]
    for cls in DISK_RECORDS:
        lines += ["", f"### {cls.__name__} {cls.PLAN.rt.name}", "", *_describe(cls)]
    return "\n".join(lines) + "\n"


def _describe(cls: type[Message]) -> Iterator[str]:
    yield " ".join((cls.__doc__ or "").split())
    if cls.PLAN.fields:
        yield ""
        yield "| record | number | field | kind | |"
        yield "| --- | --- | --- | --- | --- |"
        yield from _rows(cls.PLAN.fields, "")


def _rows(plans: tuple[FieldPlan, ...], prefix: str) -> Iterator[str]:
    for plan in plans:
        optional = "may be missing" if plan.optional else ""
        yield f"| {plan.rt.name} | {plan.rt:#06x} | {prefix}{plan.name} | {plan.kind.name} | {optional} |"
        if plan.item is not None:
            yield from _rows(plan.item.PLAN.fields, f"{prefix}{plan.name}.")


if __name__ == "__main__":
    import sys

    sys.stdout.write(describe())
