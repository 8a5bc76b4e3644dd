//! Settings. Only this module reads flags and environment variables.
//!
//! Every setting has a flag and an environment variable. `--help` documents both, and never shows
//! a value from the environment.

#![expect(
    missing_docs,
    reason = "a doc comment on a flattened field would appear in --help"
)]

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use chrono::NaiveTime;
use chrono_tz::Tz;
use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::error::ErrorKind as ClapErrorKind;
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use secrecy::SecretString;

use crate::error::Stop;
use crate::leveling::{GuildId, RoleEntry, look_back};
use crate::text_file::{self, TextError};

/// A self-hosted Discord leveling bot.
#[derive(Debug, Parser)]
#[command(name = "wall_e", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    pub log: Log,
    #[command(subcommand)]
    pub command: CliCommand,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum CliCommand {
    /// Run the bot
    Run(Run),
    /// Only record whose name or avatar changes; can run beside the bot or while it is down
    Listen(Listen),
    /// Bring the database's schema up to date; a new database also gets the levels, without names
    Migrate(DatabaseUrl),
    /// Correct everyone's level roles, or only print what would change
    VerifyRoles(Verify),
    /// Import the levels and the XP of another bot
    Import(Import),
    /// Check that the database is consistent, or that it matches a log of messages
    Check(Check),
}

/// An environment variable that begins with `WALLE_` but is not a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownSetting {
    pub name: String,
    /// The setting with the most similar name, if one is similar enough to be meant.
    pub nearest: Option<String>,
}

/// Finds the environment variables that begin with `WALLE_` but are not settings, sorted by name.
pub fn unknown_settings() -> Vec<UnknownSetting> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    unknown_among(names)
}

fn unknown_among(names: impl Iterator<Item = String>) -> Vec<UnknownSetting> {
    let known = setting_names();
    let unknown = names.filter(|name| name.starts_with("WALLE_") && !known.contains(name));
    let mut unknown: Vec<_> = unknown
        .map(|name| UnknownSetting {
            nearest: nearest(&name, &known),
            name,
        })
        .collect();
    unknown.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    unknown
}

/// The names of all environment variables that the command line reads.
fn setting_names() -> BTreeSet<String> {
    let cli = Cli::command();
    let args = cli.get_arguments();
    let args = args.chain(cli.get_subcommands().flat_map(clap::Command::get_arguments));
    let names = args.filter_map(|arg| arg.get_env()?.to_str());
    names.map(ToOwned::to_owned).collect()
}

/// The known name with the smallest edit distance to `name`, unless even that is large.
fn nearest(name: &str, known: &BTreeSet<String>) -> Option<String> {
    let by_distance = known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(name, known), known));
    let (distance, nearest) = by_distance.min()?;
    (distance <= 3 + name.len() / 8).then(|| nearest.clone())
}

/// The settings for the log.
#[derive(Clone, Debug, Args)]
pub struct Log {
    /// What to log: a filter such as info or debug, as the crate tracing takes it
    #[arg(
        long = "log",
        env = "RUST_LOG",
        default_value = LOG_FILTER,
        hide_env_values = true,
        value_parser = Setting(log_filter),
        global = true
    )]
    pub filter: String,
    /// Format of log lines: text or json
    #[arg(
        long = "log-format",
        env = "WALLE_LOG_FORMAT",
        default_value = "text",
        hide_env_values = true,
        value_parser = Setting(log_format),
        global = true
    )]
    pub format: LogFormat,
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text for people
    Text,
    /// JSON for programs: one object per line
    Json,
}

/// The database to use.
#[derive(Clone, Debug, Args)]
pub struct DatabaseUrl {
    /// Postgres database, as `postgres://USER:PASSWORD@HOST/NAME`
    #[arg(long = "database-url", env = "DATABASE_URL", hide_env_values = true, value_parser = Setting(secret))]
    pub database_url: SecretString,
}

/// The settings of `wall_e run`.
#[derive(Clone, Debug, Args)]
pub struct Run {
    #[command(flatten)]
    pub database: DatabaseUrl,
    #[command(flatten)]
    pub discord: Discord,
    #[command(flatten)]
    pub guild: Guild,
    /// Prefix of text commands
    #[arg(long, env = "WALLE_PREFIX", default_value = ".", hide_env_values = true, value_parser = Setting(prefix))]
    pub prefix: String,
    #[command(flatten)]
    pub rights: RightsSettings,
    /// How many hours back to read missed messages
    #[arg(
        long = "catch-up-hours",
        env = "WALLE_CATCH_UP_HOURS",
        default_value_t = look_back::DEFAULT_HOURS,
        hide_env_values = true,
        value_parser = Setting(hours)
    )]
    pub catch_up_hours: u32,
    /// Name of the text channel in which the bot tells moderators about problems; created if
    /// missing, visible to moderators only
    #[arg(
        long = "council-channel",
        env = "WALLE_COUNCIL_CHANNEL",
        default_value = "council",
        hide_env_values = true
    )]
    pub council: String,
    #[command(flatten)]
    pub cdn: CdnSettings,
    /// Name of the text channel in which the bot keeps copies of avatars; created if missing, as a
    /// private channel
    #[arg(
        long = "avatar-channel",
        env = "WALLE_AVATAR_CHANNEL",
        default_value = "leveling_website_avatar_images",
        hide_env_values = true
    )]
    pub avatars: String,
    /// The guild's time zone, which decides when a day of XP begins
    #[arg(
        long = "timezone",
        env = "WALLE_TIMEZONE",
        default_value = TIME_ZONE,
        hide_env_values = true, value_parser = Setting(zone)
    )]
    pub zone: Tz,
    /// Time of the daily check of everyone's level roles, such as 05:00, in the guild's time zone
    #[arg(long = "verify-at", env = "WALLE_VERIFY_AT", default_value = "05:00", hide_env_values = true, value_parser = Setting(time_of_day))]
    pub verify_at: NaiveTime,
    #[command(flatten)]
    pub joining: Joining,
    /// Names, and so roles, that the levels of a new database get: none, computing (twenty names,
    /// from "Hello World" to "THE 95"), or a file with lines such as `5 Missing Semicolon`. A
    /// database that is already in use keeps its names
    #[arg(
        long = "level-names",
        env = "WALLE_LEVEL_NAMES",
        value_name = "none|computing|FILE",
        default_value = "none",
        hide_env_values = true,
        value_parser = OsStringValueParser::new().map(LevelNamesSettings::read)
    )]
    pub level_names: LevelNamesSettings,
    /// Replace the running bot, on whichever machine it is: start beside it, ask it to stop, then
    /// take over
    #[arg(long)]
    pub take_over: bool,
}

/// The source of a new database's level names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LevelNamesSettings {
    /// No names; moderators name the levels with a command.
    None,
    /// The twenty names of the original guild.
    Computing,
    /// The names in this file.
    File(PathBuf),
}

impl LevelNamesSettings {
    fn read(text: OsString) -> Self {
        match text.to_str() {
            Some("" | "none") => Self::None,
            Some("computing") => Self::Computing,
            _ => Self::File(text.into()),
        }
    }
}

/// What members must complete before they get level roles.
#[derive(Clone, Debug, Args)]
pub struct Joining {
    /// Give members level roles only after they complete Discord's onboarding: yes or no. They
    /// always have to pass the guild's rules screening first. Members who joined before the bot
    /// first saw the onboarding are not held back, unless they have started it
    #[arg(
        long = "await-onboarding",
        env = "WALLE_AWAIT_ONBOARDING",
        value_name = "yes|no",
        default_value = "no",
        hide_env_values = true,
        value_parser = Setting(yes_or_no)
    )]
    pub await_onboarding: YesOrNo,
}

/// A setting that is `yes` or `no`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct YesOrNo(pub bool);

/// The guild to serve.
#[derive(Clone, Debug, Args)]
pub struct Guild {
    /// Id of the guild to serve
    #[arg(
        long = "guild-id",
        env = "WALLE_GUILD_ID",
        default_value = "",
        hide_default_value = true,
        hide_env_values = true
    )]
    guild_id: String,
}

impl Guild {
    /// Parses the guild's id. The error is [`Stop::NoGuild`], which says what is wrong.
    pub fn id(&self) -> Result<GuildId, Stop> {
        let text = self.guild_id.trim();
        if text.is_empty() {
            return Err(Stop::NoGuild(""));
        }
        let not_an_id = || Stop::NoGuild("; its value is not an id, which has 17 to 20 digits");
        text.parse()
            .ok()
            .and_then(GuildId::new)
            .ok_or_else(not_an_id)
    }
}

/// The roles that have the rights to use restricted commands.
#[derive(Clone, Debug, Default, Args)]
pub struct RightsSettings {
    /// Roles that may run moderator commands: names or ids, separated by commas. A name counts
    /// only if a single role has it; the bot then remembers that role by its id
    #[arg(
        long = "moderator-roles",
        env = "WALLE_MODERATOR_ROLES",
        default_value = "Minions,Moderator",
        hide_env_values = true,
        value_parser = Setting(role_list)
    )]
    pub moderators: RoleList,
    /// Roles that may hide or show someone else's XP: names or ids, separated by commas
    #[arg(
        long = "privacy-roles",
        env = "WALLE_PRIVACY_ROLES",
        default_value = "Minions",
        hide_env_values = true,
        value_parser = Setting(role_list)
    )]
    pub privacy: RoleList,
    /// Roles that may run operator commands: names or ids, separated by commas
    #[arg(
        long = "operator-roles",
        env = "WALLE_OPERATOR_ROLES",
        default_value = "Bot_manager",
        hide_env_values = true,
        value_parser = Setting(role_list)
    )]
    pub operators: RoleList,
}

/// A list of roles, each given by its exact name in the guild or by its id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleList(pub Vec<RoleEntry>);

impl RightsSettings {
    /// The entries of all three settings; one that is in several of them comes several times.
    pub fn entries(&self) -> impl Iterator<Item = &RoleEntry> {
        let lists = [&self.moderators, &self.privacy, &self.operators];
        lists.into_iter().flat_map(|list| &list.0)
    }

    /// The environment variables of the settings that contain `entry`.
    pub fn holding(&self, entry: &RoleEntry) -> Vec<&'static str> {
        let lists = [
            ("WALLE_MODERATOR_ROLES", &self.moderators),
            ("WALLE_PRIVACY_ROLES", &self.privacy),
            ("WALLE_OPERATOR_ROLES", &self.operators),
        ];
        let holding = lists.into_iter().filter(|(_, list)| list.0.contains(entry));
        holding.map(|(name, _)| name).collect()
    }
}

/// The settings of `wall_e listen`.
#[derive(Clone, Debug, Args)]
pub struct Listen {
    #[command(flatten)]
    pub database: DatabaseUrl,
    #[command(flatten)]
    pub discord: Discord,
    #[command(flatten)]
    pub guild: Guild,
}

/// The settings of `wall_e verify-roles`.
#[derive(Clone, Debug, Args)]
pub struct Verify {
    #[command(flatten)]
    pub database: DatabaseUrl,
    #[command(flatten)]
    pub discord: Discord,
    #[command(flatten)]
    pub guild: Guild,
    #[command(flatten)]
    pub rights: RightsSettings,
    #[command(flatten)]
    pub joining: Joining,
    /// Change nothing; print what would change
    #[arg(long)]
    pub dry_run: bool,
    /// Print the result as JSON, for programs
    #[arg(long)]
    pub json: bool,
}

/// How to connect to Discord.
#[derive(Clone, Debug, Args)]
pub struct Discord {
    /// The bot's token; better set in the environment, where other users cannot see it
    #[arg(long, env = "WALLE_TOKEN", hide_env_values = true, value_parser = Setting(secret))]
    token: Option<SecretString>,
    /// File that contains the token
    #[arg(long = "token-file", env = "WALLE_TOKEN_FILE", hide_env_values = true, value_parser = path())]
    token_file: Option<PathBuf>,
    /// Origin of Discord's REST API: an https:// origin is used like Discord itself, an http://
    /// origin as a proxy in front of Discord
    #[arg(
        long = "discord-api",
        env = "WALLE_DISCORD_API",
        default_value = "https://discord.com",
        hide_env_values = true,
        value_parser = Setting(origin)
    )]
    pub api: Origin,
    /// PEM file of a certificate authority to trust in addition to the usual ones
    #[arg(long = "discord-ca", env = "WALLE_DISCORD_CA", hide_env_values = true, value_parser = path())]
    ca: Option<PathBuf>,
}

impl Discord {
    /// The token: from its own setting or, if that is not set, from the token file. The error is
    /// [`Stop::NoToken`], which says what is wrong and never quotes the token.
    pub fn token(&self) -> Result<SecretString, Stop> {
        use secrecy::ExposeSecret;
        let given = match (&self.token, non_empty(self.token_file.as_deref())) {
            (Some(token), _) if !token.expose_secret().is_empty() => token.clone(),
            (_, Some(file)) => {
                let read = text_file::read(file).map_err(|error| {
                    Stop::NoToken(match error {
                        TextError::Io(error) if error.kind() == ErrorKind::NotFound => {
                            "; the file in WALLE_TOKEN_FILE does not exist"
                        }
                        TextError::Io(_) => "; the file in WALLE_TOKEN_FILE cannot be read",
                        TextError::Malformed { .. } | TextError::Utf32 => {
                            "; the file in WALLE_TOKEN_FILE is neither UTF-8 nor UTF-16"
                        }
                    })
                })?;
                SecretString::from(read.text)
            }
            _ => return Err(Stop::NoToken("")),
        };
        // Some editors put a byte order mark before the text.
        let token = given.expose_secret().trim_start_matches('\u{feff}').trim();
        // The HTTP library would quote a token that is not valid in a header in its error.
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Stop::NoToken("; its value is not a token"));
        }
        Ok(SecretString::from(token))
    }

    /// The path of the extra certificate authority's PEM file, if set.
    pub fn ca(&self) -> Option<&Path> {
        non_empty(self.ca.as_deref())
    }
}

/// The server that receives REST calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Discord, or a server that is used exactly like Discord, over HTTPS.
    Discord { host: String, port: u16 },
    /// The URL of a proxy in front of Discord, without a path.
    Proxy(String),
}

/// The server from which images are downloaded.
#[derive(Clone, Debug, Args)]
pub struct CdnSettings {
    /// Origin of avatar images
    #[arg(
        long = "discord-cdn",
        env = "WALLE_DISCORD_CDN",
        default_value = CDN,
        hide_env_values = true,
        value_parser = Setting(cdn)
    )]
    pub origin: String,
}

/// The settings of `wall_e check`.
#[derive(Clone, Debug, Args)]
pub struct Check {
    #[command(flatten)]
    pub database: DatabaseUrl,
    /// Compare the database with this log of all messages ever counted: Discord's message objects
    /// as JSON, one per line
    #[arg(long, value_name = "FILE")]
    pub replay: Option<PathBuf>,
    /// Replay the log on top of this dump: the files, in Django's format, that were imported
    /// into the database when it was new
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "replay")]
    pub from: Vec<PathBuf>,
    /// The guild's time zone, which decides when a day of XP begins
    #[arg(long = "timezone", env = "WALLE_TIMEZONE", default_value = TIME_ZONE, hide_env_values = true, value_parser = Setting(zone))]
    pub zone: Tz,
}

/// The settings of `wall_e import`.
#[derive(Clone, Debug, Args)]
pub struct Import {
    #[command(flatten)]
    pub database: DatabaseUrl,
    /// Format of the files
    #[arg(value_name = "FORMAT")]
    pub from: ImportFormat,
    /// The files to import, in any order
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Do nothing if the database has users already
    #[arg(long)]
    pub fresh_only: bool,
}

/// The format of an import's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ImportFormat {
    /// Output of `manage.py dumpdata` of the Python wall_e
    Django,
}

/// A parser for paths that accepts an empty one: a variable set to nothing counts as not set.
fn path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

fn non_empty(path: Option<&Path>) -> Option<&Path> {
    path.filter(|path| !path.as_os_str().is_empty())
}

const LOG_FILTER: &str = "info";
const CDN: &str = "https://cdn.discordapp.com";
const TIME_ZONE: &str = "Canada/Pacific";

/// A value parser whose error says what is expected. It never quotes the given value, which can be
/// a secret in the wrong variable.
#[derive(Clone, Copy)]
struct Setting<T>(fn(&str) -> Result<T, &'static str>);

impl<T: Clone + Send + Sync + 'static> TypedValueParser for Setting<T> {
    type Value = T;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<T, clap::Error> {
        let read = value.to_str().ok_or("expected text").and_then(self.0);
        read.map_err(|expected| {
            let flag = argument.and_then(clap::Arg::get_long).unwrap_or_default();
            let variable = argument
                .and_then(clap::Arg::get_env)
                .map(|name| format!(" (or {})", name.display()))
                .unwrap_or_default();
            let sentence = format!("--{flag}{variable}: {expected}\n");
            clap::Error::raw(ClapErrorKind::ValueValidation, sentence).with_cmd(command)
        })
    }
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "every setting's reader has this signature"
)]
fn secret(text: &str) -> Result<SecretString, &'static str> {
    Ok(SecretString::from(text))
}

fn log_filter(text: &str) -> Result<String, &'static str> {
    let text = or_default(text, LOG_FILTER);
    // Checked here, because the log library would skip invalid directives and print them.
    let filter = tracing_subscriber::EnvFilter::builder().parse(text);
    let expected = "expected a filter such as info or info,wall_e=debug";
    filter.map(|_| text.to_owned()).map_err(|_| expected)
}

fn log_format(text: &str) -> Result<LogFormat, &'static str> {
    match or_default(text, "text") {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("expected text or json"),
    }
}

fn yes_or_no(text: &str) -> Result<YesOrNo, &'static str> {
    match or_default(text, "no") {
        "yes" => Ok(YesOrNo(true)),
        "no" => Ok(YesOrNo(false)),
        _ => Err("expected yes or no"),
    }
}

fn hours(text: &str) -> Result<u32, &'static str> {
    if text.is_empty() {
        return Ok(look_back::DEFAULT_HOURS);
    }
    text.parse().map_err(|_| "expected a whole number of hours")
}

fn prefix(text: &str) -> Result<String, &'static str> {
    let text = or_default(text, ".");
    match text.chars().count() {
        1..=5 if !text.contains(char::is_whitespace) => Ok(text.to_owned()),
        _ => Err("expected 1 to 5 characters without spaces"),
    }
}

/// Reads a list of roles. If the setting is empty, only administrators have the right.
#[expect(
    clippy::unnecessary_wraps,
    reason = "every setting's reader has this signature"
)]
fn role_list(text: &str) -> Result<RoleList, &'static str> {
    let entries = text.split(',').filter_map(RoleEntry::parse);
    Ok(RoleList(entries.collect()))
}

fn time_of_day(text: &str) -> Result<NaiveTime, &'static str> {
    let time = NaiveTime::parse_from_str(or_default(text, "05:00"), "%H:%M");
    time.map_err(|_| "expected a time of day such as 05:00")
}

fn zone(text: &str) -> Result<Tz, &'static str> {
    let zone = or_default(text, TIME_ZONE).parse();
    zone.map_err(|_| "expected a time zone such as Canada/Pacific or Europe/Berlin")
}

/// A variable that is set to nothing counts as not set.
fn or_default<'a>(text: &'a str, default: &'a str) -> &'a str {
    if text.is_empty() { default } else { text }
}

fn origin(text: &str) -> Result<Origin, &'static str> {
    let (scheme, host, port) = bare_origin(or_default(text, "https://discord.com"))?;
    Ok(if scheme == "https" {
        Origin::Discord {
            // Brackets around an IPv6 address belong to the URL, not to the host.
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
        }
    } else {
        Origin::Proxy(format!("http://{host}:{port}"))
    })
}

fn cdn(text: &str) -> Result<String, &'static str> {
    let (scheme, host, port) = bare_origin(or_default(text, CDN))?;
    Ok(format!("{scheme}://{host}:{port}"))
}

/// The scheme, host and port of an `http` or `https` URL that has nothing else.
fn bare_origin(text: &str) -> Result<(&'static str, String, u16), &'static str> {
    let expected =
        "expected https://HOST[:PORT] or http://HOST[:PORT], without a path, a user or a password";
    let url = reqwest::Url::parse(text).map_err(|_| expected)?;
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        return Err(expected);
    };
    if url.path() != "/"
        || url.query().is_some()
        || !url.username().is_empty()
        || url.password().is_some()
    {
        return Err(expected);
    }
    let scheme = match url.scheme() {
        "https" => "https",
        "http" => "http",
        _ => return Err(expected),
    };
    Ok((scheme, host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_example_file_lists_every_setting_and_no_other() {
        let lines = include_str!("../.env.example").lines();
        let names = lines.filter_map(|line| line.trim_start_matches('#').split_once('='));
        let listed: BTreeSet<_> = names.map(|(name, _)| name.to_owned()).collect();
        assert_eq!(listed, setting_names());
    }

    #[test]
    fn help_never_shows_a_value_of_the_environment() {
        for mut command in Cli::command()
            .get_subcommands()
            .cloned()
            .chain([Cli::command()])
        {
            for argument in command
                .get_arguments()
                .filter(|argument| argument.get_env().is_some())
            {
                assert!(argument.is_hide_env_values_set(), "--{}", argument.get_id());
            }
            assert!(!command.render_long_help().to_string().is_empty());
        }
    }

    #[test]
    fn origins_are_told_apart_by_their_scheme() {
        let discord = |host: &str, port| {
            Ok(Origin::Discord {
                host: host.to_owned(),
                port,
            })
        };
        assert_eq!(origin("https://discord.com"), discord("discord.com", 443));
        assert_eq!(
            origin("https://127.0.0.1:8443/"),
            discord("127.0.0.1", 8443)
        );
        assert_eq!(origin("https://[::1]:8443"), discord("::1", 8443));
        assert_eq!(
            origin("http://proxy:3000"),
            Ok(Origin::Proxy("http://proxy:3000".to_owned()))
        );
        for wrong in [
            "discord.com",
            "ftp://discord.com",
            "https://",
            "https://a/b",
            "https://me:pw@a",
        ] {
            assert!(origin(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_is_set_to_nothing_is_not_set() {
        assert_eq!(log_filter("").as_deref(), Ok(LOG_FILTER));
        assert_eq!(log_format(""), Ok(LogFormat::Text));
        assert_eq!(yes_or_no(""), Ok(YesOrNo(false)));
        assert_eq!(yes_or_no("yes"), Ok(YesOrNo(true)));
        assert!(yes_or_no("on").is_err());
        assert!(log_filter("wall_e=a.secret=x").is_err());
        assert_eq!(role_list(""), Ok(RoleList::default()));
        assert_eq!(time_of_day(""), time_of_day("05:00"));
        assert!(time_of_day("25:00").is_err() && time_of_day("5").is_err());
        assert_eq!(hours(""), Ok(24));
        assert_eq!(zone(""), Ok(Tz::Canada__Pacific));
        assert_eq!(origin(""), origin("https://discord.com"));
        assert_eq!(cdn(""), Ok("https://cdn.discordapp.com:443".to_owned()));
        assert_eq!(cdn("http://[::1]:80/"), Ok("http://[::1]:80".to_owned()));
        assert!(cdn("http://a/b").is_err() && cdn("ftp://a").is_err());
    }

    #[test]
    fn level_names_are_one_of_two_words_or_a_file() {
        for (text, expected) in [
            ("", LevelNamesSettings::None),
            ("none", LevelNamesSettings::None),
            ("computing", LevelNamesSettings::Computing),
            ("./none", LevelNamesSettings::File("./none".into())),
            ("Computing", LevelNamesSettings::File("Computing".into())),
        ] {
            assert_eq!(LevelNamesSettings::read(text.into()), expected, "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_that_is_set_breaks_a_setting(text in "\\PC{0,40}|https?://[^ ]{0,30}") {
            let _ = (origin(&text), prefix(&text), zone(&text), hours(&text));
        }
    }

    /// `run_walle.sh` knows time zones by this list, before there is a binary to ask.
    #[test]
    fn the_list_of_time_zones_is_what_a_setting_takes() {
        let listed: Vec<_> = include_str!("../fixtures/timezones.txt").lines().collect();
        let known: Vec<_> = chrono_tz::TZ_VARIANTS
            .iter()
            .map(|zone| zone.name())
            .collect();
        assert!(
            listed == known,
            "write these to the file:\n{}",
            known.join("\n")
        );
    }

    #[test]
    fn a_variable_that_is_no_setting_is_named_with_the_nearest_setting() {
        let names = [
            "WALLE_PREFIX",
            "WALLE_TOKEN_FILE",
            "WALLE_LOG_FORMAT",
            "WALLE_TOKN",
            "WALLE_MODERATOR_ROLE",
            "WALLE_SOMETHING_ELSE_ALTOGETHER",
            "PATH",
        ];
        let found = unknown_among(names.map(str::to_owned).into_iter());
        let found: Vec<_> = found
            .iter()
            .map(|unknown| (unknown.name.as_str(), unknown.nearest.as_deref()))
            .collect();
        let expected = [
            ("WALLE_MODERATOR_ROLE", Some("WALLE_MODERATOR_ROLES")),
            ("WALLE_SOMETHING_ELSE_ALTOGETHER", None),
            ("WALLE_TOKN", Some("WALLE_TOKEN")),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn roles_stand_between_commas() {
        let roles = role_list(" Minions, Bot manager ,,175928847299117063").unwrap();
        let expected = ["Minions", "Bot manager", "175928847299117063"];
        let expected = expected.map(|entry| RoleEntry::parse(entry).unwrap());
        assert_eq!(roles.0, expected);
        assert!(matches!(roles.0[2], RoleEntry::Id(_)));
    }

    #[test]
    fn a_prefix_is_short_and_solid() {
        for (text, good) in [
            (".", true),
            ("!!", true),
            ("", true),
            (". ", false),
            ("abcdef", false),
        ] {
            assert_eq!(prefix(text).is_ok(), good, "{text:?}");
        }
    }
}
