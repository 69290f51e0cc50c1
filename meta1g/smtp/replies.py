"""The replies that the server gives, by name; no other module writes a reply text.

Pure.  Ref: RFC 5321 4.2.3; RFC 3463 and RFC 5248 (enhanced codes).
"""

from typing import Final

from meta1g.smtp.reply import SmtpReply

BYE: Final = SmtpReply(221, "2.0.0", "Goodbye")
OK: Final = SmtpReply(250, "2.0.0", "Ok")
RESET: Final = SmtpReply(250, "2.0.0", "Reset")
SENDER_OK: Final = SmtpReply(250, "2.1.0", "Sender ok")
RCPT_OK: Final = SmtpReply(250, "2.1.5", "Recipient ok")
VRFY_MAYBE: Final = SmtpReply(252, "2.1.5", "Cannot verify; send some mail and see")
HELP: Final = SmtpReply(214, "2.0.0", ("Commands:", "EHLO HELO MAIL RCPT DATA RSET NOOP QUIT VRFY EXPN HELP", "See RFC 5321"))
SEND_DATA: Final = SmtpReply(354, "", "End data with <CR><LF>.<CR><LF>")

SHUTTING_DOWN: Final = SmtpReply(421, "4.3.2", "Service is shutting down; try again later")
TOO_BUSY: Final = SmtpReply(421, "4.3.2", "Too many connections; try again later")
TIMED_OUT: Final = SmtpReply(421, "4.4.2", "Waited too long for you")
TOTAL_TIME: Final = SmtpReply(421, "4.4.2", "Session takes too long")
QUEUE_AWAY: Final = SmtpReply(421, "4.3.0", "Queue manager is not available; try again later")
RESOLVER_AWAY: Final = SmtpReply(421, "4.3.0", "Address resolver is not available; try again later")
INTERNAL_ERROR: Final = SmtpReply(421, "4.3.0", "Internal error; try again later")
TOO_MANY_ERRORS: Final = SmtpReply(421, "4.7.0", "Too many errors")
TOO_MANY_REFUSALS: Final = SmtpReply(421, "4.7.0", "Too many refused recipients")
TOO_MANY_OVERSHOOTS: Final = SmtpReply(421, "4.7.0", "Too many commands beyond a limit")
TOO_MANY_NOOPS: Final = SmtpReply(421, "4.7.0", "Too many commands without a transaction")
TOO_MANY_TRANSACTIONS: Final = SmtpReply(421, "4.7.0", "Too many transactions; open a new connection")

QUEUE_FAILED: Final = SmtpReply(451, "4.3.0", "Queue manager did not answer; try again later")
RESOLVER_FAILED: Final = SmtpReply(451, "4.3.0", "Address resolver did not answer; try again later")
STORE_FAILED: Final = SmtpReply(451, "4.3.0", "Cannot write the message; try again later")
DISK_FULL: Final = SmtpReply(452, "4.3.1", "Out of space; try again later")
TOO_MANY_RCPTS: Final = SmtpReply(452, "4.5.3", "Too many recipients")

LINE_TOO_LONG: Final = SmtpReply(500, "5.5.6", "Line too long")
UNKNOWN_COMMAND: Final = SmtpReply(500, "5.5.1", "Unknown command")
BAD_CHARACTERS: Final = SmtpReply(500, "5.5.2", "Command has characters that are not allowed")
NO_ARGUMENT_WANTED: Final = SmtpReply(501, "5.5.4", "This command has no argument")
ARGUMENT_WANTED: Final = SmtpReply(501, "5.5.4", "Argument is missing")
BAD_HELO: Final = SmtpReply(501, "5.5.4", "Host name or address literal is not valid")
BAD_MAIL_SYNTAX: Final = SmtpReply(501, "5.5.4", "Syntax: MAIL FROM:<address> parameters")
BAD_RCPT_SYNTAX: Final = SmtpReply(501, "5.5.4", "Syntax: RCPT TO:<address> parameters")
BAD_PARAMETER: Final = SmtpReply(501, "5.5.4", "Parameter has a wrong value or stands twice")
NOT_IMPLEMENTED: Final = SmtpReply(502, "5.5.1", "Command is not implemented")
BAD_SEQUENCE: Final = SmtpReply(503, "5.5.1", "Command is out of sequence")
HELO_FIRST: Final = SmtpReply(503, "5.5.1", "Send EHLO or HELO first")
NESTED_MAIL: Final = SmtpReply(503, "5.5.1", "Sender is already given")
MAIL_FIRST: Final = SmtpReply(503, "5.5.1", "Send MAIL first")
SENDER_REFUSED: Final = SmtpReply(503, "5.5.1", "Sender was refused; send MAIL first")
RCPT_FIRST: Final = SmtpReply(503, "5.5.1", "Send RCPT first")
NO_VALID_RCPTS: Final = SmtpReply(554, "5.5.1", "No valid recipients")
SMTPUTF8_WANTED: Final = SmtpReply(553, "5.6.7", "Address needs SMTPUTF8")
BAD_SENDER_ADDRESS: Final = SmtpReply(501, "5.1.7", "Sender address is not valid")
BAD_RCPT_ADDRESS: Final = SmtpReply(501, "5.1.3", "Recipient address is not valid")
BARE_LINE_END: Final = SmtpReply(550, "5.5.2", "Message has a bare CR or LF; only CR LF ends a line")
TEXT_LINE_TOO_LONG: Final = SmtpReply(550, "5.6.0", "Message has a line of more than 998 characters")
TOO_BIG: Final = SmtpReply(552, "5.3.4", "Message is too big")
EARLY_TALKER: Final = SmtpReply(554, "5.5.1", "You talked before the greeting")
ACCESS_DENIED: Final = SmtpReply(554, "5.7.1", "Access denied")
TOO_MANY_HOPS: Final = SmtpReply(554, "5.4.6", "Too many hops; a mail loop?")
UNKNOWN_PARAMETER: Final = SmtpReply(555, "5.5.4", "Parameter is not known")
