//! Reads a dump of the Python wall_e's models, as Django's `dumpdata` writes it.
//!
//! Saves nothing. Every [`Dump`] returned from here can be saved. If a record cannot be saved, the
//! error names the file, the record and the field. It repeats no values except ids and what a
//! record says about a level, since a dump may hold anything. Unknown fields and models are
//! skipped.

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::{Context, anyhow, bail};
use chrono::DateTime;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::Dump;
use crate::leveling::{
    Account, Level, LevelNumber, Levels, Membership, MessageId, Points, Profile, RoleId, RoleName,
    Standing, Timestamp, UserId,
};
use crate::store::user_point::{AvatarCopy, ImportedUser};
use crate::text_file::{self, Encoding, TextFile, json_error};

const LEVEL: &str = "wall_e_models.level";
const USER_POINT: &str = "wall_e_models.userpoint";

/// The last second of the year 9999. A later time in a dump is a mistake.
const LATEST_SECOND: f64 = 253_402_300_799.0;

/// Reads and checks the files.
pub fn read(paths: &[PathBuf]) -> anyhow::Result<Dump> {
    let mut files = Vec::with_capacity(paths.len());
    for path in paths {
        let TextFile { text, encoding } =
            text_file::read(path).map_err(|error| anyhow!("{} {error}", path.display()))?;
        let name = match encoding {
            Encoding::Utf8 => path.display().to_string(),
            other => format!("{}, read as {other}", path.display()),
        };
        files.push((name, text));
    }
    parse(
        files
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str())),
    )
}

/// Reads and checks the texts of files, each with its name.
pub fn parse<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> anyhow::Result<Dump> {
    let mut levels = Vec::new();
    let mut users = Vec::new();
    let mut first_seen: HashMap<UserId, String> = HashMap::new();
    let mut skipped = 0;
    for (file, text) in files {
        let records: Vec<&RawValue> = serde_json::from_str(text).map_err(|error| {
            let why = json_error(&error);
            anyhow!("{file} is not a whole JSON list of Django records: {why}")
        })?;
        for (number, record) in (1..).zip(records) {
            let Record { model, fields } = serde_json::from_str(record.get()).map_err(|error| {
                let why = json_error(&error);
                anyhow!("{file}, record {number}: must have a model and fields: {why}")
            })?;
            let place = || format!("{file}, record {number} ({model})");
            let fields = Fields(&fields);
            if model.eq_ignore_ascii_case(LEVEL) {
                levels.push((place(), level(&fields).with_context(place)?));
            } else if model.eq_ignore_ascii_case(USER_POINT) {
                let user = user(&fields).with_context(place)?;
                let id = user.0.user;
                if let Some(first) = first_seen.insert(id, place()) {
                    bail!("{}: user_id: {id} appears twice, first in {first}", place());
                }
                users.push(user);
            } else {
                skipped += 1;
            }
        }
    }
    Ok(Dump {
        levels: checked(levels)?,
        users,
        skipped,
    })
}

#[derive(Deserialize)]
struct Record {
    model: String,
    fields: Map<String, Value>,
}

fn level(fields: &Fields) -> anyhow::Result<Level> {
    let number = fields.whole("number")?;
    let number =
        u16::try_from(number).map_err(|_| anyhow!("number: {number} is too high for a level"))?;
    let role_name = match fields.text("role_name")? {
        Some(name) => RoleName::imported(&name).map_err(|error| anyhow!("role_name: {error}"))?,
        None => None,
    };
    Ok(Level {
        number: LevelNumber(number),
        total_points_required: fields.points("total_points_required")?,
        points_to_next_level: fields.points("xp_needed_to_level_up_to_next_level")?,
        role_id: fields.optional_id("role_id", RoleId::new)?,
        role_name: role_name.map(|name| name.to_string()),
    })
}

/// Checks that the levels fit together; `None` if the dump holds no levels.
fn checked(levels: Vec<(String, Level)>) -> anyhow::Result<Option<Levels>> {
    if levels.is_empty() {
        return Ok(None);
    }
    let places: HashMap<LevelNumber, String> = levels
        .iter()
        .map(|(place, level)| (level.number, place.clone()))
        .collect();
    let rows = levels.into_iter().map(|(_, level)| level).collect();
    let levels = Levels::new(rows).map_err(|error| match places.get(&error.about()) {
        Some(place) => anyhow!("{place}: {}: {error}", error.field()),
        None => anyhow!("the levels do not fit together: {error}"),
    })?;
    let mut names: HashMap<&str, LevelNumber> = HashMap::new();
    let mut roles: HashMap<RoleId, LevelNumber> = HashMap::new();
    for level in levels.rows() {
        if let Some(role) = level.role_id
            && let Some(other) = roles.insert(role, level.number)
        {
            bail!(
                "{}: role_id: {role} belongs to level {other} already",
                places[&level.number]
            );
        }
        if let Some(name) = &level.role_name
            && let Some(other) = names.insert(name, level.number)
        {
            bail!(
                "{}: role_name: {name:?} belongs to level {other} already",
                places[&level.number]
            );
        }
    }
    for pair in levels.rows().windows(2) {
        let reached = pair[0]
            .total_points_required
            .plus(pair[0].points_to_next_level.get());
        if reached != pair[1].total_points_required {
            bail!(
                "{}: xp_needed_to_level_up_to_next_level: {} leads to {reached} points, but level {} requires {}",
                places[&pair[0].number],
                pair[0].points_to_next_level,
                pair[1].number,
                pair[1].total_points_required,
            );
        }
    }
    Ok(Some(levels))
}

/// The user, and the level number that the dump stores for them.
fn user(fields: &Fields) -> anyhow::Result<(ImportedUser, Option<u64>)> {
    let user = fields
        .optional_id("user_id", UserId::new)?
        .context("user_id: is missing")?;
    let standing = Standing {
        points: fields.points("points")?,
        message_count: fields.points("message_count")?.get(),
        last_awarded_at: fields.epoch("latest_time_xp_was_earned_epoch")?,
    };
    let profile = fields.text("name")?.map(|username| -> anyhow::Result<_> {
        let avatar = fields.text("avatar_url")?;
        Ok(Profile {
            account: Account {
                username,
                display_name: None,
                avatar_hash: avatar.as_deref().and_then(avatar_hash).map(str::to_owned),
            },
            member: Membership {
                nickname: fields.text("nickname")?,
                avatar_hash: None,
            },
        })
    });
    let avatar = AvatarCopy {
        message_id: fields.optional_id("avatar_url_message_id", MessageId::new)?,
        link: fields.text("leveling_message_avatar_url")?,
        expires_at: fields.date("discord_avatar_link_expiry_date")?,
    };
    let imported = ImportedUser {
        user,
        standing,
        hidden: fields.flag("hidden")?,
        profile: profile.transpose()?,
        avatar,
    };
    Ok((imported, fields.optional_whole("level_number")?))
}

/// The hash in `https://cdn.discordapp.com/avatars/USER/HASH.png?size=…`; `None` for a default
/// avatar and for a guild avatar.
fn avatar_hash(url: &str) -> Option<&str> {
    let (user, file) = url.split_once("/avatars/")?.1.split_once('/')?;
    let hash = file.split(['.', '?']).next()?;
    let digits = hash.strip_prefix("a_").unwrap_or(hash);
    let of_an_account = !url.contains("/guilds/") && user.bytes().all(|byte| byte.is_ascii_digit());
    let is_hash = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    (of_an_account && is_hash).then_some(hash)
}

/// A record's fields, read by name. An error names the field and says what it may hold.
struct Fields<'a>(&'a Map<String, Value>);

impl Fields<'_> {
    fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    fn whole(&self, name: &str) -> anyhow::Result<u64> {
        self.optional_whole(name)?
            .ok_or_else(|| anyhow!("{name}: is missing"))
    }

    fn optional_whole(&self, name: &str) -> anyhow::Result<Option<u64>> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let whole = value
            .as_u64()
            .ok_or_else(|| anyhow!("{name}: must be a whole number, 0 or more"))?;
        Ok(Some(whole))
    }

    fn points(&self, name: &str) -> anyhow::Result<Points> {
        let value = self.whole(name)?;
        Points::new(value).ok_or_else(|| anyhow!("{name}: must be at most {}", i64::MAX))
    }

    fn optional_id<T>(&self, name: &str, parse: fn(u64) -> Option<T>) -> anyhow::Result<Option<T>> {
        let Some(value) = self.optional_whole(name)? else {
            return Ok(None);
        };
        let id =
            parse(value).ok_or_else(|| anyhow!("{name}: must be an id from 1 to {}", i64::MAX))?;
        Ok(Some(id))
    }

    /// `None` for null and for an empty text: Django writes both for a missing value.
    fn text(&self, name: &str) -> anyhow::Result<Option<String>> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let text = value
            .as_str()
            .ok_or_else(|| anyhow!("{name}: must be a text"))?;
        if text.contains('\0') {
            bail!("{name}: holds a NUL character, which Postgres cannot store");
        }
        Ok((!text.is_empty()).then(|| text.to_owned()))
    }

    fn flag(&self, name: &str) -> anyhow::Result<bool> {
        let Some(value) = self.get(name) else {
            return Ok(false);
        };
        value
            .as_bool()
            .ok_or_else(|| anyhow!("{name}: must be true or false"))
    }

    /// Seconds since 1970, with or without a fraction; 0 is Django's default and means never.
    fn epoch(&self, name: &str) -> anyhow::Result<Option<Timestamp>> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let seconds = value
            .as_f64()
            .filter(|seconds| (0.0..=LATEST_SECOND).contains(seconds));
        let seconds = seconds.ok_or_else(|| anyhow!("{name}: must be seconds since 1970"))?;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "checked to be in range above"
        )]
        Ok(Timestamp::from_millis((seconds * 1_000.0).round() as i64))
    }

    fn date(&self, name: &str) -> anyhow::Result<Option<Timestamp>> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        let date = DateTime::parse_from_rfc3339(&text)
            .map_err(|_| anyhow!("{name}: must be a date such as 2024-02-29T12:00:00Z"))?;
        Ok(Timestamp::from_millis(date.timestamp_millis()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn user_record(change: &Value) -> Value {
        let mut fields = json!({
            "user_id": 175_928_847_299_117_063_u64, "name": "alice", "nickname": null,
            "avatar_url": "https://cdn.discordapp.com/avatars/175928847299117063/a_00112233445566778899aabbccddeeff.gif?size=1024",
            "leveling_message_avatar_url": "https://cdn.discordapp.com/attachments/1/2/a.png?ex=1&is=1&hm=1",
            "avatar_url_message_id": 9, "points": 475, "level_up_specific_points": 0, "message_count": 24,
            "latest_time_xp_was_earned_epoch": 1_700_000_000, "level_number": 3, "hidden": false,
            "leveling_update_attempt": 0, "bucket_number": 4,
            "discord_avatar_link_expiry_date": "2024-01-01T00:00:00-08:00", "being_processed": false,
        });
        fields
            .as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        json!({ "model": USER_POINT, "pk": 1, "fields": fields })
    }

    fn level_records(edit: impl FnOnce(&mut Vec<Value>)) -> Value {
        let mut records: Vec<Value> = [(0, 0, 100), (1, 100, 155), (2, 255, 220)]
            .map(|(number, total, step)| {
                json!({ "model": LEVEL, "pk": number, "fields": {
                    "number": number, "total_points_required": total,
                    "xp_needed_to_level_up_to_next_level": step, "role_id": null, "role_name": null,
                }})
            })
            .into();
        edit(&mut records);
        Value::Array(records)
    }

    fn parse_one(records: &Value) -> anyhow::Result<Dump> {
        parse([("dump.json", records.to_string().as_str())])
    }

    fn refusal(records: &Value) -> String {
        format!("{:#}", parse_one(records).unwrap_err())
    }

    #[test]
    fn a_user_is_read_whole() {
        let dump = parse_one(
            &json!([user_record(&json!({})), { "model": "auth.user", "pk": 1, "fields": {} }]),
        )
        .unwrap();
        assert_eq!((dump.levels, dump.skipped), (None, 1));
        let (user, claimed) = &dump.users[0];
        assert_eq!(*claimed, Some(3));
        assert_eq!(user.standing.points.get(), 475);
        assert_eq!(
            user.standing.last_awarded_at.unwrap().millis(),
            1_700_000_000_000
        );
        assert_eq!(user.avatar.expires_at.unwrap().millis(), 1_704_096_000_000);
        let profile = user.profile.as_ref().unwrap();
        assert_eq!(
            profile.account.avatar_hash.as_deref(),
            Some("a_00112233445566778899aabbccddeeff")
        );
    }

    #[test]
    fn bad_data_is_refused_by_record_and_field() {
        for (field, value) in [
            ("user_id", json!(0)),
            ("user_id", json!(-5)),
            ("user_id", json!(9_223_372_036_854_775_808_u64)),
            ("user_id", json!("175928847299117063")),
            ("user_id", json!(null)),
            ("points", json!(9_223_372_036_854_775_808_u64)),
            ("points", json!(-1)),
            ("points", json!(1.5)),
            ("points", json!(1e300)),
            ("message_count", json!(-1)),
            ("latest_time_xp_was_earned_epoch", json!(-1)),
            ("latest_time_xp_was_earned_epoch", json!("yesterday")),
            ("hidden", json!("no")),
            ("name", json!(5)),
            ("name", json!("a\u{0}b")),
            ("discord_avatar_link_expiry_date", json!("soon")),
        ] {
            let said = refusal(&json!([
                user_record(&json!({})),
                user_record(&json!({ field: value }))
            ]));
            let named = format!("dump.json, record 2 (wall_e_models.userpoint): {field}: ");
            assert!(said.starts_with(&named), "{said}");
        }
    }

    #[test]
    fn a_user_who_is_there_twice_is_refused() {
        let said = refusal(&json!([user_record(&json!({})), user_record(&json!({}))]));
        assert!(
            said.contains("record 2") && said.contains("user_id") && said.contains("record 1"),
            "{said}"
        );
    }

    #[test]
    fn levels_that_do_not_fit_together_are_refused() {
        let field = |index: usize, name: &'static str, value: Value| {
            move |records: &mut Vec<Value>| records[index]["fields"][name] = value
        };
        for (records, expected) in [
            (
                level_records(|records| drop(records.remove(1))),
                "level 1 is missing",
            ),
            (
                level_records(|records| records.push(records[1].clone())),
                "level 1 appears twice",
            ),
            (
                level_records(field(1, "number", json!(-1))),
                "record 2 (wall_e_models.level): number: ",
            ),
            (
                level_records(field(1, "total_points_required", json!(-1))),
                "record 2 (wall_e_models.level): total_points_required: ",
            ),
            (
                level_records(field(1, "xp_needed_to_level_up_to_next_level", json!(5))),
                "record 2 (wall_e_models.level): xp_needed",
            ),
            (
                level_records(field(1, "role_id", json!(0))),
                "record 2 (wall_e_models.level): role_id: ",
            ),
            (
                level_records(|records| {
                    records[0]["fields"]["role_name"] = json!("Kernel");
                    records[2]["fields"]["role_name"] = json!("Kernel");
                }),
                "record 3 (wall_e_models.level): role_name: \"Kernel\" belongs to level 0",
            ),
            (
                level_records(|records| {
                    records[0]["fields"]["role_name"] = json!("Kernel");
                    records[2]["fields"]["role_name"] = json!(" Kernel\u{a0}");
                }),
                "record 3 (wall_e_models.level): role_name: \"Kernel\" belongs to level 0",
            ),
            (
                level_records(field(1, "role_name", json!("x".repeat(101)))),
                "record 2 (wall_e_models.level): role_name: A role's name needs 1 to 100 characters; this one has 101.",
            ),
            (
                level_records(field(1, "role_name", json!("<@&175928847299117063>"))),
                "record 2 (wall_e_models.level): role_name: A mention cannot be a role's name",
            ),
            (
                level_records(|records| {
                    records[0]["fields"]["role_id"] = json!(7);
                    records[2]["fields"]["role_id"] = json!(7);
                }),
                "record 3 (wall_e_models.level): role_id: 7 belongs to level 0",
            ),
        ] {
            let said = refusal(&records);
            assert!(said.contains(expected), "{said}");
        }
        let spaced = level_records(field(1, "role_name", json!(" Kernel ")));
        let levels = parse_one(&spaced).unwrap().levels.unwrap();
        assert_eq!(levels.rows()[1].role_name.as_deref(), Some("Kernel"));
        assert_eq!(
            parse_one(&level_records(|_| {}))
                .unwrap()
                .levels
                .unwrap()
                .rows()
                .len(),
            3
        );
    }

    #[test]
    fn a_file_that_is_cut_off_is_refused_by_its_name() {
        let text = json!([user_record(&json!({}))]).to_string();
        let said = format!(
            "{:#}",
            parse([("cut.json", &text[..text.len() - 20])]).unwrap_err()
        );
        assert!(
            said.starts_with("cut.json is not a whole JSON list"),
            "{said}"
        );
    }

    #[test]
    fn only_an_accounts_own_avatar_has_a_hash() {
        let hash = "00112233445566778899aabbccddeeff";
        assert_eq!(
            avatar_hash(&format!("https://cdn.discordapp.com/avatars/1/{hash}.png")),
            Some(hash)
        );
        for other in [
            "https://cdn.discordapp.com/embed/avatars/3.png".to_owned(),
            format!("https://cdn.discordapp.com/guilds/1/users/2/avatars/{hash}.png"),
            "https://cdn.discordapp.com/avatars/1/../../x.png".to_owned(),
            String::new(),
        ] {
            assert_eq!(avatar_hash(&other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_url_holds_its_hash_is_one(
            url in "(https://cdn\\.discordapp\\.com)?(/guilds/[0-9]{1,3})?(/avatars/)?[0-9a-f/.%]{0,9}/(a_)?[0-9a-fA-F./]{30,34}(\\.png|\\.gif)?(\\?size=[0-9]{0,4})?"
        ) {
            if let Some(hash) = avatar_hash(&url) {
                let digits = hash.trim_start_matches("a_");
                prop_assert!(digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
                prop_assert!(url.contains("/avatars/") && !url.contains("/guilds/"));
            }
        }

        #[test]
        fn nothing_that_is_in_a_file_breaks_it(text in "\\PC{0,200}") {
            let _ = parse([("any", text.as_str())]);
        }

        #[test]
        fn no_value_of_any_field_breaks_it(field in 0_usize..15, value in prop_oneof![
            any::<i64>().prop_map(|n| json!(n)), any::<u64>().prop_map(|n| json!(n)), any::<f64>().prop_map(|n| json!(n)),
            any::<bool>().prop_map(|b| json!(b)), "\\PC{0,40}".prop_map(|s| json!(s)), Just(json!(null)), Just(json!([])),
        ]) {
            let mut record = user_record(&json!({}));
            let name = record["fields"].as_object().unwrap().keys().nth(field).unwrap().clone();
            record["fields"][&name] = value;
            let _ = parse_one(&json!([record]));
        }
    }
}
