#!/usr/bin/env bash
# Types the README's commands on a fresh, minimal Debian: as root and as an ordinary user.
#
#   sudo tests/fresh-machine.sh [root] [user] [--without-tests]
#
# Without names it does both. It needs root, debootstrap, a network with Debian's packages and crates.io, 6 GB of disk
# for each, and half an hour for each (--without-tests: ten minutes). The machine is a directory made by debootstrap, in
# namespaces of its own: no procps, no git, no compiler, nothing of this machine but Rust, which rustup would download
# and which is copied to where rustup puts it. What is cloned is the last commit of this checkout. Nothing is left behind.
set -euo pipefail
repo=$(dirname "$(dirname "$(realpath "${BASH_SOURCE[0]}")")")
suite=${DEBIAN_SUITE:-bookworm}
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}

main() {
    local people=() word with_tests=yes person
    for word in "$@"; do
        case $word in
            root | user) people+=("$word") ;;
            --without-tests) with_tests= ;;
            *) give_up "'$word'? Type tests/fresh-machine.sh [root] [user] [--without-tests]" ;;
        esac
    done
    ((${#people[@]})) || people=(root user)
    ((EUID == 0)) || give_up "debootstrap and namespaces need root: type sudo tests/fresh-machine.sh"
    command -v debootstrap >/dev/null || give_up "debootstrap is missing: type apt-get install debootstrap"
    unshare --mount --pid --fork true || give_up "This machine permits no namespaces and mounts (a container without privileges?): nothing was tried."
    base=$(mktemp -d /var/tmp/fresh-machine.XXXXXX)
    trap 'rm -rf --one-file-system "$base"' EXIT
    step "A minimal Debian ($suite)"
    debootstrap --variant=minbase "$suite" "$base/debian" "$mirror" >"$base/log" 2>&1 || { tail "$base/log" >&2; give_up "debootstrap failed."; }
    for person in "${people[@]}"; do
        try_as "$person"
    done
    step "All of it is as the README says."
}

try_as() {
    machine=$base/$1
    step "A fresh machine, to be used by $1"
    cp -a "$base/debian" "$machine"
    lend_the_network
    [[ $1 == root ]] || on_the_machine root useradd --create-home --shell /bin/bash user
    git clone -q --bare "$repo" "$machine/srv/wall_e.git"
    # git reads no repository of someone else.
    on_the_machine root chown -R "$1:$1" /srv/wall_e.git

    if [[ $1 == user ]]; then
        step "user: without anything installed, one answer names all that is missing"
        git clone -q "$repo" "$machine/home/user/before"
        on_the_machine root chown -R user:user /home/user/before
        refused 10 before ./run_walle.sh test
        said "Missing: a C compiler, curl, to install Rust with, Postgres 13 or newer and libfaketime. Type: sudo apt-get install --no-install-recommends "
        said "Rust is missing. Type: curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"
        said "Other ways to install it: https://rustup.rs"
        rm -rf "$machine/home/user/before"
    fi

    step "$1: the README's line that installs what is needed"
    on_the_machine root apt-get -qq update
    DEBIAN_FRONTEND=noninteractive on_the_machine root sh -c "$(block 1 | sed 's/^sudo apt-get/apt-get -qq -y/')" >"$base/log" 2>&1 || { tail "$base/log" >&2; give_up "apt-get failed."; }
    none_installed exim4-base procps
    lend_rust "$1"

    step "$1: the README's first commands: git clone, cd, the sandbox"
    on_the_machine "$1" bash -ec "$(block 2 | sed 's#REPOSITORY#/srv/wall_e.git#')"
    size "$1" "after the sandbox"

    if [[ $with_tests ]]; then
        step "$1: the README's test command"
        on_the_machine "$1" bash -ec "cd wall_e; $(block 3)"
        size "$1" "after the tests"
    fi

    step "$1: the bot itself, against the simulator instead of Discord"
    on_the_machine "$1" env "BACKUP=$(command_with pg_dump)" "RESTORE=$(command_with pg_restore)" "DEPLOY=$(command_with deploy)" bash -e -s <<'TYPED'
cd wall_e
target/debug/discord-sim serve --state-dir ../sim &
simulator=$!
trap 'kill $simulator' EXIT
until [[ -e ../sim/env ]]; do sleep 0.1; done
cp ../sim/env .env
until_said() {
    local tenths
    for ((tenths = 0; tenths < 36000; tenths++)); do
        ! grep -q "$2" "$1" || return 0
        sleep 0.1
    done
    cat "$1"
    echo "fresh-machine: $1 never said: $2" >&2
    exit 1
}
./run_walle.sh >../first.log 2>&1 &
first=$!
until_said ../first.log "connected\|is ready"
bash -c "exec $DEPLOY" >../second.log 2>&1 &
second=$!
wait $first
until_said ../second.log "connected\|is ready"
bash -c "$BACKUP"
[[ $(stat -c %a walle.dump) == 600 && ! $(git status --porcelain) ]]
kill -TERM $second
wait $second
bash -c "$RESTORE"
./run_walle.sh database target/release/wall_e check
ls -l target/release/wall_e
TYPED
    size "$1" "after the bot"
    rm -rf --one-file-system "$machine"
}

# The N-th block of shell commands in the README.
block() {
    awk -v wanted="$1" '/^```sh$/ { n++; inside = 1; next } /^```$/ { inside = 0 } inside && n == wanted' "$repo/README.md"
}

# The README's command with this word in it.
command_with() { sed -n "/^\`\`\`sh$/,/^\`\`\`$/p" "$repo/README.md" | grep -wF -e "$1"; }

# on_the_machine PERSON COMMAND…: in a mount and process namespace of its own, so nothing outlives it.
on_the_machine() {
    local person=$1 home=/root
    [[ $person == root ]] || home=/home/user
    # shellcheck disable=SC2016  # the inner shell's own
    unshare --mount --pid --fork --kill-child bash -ec '
        machine=$1 person=$2 home=$3
        shift 3
        mount -t proc proc "$machine/proc"
        mount -t sysfs -o ro sysfs "$machine/sys"
        mount -t tmpfs -o mode=755 tmpfs "$machine/dev"
        for node in null zero full random urandom tty; do
            : >"$machine/dev/$node"
            mount --bind "/dev/$node" "$machine/dev/$node"
        done
        ln -s /proc/self/fd "$machine/dev/fd"
        mkdir "$machine/dev/shm" "$machine/dev/pts"
        mount -t tmpfs -o mode=1777 tmpfs "$machine/dev/shm"
        mount -t devpts -o newinstance,ptmxmode=0666 devpts "$machine/dev/pts"
        ln -s pts/ptmx "$machine/dev/ptmx"
        exec chroot "--userspec=$person" "$machine" /usr/bin/env -i "HOME=$home" "USER=$person" LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
            "PATH=$home/.cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" \
            bash -c "cd; \"\$@\"" bash "$@"
    ' bash "$machine" "$person" "$home" "${@:2}"
}

# refused CODE DIRECTORY COMMAND…: the command ends with this code; what it says is for `said`.
refused() {
    local code=0
    on_the_machine user env -C "/home/user/$2" "${@:3}" >"$base/said" 2>&1 || code=$?
    cat "$base/said"
    ((code == $1)) || give_up "expected exit code $1, got $code"
}

said() { grep -qF -- "$1" "$base/said" || give_up "not said: $1"; }

none_installed() {
    local package
    for package in "$@"; do
        [[ ! -e $machine/var/lib/dpkg/info/$package.list ]] || give_up "$package came along, which nobody asked for"
    done
}

# Names, and authorities that this machine trusts beyond Debian's (a proxy's, perhaps).
lend_the_network() {
    cp /etc/resolv.conf /etc/hosts "$machine/etc/"
    mkdir -p "$machine/usr/local/share"
    [[ ! -d /usr/local/share/ca-certificates ]] || cp -a /usr/local/share/ca-certificates "$machine/usr/local/share/"
}

lend_rust() {
    local home=$machine/root toolchain
    [[ $1 == root ]] || home=$machine/home/user
    toolchain=$(rustc --print sysroot)
    mkdir -p "$home/.cargo/bin" "$home/.rustup/toolchains"
    cp -a "$toolchain" "$home/.rustup/toolchains/"
    ln -sf "../../.rustup/toolchains/${toolchain##*/}/bin/"{cargo,rustc,rustdoc} "$home/.cargo/bin/"
    [[ $1 == root ]] || on_the_machine root chown -R user:user /home/user/.cargo /home/user/.rustup
}

size() {
    local home=root
    [[ $1 == root ]] || home=home/user
    echo "Disk $2: $(du -sh "$machine/$home/wall_e" | cut -f 1) in the checkout, $(du -sh "$machine/$home/.cargo" | cut -f 1) of crates."
}

step() { printf '\n=== %s (after %d s)\n' "$1" "$SECONDS"; }

give_up() {
    echo "fresh-machine: $1" >&2
    exit 1
}

main "$@"
