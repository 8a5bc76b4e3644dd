//! Which avatar a user shows, its CDN path, and when a link to its copy expires.
//!
//! Builds paths only from validated hashes and never follows a URL from Discord or from users.

use std::fmt;

use super::picture_size::PICTURE_PIXELS;
use super::{GuildId, Profile, Timestamp, UserId};

/// An avatar's hash as Discord sends it, safe to put into a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AvatarHash(String);

/// The avatar of a user who has chosen one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Picture {
    /// The avatar of the account, shown in all guilds.
    Account(AvatarHash),
    /// The avatar chosen for this guild. It takes precedence over the account's.
    Guild(AvatarHash),
}

/// What to do with the copy of a user's avatar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyPlan {
    /// Nothing: the copy is current, none is needed, or the avatar's hash is not readable.
    Keep,
    /// Make a copy of this picture.
    Make(Picture),
    /// Remove the copy: the user has Discord's default avatar, whose URL never expires.
    Drop,
}

impl AvatarHash {
    /// `None` unless the text is 1 to 64 ASCII letters, digits or underscores, so that it is safe
    /// in a path. Today Discord sends 32 hexadecimal digits, after `a_` for animated avatars, but
    /// it does not promise that form.
    pub fn parse(text: &str) -> Option<Self> {
        const MAX_LENGTH: usize = 64;
        let fits = (1..=MAX_LENGTH).contains(&text.len());
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        (fits && text.bytes().all(plain)).then(|| Self(text.to_owned()))
    }

    /// The hash as text, for a path or for the database.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AvatarHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Picture {
    /// The picture that a profile shows; `None` for Discord's default avatar.
    pub fn of(profile: &Profile) -> Option<Self> {
        let hash = |hash: &Option<String>| AvatarHash::parse(hash.as_deref()?);
        hash(&profile.member.avatar_hash)
            .map(Self::Guild)
            .or_else(|| hash(&profile.account.avatar_hash).map(Self::Account))
    }

    /// The hash. A copy is stored with it, which tells which picture the copy shows.
    pub fn hash(&self) -> &AvatarHash {
        match self {
            Self::Account(hash) | Self::Guild(hash) => hash,
        }
    }

    /// The path on Discord's CDN, as a still PNG of [`PICTURE_PIXELS`] in width and height.
    /// Source: Discord's reference, "Image Formatting".
    pub fn path(&self, user: UserId, guild: GuildId) -> String {
        let folder = match self {
            Self::Account(_) => format!("/avatars/{user}"),
            Self::Guild(_) => format!("/guilds/{guild}/users/{user}/avatars"),
        };
        format!(
            "{folder}/{}.png?size={PICTURE_PIXELS}",
            self.hash().as_str()
        )
    }
}

/// What to do with the copy for a user with this profile. `copied` is the hash of the avatar that
/// the copy shows, if it is trusted; `has_copy` says whether any copy exists.
pub fn copy_plan(profile: &Profile, copied: Option<&str>, has_copy: bool) -> CopyPlan {
    match Picture::of(profile) {
        Some(picture) if has_copy && copied == Some(picture.hash().as_str()) => CopyPlan::Keep,
        Some(picture) => CopyPlan::Make(picture),
        None if has_copy && !has_chosen(profile) => CopyPlan::Drop,
        None => CopyPlan::Keep,
    }
}

/// Whether the profile has an avatar hash, even one that [`AvatarHash::parse`] refuses.
fn has_chosen(profile: &Profile) -> bool {
    profile.member.avatar_hash.is_some() || profile.account.avatar_hash.is_some()
}

/// When a link to an attachment expires: `ex` in its query, in hexadecimal Unix seconds.
/// `None` if there is no valid `ex`. Source: Discord's reference, "Signed Attachment CDN URLs".
pub fn expires_at(link: &str) -> Option<Timestamp> {
    let (_, query) = link.split_once('?')?;
    let ex = query.split('&').find_map(|part| part.strip_prefix("ex="))?;
    // `from_str_radix` would accept a sign; ten digits cannot overflow when multiplied by 1,000.
    let digits = (1..=10).contains(&ex.len()) && ex.bytes().all(|byte| byte.is_ascii_hexdigit());
    let seconds = i64::from_str_radix(ex, 16).ok().filter(|_| digits)?;
    Timestamp::from_millis(seconds.checked_mul(1_000)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::leveling::{Account, Membership};

    fn profile(account: Option<&str>, guild: Option<&str>) -> Profile {
        Profile {
            account: Account {
                avatar_hash: account.map(Into::into),
                ..Account::default()
            },
            member: Membership {
                avatar_hash: guild.map(Into::into),
                ..Membership::default()
            },
        }
    }

    #[test]
    fn the_picture_is_the_guilds_else_the_accounts_else_none() {
        let (user, guild) = (UserId::new(7).unwrap(), GuildId::new(8).unwrap());
        for (account, member, path) in [
            (Some("a1"), None, Some("/avatars/7/a1.png?size=256")),
            (
                Some("a1"),
                Some("a_2"),
                Some("/guilds/8/users/7/avatars/a_2.png?size=256"),
            ),
            (
                None,
                Some("b"),
                Some("/guilds/8/users/7/avatars/b.png?size=256"),
            ),
            // An invalid hash counts as no hash.
            (Some("a1"), Some("../b"), Some("/avatars/7/a1.png?size=256")),
            (Some("a b"), None, None),
            (None, None, None),
        ] {
            let picture = Picture::of(&profile(account, member));
            let found = picture.map(|picture| picture.path(user, guild));
            assert_eq!(found.as_deref(), path, "{account:?} {member:?}");
        }
    }

    #[test]
    fn a_copy_is_made_kept_or_dropped() {
        let make = |hash| CopyPlan::Make(Picture::Account(AvatarHash::parse(hash).unwrap()));
        for (avatar, copied, has_copy, plan) in [
            (Some("a"), Some("a"), true, CopyPlan::Keep),
            (Some("a"), Some("b"), true, make("a")),
            // A copy that is not trusted, and one that was lost.
            (Some("a"), None, true, make("a")),
            (Some("a"), Some("a"), false, make("a")),
            (None, Some("b"), true, CopyPlan::Drop),
            // A hash that cannot be read does not remove the existing copy.
            (Some("of-the.future"), Some("b"), true, CopyPlan::Keep),
            (None, None, false, CopyPlan::Keep),
        ] {
            let found = copy_plan(&profile(avatar, None), copied, has_copy);
            assert_eq!(found, plan, "{avatar:?} {copied:?} {has_copy}");
        }
    }

    #[test]
    fn a_link_says_when_it_expires() {
        let ex = |link: &str| expires_at(link).map(|at| at.millis() / 1_000);
        for (link, seconds) in [
            (
                "https://cdn.discordapp.com/attachments/1/2/a.png?ex=65d903de&is=65c68ede&hm=24&",
                Some(0x65d9_03de),
            ),
            ("https://x/a.png?is=1&ex=ff", Some(255)),
            ("https://x/a.png", None),
            ("https://x/a.png?ex=", None),
            ("https://x/a.png?ex=-1", None),
            ("https://x/a.png?ex=+1", None),
            ("https://x/a.png?ex=0", None),
            ("https://x/a.png?ex=zz", None),
            ("https://x/a.png?ex=ffffffffffffffff", None),
            ("https://x/ex=1?index=2", None),
        ] {
            assert_eq!(ex(link), seconds, "{link}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_in_a_path_stays_in_its_place(text in "\\PC{0,70}|[a-f0-9_./?%]{0,40}") {
            if let Some(hash) = AvatarHash::parse(&text) {
                prop_assert!(!hash.as_str().contains(['/', '.', '?', '%', '#', '\\', ' ']));
            }
            let _ = expires_at(&text);
        }
    }
}
