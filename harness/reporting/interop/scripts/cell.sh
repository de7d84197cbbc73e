
set -u
keep=${1:-}
if [ "$keep" = -h ] || [ "$keep" = --help ]; then
    echo "usage: sh $0 [FOLDER]: what roles write and leave is kept in FOLDER, which must not exist; without it, it goes"
    exit 0
fi
if [ -n "$keep" ]; then
    mkdir "$keep" || exit 10
    work=$(cd "$keep" && pwd) || exit 10
else
    work=$(mktemp -d "${TMPDIR:-/tmp}/cell.XXXXXX") || exit 10
fi
started=''
began=$(date +%s)

is_over() { [ $(($(date +%s) - began)) -ge "$limit" ]; }
has_ended() { [ -e "$work/$1.code" ]; }
has_said() { [ -e "$work/$1.$2" ]; }

# Peers hear on their standard input of each role's first ready and first done.
hear() {
    for from in $started; do
        for what in ready done; do
            has_said "$from" "$what" && continue
            line=$(grep -a -m 1 -E "^[[:space:]]*[{].*\"ty\"[[:space:]]*:[[:space:]]*\"$what\"" "$work/$from.log") || continue
            : >"$work/$from.$what"
            for to in $roles; do
                [ "$to" = "$from" ] || printf '%s\n' "$line" | sed "s/^[[:space:]]*{/{\"ro\":\"$from\",/" >>"$work/$to.told"
            done
        done
    done
}

take_streams() { exec <"$work/$1.in" >"$work/$1.log" 2>"$work/$1.err.log"; }

start() {
    mkfifo "$work/$1.in"
    : >"$work/$1.log"
    tail -n +1 -f "$work/$1.told" >"$work/$1.in" 2>/dev/null &
    echo $! >>"$work/tails"
    (
        code=0
        launch "$1" || code=$?
        echo "$code" >"$work/$1.code.new"
        mv "$work/$1.code.new" "$work/$1.code"
    ) 2>/dev/null & # what this shell says of a signal is not the role's word
    started="$started $1"
}

# A role other than the driver that ends before the driver is done ends the cell; an extra one may, when it was ready.
is_lost() {
    for role in $started; do
        has_ended "$role" && [ "$role" != driver ] || continue
        hear
        has_said driver 'done' && continue
        [ "$role" != worker ] && has_said "$role" ready && [ "$(cat "$work/$role.code")" = 0 ] && continue
        ended_by=$role
        return 0
    done
    return 1
}

ended_by=''
run() {
    for next in $roles; do
        start "$next"
        while :; do
            hear
            has_said "$next" ready && break
            if has_ended "$next"; then
                hear
                has_said "$next" ready && break
                ended_by=$next
                return
            fi
            is_lost && return
            is_over && return
            sleep 0.1
        done
    done
    until has_ended driver; do
        hear
        is_lost && return
        is_over && return
        sleep 0.1
    done
    ended_by=driver
}

living() {
    for role in $started; do
        has_ended "$role" || return 0
    done
    return 1
}

finish() {
    trap '' INT TERM HUP
    for role in $started; do
        has_ended "$role" || signal "$role" TERM
    done
    for _ in 1 2 3 4 5; do
        living && sleep 0.1
    done
    for role in $started; do
        signal "$role" KILL
    done
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        living && sleep 0.1
    done
    # shellcheck disable=SC2046 # numbers
    [ -e "$work/tails" ] && kill $(cat "$work/tails") 2>/dev/null
    clear
}

gone() {
    rm -rf "$work/tails" "$work"/*.in "$work"/*.told "$work"/*.pid "$work"/*.ready "$work"/*.done
    [ -n "$keep" ] || rm -rf "$work"
}

trap 'finish; gone; exit 130' INT
trap 'finish; gone; exit 143' TERM
trap 'finish; gone; exit 129' HUP
for role in $roles; do
    mkdir -p "$work/logs/$role"
    : >"$work/$role.told"
done
if prepare; then
    run
    is_late=''
    [ -n "$ended_by" ] || is_late=yes
else
    clear
    gone
    exit 11
fi
outcome=''
[ -z "$ended_by" ] || outcome=$(cat "$work/$ended_by.code")
finish

for role in $started; do
    for stream in log err.log; do
        [ -s "$work/$role.$stream" ] || continue
        echo "--- $role, standard $([ "$stream" = log ] && echo output || echo error)"
        tail -n 40 "$work/$role.$stream" | cut -c 1-300
    done
done
echo '---'
for role in $roles; do
    if [ -e "$work/$role.code" ]; then
        echo "$role: exit code $(cat "$work/$role.code")"
    else
        echo "$role: was not started"
    fi
done
if [ -n "$is_late" ]; then
    echo "time is over: $limit s"
    outcome=124
elif [ "$ended_by" != driver ]; then
    echo "$ended_by ended before the driver was done"
    [ "$outcome" != 0 ] || outcome=1
elif ! has_said driver 'done'; then
    echo 'the driver ended and was not done'
fi
echo "in the run: $before"
gone
exit "$outcome"
