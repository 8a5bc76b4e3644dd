#!/usr/bin/env bash
# Tests of run_walle.sh, with a real Postgres and with stand-ins for cargo, the bot and the simulator.
# `./run_walle.sh test` runs them; by hand: bash tests/script.sh [NAME…]
set -euo pipefail
repo=$(dirname "$(dirname "$(realpath "${BASH_SOURCE[0]}")")")
guild=123456789012345678
# Well-formed, and nobody's: whether it answers is left to the bot.
no_database='postgres:///mine?host=/nowhere'

# --- The tests ---------------------------------------------------------------------------------------

test_a_mistyped_mode_is_told_what_to_type() {
    expect 2 ./run_walle.sh sandbax
    says "There is no mode 'sandbax': type ./run_walle.sh"
    expect 2 ./run_walle.sh sandbox now
    expect 2 ./run_walle.sh --fixtures
    expect 2 ./run_walle.sh --fixtures /nowhere
    expect 0 ./run_walle.sh --help
}

test_every_mode_explains_itself_without_building() {
    local mode
    for mode in deploy verify-roles listen sandbox test bench chaos database test-database; do
        expect 0 ./run_walle.sh $mode --help
        head -n 1 out | grep -qF "./run_walle.sh $mode"
        expect 0 ./run_walle.sh $mode -h
        expect 0 ./run_walle.sh help $mode
    done
    expect 0 ./run_walle.sh bench --help
    grep -q '^  load .*: about [0-9]* min$' out
    [[ $(grep -c ': about [0-9]* min$' out) == "$(grep -c '^        Section::[A-Z].*=>' "$repo/tests/bench/src/main.rs")" ]]
    expect 2 ./run_walle.sh sandbax --help
    [[ ! -e .walle && ! -e target && ! -e calls ]]
}

test_mistyped_options_are_refused_before_the_build() {
    export WALLE_TOKEN=to.ke.n WALLE_GUILD_ID=$guild
    expect 2 ./run_walle.sh verify-roles --typo
    says "verify-roles knows no '--typo': type ./run_walle.sh verify-roles [--dry-run] [--json]"
    expect 2 ./run_walle.sh bench lod
    says "bench knows no 'lod'"
    says "load, award,"
    expect 2 ./run_walle.sh chaos --seads 3
    says "chaos knows no '--seads'"
    expect 2 ./run_walle.sh chaos --seeds
    says "--seeds takes a number"
    expect 2 ./run_walle.sh database --typo
    [[ ! -e .walle && ! -e target && ! -e calls ]]
}

test_old_or_missing_rust_is_10() {
    RUST=1.60.0 expect 10 ./run_walle.sh sandbox
    says "Rust 1.60.0 is too old: wall_e needs"
    RUST='' expect 10 ./run_walle.sh
    # What can be pasted is a line of its own.
    grep -qx ".*Rust is missing. Type: curl .* | sh" out
    grep -qx "Other ways to install it: https://rustup.rs" out
}

test_a_full_disk_is_found_before_the_build() {
    export WALLE_TOKEN=to.ke.n WALLE_GUILD_ID=$guild DATABASE_URL=$no_database BUILD='echo built >>calls'
    stand_in bin/df 'echo Avail; echo 12'
    expect 1 ./run_walle.sh
    says "The build needs about 2000 MB of disk, and 12 MB are free here"
    [[ ! -e calls ]]
    stand_in bin/df 'echo Avail; echo 2000'
    expect 0 ./run_walle.sh
}

test_all_that_is_missing_is_named_in_one_answer() {
    # Nobody installs anything here: no apt-get is found.
    local name
    mkdir minimal
    for name in bash basename cat cut date df dirname env grep head id mkdir od realpath sed setpriv setsid sha256sum sort stat tail; do
        ln -s "$(command -v "$name")" minimal/
    done
    sed "s#/usr/lib/postgresql#$PWD/nowhere#; s#/usr/lib/\*/faketime#$PWD/nowhere#" "$repo/run_walle.sh" >run_walle.sh
    PATH=$PWD/minimal HOME=$PWD expect 10 ./run_walle.sh test
    says "Missing: a C compiler, curl, to install Rust with, Postgres 13 or newer and libfaketime. Type: sudo apt-get install --no-install-recommends gcc libc6-dev curl ca-certificates postgresql libfaketime"
    says "Rust is missing. Type: curl"
    PATH=$PWD/bin:$PWD/minimal HOME=$PWD WALLE_TOKEN=to.ke.n WALLE_GUILD_ID=$guild expect 10 ./run_walle.sh
    says "Missing: a C compiler and Postgres 13 or newer (or a DATABASE_URL in .env that names one elsewhere). Type: "
    none_of grep "Rust is missing" out
}

test_missing_settings_are_12_and_13() {
    expect 12 ./run_walle.sh
    says "There is no bot token"
    WALLE_TOKEN_FILE=canary.of.a.token expect 12 ./run_walle.sh
    says "The file that WALLE_TOKEN_FILE names"
    none_of grep canary out
    WALLE_TOKEN=to.ke.n expect 13 ./run_walle.sh
    says "WALLE_GUILD_ID is missing"
    WALLE_TOKN=canary expect 12 ./run_walle.sh
    says "WALLE_TOKN is set, but wall_e has no such setting. Did you mean WALLE_TOKEN?"
    none_of grep canary out
    WALLE_TOKEN=$'to.ke.n\ncanary' expect 12 ./run_walle.sh
    says "WALLE_TOKEN holds no bot token. A token has no spaces or line breaks in it."
    none_of grep canary out
    WALLE_TOKEN=to.ke.n WALLE_GUILD_ID=abc expect 13 ./run_walle.sh
    says "is not the 17 to 20 digits"
}

test_what_is_no_token_is_refused_before_the_build() {
    export WALLE_GUILD_ID=$guild DATABASE_URL=$no_database BUILD='echo built >>calls'
    local wrong
    for wrong in 123456789012345678 canary-of-a-secret 'canary.of a.token' 'canary..token' 'canary.of.a.token'; do
        WALLE_TOKEN=$wrong expect 12 ./run_walle.sh
        says "WALLE_TOKEN holds no bot token. "
        none_of grep "canary\|$wrong" out
        echo "WALLE_TOKEN='$wrong'" >.env
        expect 12 ./run_walle.sh
        says "WALLE_TOKEN holds no bot token. "
        rm .env
        echo "$wrong" >token
        WALLE_TOKEN_FILE=token expect 12 ./run_walle.sh
        says "The file that WALLE_TOKEN_FILE names holds no bot token. "
        none_of grep "canary\|$wrong" out
    done
    WALLE_TOKEN=123456789012345678 expect 12 ./run_walle.sh
    says "That is an id, not the token"
    [[ ! -e calls ]]
    printf 'Bot "to.ke.n"\r\n' >token
    WALLE_TOKEN_FILE=token expect 0 ./run_walle.sh
    bot_saw WALLE_TOKEN=to.ke.n
    for wrong in 'WALLE_TOKEN=to.ke.n' 'Bot "to.ke.n"' '"Bot to.ke.n"' "export WALLE_TOKEN = 'bot to.ke.n' "; do
        rm bot_env
        WALLE_TOKEN=$wrong expect 0 ./run_walle.sh
        bot_saw WALLE_TOKEN=to.ke.n
    done
}

test_settings_with_a_typing_mistake_are_named_before_the_build() {
    export WALLE_TOKEN=to.ke.n WALLE_GUILD_ID=$guild DATABASE_URL=$no_database BUILD='exit 1'
    printf '%s\n' DATABASE_UR=canary WALLE_PREFX=canary >.env
    chmod 600 .env
    WALLE_MODERATOR_ROLE=canary WALLE_NOTHING_LIKE_IT_AT_ALL=canary expect 1 ./run_walle.sh
    says ".env: wall_e has no setting DATABASE_UR; it is ignored. Did you mean DATABASE_URL?"
    says "WALLE_PREFX is set, but wall_e has no such setting. Did you mean WALLE_PREFIX?"
    says "WALLE_MODERATOR_ROLE is set, but wall_e has no such setting. Did you mean WALLE_MODERATOR_ROLES?"
    says "WALLE_NOTHING_LIKE_IT_AT_ALL is set, but wall_e has no such setting. The README lists all of them."
    none_of grep "canary\|WALLE_TOKEN\|WALLE_GUILD_ID" out
}

test_a_postgres_that_lets_nobody_in_is_17_before_the_build() {
    # shellcheck disable=SC2016  # the inner shell's own
    expect 0 ./run_walle.sh test-database bash -c '
        psql -Xq "$DATABASE_URL" -c "create role me login password '"'se/cret'"'"
        sed -i "1i local all me scram-sha-256" .walle/test-postgres/data/pg_hba.conf
        psql -Xq "$DATABASE_URL" -c "select pg_reload_conf()" >/dev/null
        socket=${DATABASE_URL##*=}
        export WALLE_TOKEN=to.ke.n WALLE_GUILD_ID=123456789012345678 BUILD="echo built >>calls"
        try() { echo "== $1"; DATABASE_URL="postgres://$2/$3?host=$socket" ./run_walle.sh && echo "== it starts"; }
        # The reload takes a moment.
        until ! PGPASSWORD=x psql -Xqw "postgres://me@/postgres?host=$socket" -c "select 1" 2>/dev/null; do sleep 0.1; done
        try missing wall_e@localhost nowhere
        try wrong me:canary@localhost postgres
        try right me:se%2Fcret@localhost postgres || true'
    says 'does not let the bot in:  database "nowhere" does not exist. Correct'
    says 'does not let the bot in:  password authentication failed for user "me". Correct'
    [[ $(grep -c "== it starts" out) == 1 ]]
    grep -A 99 "== right" out | grep -q "== it starts"
    none_of grep canary out
    [[ $(grep -c built calls) == 1 ]]
}

test_a_database_that_cannot_be_reached_is_17_before_the_build() {
    export WALLE_TOKEN=to.ke.n WALLE_GUILD_ID=$guild BUILD='echo built >>calls'
    DATABASE_URL=postgres://me:canary@127.0.0.1:1/wall_e expect 17 ./run_walle.sh
    says "nothing answers at 127.0.0.1, port 1"
    DATABASE_URL=postgres://me:canary/@127.0.0.1/wall_e expect 17 ./run_walle.sh
    says "is not of the form postgres://"
    DATABASE_URL=mysql://me:canary@127.0.0.1/wall_e expect 17 ./run_walle.sh
    none_of grep canary out
    [[ ! -e calls ]]
    DATABASE_URL='postgres:///wall_e?host=/nowhere' expect 0 ./run_walle.sh
    grep -qx built calls
}

test_settings_are_read_not_run() {
    cat >.env <<EOF
# a comment
export WALLE_TOKEN = 'Bot a.b.c'   # another
WALLE_COUNCIL_CHANNEL='\$(touch ran)"b'
WALLE_GUILD_ID=$guild # a third
WALLE_PREFIX="!"
RUST_LOG=
OTHER=1
EOF
    printf 'WALLE_MODERATOR_ROLES="A, B"\r\nWALLE_TIMEZONE=UTC' >>.env
    chmod 644 .env
    WALLE_PREFIX="?" DATABASE_URL=$no_database expect 0 ./run_walle.sh
    says "others on this machine could read .env"
    says ".env: wall_e has no setting OTHER; it is ignored."
    [[ $(stat -c %a .env) == 600 && ! -e ran ]]
    bot_saw WALLE_TOKEN=a.b.c
    bot_saw "WALLE_COUNCIL_CHANNEL=\$(touch ran)\"b"
    bot_saw "WALLE_GUILD_ID=$guild"
    bot_saw 'WALLE_PREFIX=?'
    bot_saw 'WALLE_MODERATOR_ROLES=A, B'
    bot_saw 'WALLE_TIMEZONE=UTC'
    bot_saw "DATABASE_URL=$no_database"
    echo 'WALLE_TOKEN canary' >.env
    expect 1 ./run_walle.sh
    says "Line 1 of .env is not KEY=VALUE"
    none_of grep canary out
}

test_settings_may_be_written_on_windows() {
    printf '\xEF\xBB\xBFWALLE_TOKEN=to.ke.n\r\nWALLE_GUILD_ID=%s\r\n' "$guild" >.env
    DATABASE_URL=$no_database expect 0 ./run_walle.sh
    bot_saw 'WALLE_TOKEN=to.ke.n'
    bot_saw "WALLE_GUILD_ID=$guild"
    printf 'WALLE_TOKEN=canary\n' | iconv -t UTF-16 >.env
    expect 1 ./run_walle.sh
    says ".env is UTF-16"
    none_of grep canary out
}

test_the_terminal_is_asked_and_env_is_written() {
    printf '\xEF\xBB\xBFWALLE_PREFIX="!"\n' >.env
    printf '%s\n' 'a b' '' "$guild" 'an.unfinished' ' Bot "WALLE_TOKEN=to-ken_1.x.y" ' 12 " $guild " '' '' |
        on_a_terminal env TZ=:Europe/Berlin DATABASE_URL="$no_database" ./run_walle.sh
    printf '%s\n' 'WALLE_PREFIX="!"' WALLE_TOKEN=to-ken_1.x.y "WALLE_GUILD_ID=$guild" WALLE_LEVEL_NAMES=none \
        WALLE_TIMEZONE=Europe/Berlin | cmp - .env
    [[ $(stat -c %a .env) == 600 ]]
    bot_saw 'WALLE_TOKEN=to-ken_1.x.y'
    grep -q 'Copy Server ID' out
    local reason
    for reason in 'Nothing was pasted' 'That is an id' 'no spaces' 'three parts' '17 to 20 digits, and nothing else'; do
        grep -q "$reason" out
    done
    bot_saw 'WALLE_LEVEL_NAMES=none'
    bot_saw 'WALLE_TIMEZONE=Europe/Berlin'
    # The next start asks nothing.
    rm bot_env
    on_a_terminal env DATABASE_URL="$no_database" ./run_walle.sh </dev/null
    none_of grep 'Token (\|Level names\|Time zone' out
    bot_saw 'WALLE_TIMEZONE=Europe/Berlin'
}

test_names_and_time_zone_are_asked_at_the_first_start() {
    export WALLE_TOKEN=to.ke.n WALLE_GUILD_ID=$guild TZ=Nowhere/Land
    mkdir "it is mine"
    echo '5 Five' >"it is mine/names"
    # No such file, then one; no such zone, then one in small letters. An arrow key edits, and is no letter.
    printf '%s\n' nothing "it is mine/name"$'\e[Cs' Mars/Olympus canada/pacific | on_a_terminal ./run_walle.sh
    printf '%s\n' "WALLE_LEVEL_NAMES='$PWD/it is mine/names'" WALLE_TIMEZONE=Canada/Pacific | cmp - .env
    grep -q 'There is no such file' out
    grep -q 'There is no time zone of that name' out
    none_of grep -F '^[[' out
    bot_saw "WALLE_LEVEL_NAMES=$PWD/it is mine/names"
    stopped postgres
    # There is a database now: what it holds stays.
    rm .env bot_env
    on_a_terminal ./run_walle.sh </dev/null
    none_of grep 'Level names\|Time zone' out
    [[ ! -e .env && -e bot_env ]]
    # The twenty, however they are written.
    rm -r .walle
    printf '%s\n' ' Computing' UTC | on_a_terminal ./run_walle.sh
    bot_saw WALLE_LEVEL_NAMES=computing
    rm .env
    # What has no effect any more does no harm.
    rm "it is mine/names"
    WALLE_LEVEL_NAMES="it is mine/names" expect 0 ./run_walle.sh
}

test_nothing_is_asked_without_a_terminal() {
    WALLE_TOKEN=to.ke.n WALLE_GUILD_ID=$guild expect 0 ./run_walle.sh
    none_of grep '^WALLE_LEVEL_NAMES\|^WALLE_TIMEZONE' bot_env
    [[ ! -e .env ]]
}

test_a_dump_has_names_of_its_own() {
    mkdir dump
    echo '[]' >dump/mine.json
    printf '%s\n' UTC | WALLE_TOKEN=to.ke.n WALLE_GUILD_ID=$guild on_a_terminal ./run_walle.sh --fixtures dump
    none_of grep 'Level names' out
    [[ $(cat .env) == WALLE_TIMEZONE=UTC ]]
}

test_wrong_names_and_zones_are_said_before_the_build() {
    export WALLE_TOKEN=to.ke.n WALLE_GUILD_ID=$guild BUILD='touch built'
    WALLE_TIMEZONE=Mars/canary expect 2 ./run_walle.sh
    says "WALLE_TIMEZONE is not the name of a time zone"
    WALLE_LEVEL_NAMES=/no/canary expect 2 ./run_walle.sh
    says "WALLE_LEVEL_NAMES is neither none nor computing"
    none_of grep canary out
    [[ ! -e built && ! -e .walle/postgres ]]
    WALLE_LEVEL_NAMES=computing WALLE_TIMEZONE=America/Vancouver expect 0 ./run_walle.sh
    bot_saw WALLE_LEVEL_NAMES=computing
    # From where the command is typed.
    rm -r .walle
    mkdir elsewhere
    echo '5 Five' >elsewhere/names
    (cd elsewhere && WALLE_LEVEL_NAMES=names expect 0 ../run_walle.sh)
    bot_saw "WALLE_LEVEL_NAMES=$PWD/elsewhere/names"
}

test_invented_users_are_refused() {
    export WALLE_TOKEN=to.ke.n WALLE_GUILD_ID=$guild
    expect 2 ./run_walle.sh --fixtures fixtures/sandbox
    says "never go"
    ln -s fixtures/sandbox link
    expect 2 ./run_walle.sh --fixtures=link
    mkdir other
    expect 2 ./run_walle.sh --fixtures other
    says "no *.json"
    cp fixtures/sandbox/userpoints.json other/mine.json
    expect 2 ./run_walle.sh --fixtures other
    says "made-up users"
    echo '[]' >other/mine.json
    (cd other && DATABASE_URL=$no_database expect 0 ../run_walle.sh --fixtures .)
    grep -qF "import django --fresh-only $PWD/other/mine.json" calls
}

test_the_code_of_the_bot_is_passed_through() {
    export WALLE_TOKEN=to.ke.n WALLE_GUILD_ID=$guild
    BOT='exit 14' expect 14 ./run_walle.sh
    stopped postgres
}

test_a_signal_reaches_the_bot_and_its_code_counts() {
    export WALLE_TOKEN=to.ke.n WALLE_GUILD_ID=$guild
    BOT='trap "sleep 0.3; exit 0" TERM; sleep 30 & wait' ./run_walle.sh >out 2>&1 &
    eventually grep -q "^run" calls
    kill -TERM $!
    wait $!
    stopped postgres
}

test_a_second_start_uses_the_running_cluster_and_leaves_it() {
    BOT='sleep 30' WALLE_TOKEN=to.ke.n WALLE_GUILD_ID=$guild ./run_walle.sh >out 2>&1 &
    local first=$!
    eventually grep -q "^run" calls
    local server
    server=$(server_of postgres)
    WALLE_TOKEN=to.ke.n WALLE_GUILD_ID=$guild expect 0 ./run_walle.sh
    [[ $(server_of postgres) == "$server" ]]
    kill -TERM $first
    wait $first || true
    stopped postgres
}

test_a_deploy_takes_over_and_leaves_the_old_start_its_postgres() {
    export WALLE_TOKEN=to.ke.n WALLE_GUILD_ID=$guild
    # shellcheck disable=SC2016  # the stand-ins' own variables
    local stay='sleep 30 & trap "kill $!; exit 143" TERM; wait'
    BOT=$stay ./run_walle.sh >old 2>&1 &
    local old=$! new server code=0
    eventually grep -qx "run" calls
    server=$(server_of postgres)
    # One that fails before it stands by changes nothing, and nor does one that is ended.
    BOT='exit 17' expect 17 ./run_walle.sh deploy
    : >bot_env
    BOT=$stay ./run_walle.sh deploy >new 2>&1 &
    new=$!
    eventually test -s bot_env
    kill -TERM $new
    wait $new || true
    kill -0 $old
    # The bots themselves agree who ends (tests/it/lifecycle.rs): here the old one does.
    : >calls
    BOT=$stay ./run_walle.sh deploy >new 2>&1 &
    new=$!
    eventually grep -qx "run --take-over" calls
    kill -TERM $old
    wait $old || code=$?
    [[ $code == 143 && $(server_of postgres) == "$server" ]]
    kill -TERM $new
    wait $new || true
    stopped postgres
}

test_roles_are_verified_with_the_bots_settings() {
    WALLE_TOKEN=to.ke.n WALLE_GUILD_ID=$guild expect 0 ./run_walle.sh verify-roles --dry-run --json
    grep -qx "migrate" calls
    grep -qx "verify-roles --dry-run --json" calls
    stopped postgres
    expect 12 ./run_walle.sh verify-roles
}

test_listening_uses_the_bots_settings_too() {
    WALLE_TOKEN=to.ke.n WALLE_GUILD_ID=$guild expect 0 ./run_walle.sh listen
    grep -qx "listen" calls
    stopped postgres
    expect 2 ./run_walle.sh listen closely
}

test_the_readmes_backup_is_private_and_can_be_restored() {
    local backup restore
    backup=$(readme_command pg_dump) restore=$(readme_command pg_restore)
    umask 022
    # One from before, which anyone could read.
    echo old >walle.dump
    # shellcheck disable=SC2016  # for the inner shell
    expect 0 ./run_walle.sh database sh -c 'psql "$DATABASE_URL" -Xqc "create table kept ()"'
    expect 0 bash -c "$backup"
    [[ $(stat -c %a walle.dump) == 600 && $(echo *.dump*) == walle.dump ]]
    # A backup that fails leaves the last one.
    DATABASE_URL=$no_database expect 1 bash -c "$backup"
    # shellcheck disable=SC2016  # for the inner shell
    expect 0 ./run_walle.sh database sh -c 'psql "$DATABASE_URL" -Xqc "drop table kept"'
    expect 0 bash -c "$restore"
    # shellcheck disable=SC2016  # for the inner shell
    expect 0 ./run_walle.sh database sh -c 'psql "$DATABASE_URL" -Xqc "select from kept"'
    stopped postgres
}

test_a_signal_stops_the_tests_and_their_server() {
    ./run_walle.sh test-database bash -c 'touch began; sleep 30' >out 2>&1 &
    local script=$!
    eventually test -e began
    kill -TERM $script
    wait $script || true
    stopped test-postgres
    none_of grep "Bad file descriptor" out
}

test_two_starts_at_once_do_not_collide() {
    ./run_walle.sh test-database true 2>one &
    local first=$!
    ./run_walle.sh test-database true 2>two
    wait $first
    [[ $(cat one two | grep -c "Making a Postgres cluster") == 1 ]]
    stopped test-postgres
}

test_after_kill_9_the_next_start_takes_over() {
    ./run_walle.sh test-database sleep 30 2>out &
    local script=$! server
    eventually database_answers test-postgres
    server=$(server_of test-postgres)
    kill -KILL $script
    wait $script 2>/dev/null || true
    # shellcheck disable=SC2016  # for the inner shell
    expect 0 ./run_walle.sh test-database sh -c 'psql "$DATABASE_URL" -Xqc "create table kept ()"'
    stopped test-postgres
    ! kill -0 "$server" 2>/dev/null || [[ $(cut -d ' ' -f 3 "/proc/$server/stat") == Z ]]
}

test_a_stale_pid_file_is_recovered_from() {
    # shellcheck disable=SC2016
    expect 0 ./run_walle.sh test-database sh -c 'psql "$DATABASE_URL" -Xqc "create table kept ()"'
    local stale
    # A program that is no Postgres, no program at all, and a machine that died while writing.
    for stale in $$ 4194303 ''; do
        printf '%s\n' "$stale" "$PWD/.walle/test-postgres/data" 1 5432 "$PWD/.walle/test-postgres" '' '1 1' \
            >.walle/test-postgres/data/postmaster.pid
        printf '%s\n' "$stale" >.walle/test-postgres/.s.PGSQL.5432.lock
        [[ $stale ]] || : >.walle/test-postgres/data/postmaster.pid
        chown --reference=.walle/test-postgres .walle/test-postgres/{data/postmaster.pid,.s.PGSQL.5432.lock}
        # shellcheck disable=SC2016
        expect 0 ./run_walle.sh test-database sh -c 'psql "$DATABASE_URL" -Xqc "select from kept"'
    done
}

test_a_half_made_cluster_is_moved_aside() {
    mkdir -p .walle/test-postgres/data.new.abc/base .walle/test-postgres/data/base/1
    echo 15 >.walle/test-postgres/data/PG_VERSION
    echo mine >.walle/test-postgres/data/base/1/file
    rm .walle/test-postgres/data/PG_VERSION
    expect 0 ./run_walle.sh test-database true
    says "half-made"
    grep -q mine .walle/test-postgres/half-made.*/base/1/file
    [[ ! -e .walle/test-postgres/data.new.abc ]]
}

test_a_damaged_cluster_with_databases_is_not_touched() {
    expect 0 ./run_walle.sh test-database true
    mv .walle/test-postgres/data/global/pg_control .walle/test-postgres/data/gone
    expect 17 ./run_walle.sh test-database true
    says "holds databases"
    [[ -e .walle/test-postgres/data/gone ]]
}

test_the_cluster_of_another_version_is_11() {
    expect 0 ./run_walle.sh test-database true
    chmod 755 .walle/test-postgres .walle/test-postgres/data
    echo 9 >.walle/test-postgres/data/PG_VERSION
    expect 11 ./run_walle.sh test-database true
    says "Missing: Postgres 9 (which made "
}

test_long_and_odd_paths_get_a_short_socket() {
    local odd="$PWD/a 'quoted', \"odd\" \$(path) of more than a hundred and seven bytes, which no socket can have"
    mkdir "$odd"
    cp -r run_walle.sh Cargo.toml fixtures "$odd"
    cd "$odd"
    # shellcheck disable=SC2016
    expect 0 ./run_walle.sh test-database sh -c 'psql "$DATABASE_URL" -Xqc "select 1"; echo "$DATABASE_URL" >url'
    rmdir "$(sed 's/.*host=//' url)"
}

test_the_sandbox_plays_its_script() {
    export BOT='sleep 30'
    export WALLE_TOKEN=real WALLE_PREFIX=real DATABASE_URL=postgres://real
    expect 0 ./run_walle.sh sandbox
    grep -q "the transcript" out
    says "The made-up guild's members have their names, levels and XP."
    none_of grep "an import's log" out
    grep -qx "an import's log" .walle/sandbox/import.log
    bot_saw 'WALLE_TOKEN=simulated'
    none_of grep '=real\|//real' bot_env
    [[ $(server_of postgres) == none ]]
    stopped sandbox-postgres
    SIM='exit 3' expect 3 ./run_walle.sh sandbox
    BOT='echo "my last words"; exit 16' SIM='sleep 30' expect 16 ./run_walle.sh sandbox
    says "my last words"
    says "exit code 16"
    SIM_START='exit 1' expect 1 ./run_walle.sh sandbox
    says "did not start"
    IMPORT='exit 17' expect 17 ./run_walle.sh sandbox
    says "an import's log"
}

test_one_sandbox_at_a_time() {
    SIM='sleep 30' BOT='sleep 30' ./run_walle.sh sandbox >/dev/null 2>&1 &
    eventually grep -q "^run" calls
    expect 1 ./run_walle.sh sandbox
    says "already running"
    kill -TERM $!
    wait $! || true
    stopped sandbox-postgres
}

test_ctrl_c_leaves_nothing_behind() {
    local stage
    for stage in BUILD MIGRATE SIM_START SIM; do
        rm -f calls
        # A background program of a script would ignore the signal.
        env "$stage=echo $stage >>calls; sleep 31 & sleep 32" BOT='sleep 33' \
            env --default-signal=INT ./run_walle.sh sandbox >out 2>&1 &
        eventually grep -q "^$stage" calls
        kill -INT $!
        local code=0
        wait $! || code=$?
        [[ $code == 130 ]]
        stopped sandbox-postgres
        none_of left_behind
    done
}

# --- Stand-ins ---------------------------------------------------------------------------------------

# shellcheck disable=SC2016  # the stand-ins' own variables
make_checkout() {
    mkdir -p "$1/bin" "$1/fixtures/sandbox"
    cd "$1"
    cp "$repo/run_walle.sh" "$repo/Cargo.toml" .
    mkdir -p src tests/bench/src
    cp "$repo/src/config.rs" src/
    cp "$repo/tests/bench/src/main.rs" tests/bench/src/
    echo '[{}]' >fixtures/sandbox/levels.json
    echo '[{"invented": true}]' >fixtures/sandbox/userpoints.json
    cp "$repo/fixtures/timezones.txt" fixtures
    stand_in bin/rustc '[ "$RUST" ] && echo "rustc $RUST (abc)"'
    stand_in bin/cargo '
        [ "$1" = --version ] && { [ "$RUST" ] && echo "cargo $RUST (abc)"; exit; }
        [ "$1" = metadata ] && { echo "{\"target_directory\":\"$PWD/target\",\"x\":1}"; exit; }
        [ "${WALLE_TOKEN-}" ] && exit 99
        eval "${BUILD-}"
        mkdir -p target/debug target/release
        for profile in debug release; do cp bin/wall_e bin/discord-sim target/$profile; done'
    stand_in bin/wall_e '
        echo "$*" >>calls
        if [ "$1" = migrate ]; then eval "${MIGRATE-}"; fi
        if [ "$1" = import ]; then echo "an import'"'s"' log" >&2; eval "${IMPORT-}"; fi
        [ "$1" = run ] || exit 0
        env >bot_env
        eval "${BOT-}"'
    stand_in bin/discord-sim '
        eval "${SIM_START-}"
        printf "WALLE_TOKEN=simulated\nWALLE_GUILD_ID=1\n" >"$3/env"
        until [ -s bot_env ]; do sleep 0.05; done
        eval "${SIM-echo the transcript}"'
    PATH=$PWD/bin:$PATH
    export RUST=1.999.0
}

stand_in() {
    printf '#!/usr/bin/env bash\n%s\n' "$2" >"$1"
    chmod +x "$1"
}

# --- Tools -------------------------------------------------------------------------------------------

expect() {
    local code=0
    "${@:2}" >"$scratch/out" 2>&1 </dev/null || code=$?
    ((code == $1)) && return
    echo "expected exit code $1 of: ${*:2}; got $code"
    return 1
}

says() { grep -qF -- "$1" "$scratch/out" || { echo "not said: $1"; return 1; }; }

bot_saw() { grep -qxF -- "$1" bot_env || { echo "the bot did not see $1"; return 1; }; }

# The README's command with this word in it.
readme_command() { sed -n "/^\`\`\`sh$/,/^\`\`\`$/p" "$repo/README.md" | grep -wF -e "$1"; }

# Runs a command on a terminal of its own; what is on stdin is typed. Needs util-linux' script.
on_a_terminal() {
    { while IFS= read -r line; do sleep 0.3; printf '%s\n' "$line"; done; sleep 1; } |
        script -qec "$(printf '%q ' "$@")" /dev/null >out 2>&1
}

eventually() {
    local tenths
    for ((tenths = 0; tenths < 150; tenths++)); do
        "$@" 2>/dev/null && return
        sleep 0.1
    done
    echo "never happened: $*"
    return 1
}

server_of() { head -n 1 ".walle/$1/data/postmaster.pid" 2>/dev/null || echo none; }

database_answers() { psql -h "$PWD/.walle/$1" -U wall_e -d wall_e_test -Xqc 'select 1' >/dev/null; }

stopped() { [[ $(server_of "$1") == none ]] || { echo "still running: $1"; return 1; }; }

# Prints the stand-ins' sleeps and the servers that run in this checkout.
left_behind() {
    local process
    for process in /proc/[0-9]*; do
        [[ $process/cwd -ef $PWD || $process/cwd -ef .walle/sandbox-postgres/data ]] || continue
        { tr '\0' ' ' <"$process/cmdline" | grep '^sleep\|postgres'; } 2>/dev/null || true
    done
}

# Nothing printed by the command. (A `!` before it would not count for `set -e`.)
none_of() {
    local found
    found=$("$@") || return 0
    [[ -z $found ]] || { echo "unexpected: $found"; return 1; }
}

main() {
    local tests name number=0 failed=0 scratch_root
    mapfile -t tests < <(declare -F | sed -n 's/^declare -f \(test_.*\)/\1/p')
    (($# == 0)) || tests=("$@")
    unset "${!WALLE_@}" DATABASE_URL "${!PG@}"
    scratch_root=$(mktemp -d)
    # Postgres' user must get through.
    chmod 755 "$scratch_root"
    # shellcheck disable=SC2064
    trap "rm -rf '$scratch_root'" EXIT
    for name in "${tests[@]}"; do
        # A short path, which leaves room for a socket's.
        scratch=$scratch_root/$((number += 1))
        local began=$SECONDS
        set +e
        (set -e; make_checkout "$scratch"; "$name") >"$scratch_root/log" 2>&1
        local code=$?
        set -e
        if ((code)); then
            failed=1
            echo "script $name ... FAILED"
            cat "$scratch_root/log" "$scratch/out" 2>/dev/null
        else
            echo "script $name ... ok ($((SECONDS - began)) s)"
        fi
    done
    return $failed
}

main "$@"
