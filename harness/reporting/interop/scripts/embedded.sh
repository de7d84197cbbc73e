
# Addresses that no environment of harness has; each time others.
net=127.$(($$ % 14 + 2)).$(($$ / 14 % 256))
mark=$$-$(date +%s)

# Whether roles find /shared and /logs at these paths, as in the run: harness does that, where it is installed.
enter='import os, sys
from harness.keeper.mounts import enter
shared, logs, cwd = sys.argv[1:4]
enter({"/shared": shared, "/logs": logs}, cwd)
os.execvp(sys.argv[4], sys.argv[4:])'

prepare() {
    mkdir -p "$work/shared"
    if [ -n "$mounts" ] && ! "$python" -c "$enter" "$work/shared" "$work/logs" / true 2>/dev/null; then
        echo 'note: /shared and /logs are INTEROP_SHARED and INTEROP_LOGS only: there are no mounts here without harness'
        mounts=''
    fi
    number=1
    peers=''
    for role in $roles; do
        number=$((number + 1))
        peers="$peers${peers:+ }$role=$net.$number"
    done
}

# Run a role's command as the leader of a session: ROLE CWD WORDS...; the file of its number is there before it is.
as_role() {
    role=$1
    cwd=${2:-$work}
    shift 2
    take_streams "$role"
    export INTEROP_PEERS="$peers" INTEROP_CELL_AGAIN="$mark" PYTHONUNBUFFERED=1 PATH="$tools:$PATH"
    if [ -n "$mounts" ]; then
        export INTEROP_SHARED=/shared INTEROP_LOGS=/logs
        set -- "$python" -c "$enter" "$work/shared" "$work/logs/$role" "$cwd" "$@"
    else
        export INTEROP_SHARED="$work/shared" INTEROP_LOGS="$work/logs/$role"
    fi
    cd "$cwd" || exit 126
    exec setsid sh -c 'echo $$ >"$0"; exec "$@"' "$work/$role.pid" "$@"
}

signal() {
    [ -s "$work/$1.pid" ] && kill -s "$2" -- "-$(cat "$work/$1.pid")" 2>/dev/null
}

# What roles forked and left is known by its environment.
clear() {
    for place in /proc/[0-9]*; do
        if grep -qsaF "INTEROP_CELL_AGAIN=$mark" "$place/environ" 2>/dev/null; then
            kill -s KILL "${place#/proc/}" 2>/dev/null
        fi
    done
    return 0
}
