"""Limits of SMAR.

Pure.  Ref: MeTA1 design, "Functional Specification: SMAR" (modelled on); RFC 1035, RFC 2308, RFC 5321.
"""

from typing import Final

#: Port of name servers.  Ref: RFC 1035 4.2.
DNS_PORT: Final = 53
#: UDP answer size that we announce, in bytes.  Ref: DNS flag day 2020, larger answers come in fragments.
EDNS_PAYLOAD_BYTES: Final = 1232
#: Bytes taken from a UDP socket: a packet of another length than announced is taken as long as it fits.
UDP_MAX_BYTES: Final = 65535
#: Largest answer that we take, over UDP or TCP.  Our choice: hundreds of records, read in a few milliseconds (invariant I10).
ANSWER_MAX_BYTES: Final = 16 * 1024
#: Records of one answer, of all sections.  Our choice: as many as fit into ANSWER_MAX_BYTES.
RECORDS_MAX: Final = 1_000
#: Compression pointers of one name.  Our choice: servers use two or three.
NAME_HOPS_MAX: Final = 16
#: Bytes taken from a TCP connection at once.
TCP_READ_BYTES: Final = 8 * 1024
#: Questions sent from one random source port before a new port is used.  Our choice: a forger has to guess both.
PORT_QUESTIONS: Final = 64
#: Answers read from one socket before others get their turn.  Our choice.
READS_PER_RUN: Final = 16
#: Questions that wait for name servers at most (invariant I4); names below one domain take half of them at most (invariant
#: I11).  Our choice: twice the 10,000 that must be possible.
QUESTIONS_MAX: Final = 20_000
#: Askers of one question that hear of the answer at once; the others in turns.  Our choice: about a millisecond.
CALLBACKS_AT_ONCE: Final = 16
#: Answers kept.  Our choice: some 20 MB.
CACHE_ENTRIES: Final = 20_000
#: Longest life of a positive answer, in seconds.  Our choice: a day, whatever the zone says.
TTL_MAX_S: Final = 86_400
#: Longest life of a negative answer, in seconds.  Ref: RFC 2308 5, one to three hours are sensible.
NEGATIVE_TTL_MAX_S: Final = 3_600
#: Life of a negative answer without SOA record, in seconds.  Ref: RFC 2308 5 forbids caching; one burst is ours.
NEGATIVE_TTL_DEFAULT_S: Final = 5
#: CNAME records followed.  Our choice: what other resolvers follow.
CNAME_MAX: Final = 8
#: A name server that did not answer is asked last for so many seconds.  Our choice.
SERVER_PENALTY_S: Final = 30.0
#: A failing name server is logged once in so many seconds.
SERVER_LOG_S: Final = 10.0
#: TCP connections to name servers at the same time, half of them for names below one domain.  Our choice.
TCP_MAX: Final = 100
#: MX hosts of one domain that are looked up.  Our choice: more would only let a zone make us work.
MX_HOSTS_MAX: Final = 20
#: Server addresses of one answer.  Our choice, because no delivery tries more.
SERVERS_MAX: Final = 64
#: Life of an answer that does not come from the DNS, in seconds.  Our choice: a changed mailertable counts soon.
STATIC_TTL_S: Final = 60
#: Aliases that one expansion looks into, each of them once, whatever their nesting.  Our choice: all of a large file.
ALIAS_LISTS_MAX: Final = 100_000
#: Members of one expanded alias.  Our choice: QMGR holds all of them for a moment, some 10 MB.
ALIAS_MEMBERS_MAX: Final = 100_000
#: Characters of a member of an alias.  Ref: RFC 5321 4.5.3.1.3, 254 characters for an address; some room for macros.
MEMBER_MAX_CHARS: Final = 320
#: Members of long lists that are kept while QMGR asks for their parts (invariant I4).  Our choice: some 40 MB.
KEPT_MEMBERS_MAX: Final = 400_000
#: Expansions that are under way at the same time (invariant I4).  Our choice: others are asked for again later.
EXPANSIONS_MAX: Final = 1_000
#: Members of an alias whose answer is kept as such.  Our choice: RCPT_CACHE_ENTRIES of them are some 100 MB at worst.
RCPT_CACHE_MEMBERS: Final = 100
#: Domains whose compiled route is kept.  Our choice.
ROUTE_CACHE_ENTRIES: Final = 10_000
#: Look-ups in one map that may block, at the same time, with a thread each (invariant I11).  Our choice: a map server
#: should not see more at once.
LOOKUPS_MAX: Final = 8
#: Questions that wait for their turn in such a map, without a thread (invariants I4, I11).  Our choice: more is an overload.
LOOKUPS_WAITING_MAX: Final = 1_000
#: A map that does not answer is logged once in so many seconds.  Our choice, as for name servers.
MAP_LOG_S: Final = 10.0
#: Clients, servers and recipients whose piece of configuration is kept (invariant I4).  Our choice, as for routes.
SNIPPET_CACHE_ENTRIES: Final = 10_000
#: Threads for look-ups that block, beyond those that are held by maps.  Our choice.
WORKERS_SPARE: Final = 8
#: Longest time of a question to maps that may block, in seconds.  Our choice: half of what SMTPS waits.
LOOKUP_S: Final = 30.0
#: Longest work in one go before others get their turn, in seconds (invariant I10).  Our choice: several are not noticed.
TURN_S: Final = 0.002
#: Longest work of a look-up in a worker before it goes to the end of the queue, in seconds.  Our choice.
WORKER_TURN_S: Final = 0.05
#: After so much of it the worker sleeps for a moment, so that the thread of events gets the interpreter at once, in seconds.
BREATH_AFTER_S: Final = 0.001
BREATH_S: Final = 0.0001
#: Pieces of work that wait for a turn (invariant I4).  Our choice: more than the peers have open at once.
TURNS_MAX: Final = 100_000
#: Threads of the event system.  Our choice, because a thread more does not run more Python code.
SOFT_THREADS: Final = 2
HARD_THREADS: Final = 8
#: Result addresses of one DNS list that are looked up in the access map.  Our choice: lists give one for each reason.
LISTED_MAX: Final = 16
#: Characters of a text sent to a client in a reply.  Ref: RFC 5321 4.5.3.1.5, reply line of 512 bytes.
REPLY_TEXT_MAX_CHARS: Final = 400
#: Recipients whose answer is kept.  Our choice.
RCPT_CACHE_ENTRIES: Final = 10_000
#: PTR records of one address that are followed.  Our choice: more would only let a zone make us work.
CLIENT_NAMES_MAX: Final = 4
#: Clients whose name and entries in DNS lists are looked for at the same time, and the most of one client: address, or /64
#: (invariants I4 and I11).  Our choice: a client needs one at a time.
CLIENTS_MAX: Final = 10_000
CLIENT_SHARE: Final = 100
#: Longest search for the name of a client, in seconds.  Our choice: half of what SMTPS waits.
CLIENT_NAME_S: Final = 30.0
#: Seconds after which the addresses of the interfaces are read again.  Our choice: a new address is one of ours soon.
INTERFACES_TTL_S: Final = 60.0
#: Name servers taken from resolv.conf.  Ref: resolv.conf(5), MAXNS.
RESOLV_CONF_SERVERS: Final = 3
#: Policies of MTA-STS that are kept, and bytes of all of them (invariant I4).  Our choice: most gateways meet some hundreds.
STS_POLICIES_MAX: Final = 10_000
STS_CACHE_BYTES: Final = 16 * 1024 * 1024
#: Longest time that mail waits for the policy of its domain to be fetched, in seconds.  Our choice: a third of what QMGR waits.
STS_WAIT_S: Final = 10.0
#: Longest fetch, in seconds.  Ref: RFC 8461 3.3, a minute is suggested.
STS_FETCH_S: Final = 30.0
#: Fetches at the same time, with a thread each, and those that wait for one; names below one domain have a share of both
#: (invariants I4, I11).  Our choice.
STS_FETCHES: Final = 8
STS_FETCHES_OPEN_MAX: Final = 200
#: A fetch that failed is tried again after so long, twice as long each time, at most STS_RETRY_MAX_S.  Ref: RFC 8461 3.3.
STS_RETRY_S: Final = 300.0
STS_RETRY_MAX_S: Final = 3600.0
#: A policy is fetched again after so long, or when half of its life is over.  Ref: RFC 8461 3.3, once a day is suggested.
STS_REFRESH_S: Final = 86_400.0
#: How often it is looked which policies have to be fetched again, in seconds, and how many are at one time.  Our choice.
STS_LOOK_S: Final = 600.0
STS_REFRESHES: Final = 100
#: A policy that no mail has met for so long is not fetched again, seconds.  Our choice: a month; until its end it holds.
STS_UNUSED_S: Final = 31 * 86_400.0
#: How often what is counted for reports is written, and whether one is due is looked at, in seconds.  Our choice.
RPT_WRITE_S: Final = 60.0
RPT_LOOK_S: Final = 60.0
#: Domains of which is known whether they want reports, and for how long, in seconds.  Our choice.
RPT_WANTED_MAX: Final = 10_000
RPT_WANTED_S: Final = 3600.0
#: Reports under way at the same time.  Our choice: each target has a thread for a moment.
RPT_AT_ONCE: Final = 4
#: A report that cannot be sent is tried again after so long, twice as long each time, and given up when its day is RPT_DAYS
#: old.  Ref: RFC 8460 5.5, 24 hours.
RPT_RETRY_S: Final = 1800.0
RPT_DAYS: Final = 2
#: Longest time to hand a report over, in seconds, and bytes of the answer of a server that takes one by https.  Our choice.
RPT_SEND_S: Final = 60.0
RPT_ANSWER_BYTES: Final = 16 * 1024
#: Bytes of the TLSA records of one host that are passed on (invariant I4).  Our choice: many digests, or a few certificates.
TLSA_BYTES_MAX: Final = 8192
#: Characters of the list of senders that a user may have.  Our choice: it is read for each mail of the user (invariant I10).
AUTH_SENDERS_MAX_CHARS: Final = 16 * 1024
