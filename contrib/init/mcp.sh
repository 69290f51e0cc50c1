#!/bin/sh
### BEGIN INIT INFO
# Provides:          meta1 mail-transport-agent
# Required-Start:    $remote_fs $network $named $syslog
# Required-Stop:     $remote_fs $network $named $syslog
# Default-Start:     2 3 4 5
# Default-Stop:      0 1 6
# Short-Description: meta1g mail gateway
### END INIT INFO
#
# mcp.sh start|stop|restart|reload|reopen|status|check

MCP=${MCP:-/opt/meta1g/bin/mcp}
RELOAD=${RELOAD:-$(dirname "$MCP")/sm.reload}
CONF=${CONF:-/etc/meta1/meta1.conf}
PIDFILE=${PIDFILE:-/run/meta1-mcp.pid}
# three waves of components, 10 s each, and some more
STOP_SECONDS=${STOP_SECONDS:-60}

say() { echo "$(basename "$0"): $*"; }
pid() { [ -s "$PIDFILE" ] && cat "$PIDFILE"; }
# the process id may belong to somebody else by now: mcp names its configuration
runs() { [ -n "$(pid)" ] && tr '\0' '\n' 2>/dev/null <"/proc/$(pid)/cmdline" | grep -qxF -- "$CONF"; }

start() {
    if runs; then
        say "runs already, process $(pid)"
        return 0
    fi
    "$MCP" -D -p "$PIDFILE" "$CONF"
}

stop() {
    runs || return 0
    kill -TERM "$(pid)"
    left=$STOP_SECONDS
    while runs && [ "$left" -gt 0 ]; do
        sleep 1
        left=$((left - 1))
    done
    if runs; then
        say "process $(pid) did not stop within $STOP_SECONDS s"
        return 1
    fi
}

tell() {
    if ! runs; then
        say "does not run"
        return 7
    fi
    kill "-$1" "$(pid)"
}

# what a start would look at; `check` looks at each entry of the maps, too, which a start takes as they are
as_a_start() { META1G_QUICK_CHECK=1 "$MCP" -c "$CONF"; }

# waits for the result; the signal alone would not tell a mistake
reload() {
    if [ -x "$RELOAD" ]; then
        "$RELOAD" -f "$CONF"
    else
        as_a_start && tell HUP
    fi
}

case "$1" in
    start) start ;;
    stop) stop ;;
    restart | force-reload) as_a_start && stop && start ;;
    reload) reload ;;
    reopen) tell USR1 ;;
    check) "$MCP" -c "$CONF" ;;
    status)
        if runs; then
            say "runs, process $(pid)"
        else
            say "does not run"
            exit 3
        fi
        ;;
    *)
        say "usage: $0 start|stop|restart|reload|reopen|status|check"
        exit 2
        ;;
esac
