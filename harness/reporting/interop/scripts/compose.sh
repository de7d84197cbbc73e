
here=$(cd "$(dirname "$0")" && pwd) || exit 10
PATH=$PATH:$tools
project=cell-again-$$-$(date +%s)

compose() {
    if docker compose version >/dev/null 2>&1; then
        docker compose --project-name "$project" --file "$here/compose.yaml" "$@"
    else
        docker-compose --project-name "$project" --file "$here/compose.yaml" "$@"
    fi
}

container() { cat "$work/$1.id"; }

prepare() {
    for image in $images; do
        if ! docker image inspect "$image" >/dev/null 2>&1; then
            echo "image $image is not on this engine: \`harness interop.run --cell\` builds it anew" >&2
            return 1
        fi
    done
    if ! compose create >"$work/compose.log" 2>&1; then
        cat "$work/compose.log" >&2
        compose down --volumes --timeout 0 >/dev/null 2>&1
        return 1
    fi
    mkdir "$work/root" "$work/root/shared" "$work/root/logs"
    chmod 1777 "$work/root/shared" "$work/root/logs"
    for role in $roles; do
        compose ps --all --quiet "$role" >"$work/$role.id"
        tar -C "$work/root" -cf - shared logs | docker cp - "$(container "$role"):/" >/dev/null || return 1
    done
    rm -r "$work/root"
}

# Its streams are heard before it starts, and its exit code is this one's; in a session of its own, so that Ctrl-C is ours.
launch() {
    (
        take_streams "$1"
        exec setsid docker start --attach --interactive "$(container "$1")"
    )
}

signal() { docker kill --signal "$2" "$(container "$1")" >/dev/null 2>&1; }

clear() {
    if [ -n "$keep" ]; then
        for role in $started; do
            docker cp "$(container "$role"):/logs/." "$work/logs/$role" >/dev/null 2>&1
        done
    fi
    if ! compose down --volumes --timeout 0 >"$work/compose.log" 2>&1; then
        cat "$work/compose.log" >&2
        echo "left: project $project" >&2
    fi
    rm -f "$work/compose.log" "$work"/*.id
}
