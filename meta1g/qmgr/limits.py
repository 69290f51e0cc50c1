"""Limits and times of QMGR that no option sets.

Ref: MeTA1 design, "Implementation: QMGR" (modelled on); the numbers are our choice, with the reason beside them.
"""

from typing import Final

#: Recipients that one hold of a lock serves at most: a few milliseconds.  Ref: invariant I10.
SLICE: Final = 100
#: Recipients of a transaction that move from IBDB to DEFEDB at a time.
MOVE_MAX: Final = 4 * SLICE
#: Recipient indexes that members of lists leave to reports.
IDX_RESERVED: Final = 1 << 20
#: An envelope that is not closed after this time is refused when IQDB is crowded: RFC 5321 4.5.3.2 gives a command 5 minutes.
IQDB_HOLD_S: Final = 600
#: Use of IQDB from which on it counts as crowded, percent.
IQDB_CROWDED_PERCENT: Final = 50
#: DONE records wait at most so long for a flush of their own.  Our choice: losing them costs second deliveries only.
DONE_FLUSH_S: Final = 0.2
#: Envelope changes that may wait for DEFEDB; beyond it no new mail is taken.  Ref: invariant I4.
DEFER_PENDING_MAX: Final = 20_000
#: Recipients that one DEFEDB transaction takes: some 15 ms, its log stays small.  Ref: invariant I10.
DEFER_BATCH_MAX: Final = 200
#: A change that cannot be stored for a reason of its own is given up after so many tries.
DEFER_TRIES_MAX: Final = 3
#: Long work in the thread of DEFEDB lets others have their turn after this time; a step comes on top.  Ref: invariant I10.
SLICE_S: Final = 0.02
#: After so much of it the thread sleeps for a moment, so that others get the interpreter at once: after each step that is no
#: shorter.  Our choice: with 1 ms the thread of events waits 0.3 ms in one of ten cases, with this it does not notice.
BREATH_AFTER_S: Final = 0.0001
BREATH_S: Final = 0.0001
#: Entries of DEFEDB that the window takes at once: some 5 ms.  Ref: invariant I10.
REFILL_MAX: Final = 1000
#: Content files that are removed between two flushes: some 10 ms, for which final dots have to wait.  Ref: invariant I10.
UNLINKS_MAX: Final = 250
#: Records that may wait for IBDB while it cannot be written; beyond it no new mail is taken.  Ref: invariant I4.
IBDB_PENDING_MAX: Final = 10_000
#: How long after a failed flush IBDB is tried again.
IBDB_RETRY_S: Final = 1.0
#: A failure that was contained is trouble for so long.
TROUBLE_S: Final = 3600.0
#: Files of IBDB from which on the entries of the oldest move to DEFEDB, so that the files can go.
IBDB_FILES_MAX: Final = 4
#: How often old entries, idle sessions and resources are looked at.
CLEANUP_S: Final = 2.0
#: How often it is looked for next tries that are later than they can be: one look into the index if there are none.
CLOCK_LOOK_S: Final = 60.0
#: Recipients fed from DEFEDB in one turn, so that new mail is not held up.
FEED_TURN: Final = 100
#: Deferred recipients that a destination may have in AQ whatever is left to new mail.
FEED_LEAST: Final = 8
#: A deferred recipient that could not be brought back for an unexpected reason is left alone for so long.
FEED_AGAIN_S: Final = 60.0
#: How often it is looked whether there is room for recipients that wait for it.
LANE_LOOK_S: Final = 0.2
#: Entries of the EDBC window for each recipient that AQ can hold.
EDBC_FACTOR: Final = 4
#: Part of AQ that the feeder leaves to new mail, percent.
FEED_LEAVES_PERCENT: Final = 25
#: A destination that cannot be reached is left alone for so long at most.
DEST_CLOSED_MAX_S: Final = 60.0
#: Destinations remembered while they are not in use.
OCC_ENTRIES_MAX: Final = 10_000
#: Client addresses remembered.
ICC_ENTRIES_MAX: Final = 100_000
#: Addresses of one server that a delivery may choose from.  Our choice: more than one of each family, twice over.
ADDRESSES_MAX: Final = 4
#: Idle sessions of a destination that are looked at to find one with a server's name.
IDLE_LOOKS: Final = 8
#: Deliveries of one session.  Our choice: some servers limit it, and balance over several servers needs it.
SESSION_DELIVERIES_MAX: Final = 1000
#: An idle session is closed after this time.
SESSION_IDLE_S: Final = 5.0
#: How long a delivery agent may take for one delivery, beside its content: SMTPC gives a transaction three hours, which many
#: recipients at a slow server may need; whoever is given up before is sent the message twice.
RESULT_TIMEOUT_S: Final = 4 * 3600
#: The rate at which content has to go at least.  Our choice: four times what SMTPS demands of its clients.
RESULT_BYTES_PER_S: Final = 1024
#: A destination may have so many times the sessions that are free: three quarters of all if it is alone.  Ref: invariant I11.
SESSIONS_GREED: Final = 3
#: How long the resolver may take for one recipient, over all its name servers.
RESOLVE_TIMEOUT_S: Final = 300
#: A probe of an address waits so long for the resolver or a free session.
PROBE_WAIT_S: Final = 60.0
#: How often it is looked for them.
PROBE_AGAIN_S: Final = 0.5
#: How long a delivery agent may take for a probe: connection, greeting and three commands, five minutes each at most.
PROBE_TIMEOUT_S: Final = 1800
#: Servers of an address that are asked one after the other.
PROBE_SERVERS_MAX: Final = 5
#: Lists of more than SLICE members that are expanded at a time; each is in memory as a whole.
LISTS_MAX: Final = 4
#: Smaller ones whose members wait for DEFEDB.
SMALL_LISTS_MAX: Final = 64
#: A recipient that is resolved waits so long for others of its message that are still asked for.  Our choice: name servers
#: mostly answer within it, and beside a delivery nobody notices it.
GATHER_S: Final = 0.1
#: Recipients remembered while the aliases of their transactions are expanded, so that nobody gets two copies; beyond it
#: somebody may.  Our choice: some 150 bytes each.
COPIES_MAX: Final = 500_000
#: Members of one list; each needs some 100 bytes while it is expanded.
MEMBERS_MAX: Final = 1_000_000
#: Recipients that the resolver lost, and lists that wait for their turn, are asked for again after this time.
ASK_AGAIN_S: Final = 1.0
#: How often the parts of an alias are asked for from the first one on, because it changed.  Our choice: then it is deferred.
EXPANSIONS_MAX: Final = 5
#: Content files younger than this are not orphans: they may be ahead of the message that announces them.
ORPHAN_MIN_AGE_S: Final = 20
#: Orphans are looked for so long after the start, and after an SMTPS went away.
ORPHAN_DELAY_S: Final = 25
#: Orphans are looked for at least so often.
ORPHAN_SCAN_S: Final = 1800
#: How often a checkpoint of DEFEDB is made if the configuration does not say.
CHECKPOINT_S: Final = 60
#: Rows in one answer to the control socket.
LIST_MAX: Final = 500
#: Recipients of DEFEDB that one page looks at, whether they match or not: some 0.2 s, in slices.
PAGE_LOOKS: Final = 5000
#: Records in one page that are given as they stand, and their bytes: some 5 ms of the thread of DEFEDB, 1 of it in one piece.
PAGE_RECORDS: Final = 2000
PAGE_BYTES: Final = 512 << 10
#: Different things that are counted apart by one command; the rest is counted together.  Ref: invariant I4.
COUNT_KEYS_MAX: Final = 100_000
#: Characters of a server's reply that are kept.
STATUS_TEXT_MAX_CHARS: Final = 512
#: Recipients named in one bounce.
BOUNCE_RCPTS_MAX: Final = 500
#: Recipients named in one report of success: the line of the log has room for their indexes.
SUCCESS_RCPTS_MAX: Final = 100
#: Recipients named in one warning: it is stored anew with each.
WARNING_RCPTS_MAX: Final = 50
#: Failed recipients of a transaction wait for the others, to be in one report, until they are this part of AQ.
FAILED_PART: Final = 8
#: A recipient whose agent ended so often in the middle of its delivery waits like a deferred one.
LOST_MAX: Final = 5
#: Demands on TLS that are kept once for all recipients that meet them.  Our choice: 16 KiB each at most.
DEMANDS_KEPT: Final = 500
#: Filters of one SMTPS whose figures are kept (invariant I4).  Our choice: more than anybody asks.
FILTERS_MAX: Final = 1000
