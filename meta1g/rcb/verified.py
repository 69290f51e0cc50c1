"""What stands in the file of verified addresses.

Pure.  Ref: db/verifydb.py.
"""

from meta1g.base.dataclass import dataclass
from meta1g.base.reply import Reply
from meta1g.rcb.rectypes import RT
from meta1g.rcb.schema import Kind, Message, Role, message, rec


@message(RT.D_VERIFIED, Role.ITEM)
@dataclass(frozen=True, slots=True, kw_only=True)
class Verified(Message):
    """What the mail server of an address said when it was probed: 2xx it takes the address, 5xx it does not."""

    address: str = rec(RT.D_RCPT_PA, Kind.TEXT)
    reply: Reply = rec(RT.D_REPLY, Kind.REPLY)
    at: float = rec(RT.D_VERIFIED_AT, Kind.TIME)
