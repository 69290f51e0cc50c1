# Shell functions that contrib/check, contrib/docs and contrib/quickstart share: find what is missing, install it, make .venv.
# Sourced by bash with the checkout as working directory.

CORE_PACKAGES="gcc libdb5.3-dev libssl-dev"
TEST_PACKAGES="openssl postfix dovecot-core dovecot-lmtpd swaks gsasl sasl2-bin haproxy libnet-ssleay-perl nsd unbound ldnsutils libst-dev util-linux procps logrotate"

say() { printf '%s\n' "$*" >&2; }
die() { say "$(basename "$0"): $*"; exit 69; }

# Prints the best Python: the system's one if it is new enough, since other accounts can run it too.
find_python() {
    local candidate
    for candidate in /usr/bin/python3 python3 python3.13 python3.12 python3.11; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    die "Python 3.11 or newer is needed; install it (apt-get install python3) and run this again"
}

# Prints those of the packages given that are not installed.
missing_packages() {
    local package
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || printf '%s ' "$package"
    done
}

install_packages() {
    local missing
    missing=$(missing_packages "$@")
    [ -z "$missing" ] && return
    command -v apt-get >/dev/null || die "install these by hand, this system has no apt-get: $missing"
    if [ "$(id -u)" -ne 0 ]; then
        die "missing system packages; run: sudo apt-get install $missing"
    fi
    say "installing $missing"
    export DEBIAN_FRONTEND=noninteractive
    case " $missing" in
        *" postfix "*) # its tools are used, the service is not wanted
            echo "postfix postfix/main_mailer_type select No configuration" | debconf-set-selections ;;
    esac
    apt-get -q update >/dev/null || die "apt-get update failed"
    # shellcheck disable=SC2086
    without_services apt-get -q install -y --no-install-recommends $missing >/dev/null || die "apt-get install $missing failed"
    case " $missing" in
        *" nsd "* | *" unbound "*) systemctl disable nsd unbound >/dev/null 2>&1 || true ;; # the tests start their own
    esac
}

# Runs a command; services that it installs are not started (deb-systemd-invoke(1p), policy-rc.d).
without_services() (
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        trap 'rm -f "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
    "$@"
)

python_packages() { # python -> the packages that it needs to make an environment and to compile extensions
    case "$1" in
        /usr/bin/*) local name; name=$(basename "$(readlink -f "$1")"); echo "$name-venv $name-dev" ;;
    esac
}

# setup EXTRA: makes .venv with meta1g and the extra (nothing, docs, or test, which has docs in it) installed from this checkout.
setup() {
    local extra=$1 python stamp
    python=$(find_python)
    # shellcheck disable=SC2046,SC2086
    install_packages $CORE_PACKAGES $(python_packages "$python") $([ "$extra" = test ] && echo $TEST_PACKAGES)
    # a checkout that was copied or moved has programs in .venv that point to the old place
    stamp="-$({ pwd; cat setup.cfg pyproject.toml meta1g/st/libssl_build.py; } | cksum | tr -d ' ')"
    # an environment for the tests has all that the gateway needs
    if [ -e ".venv/installed-test$stamp" ] || [ -e ".venv/installed-${extra:-core}$stamp" ]; then
        [ -x .venv/bin/python ] && return
    fi
    stamp=".venv/installed-${extra:-core}$stamp"
    .venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || "$python" -m venv --clear .venv
    say "installing Python packages into .venv"
    rm -f .venv/installed-* # what another state of the checkout had is not there any more, should it come back
    .venv/bin/python -m pip -q --disable-pip-version-check install -e ".${extra:+[$extra]}" \
        || die "pip could not install the Python packages named in setup.cfg"
    touch "$stamp"
}
