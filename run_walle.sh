#!/usr/bin/env bash
# Sets up and runs wall_e: the real bot, the sandbox, the tests, the chaos and the benchmarks.
#
# What it relies on, from top to bottom: Rust, Postgres' binaries, the settings, a build, a database.
# Each step says in one sentence what is missing and ends with an exit code of its own (--help).
# Two promises: a database is never wiped, and nothing that was started here outlives this script
# (the one exception: after `kill -9` a private Postgres stays up, and the next start uses it).
set -euo pipefail
umask 022
# A core dump would hold the token.
ulimit -c 0

usage() {
    cat <<'EOF'
./run_walle.sh [--fixtures DIR]   set up and run the bot
./run_walle.sh deploy             replace the running bot, on any machine, with this version: the old one goes on
                                  until the new one is ready, then stops; the new one stays in this terminal
./run_walle.sh verify-roles [--dry-run] [--json]
                                  correct everyone's level roles while no bot runs, or only print what would change
./run_walle.sh listen             only note whose name or avatar changes; may run beside the bot, or while it is down
./run_walle.sh sandbox            try it: the bot in a made-up guild, in this terminal, without Discord
./run_walle.sh test [ARGS]        run all tests (ARGS go to `cargo test`; then the shell checks are left out)
./run_walle.sh bench [PART…]      run the benchmarks, or some parts of them (--help: which, and how long each takes)
./run_walle.sh chaos [ARGS]       play a simulated day to the bot while everything around it fails, in 50 ways
                                  (--seeds N: in N ways; --seed S: only this one; --help: more)
./run_walle.sh database COMMAND…  run COMMAND with DATABASE_URL pointing to the bot's database, and Postgres'
                                  own programs on the PATH: psql, pg_dump, pg_restore (see the README)
./run_walle.sh test-database COMMAND…   run COMMAND with DATABASE_URL pointing to the tests' database
./run_walle.sh --help             this text; with a mode before it, what that mode does: ./run_walle.sh bench --help

It needs Rust, a C compiler and Postgres 13 or newer; the tests and the chaos need libfaketime too. Root gets
all but Rust installed with apt-get; everyone else is told once what to type.

--fixtures DIR   fill a fresh database with DIR/*.json, as written by the Python bot's
                 `manage.py dumpdata`. A database that has users is left as it is. The made-up users of
                 fixtures/sandbox are refused.

Settings come from the environment and from .env beside this script (lines KEY=VALUE, # comments, values
with spaces in quotes). The environment wins. On a terminal, a missing token or guild is asked for and
written to .env, which only you may read; so are the names of levels and the time zone at the first start.
  WALLE_TOKEN, or WALLE_TOKEN_FILE   the bot's token, or a file that holds it
  WALLE_GUILD_ID                     the id of the guild to serve
  DATABASE_URL                       a Postgres of your own; without it, a private one in .walle/postgres
  WALLE_LEVEL_NAMES                  the names that levels get in a fresh database: none, computing, or a file
  every other WALLE_… setting and RUST_LOG: see the README, or `wall_e run --help`
The sandbox, the tests, the chaos and the benchmarks read none of these: they have databases of their own.

What it makes, all of it ignored by git:
  .env                      your settings (mode 600)
  .walle/postgres           the bot's private Postgres. A copy of these files is no backup: pg_dump makes one
                            (./run_walle.sh database, and the README)
  .walle/sandbox-postgres, .walle/test-postgres, .walle/bench-postgres   throw-away ones
  .walle/sandbox/bot.log    what the sandbox's bot logged
  target/                   the build
Started by root, Postgres runs as another user. Where that user cannot reach the checkout, its files are
in /var/lib/wall_e, and .walle links there.

Exit codes, besides 128 + n after signal n:
   0  fine                                      14  Discord refuses the token
   1  something else failed                     15  the bot is not in the guild
   2  mistyped command line                     16  a privileged intent is off
  10  Rust is missing or too old                17  the database cannot be reached or started
  11  Postgres is missing or too old            18  another wall_e took over the database
  12  no token                                  19  Discord does not know the intents asked for
  13  no guild id                               20  Discord's gateway refuses the bot's shard
 130  a second signal ended it at once          21  the bot is in too many guilds for one connection
                                                22  a newer wall_e is needed to speak with Discord
EOF
}

main() {
    local mode=${1-}
    case ${2-} in
        -h | --help)
            help_of "$mode"
            return
            ;;
    esac
    case $mode in
        '' | --fixtures | --fixtures=*) run_the_bot "$@" ;;
        deploy) no_arguments "$@" && deploy_the_bot ;;
        verify-roles) parse_verification "${@:2}" && verify_the_roles "${@:2}" ;;
        listen) no_arguments "$@" && listen_only ;;
        sandbox) no_arguments "$@" && run_the_sandbox ;;
        test) run_the_tests "${@:2}" ;;
        bench) parse_benchmarks "${@:2}" && run_the_benchmarks "${@:2}" ;;
        chaos) parse_chaos "${@:2}" && run_the_chaos "${@:2}" ;;
        database) on_the_database "${@:2}" ;;
        test-database) on_the_test_database "${@:2}" ;;
        -h | --help | help) if [[ ${2-} ]]; then help_of "$2"; else usage; fi ;;
        *) no_such_mode "$mode" ;;
    esac
}

# What one mode does, from this file alone: nothing is built or started for it.
help_of() {
    case $1 in
        '' | --fixtures | --fixtures=* | help | -h | --help) usage ;;
        deploy)
            cat <<'EOF'
./run_walle.sh deploy
Builds the bot and starts it while the old one runs. The new bot stands by, asks the old one to end, takes over within
seconds, and stays in this terminal. The two agree through the database, so it does not matter where the old one runs.
It takes no options; its settings are the bot's: the environment and .env.
EOF
            ;;
        verify-roles)
            cat <<'EOF'
./run_walle.sh verify-roles [--dry-run] [--json]
Gives every member the level roles that they have earned, and takes those that they have not. For when no bot runs:
a running bot does this by itself, and on .verify_roles.
  --dry-run   change nothing; print what would change
  --json      print it as JSON, for programs
EOF
            ;;
        listen)
            cat <<'EOF'
./run_walle.sh listen
Notes whose name or avatar changes, so that the bot looks them up later. It may run beside the bot, or while it is away.
It takes no options; its settings are the bot's: the environment and .env.
EOF
            ;;
        sandbox)
            cat <<'EOF'
./run_walle.sh sandbox
Builds the bot and a simulated Discord, and opens a chat with a made-up guild in this terminal: no account, no token.
!help in it lists what can be typed; exit, quit or Ctrl-D ends it. Without a terminal it plays the conversation in
fixtures/sandbox/conversation.txt and checks the answers. It takes no options and reads none of your settings.
EOF
            ;;
        test)
            cat <<'EOF'
./run_walle.sh test [ARGS]
Runs all tests against a Postgres of their own. ARGS go to `cargo test`, and then the tests of this script are left out:
  ./run_walle.sh test -p wall_e --test it -- roles      the integration tests with "roles" in their name
  RUST_TEST_THREADS=N                                   how many run at a time (otherwise two for each core)
EOF
            ;;
        bench)
            cat <<'EOF'
./run_walle.sh bench [--quick] [--floors] [PART…]
Builds the optimised bot and measures it, each figure beside a reference; ends with 1 if one misses its aim.
  --quick    smaller sizes and fewer rounds: for trying a change, not for quoting
  --floors   fail only by figures that no slow or busy machine explains
The parts, all of them if none is named, and how long each takes on two cores after the build:
EOF
            bench_parts | awk -F '\t' '{ printf "  %-10s %s\n", $1, $2 }'
            ;;
        chaos)
            cat <<'EOF'
./run_walle.sh chaos [--seeds N] [--from SEED] [--seed SEED] [--jobs N]
Plays a recorded day to the bot while everything around it fails, and compares every row with what the day comes to.
  --seeds N     in N ways (50)
  --from SEED   begin with this one (1)
  --seed SEED   only in this way, and say what goes wrong in it
  --jobs N      how many are played at a time (2)
EOF
            ;;
        database)
            cat <<'EOF'
./run_walle.sh database COMMAND…
Runs COMMAND where you are, with DATABASE_URL pointing to the bot's database and Postgres' programs on the PATH. The bot
may be running or not. The README's commands for a backup and for restoring one use it.
  ./run_walle.sh database psql                               look around
  ./run_walle.sh database target/release/wall_e check        check that the database is sound
EOF
            ;;
        test-database)
            cat <<'EOF'
./run_walle.sh test-database COMMAND…
Runs COMMAND with DATABASE_URL pointing to the tests' database, which holds nothing of value.
EOF
            ;;
        *) no_such_mode "$1" ;;
    esac
}

no_such_mode() {
    fail 2 "There is no mode '$1': type ./run_walle.sh alone, or with deploy, verify-roles, listen, sandbox, test, bench, chaos or database after it; ./run_walle.sh --help explains them."
}

# The benchmark's parts with what they measure, a tab between: as they stand in its own source.
bench_parts() {
    sed -n '/^enum Section {/,/^}/p' tests/bench/src/main.rs | awk '
        sub(/^ +\/\/\/ /, "") { text = text ? text " " $0 : $0 }
        /^ +[A-Z][A-Za-z]*,$/ { gsub(/[ ,]/, ""); print tolower($0) "\t" text; text = "" }'
}

# --- The modes ---------------------------------------------------------------------------------------

run_the_bot() {
    local fixtures=()
    parse_fixtures "$@"
    make_ready
    if ((${#fixtures[@]})); then
        run "$programs/wall_e" import django --fresh-only "${fixtures[@]}"
    fi
    bot_decides=yes
    run "$programs/wall_e" run ${take_over:+--take-over}
}

# Everything that the bot needs is there, and its schema up to date.
make_ready() {
    mkdir -p .walle
    read_settings .env
    name_unknown_settings
    if [[ ${DATABASE_URL:-} ]]; then need rust; else need rust postgres; fi
    need_token
    need_guild
    need_level_names
    need_timezone
    # Before the build, which takes minutes: whoever waits for it has nothing left to mend.
    if [[ ${DATABASE_URL:-} ]]; then
        reach_database
    else
        open_cluster postgres durable
        create_database wall_e
    fi
    export DATABASE_URL
    build release -p wall_e
    run "$programs/wall_e" migrate
}

verify_the_roles() {
    make_ready
    run "$programs/wall_e" verify-roles "$@"
}

listen_only() {
    make_ready
    run "$programs/wall_e" listen
}

# The new bot does the rest by itself: the database knows who runs.
deploy_the_bot() {
    take_over=yes
    run_the_bot
}

run_the_sandbox() {
    local state=$PWD/.walle/sandbox sim bot ended code=0
    need rust sandbox-postgres
    only_one_sandbox
    forget_settings
    open_cluster sandbox-postgres durable
    build dev -p wall_e -p discord-sim
    create_database wall_e_sandbox afresh
    export DATABASE_URL
    rm -rf "$state"
    mkdir -p "$state"
    { run "$programs/wall_e" migrate &&
        run "$programs/wall_e" import django fixtures/sandbox/levels.json fixtures/sandbox/userpoints.json; } \
        >"$state/import.log" 2>&1 || code=$?
    if ((code)); then
        show_log "$state/import.log"
        fail "$code" "The made-up guild's data could not be imported: the last words are above."
    fi
    say "The made-up guild's members have their names, levels and XP."

    start_simulator "$state"
    sim=$child
    await_simulator "$sim" "$state/env"
    read_settings "$state/env"
    say "The bot's log: .walle/sandbox/bot.log"
    start "$programs/wall_e" run </dev/null >"$state/bot.log" 2>&1
    bot=$child

    wait -n -p ended "$sim" "$bot" || code=$?
    if [[ $ended == "$bot" ]] && kill -0 "$sim" 2>/dev/null; then
        show_log "$state/bot.log"
        fail "$((code ? code : 1))" "The bot ended by itself (exit code $code): its last log lines are above."
    fi
    code=0
    finish "$sim" || code=$?
    ((code == 0)) || show_log "$state/bot.log"
    return "$code"
}

run_the_tests() {
    need rust test-postgres clock
    [[ -e target/debug/deps ]] || need_disk 4000
    # Most of them wait most of the time: for Discord's limits, for a pause before another try.
    export RUST_TEST_THREADS=${RUST_TEST_THREADS:-$((2 * $(nproc)))}
    on_the_test_database cargo test --workspace --locked "$@"
    # Arguments pick some tests; someone who picks does not wait for the rest.
    (($#)) || [[ ! -e tests/script.sh ]] || run bash tests/script.sh
}

run_the_benchmarks() {
    need rust bench-postgres
    forget_settings
    # The bench runs the bot as it is built beside it.
    build release -p wall_e -p wall_e-bench
    open_cluster bench-postgres durable
    create_database wall_e_bench afresh
    export DATABASE_URL
    run "$programs/wall_e-bench" "$@"
}

run_the_chaos() {
    need rust test-postgres clock
    forget_settings
    # It plays to the bot as it is built beside it.
    build dev -p wall_e -p wall_e-chaos
    open_cluster test-postgres fast
    create_database wall_e_test
    export DATABASE_URL PATH="$pg_bin:$PATH"
    run "$programs/wall_e-chaos" "$@"
}

# For backups, imports and a look inside; the bot may be running or not.
on_the_database() {
    [[ ${1--} != -* ]] || fail 2 "Which command? Type ./run_walle.sh database COMMAND…, such as: ./run_walle.sh database psql"
    read_settings .env
    unset WALLE_TOKEN
    need postgres
    if [[ -z ${DATABASE_URL:-} ]]; then
        open_cluster postgres durable
        create_database wall_e
    fi
    export DATABASE_URL PATH="$pg_bin:$PATH"
    # psql knows no URL from the environment: it is given one as its last word.
    [[ $1 != psql ]] || set -- "$@" "$DATABASE_URL"
    cd "$invoked_from"
    # In the foreground: it may want the terminal.
    "$@" 8>&- 9>&-
}

on_the_test_database() {
    (($#)) || fail 2 "Which command? Type ./run_walle.sh test-database COMMAND…"
    need rust test-postgres
    forget_settings
    open_cluster test-postgres fast
    create_database wall_e_test
    export DATABASE_URL PATH="$pg_bin:$PATH"
    # The command may leave a daemon behind, such as a compiler cache: it must not look like a user of the database.
    run "$@"
}

# --- Command line and settings -----------------------------------------------------------------------

no_arguments() {
    (($# == 1)) || fail 2 "'$1' takes no arguments: type ./run_walle.sh $1"
}

# What is mistyped is said before anything is built, not by the program that was built.
parse_verification() {
    local word
    for word in "$@"; do
        case $word in
            --dry-run | --json) ;;
            *) fail 2 "verify-roles knows no '$word': type ./run_walle.sh verify-roles [--dry-run] [--json]" ;;
        esac
    done
}

parse_benchmarks() {
    local word parts
    mapfile -t parts < <(bench_parts | cut -f 1)
    for word in "$@"; do
        [[ " --quick --floors ${parts[*]} " == *" $word "* ]] ||
            fail 2 "bench knows no '$word': type ./run_walle.sh bench [--quick] [--floors] [PART…]; the parts are $(listed "${parts[@]}")."
    done
}

parse_chaos() {
    local option value usage="type ./run_walle.sh chaos [--seeds N] [--from SEED] [--seed SEED] [--jobs N]"
    while (($#)); do
        option=${1%%=*}
        case $option in
            --seeds | --from | --seed | --jobs) ;;
            *) fail 2 "chaos knows no '$1': $usage" ;;
        esac
        if [[ $1 == *=* ]]; then
            value=${1#*=}
        else
            value=${2-}
            (($# == 1)) || shift
        fi
        [[ $value =~ ^[0-9]+$ ]] || fail 2 "chaos: $option takes a number: $usage"
        shift
    done
}

# Fills the caller's `fixtures` with the files of DIR.
parse_fixtures() {
    local dir file invented
    (($#)) || return 0
    dir=${1#--fixtures}
    dir=${dir#=}
    if [[ $1 == --fixtures ]]; then
        dir=${2-}
        shift
    fi
    [[ $dir && $# == 1 ]] || fail 2 "--fixtures takes one directory: type ./run_walle.sh --fixtures DIR"
    dir=$(cd "$invoked_from" && realpath -e -- "$dir" 2>/dev/null) || dir=
    [[ -d $dir ]] || fail 2 "--fixtures: there is no such directory; give the one that holds your *.json files."
    [[ $dir/ != "$PWD"/fixtures/sandbox/* ]] ||
        fail 2 "--fixtures: the made-up users of fixtures/sandbox never go into a real database; give the directory of your own dump."
    for file in "$dir"/*.json; do
        [[ -f $file ]] || fail 2 "--fixtures: $dir holds no *.json file; put the output of manage.py dumpdata there."
        fixtures+=("$file")
        for invented in fixtures/sandbox/*.json; do
            cmp -s -- "$file" "$invented" || continue
            fail 2 "--fixtures: $file holds the made-up users of the sandbox, which never go into a real database; give the directory of your own dump."
        done
    done
}

# Reads KEY=VALUE lines, never as shell code. A variable that is already set stays as it is.
read_settings() {
    local file=$1 line key value number=0
    [[ -e $file ]] || return 0
    [[ $file != .env ]] || keep_private "$file"
    case $(head -c 2 -- "$file" | od -An -tx1) in
        ' ff fe' | ' fe ff') fail 1 "$file is UTF-16, as PowerShell writes it: save it as UTF-8." ;;
    esac
    while IFS= read -r line || [[ $line ]]; do
        number=$((number + 1))
        line=${line%$'\r'}
        # A byte order mark, as Windows' editors write it.
        ((number > 1)) || line=${line#$'\xEF\xBB\xBF'}
        [[ $line =~ ^[[:space:]]*(#|$) ]] && continue
        # The line itself is not shown: it may hold the token.
        [[ $line =~ ^[[:space:]]*(export[[:space:]]+)?([A-Za-z_][A-Za-z_0-9]*)[[:space:]]*=[[:space:]]*(.*)$ ]] ||
            fail 1 "Line $number of $file is not KEY=VALUE; correct it, or put a # before it."
        key=${BASH_REMATCH[2]} value=${BASH_REMATCH[3]}
        if [[ $value =~ ^\'([^\']*)\'[[:space:]]*(#.*)?$ || $value =~ ^\"([^\"]*)\"[[:space:]]*(#.*)?$ ]]; then
            value=${BASH_REMATCH[1]}
        elif [[ $value =~ ^([^[:space:]\'\"]*)([[:space:]]+#.*|[[:space:]]*)$ ]]; then
            value=${BASH_REMATCH[1]}
        else
            fail 1 "Line $number of $file: put the value of $key in quotes."
        fi
        case $key in
            WALLE_* | DATABASE_URL | RUST_LOG | RUST_BACKTRACE) [[ -v $key ]] || export "$key=$value" ;;
            *) say "$file: wall_e has no setting $key; it is ignored.$(nearest_setting "$key")" ;;
        esac
    done <"$file"
}

keep_private() {
    [[ $(stat -L -c %a "$1") == ?00 ]] && return
    say "Warning: others on this machine could read $1, which holds secrets; it is mode 600 from now on."
    chmod 600 "$1" || fail 1 "$1 belongs to someone else; make it yours: chown $(id -un) $PWD/$1"
}

# The operator's own token, guild or database must never be what a sandbox or a test works on.
forget_settings() {
    unset "${!WALLE_@}" DATABASE_URL
}

need_token() {
    local missing problem
    if [[ ${WALLE_TOKEN:-} ]]; then
        take_token "$WALLE_TOKEN" WALLE_TOKEN
        export WALLE_TOKEN=$token
        return
    fi
    if [[ ${WALLE_TOKEN_FILE:-} ]]; then
        # Its value is not shown: it may be the token itself, put into the wrong variable.
        [[ -r $WALLE_TOKEN_FILE && -s $WALLE_TOKEN_FILE ]] ||
            fail 12 "The file that WALLE_TOKEN_FILE names is empty or cannot be read; put the bot's token there."
        # UTF-16 is left to the bot, which reads it.
        case $(head -c 2 -- "$WALLE_TOKEN_FILE" | od -An -tx1) in
            ' ff fe' | ' fe ff') return ;;
        esac
        take_token "$(tr -d '\0' <"$WALLE_TOKEN_FILE")" "The file that WALLE_TOKEN_FILE names"
        # Without what was copied along; the bot prefers it to the file.
        export WALLE_TOKEN=$token
        return
    fi
    missing="There is no bot token: take it from https://discord.com/developers/applications (your application, Bot, Reset Token) and write WALLE_TOKEN=… into $PWD/.env."
    on_a_terminal || fail 12 "$missing"
    echo "The bot's token is at https://discord.com/developers/applications: your application, Bot, Reset Token." >&2
    while read -rsp "Token (not shown): " token || fail 12 "$missing"; do
        echo >&2
        tidy_token "$token"
        problem=$(token_problem)
        [[ $problem ]] || break
        echo "$problem Paste it again, or press Ctrl-C." >&2
    done
    write_setting WALLE_TOKEN "$token"
}

# take_token TEXT SOURCE: sets `token`, or says what is wrong with it without showing it.
take_token() {
    local problem
    tidy_token "$1"
    problem=$(token_problem)
    [[ ! $problem ]] ||
        fail 12 "$2 holds no bot token. $problem Copy it again from https://discord.com/developers/applications (your application, Bot, Reset Token)."
}

# Sets `token`, without what people copy along, in any order: spaces and quotes around it, a byte order mark, `Bot ` as
# in the header of a request, `export ` and `WALLE_TOKEN=` as in a shell or in .env.
tidy_token() {
    local before=''
    token=$1
    while [[ $token != "$before" ]]; do
        before=$token
        token=${token#$'\xEF\xBB\xBF'}
        if [[ $token =~ ^[[:space:]\"\'\`]*(([Bb][Oo][Tt]|export)[[:space:]\"\'\`]+|WALLE_TOKEN[[:space:]]*=)?(.*)$ ]]; then token=${BASH_REMATCH[3]}; fi
        if [[ $token =~ ^(.*[^[:space:]\"\'\`])?[[:space:]\"\'\`]*$ ]]; then token=${BASH_REMATCH[1]}; fi
    done
}

# Why `token` cannot be a bot's token, or nothing.
token_problem() {
    if [[ ! $token ]]; then
        echo "Nothing was pasted."
    elif [[ $token =~ ^[0-9]{17,20}$ ]]; then
        echo "That is an id, not the token, which the page Bot shows once after Reset Token."
    elif [[ $token =~ [[:space:]] ]]; then
        echo "A token has no spaces or line breaks in it."
    elif [[ $token =~ [^A-Za-z0-9._=-] ]]; then
        echo "A token has letters, digits, dots, - and _ only."
    elif [[ ! $token =~ ^[^.]+\.[^.]+\.[^.]+$ ]]; then
        echo "A bot's token has three parts with dots between them; that may be the client secret or the public key."
    fi
}

need_guild() {
    local where="in Discord turn on Settings, Advanced, Developer Mode, right-click the server, Copy Server ID"
    [[ ! ${WALLE_GUILD_ID:-} =~ ^[0-9]{17,20}$ ]] || return 0
    [[ -z ${WALLE_GUILD_ID:-} ]] ||
        fail 13 "WALLE_GUILD_ID is not the 17 to 20 digits of a guild's id: $where, and write WALLE_GUILD_ID=… into $PWD/.env."
    on_a_terminal || fail 13 "WALLE_GUILD_ID is missing: $where, and write WALLE_GUILD_ID=… into $PWD/.env."
    echo "The guild's id: $where." >&2
    while read -erp "Guild id (17 to 20 digits): " WALLE_GUILD_ID || fail 13 "WALLE_GUILD_ID is missing."; do
        WALLE_GUILD_ID=${WALLE_GUILD_ID//[[:space:]]/}
        [[ ! $WALLE_GUILD_ID =~ ^[0-9]{17,20}$ ]] || break
        echo "That is not an id: it has 17 to 20 digits, and nothing else." >&2
    done
    write_setting WALLE_GUILD_ID "$WALLE_GUILD_ID"
}

# Whether the operator's own Postgres can be reached and lets the bot in; psql asks it, where there is one.
reach_database() {
    local host port credentials rest answer
    [[ $DATABASE_URL =~ ^postgres(ql)?://(([^@/]*)@)?(\[[^]]*\]|[^:/?,]*)(:([0-9]+))?(/[^?]*)?(\?.*)?$ ]] ||
        fail 17 "DATABASE_URL is not of the form postgres://USER:PASSWORD@HOST/NAME: correct it in $PWD/.env. (A password with / or @ in it needs %2F or %40 for them.)"
    credentials=${BASH_REMATCH[3]} host=${BASH_REMATCH[4]} port=${BASH_REMATCH[6]:-5432} rest=${BASH_REMATCH[8]}
    # A socket in a directory, or several hosts, has no such port.
    if [[ $host && $rest != *host=* && $host != *%* ]]; then
        host=${host#[}
        host=${host%]}
        # shellcheck disable=SC2016  # the inner shell's own
        timeout 10 bash -c '(exec 3<>"/dev/tcp/$1/$2")' bash "$host" "$port" 2>/dev/null ||
            fail 17 "The database of DATABASE_URL cannot be reached: nothing answers at $host, port $port. Start that Postgres or correct DATABASE_URL; without it, wall_e makes a private Postgres."
    fi
    answer=$(ask_database "$credentials") || true
    # Only what Postgres itself refuses counts. What passes by itself, such as a start, the bot waits for.
    [[ $answer == *FATAL:* && ! $answer =~ (starting up|shutting down|recovery|too many|connection slots) ]] || return 0
    answer=${answer##*FATAL:}
    answer=${answer%%$'\n'*}
    fail 17 "The Postgres of DATABASE_URL does not let the bot in:$answer. Correct the user, the password or the database's name in DATABASE_URL, or create in Postgres what is missing."
}

# What psql says of DATABASE_URL; nothing where there is no psql. `ps` must not show the password.
ask_database() {
    local url=$DATABASE_URL psql=psql password=''
    if [[ $1 == *:* ]]; then
        password=${1#*:}
        url=${url/":$password@"/@}
        password=${password//\\/\\\\}
        printf -v password %b "${password//%/\\x}"
    fi
    if find_postgres ''; then psql=$pg_bin/psql; fi
    command -v "$psql" >/dev/null || return 0
    PGPASSWORD=$password PGCONNECT_TIMEOUT=10 timeout 20 "$psql" -XwqAt -c 'select 1' "$url" 2>&1 >/dev/null </dev/null
}

# Names what is set and looks like a setting, with the one that was probably meant. The bot's log says it too, but nobody
# reads it where the bot does not come that far.
name_unknown_settings() {
    local name
    for name in "${!WALLE_@}"; do
        settings | grep -qxF -e "$name" || say "$name is set, but wall_e has no such setting.$(nearest_setting "$name")"
    done
}

settings() { sed -n 's/.*env = "\([A-Z_]*\)".*/\1/p' src/config.rs | sort -u; }

# " Did you mean NAME?", or where the names are if none is near.
nearest_setting() {
    local known best='' least=$((4 + ${#1} / 8)) distance
    while read -r known; do
        distance=$(edit_distance "$1" "$known")
        ((distance >= least)) || { least=$distance && best=$known; }
    done < <(settings)
    if [[ $best ]]; then echo " Did you mean $best?"; else echo " The README lists all of them."; fi
}

# How many letters must be changed, added or taken away to make one word of the other.
edit_distance() {
    local a=$1 b=$2 i j row=() above diagonal best
    for ((j = 0; j <= ${#b}; j++)); do row[j]=$j; done
    for ((i = 1; i <= ${#a}; i++)); do
        diagonal=${row[0]} row[0]=$i
        for ((j = 1; j <= ${#b}; j++)); do
            above=${row[j]} best=$diagonal
            [[ ${a:i-1:1} == "${b:j-1:1}" ]] || best=$((best + 1))
            ((above + 1 >= best)) || best=$((above + 1))
            ((row[j - 1] + 1 >= best)) || best=$((row[j - 1] + 1))
            row[j]=$best diagonal=$above
        done
    done
    echo "${row[${#b}]}"
}

# Whether this bot has never run, as far as can be told before anything is built. A database of the operator's own may
# hold anything; there the sign is that the token or the guild had to be asked for.
is_first_start() {
    if [[ ${DATABASE_URL:-} ]]; then [[ $asked ]]; else [[ ! -e .walle/postgres/data ]]; fi
}

# Which names, and so which roles, the levels get. Only a fresh database is given names, and a dump has its own.
need_level_names() {
    local answer names=${WALLE_LEVEL_NAMES:-none}
    if [[ $names != none && $names != computing && $names != /* ]]; then
        # From where the command was typed, or else from beside .env.
        if [[ -f $invoked_from/$names ]]; then names=$invoked_from/$names; else names=$PWD/$names; fi
        export WALLE_LEVEL_NAMES=$names
    fi
    is_first_start || return 0
    if [[ $names != none && $names != computing && ! (-f $names && -r $names) ]]; then
        fail 2 "WALLE_LEVEL_NAMES is neither none nor computing, and there is no such file to read: correct it, or put the file there."
    fi
    if [[ ${WALLE_LEVEL_NAMES:-} || ${fixtures-} ]] || ! on_a_terminal; then return 0; fi
    cat >&2 <<'EOF'
Levels can have names, and each name becomes a role in your server. Which ones?
  none        moderators name levels in Discord, with .set_level_name
  computing   twenty names for computing people, from Hello World (level 0) to THE 95 (level 95)
  a file      the path of one with your names, one a line, such as: 5 Missing Semicolon
EOF
    while :; do
        read -erp "Level names [none]: " answer || fail 2 "No level names were chosen: start this again."
        answer=${answer:-none}
        if [[ ${answer,,} =~ ^[[:space:]]*(none|computing)[[:space:]]*$ ]]; then
            answer=${BASH_REMATCH[1]}
            break
        fi
        # shellcheck disable=SC2088  # a tilde as it was typed
        [[ $answer != '~/'* ]] || answer=${HOME:-}/${answer#*/}
        answer=$(cd "$invoked_from" && realpath -m -- "$answer")
        [[ ! -f $answer || ! -r $answer || $answer == *\'* ]] || break
        echo "There is no such file to read: type none, computing, or the path of a file." >&2
    done
    write_setting WALLE_LEVEL_NAMES "$answer"
}

# Where a day of XP begins, by a name that the bot knows.
need_timezone() {
    local machine answer zone
    if [[ ${WALLE_TIMEZONE:-} ]]; then
        knows_timezone "$WALLE_TIMEZONE" ||
            fail 2 "WALLE_TIMEZONE is not the name of a time zone: write one such as Europe/Berlin or Canada/Pacific into $PWD/.env."
        return 0
    fi
    on_a_terminal && is_first_start || return 0
    machine=$(timezone_of_machine)
    echo "The time zone of your server; a day of XP begins at midnight there:" >&2
    while :; do
        read -erp "Time zone [$machine]: " answer || fail 2 "No time zone was chosen: start this again."
        # As the list has it, however it was typed.
        zone=$(grep -ixF -m 1 -- "${answer:-$machine}" fixtures/timezones.txt) && break
        echo "There is no time zone of that name: type one such as Europe/Berlin or Canada/Pacific." >&2
    done
    write_setting WALLE_TIMEZONE "$zone"
}

knows_timezone() { grep -qxF -- "$1" fixtures/timezones.txt; }

timezone_of_machine() {
    local zone
    for zone in "${TZ-}" "$(readlink /etc/localtime)" "$(timedatectl show --property=Timezone --value 2>/dev/null)"; do
        zone=${zone#:}
        zone=${zone##*/zoneinfo/}
        if knows_timezone "$zone"; then
            echo "$zone"
            return 0
        fi
    done
    echo UTC
}

# Replaces or adds one line of .env and keeps the others. The value holds no single quote: its caller checked.
write_setting() {
    local file new value=$2
    export "$1=$2"
    asked=yes
    [[ $value =~ ^[A-Za-z0-9._/=+-]*$ ]] || value="'$value'"
    file=$(realpath .env)
    new=$(umask 077 && mktemp "$file.XXXXXX")
    { [[ ! -e $file ]] || sed $'1s/^\xEF\xBB\xBF//' -- "$file" | grep -vE "^[[:space:]]*(export[[:space:]]+)?$1[[:space:]]*=" || true; } >"$new"
    printf '%s=%s\n' "$1" "$value" >>"$new"
    mv -- "$new" "$file"
    say "Written to .env."
}

# --- What must be installed ---------------------------------------------------------------------------

# need PART…: all that a mode needs is there, or is installed, or is named in one answer. The parts are `rust`,
# `clock`, or the name of a Postgres cluster. Sets pg_bin where a cluster is among them.
need() {
    local part rust_problem='' packages=() for_what=() code=0
    look_for "$@"
    if ((${#packages[@]})) && install "${packages[@]}"; then
        look_for "$@"
    fi
    if ((${#packages[@]})); then
        ((code)) || code=1
        say "Missing: $(listed "${for_what[@]}"). Type: sudo apt-get install --no-install-recommends ${packages[*]}"
    fi
    [[ -z $rust_problem ]] || say "$rust_problem"
    ((code == 0)) || fail "$code" "Then start this again."
}

# Fills need's `packages`, `for_what` and `code` with what is missing.
look_for() {
    packages=() for_what=() code=0
    for part in "$@"; do
        case $part in
            rust)
                look_for_rust
                # Rust links with the C compiler, and the TLS library is partly C.
                command -v cc >/dev/null || lacks 10 "a C compiler" gcc libc6-dev
                if [[ $rust_problem ]]; then
                    command -v curl >/dev/null || lacks 10 "curl, to install Rust with" curl ca-certificates
                    code=10
                fi
                ;;
            # Some tests set the bot's clock, and nobody else's.
            clock)
                compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' >/dev/null || lacks 1 "libfaketime" libfaketime
                ;;
            *) look_for_postgres "$part" ;;
        esac
    done
}

lacks() {
    ((code)) || code=$1
    for_what+=("$2")
    packages+=("${@:3}")
}

# "a", "a and b", "a, b and c"
listed() {
    local text=$1 i
    for ((i = 2; i < $#; i++)); do text+=", ${!i}"; done
    (($# == 1)) || text+=" and ${!#}"
    echo "$text"
}

# Only root can; anyone else is told what to type.
install() {
    local no_cluster=/etc/postgresql-common/createcluster.d/wall_e.conf installed=0
    ((EUID == 0)) && command -v apt-get >/dev/null || return 1
    say "Installing $* with apt-get; this usually takes half a minute."
    # Debian would make and start a cluster of its own on port 5432, which nobody asked for.
    mkdir -p "${no_cluster%/*}"
    echo 'create_main_cluster = false' >"$no_cluster"
    run apt-get -qq update >/dev/null &&
        DEBIAN_FRONTEND=noninteractive run apt-get -qq -y --no-install-recommends install "$@" </dev/null >/dev/null ||
        installed=$?
    rm -f "$no_cluster"
    return "$installed"
}

# Sets `rust_problem`, empty where Rust is as it must be.
look_for_rust() {
    local wanted found advice="curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"$'\n'"Other ways to install it: https://rustup.rs"
    wanted=$(sed -n '/^rust-version = /{s/.*"\(.*\)".*/\1/p;q}' Cargo.toml)
    PATH=$PATH:${CARGO_HOME:-${HOME:-}/.cargo}/bin
    found=$({ cargo --version && rustc --version; } 2>/dev/null | cut -d ' ' -f 2 | sort -V | sed q) || found=
    rust_problem=
    if [[ ! $found ]]; then
        rust_problem="Rust is missing. Type: $advice"
    elif [[ $(printf '%s\n' "$wanted" "$found" | sort -V | sed q) != "$wanted" ]]; then
        rust_problem="Rust $found is too old: wall_e needs $wanted or newer. Type: rustup update; or, if that is not there: $advice"
    fi
}

# --- The build ---------------------------------------------------------------------------------------

# build PROFILE PACKAGE-ARGUMENTS…: builds and sets `programs`, the directory with the result.
build() {
    local profile=$1 target
    target=$(cargo metadata --no-deps --locked --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/') ||
        fail 1 "cargo cannot read the project: its message is above."
    programs=$target/${profile/dev/debug}
    if [[ -e $programs/wall_e ]]; then
        say "Building what has changed."
    else
        need_disk 2000
        say "Building wall_e and its dependencies: about five minutes on two cores the first time$([[ $profile == dev ]] || echo ', longer for this optimised build')."
    fi
    # A build runs code of every dependency: it gets no secrets, and a daemon it may leave behind no locks.
    run env -u WALLE_TOKEN -u DATABASE_URL cargo build --locked --profile "$profile" "${@:2}" ||
        fail 1 "The build failed; the message is above."
}

# need_disk MEGABYTES: for what is built here; a full disk would only be found minutes later.
need_disk() {
    local free
    free=$(df --output=avail --block-size=1M . 2>/dev/null | tail -n 1) || return 0
    ((free >= $1)) || fail 1 "The build needs about $1 MB of disk, and $((free)) MB are free here: free some space, then start this again."
}

# --- The sandbox's parts -----------------------------------------------------------------------------

only_one_sandbox() {
    mkdir -p .walle
    exec 7>>.walle/sandbox.lock
    flock -n 7 || fail 1 "A sandbox is already running in this checkout; end that one first."
}

# On a terminal the simulator shares it with the person: no session of its own, else it could not read.
start_simulator() {
    local chat=("$programs/discord-sim" chat --state-dir "$1" --world fixtures/sandbox/guild.json)
    if [[ -t 0 && -t 1 ]]; then
        # What a message earned is read with psql.
        PATH="$pg_bin:$PATH" setpriv --pdeathsig TERM -- "${chat[@]}" --xp-from fixtures/sandbox/xp.sh <&0 &
        child=$!
        children+=("$child")
    else
        start "${chat[@]}" --script fixtures/sandbox/conversation.txt </dev/null
    fi
}

await_simulator() {
    local tenths
    for ((tenths = 0; tenths < 300; tenths++)); do
        [[ ! -s $2 ]] || return 0
        kill -0 "$1" 2>/dev/null || fail 1 "The Discord simulator did not start; its message is above."
        sleep 0.1
    done
    fail 1 "The Discord simulator was not ready within 30 seconds."
}

# --- Postgres: its binaries --------------------------------------------------------------------------

# An existing cluster needs the major version that made it, a new one the newest.
look_for_postgres() {
    local major='' what="Postgres 13 or newer"
    [[ ! -r .walle/$1/data/PG_VERSION ]] || major=$(<".walle/$1/data/PG_VERSION")
    find_postgres "$major" && return
    if [[ $major ]]; then
        what="Postgres $major (which made $PWD/.walle/$1"
        [[ $1 == postgres ]] || what+="; that directory holds nothing of value, and may be deleted instead"
        lacks 11 "$what)" "postgresql-$major"
    else
        [[ -z ${pg_too_old:-} ]] || what+=" (only version $pg_too_old is there)"
        [[ $1 != postgres ]] || what+=" (or a DATABASE_URL in .env that names one elsewhere)"
        lacks 11 "$what" postgresql
    fi
}

# Sets pg_bin to the newest usable binaries, or to those of one major version.
find_postgres() {
    local wanted=$1 dir major newest=12
    for dir in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin "$(pg_config --bindir 2>/dev/null)" "$(dirname "$(command -v postgres)")"; do
        [[ -x $dir/initdb && -x $dir/pg_ctl && -x $dir/postgres && -x $dir/psql ]] || continue
        major=$("$dir/postgres" --version | sed -E 's/[^0-9]*([0-9]+).*/\1/')
        if ((major < 13)); then
            pg_too_old=$major
        elif ((major > newest)) && [[ -z $wanted || $major == "$wanted" ]]; then
            newest=$major pg_bin=$dir
        fi
    done
    ((newest > 12))
}

# --- Postgres: a private cluster ---------------------------------------------------------------------
#
# A cluster's home is .walle/NAME, mode 700, and belongs to the user Postgres runs as:
#   data/         the cluster, made as data.new.* and renamed when finished
#   .s.PGSQL.5432 the socket: who may enter the home may use the database, nobody else
#   server.log    what Postgres says
#   lock          held while the cluster is made, started or stopped (file descriptor 8)
#   users         held, shared, by everyone who uses the cluster: the last one to leave stops it (9)

open_cluster() {
    home=$PWD/.walle/$1
    # libpq's and Postgres' own variables are about some other database.
    unset "${!PG@}"
    find_home "$1"
    exec 8>>"$home/lock" 9>>"$home/users"
    flock -w 300 8 || fail 17 "Another start has been busy with $home for five minutes; end that one first."
    flock -s 9
    cluster_open=yes
    choose_socket
    make_cluster
    start_server "$2"
    flock -u 8
}

find_home() {
    mkdir -p .walle
    exec 8<.walle
    flock 8
    if [[ ! -e $home ]] || ! { finished || ((EUID)) || (($(stat -L -c %u "$home"))); }; then
        [[ ! -L $home ]] || fail 17 "$home links to $(readlink "$home"), which is gone: bring it back, or delete the link to begin with an empty database."
        make_home "$1"
    fi
    home=$(realpath "$home")
    if ((EUID)); then
        [[ -O $home ]] || fail 17 "$home belongs to $(stat -c %U "$home"): start this as that user or as root."
    else
        # Whoever made the cluster runs it, also when root starts it later.
        become "$(stat -c %u "$home")" "$(stat -c %g "$home")"
    fi
}

make_home() {
    local uid gid elsewhere
    mkdir -p "$home"
    chmod 700 "$home"
    ((EUID == 0)) || return 0
    id -u postgres >/dev/null 2>&1 || id -u walle >/dev/null 2>&1 ||
        useradd --system --no-create-home --shell /usr/sbin/nologin walle
    uid=$(id -u postgres 2>/dev/null || id -u walle) gid=$(id -g "$uid")
    become "$uid" "$gid"
    chown "$uid:$gid" "$home" 2>/dev/null && "${as_owner[@]}" test -w "$home" && return
    rmdir "$home" || fail 17 "$home is in the way and is not a cluster: move it away."
    elsewhere=/var/lib/wall_e/$(checksum "$PWD")/$1
    mkdir -p "$elsewhere"
    chmod 700 "$elsewhere"
    chown "$uid:$gid" "$elsewhere"
    "${as_owner[@]}" test -w "$elsewhere" || fail 17 "The user $(id -un "$uid") can write neither to $home nor to $elsewhere; let it, or set DATABASE_URL."
    ln -s "$elsewhere" "$home"
    say "The user $(id -un "$uid"), who runs Postgres, cannot reach this checkout: the database is in $elsewhere, linked from .walle/$1."
}

# Sets as_owner, the prefix that runs a program as the unprivileged owner of the cluster.
become() {
    (($1)) || fail 17 "$home belongs to root, and Postgres refuses to run as root: give it to another user with chown -R."
    as_owner=(setpriv --reuid "$1" --regid "$2" --clear-groups --pdeathsig TERM --)
}

# The path of a socket is limited to 107 bytes (the tests put servers of their own beneath this one), and a comma or a quote in it would need an escape in each
# of Postgres' options, the URL and a shell: anything but plain and short goes to /tmp.
choose_socket() {
    socket=$home
    [[ ${#home} -gt 75 || $home =~ [^A-Za-z0-9/._-] ]] || return 0
    socket=/tmp/wall_e-$(checksum "$home")
    if mkdir -m 700 "$socket" 2>/dev/null; then
        chown -h --reference="$home" "$socket"
    fi
    [[ -d $socket && ! -L $socket && $(stat -c %u:%a "$socket") == "$(stat -c %u "$home"):700" ]] ||
        fail 17 "$socket should be a private directory of $(stat -c %U "$home") for Postgres' socket, and is not: remove it."
}

make_cluster() {
    local new
    # Never finished, so never used: a finished one has been renamed.
    rm -rf "$home"/data.new.*
    set_aside_half_made
    [[ ! -e $home/data ]] || return 0
    say "Making a Postgres cluster in ${home#"$PWD"/}."
    new=$(mktemp -d "$home/data.new.XXXXXX")
    chown --reference="$home" "$new"
    # No locale: sorting is bytewise and does not change under the indexes when the system's libc is upgraded.
    run env -C "$home" "${as_owner[@]}" "$pg_bin/initdb" -D "${new##*/}" -U wall_e --auth=trust --data-checksums \
        --encoding=UTF8 --no-locale </dev/null >"$home/initdb.log" 2>&1 7>&- 8>&- 9>&- || {
        show_log "$home/initdb.log"
        fail 17 "Postgres could not make its cluster in $home: its message is above."
    }
    mv -T "$new" "$home/data"
    rm "$home/initdb.log"
}

# A directory that initdb did not finish is moved away, never deleted; one that lost only its control file
# while it holds databases (numbered from 16384 on) is for a person to look at.
set_aside_half_made() {
    local aside database
    [[ -e $home/data ]] && ! finished || return 0
    for database in "$home"/data/base/*; do
        [[ ${database##*/} =~ ^[0-9]{5,}$ && ${database##*/} -ge 16384 ]] || continue
        fail 17 "$home/data is damaged (PG_VERSION or global/pg_control is gone) but holds databases: restore a backup, or move the directory away to start over."
    done
    aside=$home/half-made.$(date +%Y%m%d-%H%M%S).$$
    mv -T "$home/data" "$aside"
    say "An unfinished cluster was found and moved to $aside; a new one is made."
}

finished() { [[ -s $home/data/PG_VERSION && -s $home/data/global/pg_control ]]; }

start_server() {
    local options="-c listen_addresses='' -c unix_socket_directories=$socket -c port=5432 -c logging_collector=off" tenths tried=
    if [[ $1 == fast ]]; then
        options+=" -c fsync=off -c synchronous_commit=off -c full_page_writes=off -c max_connections=200"
    else
        options+=" -c fsync=on -c synchronous_commit=on -c full_page_writes=on"
    fi
    # A server may be up already, or still replay its log after a crash, or be dead with its last processes
    # about to notice.
    for ((tenths = 0; tenths < 6000; tenths++)); do
        ! answers || return 0
        if server_pid >/dev/null; then
            sleep 0.1
        elif [[ $tried ]]; then
            break
        else
            tried=yes
            remove_stale_pid_file
            # Not to be ended by a signal: a start that is cut short could leave a server behind, while
            # close_cluster stops it the proper way. The server must not inherit the locks.
            env -C "$home" setsid "${as_owner[@]}" "$pg_bin/pg_ctl" -D data -l server.log -o "$options" -t 600 -s start \
                </dev/null >/dev/null 2>&1 7>&- 8>&- 9>&- &
            starting=$!
            wait "$starting" || true
            starting=
        fi
    done
    show_log "$home/server.log"
    fail 17 "Postgres did not start from $home/data: its last log lines are above."
}

answers() {
    "$pg_bin/pg_isready" -q -h "$socket" -p 5432 -U wall_e -d postgres
}

# The process of this cluster's server, or what is left of one: a Postgres whose working directory is ours.
server_pid() {
    local process
    for process in /proc/[0-9]*; do
        [[ $process/cwd -ef $home/data && $(cat "$process/comm" 2>/dev/null) == postgres ]] || continue
        echo "${process#/proc/}"
        return 0 # said, as in a trap a bare return repeats what came before the trap
    done
    return 1
}

# After the machine died, the number in postmaster.pid may belong to any other program by now, or the file
# may be empty. Postgres would then refuse to start. A number that belongs to nobody it handles itself.
remove_stale_pid_file() {
    local pid=
    [[ -e $home/data/postmaster.pid ]] || return 0
    read -r pid <"$home/data/postmaster.pid" || true
    [[ ! $pid =~ ^[0-9]+$ || -d /proc/$pid ]] || return 0
    say "Postgres did not end properly last time (its pid file is stale); starting it again."
    rm -f "$home/data/postmaster.pid" "$socket"/.s.PGSQL.5432{,.lock}
}

# create_database NAME [afresh]: makes it if missing and sets DATABASE_URL.
create_database() {
    [[ ${2-} != afresh ]] || sql "drop database if exists $1 with (force)"
    flock 8
    [[ $(sql "select 1 from pg_database where datname = '$1'") ]] || sql "create database $1"
    flock -u 8
    # shellcheck disable=SC2034  # exported by the callers
    DATABASE_URL="postgres://wall_e@localhost:5432/$1?host=$socket"
}

sql() {
    PGOPTIONS='-c client_min_messages=warning' "$pg_bin/psql" -XqAt -v ON_ERROR_STOP=1 -h "$socket" -p 5432 -U wall_e -d postgres -c "$1" ||
        fail 17 "The private Postgres in $home refused a statement: its message is above."
}

close_cluster() {
    [[ $cluster_open ]] || return 0
    while [[ $starting ]] && kill -0 "$starting" 2>/dev/null && ! server_pid >/dev/null; do sleep 0.1; done
    flock -w 60 8
    # Someone else has a share of this lock while they use the cluster.
    if flock -n -x 9 && server_pid >/dev/null; then
        env -C "$home" "${as_owner[@]}" "$pg_bin/pg_ctl" -D data -m fast -t 60 -s stop </dev/null >/dev/null 2>&1 8>&- 9>&- ||
            say "Postgres in $home did not stop within a minute; it is left running."
    fi
    exec 8>&- 9>&-
}

# --- Processes ---------------------------------------------------------------------------------------

# Starts a program in a session of its own, so that a Ctrl-C reaches this script alone, which then stops the
# program with everything it started in turn. Should this script be killed, the kernel ends the program.
start() {
    # The locks are this shell's alone. Closed here and not around a call of a function: a signal would find
    # them closed for the trap as well.
    setsid setpriv --pdeathsig TERM -- "$@" <&0 7>&- 8>&- 9>&- &
    child=$!
    children+=("-$child")
}

finish() {
    local code=0
    wait "$1" || code=$?
    forget "$1"
    return "$code"
}

run() {
    start "$@"
    finish "$child"
}

forget() {
    local one left=()
    for one in "${children[@]}"; do
        [[ ${one#-} == "$1" ]] || left+=("$one")
    done
    children=(${left[@]+"${left[@]}"})
}

# The last started goes first: the bot takes its leave while the simulator is still there. Sets the caller's
# `last_code`; in run mode there is one child, the bot.
stop_children() {
    local i one tenths
    for ((i = ${#children[@]} - 1; i >= 0; i--)); do
        one=${children[i]}
        kill -TERM -- "$one" 2>/dev/null || kill -TERM "${one#-}" 2>/dev/null
        # The bot promises to be done within 10 seconds.
        for ((tenths = 0; tenths < 150; tenths++)); do
            lives "$one" || break
            sleep 0.1
        done
        kill -KILL -- "$one" 2>/dev/null
        wait "${one#-}"
        last_code=$?
    done
}

# lives PID, or -GROUP: whether it, or anything of the group, still runs. A zombie does not; it may never be
# collected where process 1 is no real init, as in many containers.
lives() {
    local file state
    for file in /proc/[0-9]*/stat; do
        { read -r state <"$file"; } 2>/dev/null || continue
        # PID (NAME) STATE PARENT GROUP …, where NAME may hold anything
        read -r -a state <<<"${file//[!0-9]/} ${state##*) }"
        [[ ${state[1]} == Z || (${state[0]} != "$1" && -${state[3]} != "$1") ]] || return 0
    done
    return 1
}

on_exit() {
    local code=$? last_code=
    trap '' HUP INT TERM PIPE
    set +e
    stop_children
    close_cluster
    [[ -z $bot_decides ]] || code=${last_code:-$code}
    exit "$code"
}

# --- Small things ------------------------------------------------------------------------------------

say() { echo "run_walle.sh: $1" >&2; }

fail() {
    say "$2"
    exit "$1"
}

on_a_terminal() { [[ -t 0 && -t 2 ]]; }

show_log() { [[ ! -e $1 ]] || tail -n 20 "$1" >&2; }

checksum() { printf %s "$1" | sha256sum | cut -c 1-16; }

invoked_from=$PWD
cd "$(dirname "$(realpath "${BASH_SOURCE[0]}")")"
# A closed stdin would break what is started with a copy of it.
[[ -e /proc/self/fd/0 ]] || exec </dev/null
children=() child='' token='' asked='' take_over='' bot_decides='' cluster_open='' starting='' pg_bin='' pg_too_old='' home='' socket='' programs=''
as_owner=(setpriv --pdeathsig TERM --)
trap on_exit EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 141' PIPE
trap 'exit 143' TERM
main "$@"
