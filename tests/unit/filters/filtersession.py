"""One session of a server with a filter, over the real protocol: what comes out is the message with its changes made."""

from dataclasses import dataclass

from meta1g.milter.changes import AddField, ChangeField, InsertField
from meta1g.milter.header import HeaderEdit
from meta1g.pmilter.machine import _header_change
from meta1g.rcb import smtps_pmilter as pm
from meta1g.rcb.smtps_pmilter import Capability, Code, Function, MacroValue, Pmm
from meta1g.smtp.header import fields, split_header

OWN = b"Received: from client by gateway\r\n"


@dataclass
class Outcome:
    """What a filter made of a message."""

    said: str  # empty if the message was taken, discard if it was taken and dropped
    message: bytes
    held: str
    replaced: bytes | None = None  # the message that takes its place

    @property
    def header(self) -> list[str]:
        return [one.raw.decode().replace("\r\n", "") for one in fields(split_header(self.message)[0])]

    def values(self, name: str) -> list[str]:
        return [one.partition(":")[2].strip() for one in self.header if one.lower().startswith(f"{name.lower()}:")]


class FilterSession:
    """Sessions of clients, one after the other.

    Args:
        client: a PmClient.
    """

    def __init__(self, client) -> None:
        self._client = client
        self._count = 0
        hello = pm.PmHello(version=pm.PM_VERSION, capabilities=int(~Capability(0)), functions=int(~Function(0)), hostname="mx")
        self.wanted = client.ask(hello)

    def send(
        self, message: bytes, *, ip="192.0.2.1", helo="client.example.net", mail="ada@example.net", user="", size=1000, rcpts=()
    ):
        """Passes one message in a session of its own; gives its Outcome."""
        self._count += 1
        name = f"s{self._count}"
        self._client.ask(pm.PmConnect(session_id=name, client_addr=ip, client_name=""))
        self._client.ask(pm.PmHelo(session_id=name, helo=helo, ehlo=True))
        macros = (MacroValue(macro=int(Pmm.AUTH_AUTHEN), value=user),) if user else ()
        answer = self._client.ask(pm.PmMail(session_id=name, ta_id="T1", mail=f"<{mail}>", macros=macros))
        if answer.code != Code.CONT:
            return Outcome("" if answer.code == Code.ACCEPT else str(answer.reply), message, "")
        for number, rcpt in enumerate(rcpts):
            self._client.ask(pm.PmRcpt(session_id=name, rcpt_idx=number, rcpt=f"<{rcpt}>"))
        for at in range(0, len(message), size):
            answer = self._client.ask(pm.MessageChunk(session_id=name, data=message[at : at + size]))
            if answer.code == Code.SKIP:
                break
            assert answer.code == Code.CONT
        answer = self._client.ask(pm.PmDot(session_id=name))
        replaced = self._pulled(name) if answer.replace else None
        self._client.post(pm.PmClose(session_id=name))
        header, body = split_header(message)
        edit = HeaderEdit(OWN, fields(header))
        for one in answer.header:
            change = _header_change(one)
            assert isinstance(change, AddField | InsertField | ChangeField)
            edit.apply(change)
        said = "discard" if answer.code == Code.DISCARD else str(answer.reply) if answer.code != Code.CONT else ""
        return Outcome(said, edit.encode() + body, answer.quarantine, replaced)

    def _pulled(self, name: str) -> bytes:
        data, end = b"", False
        while not end:
            piece = self._client.ask(pm.PmPull(session_id=name, pulled=len(data)))
            data, end = data + piece.data, piece.end
        return data
