#!/usr/bin/env bash
# Builds the image from the Dockerfile and runs it: tests/image.sh [build|check]...; both by default.
#
# Needs buildah and curl and no daemon. Where the registry cannot be reached, the base image of the
# Dockerfile's first line is made on the spot from Debian's packages and the Rust toolchain of this
# machine, and for that debootstrap and root. IMAGE names the image (default localhost/tallyd:test).
set -euo pipefail
cd "$(dirname "$0")/.."

image=${IMAGE:-localhost/tallyd:test}
base=$(sed -n 's/^FROM \(.*\) AS build$/\1/p' Dockerfile)
scratch=$(mktemp -d)
container=
server=

fail() {
    echo "image: $*" >&2
    exit 1
}

clean_up() {
    # buildah does not pass the signal on, but all its children are in the group that setsid made.
    if [[ -n $server ]]; then kill -- "-$server" 2>/dev/null && wait "$server" || true; fi
    if [[ -n $container ]]; then buildah rm "$container" >/dev/null; fi
    rm -rf --one-file-system "$scratch"
}
trap clean_up EXIT

need() {
    for tool in "$@"; do
        command -v "$tool" >/dev/null || fail "$tool is missing; apt-get install $tool"
    done
}

# The base under the name that the Dockerfile gives it, so that the Dockerfile is used as it stands.
make_base() {
    need debootstrap rustc cargo
    echo "image: $base cannot be pulled; making it here"
    local root=$scratch/root sysroot
    sysroot=$(rustc --print sysroot)
    debootstrap --variant=minbase --include=ca-certificates,gcc,libc6-dev bookworm "$root" \
        >"$scratch/debootstrap.log" || fail "debootstrap: $(tail -n 3 "$scratch/debootstrap.log")"
    cp -r "$sysroot/bin" "$sysroot/lib" "$root/usr/local/"
    # What is downloaded already need not be downloaded again, or can be had only here.
    local registry=${CARGO_HOME:-$HOME/.cargo}/registry
    if [[ -d $registry ]]; then
        mkdir -p "$root/usr/local/cargo"
        cp -r "$registry" "$root/usr/local/cargo/"
    fi
    container=$(buildah from scratch)
    buildah add -q "$container" "$root" / >/dev/null
    buildah config --env CARGO_HOME=/usr/local/cargo \
        --env PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
    buildah commit -q "$container" "$base" >/dev/null
    buildah rm "$container" >/dev/null
    container=
}

build() {
    need buildah
    if ! buildah inspect --type image "$base" >/dev/null 2>&1; then
        buildah pull -q "$base" 2>/dev/null || make_base
    fi
    buildah bud --isolation chroot --pull-never -t "$image" \
        --build-arg REVISION="$(git rev-parse HEAD 2>/dev/null || echo unknown)" .
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# Waits up to ten seconds for a command to succeed.
until_true() {
    local deadline=$((SECONDS + 10))
    until "$@"; do
        [[ $SECONDS -lt $deadline ]] || return 1
        [[ -d /proc/$server ]] || fail "the server ended: $(tail -n 5 "$scratch/log")"
        sleep 0.05
    done
}

check_config() {
    local config
    config=$(buildah inspect --type image --format \
        '{{.OCIv1.Config.User}} {{.OCIv1.Config.Entrypoint}} {{.OCIv1.Config.ExposedPorts}}' "$image")
    [[ $config == "65534:65534 [/bin/tallyd] map[9102/tcp:{} 9125/tcp:{} 9125/udp:{}]" ]] ||
        fail "unexpected configuration: $config"
}

check_files() {
    local mount files
    mount=$(buildah mount "$container")
    files=$(cd "$mount" && find . -type f ! -path './proc/*' ! -path './sys/*' ! -path './dev/*' | sort | tr '\n' ' ')
    [[ $files == "./LICENSE ./bin/tallyd ./etc/ssl/certs/ca-certificates.crt " ]] ||
        fail "unexpected files: $files"
    buildah umount "$container" >/dev/null
}

scrape_shows() {
    curl -sf "http://127.0.0.1:$web/metrics" | grep -qx "$1"
}

check_server() {
    local statsd
    web=$(free_port)
    statsd=$(free_port)
    # The name has to be resolved inside the image, which has no shared libraries to do it.
    setsid "${run[@]}" --web.listen-address="127.0.0.1:$web" --statsd.listen-udp="localhost:$statsd" \
        --statsd.listen-tcp= >"$scratch/log" 2>&1 &
    server=$!
    until_true curl -sf -o "$scratch/health" "http://127.0.0.1:$web/health" ||
        fail "/health does not answer: $(tail -n 5 "$scratch/log")"
    printf 'image_check:42|c|#from:outside' >"/dev/udp/127.0.0.1/$statsd"
    until_true scrape_shows 'image_check{from="outside"} 42' || fail "the line did not arrive"
}

check() {
    need buildah curl python3
    local version
    container=$(buildah from --pull-never "$image")
    check_config
    check_files
    run=(buildah run --isolation chroot "$container" -- /bin/tallyd)
    version=$("${run[@]}" --version) || fail "--version does not run"
    [[ $version == "tallyd "* ]] || fail "--version says: $version"
    check_server
    echo "image: $image is as it should be and serves"
}

[[ $# -gt 0 ]] || set -- build check
for step in "$@"; do
    case $step in
    build | check) "$step" ;;
    *) fail "unknown step $step; say build or check" ;;
    esac
done
