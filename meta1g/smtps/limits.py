"""Limits and time-outs of SMTPS that no option sets.

Ref: RFC 5321 4.5.3 (limits and time-outs); the rest is our choice, with the reason beside it.
"""

from typing import Final

US: Final = 1_000_000

#: One read while commands are expected: a full pipelined group of most clients.
COMMAND_READ_BYTES: Final = 16 << 10
#: A command line that is longer is thrown away as it comes; longer than any line of the command table may be.
LINE_HELD_MAX_BYTES: Final = 16 << 10
#: One read while content is expected.
CONTENT_READ_BYTES: Final = 64 << 10
#: Content up to this size is written by one off-loaded call; beyond it, it is streamed.
SMALL_CONTENT_BYTES: Final = 128 << 10
#: Streamed content is written in pieces of at least this size, since each costs an off-load.
STREAM_PIECE_BYTES: Final = 256 << 10
#: Replies that wait for the end of a batch; more of them leave at once.
REPLIES_HELD_MAX: Final = 1000
#: Questions of one session that are open at smar at the same time: others wait behind them, and a full pipelined group of most
#: clients needs one or two rounds.
QUESTIONS_MAX: Final = 32

#: How long smar may take for one question: longer than its own time-outs for DNS.
SMAR_TIMEOUT_US: Final = 60 * US
#: Pieces of configuration of clients that are kept as settings.  Our choice: an access map has few that differ.
SNIPPETS_KEPT: Final = 1000
#: Clients remembered whose recipients SMAR need not be asked about.  Our choice: some 150 bytes each.
ANY_RCPT_CLIENTS: Final = 2000
#: How long qmgr may take to admit a session.
QMGR_SESSION_TIMEOUT_US: Final = 30 * US
#: How long qmgr may take to count a client, or to say what it knows of an address: longer than its `verify` waits for a probe.
QMGR_ANSWER_TIMEOUT_US: Final = 90 * US
#: How long qmgr may take to commit a transaction; a client waits 10 minutes for it (RFC 5321 4.5.3.2.6).
QMGR_COMMIT_TIMEOUT_US: Final = 300 * US
#: How long a proxy may take for its header: its specification asks for 3 s at least, for a packet that is sent again.
PROXY_HEADER_TIMEOUT_US: Final = 10 * US
#: How long a client that was silent before the greeting need not wait again.
PASSED_FOR_S: Final = 7 * 86400
#: Clients remembered for it, 16 bytes each; a multiple of 4.
PASSED_PLACES: Final = 65536
#: How long a client may take for the handshake of TLS.
HANDSHAKE_TIMEOUT_US: Final = 60 * US
#: The same while more than half of the places for handshakes are taken.
HANDSHAKE_BUSY_TIMEOUT_US: Final = 10 * US
#: Part of the sessions that may be in a handshake at the same time: 1 / n.  The rest stays for those who are through (I11).
HANDSHAKES_PART: Final = 2
#: Handshakes that one client may have open whatever others do, as long as there is room.
HANDSHAKES_LEAST: Final = 8
#: How often it is looked whether certificates have changed.
CERTIFICATES_LOOK_S: Final = 30
#: Names in the map of server names.  Our choice: some 300 bytes each.
SERVER_NAMES_MAX: Final = 100_000
#: Contexts for server names that are kept; some 50 KB each, the least used one is forgotten.
SERVER_NAME_CONTEXTS: Final = 1000
#: Certificates that status names at most.
CERTIFICATES_TOLD: Final = 3
#: What is read of the secret of session tickets.
TICKET_SECRET_MAX_BYTES: Final = 4096
#: Password checks of all sessions that wait or run, and of one client; others are told to come again.  Our choice: what one
#: client can have waiting takes about a second, and an office behind one address can come to work at the same time.  Clients
#: take turns (turnstile.py): nobody waits for all that another one has waiting.
AUTH_PLACES: Final = 256
AUTH_PLACES_OF_CLIENT: Final = 32
#: Longest wait for the answer to a failure, however many came before.
AUTH_DELAY_MAX_US: Final = 30 * US
#: How often it is told that passwords cannot be checked.
AUTH_AWAY_TOLD_S: Final = 10
#: Questions to saslauthd or smar at the same time.
AUTH_QUESTIONS_AT_ONCE: Final = 16
#: How long the last reply to a client that is sent away may take.
GOODBYE_TIMEOUT_US: Final = 1 * US
#: Total time that a client has to say QUIT after it was denied at connect.
DENIED_MAX_S: Final = 30
#: Part of the sessions that has to be free for it: 1 / n.  Who is denied must not take the places of others (invariant I11).
DENIED_NEED_FREE: Final = 2
#: Total time for the envelope, MAIL to DATA: a client that needs longer only holds a place.
ENVELOPE_MAX_S: Final = 3600
#: Content may come slowly for this long; after it the average rate counts.
CONTENT_GRACE_S: Final = 600
#: Least average rate of content: a fifth of a 14,400 bit/s modem.
CONTENT_MIN_BYTES_PER_S: Final = 256
#: Time to finish transactions when the process has to stop.
STOP_GRACE_S: Final = 10
#: Descriptors of one session: its connection and its content file.
SESSION_DESCRIPTORS: Final = 2
#: Descriptors kept for everything else, beside listeners and those that are open when the process starts: links, the connection
#: of mcp, the log when it is opened again, clients that are sent away, and some to spare.
SPARE_DESCRIPTORS: Final = 24
#: Clients beyond the greatest number of sessions that are told so at the same time; further ones wait in the kernel's queue.
FAREWELLS_MAX: Final = 8
#: Time for sessions to say goodbye when their grace is over.
LAST_GRACE_S: Final = 1
#: Text of the last contained failure that QMGR gets for status.
CONTAINED_TEXT_MAX_CHARS: Final = 200
#: What status says of a process beside it.
TROUBLE_TEXT_MAX_CHARS: Final = 1000

#: Descriptors of a session with filters beside its connections to them: a new body, and a content file that is written anew.
FILTER_DESCRIPTORS: Final = 2
#: One read from a filter: its answers are short but for a new body.
FILTER_READ_BYTES: Final = 64 << 10
#: Greatest header that filters are shown, and that they may make; it is held in memory.
FILTER_HEADER_MAX_BYTES: Final = 1 << 20
#: Fields of it: each costs some 10 us of our time for each filter, and nobody else has a turn meanwhile.
FILTER_FIELDS_MAX: Final = 5000
#: How often QMGR hears what the filters did, if they did anything.  Our choice: status is that old at most.
FILTER_REPORT_US: Final = 2 * US
#: A body that a filter sends is held in memory up to this size.
FILTER_BODY_HELD_BYTES: Final = 256 << 10
