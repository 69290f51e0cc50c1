"""RCB connections of the event-thread system: what the components use of them.

    listener -- accept, credentials --> RcbCom          link -- connect, retry --> RcbCom -- closed --> link

Ref: MeTA1 design, "Implementation: RCB communication" (modelled on).
"""

from meta1g.pt.rcbcalls import OnReply
from meta1g.pt.rcbconn import OnClose, OnComMessage, RcbCom
from meta1g.pt.rcblink import RcbComLink, connect
from meta1g.pt.rcblisten import RcbListener

__all__ = ["OnClose", "OnComMessage", "OnReply", "RcbCom", "RcbComLink", "RcbListener", "connect"]
