#!/usr/bin/env bash
# Prove the two commands in a bare Debian 12: a debootstrap root with python3, make and
# ca-certificates and nothing else, the committed tree, and no cache.
#
#     tests/house/bare_root.sh setup    the set-up alone
#     tests/house/bare_root.sh run      make run: the page answers, then the first alert (60 s)
#     tests/house/bare_root.sh test     make test, all of it
#
# Needs root, debootstrap and a Debian mirror (MIRROR, default: debootstrap's own). BARE_ROOT is where
# the root is built (default: a new folder in /tmp, removed at the end). Settings of a package
# index, a proxy and certificates go in from the environment.
set -euo pipefail

what=${1:-run}
here=$(cd "$(dirname "$0")/../.." && pwd)
mirror=${MIRROR:-}

# Everything below runs in a mount and process namespace of its own: what it mounts is gone
# when it ends, so removing the folder can't reach through into the real /dev, and no process stays.
if [[ -z ${BARE_INSIDE:-} ]]; then
    root=${BARE_ROOT:-$(mktemp -d /tmp/gridwarden-bare.XXXXXX)}
    [[ -n ${BARE_ROOT:-} ]] || trap 'rm -rf --one-file-system "$root"' EXIT
    BARE_INSIDE=1 BARE_ROOT=$root unshare --mount --pid --fork --propagation private "$0" "$what"
    exit
fi
root=$BARE_ROOT

say() { printf '[bare %4d s] %s\n' "$SECONDS" "$*"; }

if [[ ! -x $root/usr/bin/python3 ]]; then
    say "debootstrap bookworm (minbase, python3, make, ca-certificates) from ${mirror:-the default mirror}"
    debootstrap --variant=minbase --include=python3,make,ca-certificates bookworm "$root" $mirror \
        | sed -n '/^I: \(Configuring\|Base\)/p' | tail -n 3
fi
for absent in pip pip3 git curl wget gcc uv mosquitto chromium; do
    if chroot "$root" sh -c "command -v $absent" >/dev/null; then
        say "$absent is in the root: it is not bare"; exit 1
    fi
done
if chroot "$root" python3 -c 'import ensurepip' 2>/dev/null; then
    say "ensurepip is in the root: it is not bare"; exit 1
fi

say "the committed tree, $(git -C "$here" rev-parse --short HEAD)"
rm -rf "$root/srv/gridwarden"
mkdir -p "$root/srv/gridwarden"
git -C "$here" archive HEAD | tar -x -C "$root/srv/gridwarden"

cp /etc/resolv.conf "$root/etc/resolv.conf"
# A network with its own authority: trust what this machine trusts.
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
if [[ -d ${RECORDED_DATA:-} ]]; then
    mkdir -p "$root/srv/data"
    mount --bind -o ro "$RECORDED_DATA" "$root/srv/data"
fi

passed=(PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 CI="${CI:-}")
for name in PIP_INDEX_URL UV_INDEX_URL UV_DEFAULT_INDEX http_proxy https_proxy no_proxy HTTP_PROXY \
    HTTPS_PROXY NO_PROXY; do
    [[ -z ${!name:-} ]] || passed+=("$name=${!name}")
done
[[ ! -d $root/srv/data ]] || passed+=(RECORDED_DATA=/srv/data)
inside() { env -i "${passed[@]}" chroot "$root" sh -c "cd /srv/gridwarden && $1"; }

case $what in
setup)
    inside "make setup"
    inside ".venv/bin/python -c 'import msgspec, numpy, paho, iotcore; print(\"imports work\")'"
    SECONDS=0
    inside "make setup"
    say "a second set-up has nothing to do"
    ;;
test)
    inside "make test"
    ;;
run)
    log=$root/srv/run.log
    inside "make run" >"$log" 2>&1 &
    run=$!
    tail -n +1 -f --pid=$run "$log" &
    page=
    until [[ -n $page ]]; do
        sleep 0.2
        kill -0 $run 2>/dev/null || { say "make run ended"; exit 1; }
        page=$(grep -aoE 'http://127\.0\.0\.1:[0-9]+/#key=[A-Za-z0-9_.-]+' "$log" | head -n 1 || true)
        ((SECONDS < 900)) || { say "no address in 900 s"; exit 1; }
    done
    up=$SECONDS
    say "up: ${page%%#*}"
    cat >"$root/srv/first_alert.py" <<'PYTHON'
import json, sys, urllib.request
page, _, key = sys.argv[1].partition("#key=")
assert b"<html" in urllib.request.urlopen(page, timeout=5).read().lower()
ask = urllib.request.Request(page + "api/v1/alerts", headers={"Authorization": "Bearer " + key})
found = json.load(urllib.request.urlopen(ask, timeout=5))["alerts"]
if not found:
    sys.exit(1)
print(*(found[0][name] for name in ("raised", "rule", "device", "grid", "alert")))
PYTHON
    until inside "python3 /srv/first_alert.py '$page'"; do
        kill -0 $run 2>/dev/null || { say "make run ended"; exit 1; }
        ((SECONDS - up < 60)) || { say "no alert in 60 s"; exit 1; }
        sleep 0.5
    done
    say "first alert $((SECONDS - up)) s after it was up"
    kill -INT $run
    ;;
*)
    echo "bare_root.sh: setup, run or test, not '$what'" >&2
    exit 2
    ;;
esac
say "$what: passed"
