"""The replies that the server gives, by name; no other module writes a reply text.

Pure.  Ref: RFC 5321 4.2.3; RFC 3463 and RFC 5248 (enhanced codes).
"""

from typing import Final

from meta1g.base.reply import Reply

BYE: Final = Reply(221, "2.0.0", "Goodbye")
OK: Final = Reply(250, "2.0.0", "Ok")
RESET: Final = Reply(250, "2.0.0", "Reset")
SENDER_OK: Final = Reply(250, "2.1.0", "Sender ok")
RCPT_OK: Final = Reply(250, "2.1.5", "Recipient ok")
VRFY_MAYBE: Final = Reply(252, "2.1.5", "Cannot verify; send some mail and see")
HELP: Final = Reply(214, "2.0.0", ("Commands:", "EHLO HELO MAIL RCPT DATA RSET NOOP QUIT VRFY EXPN HELP", "See RFC 5321"))
SEND_DATA: Final = Reply(354, "", "End data with <CR><LF>.<CR><LF>")

SHUTTING_DOWN: Final = Reply(421, "4.3.2", "Service is shutting down; try again later")
TOO_BUSY: Final = Reply(421, "4.3.2", "Too many connections; try again later")
TIMED_OUT: Final = Reply(421, "4.4.2", "Waited too long for you")
TOTAL_TIME: Final = Reply(421, "4.4.2", "Session takes too long")
QUEUE_AWAY: Final = Reply(421, "4.3.0", "Queue manager is not available; try again later")
RESOLVER_AWAY: Final = Reply(421, "4.3.0", "Address resolver is not available; try again later")
INTERNAL_ERROR: Final = Reply(421, "4.3.0", "Internal error; try again later")
TOO_MANY_ERRORS: Final = Reply(421, "4.7.0", "Too many errors")
TOO_MANY_REFUSALS: Final = Reply(421, "4.7.0", "Too many refused recipients")
TOO_MANY_OVERSHOOTS: Final = Reply(421, "4.7.0", "Too many commands beyond a limit")
TOO_MANY_NOOPS: Final = Reply(421, "4.7.0", "Too many commands without a transaction")
TOO_MANY_TRANSACTIONS: Final = Reply(421, "4.7.0", "Too many transactions; open a new connection")

QUEUE_FAILED: Final = Reply(451, "4.3.0", "Queue manager did not answer; try again later")
RESOLVER_FAILED: Final = Reply(451, "4.3.0", "Address resolver did not answer; try again later")
STORE_FAILED: Final = Reply(451, "4.3.0", "Cannot write the message; try again later")
DISK_FULL: Final = Reply(452, "4.3.1", "Out of space; try again later")
TOO_MANY_RCPTS: Final = Reply(452, "4.5.3", "Too many recipients")

LINE_TOO_LONG: Final = Reply(500, "5.5.6", "Line too long")
UNKNOWN_COMMAND: Final = Reply(500, "5.5.1", "Unknown command")
BAD_CHARACTERS: Final = Reply(500, "5.5.2", "Command has characters that are not allowed")
NO_ARGUMENT_WANTED: Final = Reply(501, "5.5.4", "This command has no argument")
ARGUMENT_WANTED: Final = Reply(501, "5.5.4", "Argument is missing")
BAD_HELO: Final = Reply(501, "5.5.4", "Host name or address literal is not valid")
BAD_MAIL_SYNTAX: Final = Reply(501, "5.5.4", "Syntax: MAIL FROM:<address> parameters")
BAD_RCPT_SYNTAX: Final = Reply(501, "5.5.4", "Syntax: RCPT TO:<address> parameters")
BAD_PARAMETER: Final = Reply(501, "5.5.4", "Parameter has a wrong value or stands twice")
NOT_IMPLEMENTED: Final = Reply(502, "5.5.1", "Command is not implemented")
BAD_SEQUENCE: Final = Reply(503, "5.5.1", "Command is out of sequence")
HELO_FIRST: Final = Reply(503, "5.5.1", "Send EHLO or HELO first")
NESTED_MAIL: Final = Reply(503, "5.5.1", "Sender is already given")
MAIL_FIRST: Final = Reply(503, "5.5.1", "Send MAIL first")
SENDER_REFUSED: Final = Reply(503, "5.5.1", "Sender was refused; send MAIL first")
RCPT_FIRST: Final = Reply(503, "5.5.1", "Send RCPT first")
NO_VALID_RCPTS: Final = Reply(554, "5.5.1", "No valid recipients")
SMTPUTF8_WANTED: Final = Reply(553, "5.6.7", "Address needs SMTPUTF8")
BAD_SENDER_ADDRESS: Final = Reply(501, "5.1.7", "Sender address is not valid")
BAD_RCPT_ADDRESS: Final = Reply(501, "5.1.3", "Recipient address is not valid")
BARE_LINE_END: Final = Reply(550, "5.5.2", "Message has a bare CR or LF; only CR LF ends a line")
TEXT_LINE_TOO_LONG: Final = Reply(550, "5.6.0", "Message has a line of more than 998 characters")
TOO_BIG: Final = Reply(552, "5.3.4", "Message is too big")
EARLY_TALKER: Final = Reply(554, "5.5.1", "You talked before the greeting")
ACCESS_DENIED: Final = Reply(554, "5.7.1", "Access denied")
TOO_MANY_HOPS: Final = Reply(554, "5.4.6", "Too many hops; a mail loop?")
UNKNOWN_PARAMETER: Final = Reply(555, "5.5.4", "Parameter is not known")
