"""Numbers of the main control program.  Ref: MeTA1 design, "Functional Specification: Supervisor" (modelled on)."""

from typing import Final

#: A child has this long to end after SIGTERM; then it is killed.  Sessions finish their transaction within it.
STOP_GRACE_S: Final = 10.0
#: A component waits this long for one it depends on to become ready, then it is started all the same.
READY_BOUND_S: Final = 10.0
#: It is given this much more than its wait_for_server.
READY_MARGIN_S: Final = 5.0
#: A child has this long to take its listening sockets; then it counts as failed.
PASS_TIMEOUT_S: Final = 20.0
#: Pause between two attempts to reach a child's pass_fd_socket; our choice, short beside the start of an interpreter.
PASS_RETRY_S: Final = 0.05

#: First delay before a component that failed is started again, and the longest one; it doubles in between.
BACKOFF_FIRST_S: Final = 1.0
BACKOFF_MAX_S: Final = 60.0
#: A component that ran this long starts again at once and has its delay reset.
STABLE_RUN_S: Final = 5.0
#: While mcp starts, a component that has never come up is tried this often; then everything ends, and mcp says why.
FIRST_TRIES: Final = 3

#: Checks of components that run at a time, and how long one may take; a name server that is away costs some seconds.
CHECKS_MAX: Final = 8
CHECK_LIMIT_S: Final = 30.0
#: How long one may take that looks at each entry of the maps.  Our choice: some millions of entries.
THOROUGH_LIMIT_S: Final = 600.0
#: So much of what a check says is kept.
CHECK_OUTPUT_BYTES: Final = 16 << 10
#: Lines that the result of a reload has at most.
RESULT_LINES_MAX: Final = 100

#: Children of an mcp that died have this long to finish what is at hand; then they are killed.
LEFTOVERS_GRACE_S: Final = 15.0
#: A killed process is waited for so long at most.
LEFTOVERS_KILLED_S: Final = 5.0

#: Processes of one section, and process indexes of one kind (two hexadecimal digits in every id).
PROCESSES_MAX: Final = 256
#: Connections that a section with start_action = accept serves at a time.
ACCEPT_MAX: Final = 100
#: If no process can be started for a connection, further ones are left waiting for so long.
ACCEPT_PAUSE_S: Final = 1.0

#: Files that children make are for owner and group.
CHILD_UMASK: Final = 0o007
#: Open files that a child may have, if the hard limit allows it; core files would hold mail.
CHILD_NOFILE: Final = 65536
CHILD_CORE_BYTES: Final = 0

#: Clients of the status socket at a time, and how long an idle one may stay.
STATUS_CLIENTS_MAX: Final = 16
STATUS_TIMEOUT_S: Final = 10.0
#: If the status socket cannot take a connection for want of descriptors, further ones wait so long.
STATUS_PAUSE_S: Final = 1.0
