//! Which picture shows a user, where it is, and how long a link to its copy works.
//!
//! Only builds paths from what it has validated; never follows a URL that Discord or anybody
//! else has written.

use std::fmt;

use super::{GuildId, Profile, Timestamp, UserId};

/// An avatar's hash, as Discord sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AvatarHash(String);

/// The picture that shows a user who has chosen one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Picture {
    /// The account's.
    Account(AvatarHash),
    /// The one chosen for this guild, which goes before the account's.
    Guild(AvatarHash),
}

/// What is to become of the copy of a user's avatar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyPlan {
    /// It shows what it should; or there is none, and none is needed.
    Keep,
    /// A copy of this picture is wanted.
    Make(Picture),
    /// The user has Discord's default avatar, which never expires.
    Drop,
}

impl AvatarHash {
    /// `None` for what could not stand in a path. Discord's are 32 hexadecimal digits today,
    /// with `a_` before those of animated ones, and the form is not promised.
    pub fn parse(text: &str) -> Option<Self> {
        const LONGEST: usize = 64;
        let fits = (1..=LONGEST).contains(&text.len());
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        (fits && text.bytes().all(plain)).then(|| Self(text.to_owned()))
    }

    /// As it stands in a path.
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
    /// The picture of a profile; `None` for Discord's default one.
    pub fn of(profile: &Profile) -> Option<Self> {
        let hash = |hash: &Option<String>| AvatarHash::parse(hash.as_deref()?);
        hash(&profile.member.avatar_hash)
            .map(Self::Guild)
            .or_else(|| hash(&profile.account.avatar_hash).map(Self::Account))
    }

    /// Its hash, by which a copy is known to be of it.
    pub fn hash(&self) -> &AvatarHash {
        match self {
            Self::Account(hash) | Self::Guild(hash) => hash,
        }
    }

    /// Where the CDN has it, at 256 pixels and not moving.
    /// Source: Discord's reference, "Image Formatting".
    pub fn path(&self, user: UserId, guild: GuildId) -> String {
        match self {
            Self::Account(hash) => format!("/avatars/{user}/{hash}.png?size=256"),
            Self::Guild(hash) => {
                format!("/guilds/{guild}/users/{user}/avatars/{hash}.png?size=256")
            }
        }
    }
}

/// What is to become of the copy that shows the avatar `copied`, for a user of this profile.
/// `has_copy`: whether there is one at all, of whatever.
pub fn copy_plan(profile: &Profile, copied: Option<&str>, has_copy: bool) -> CopyPlan {
    match Picture::of(profile) {
        Some(picture) if has_copy && copied == Some(picture.hash().as_str()) => CopyPlan::Keep,
        Some(picture) => CopyPlan::Make(picture),
        None if has_copy && !has_chosen(profile) => CopyPlan::Drop,
        None => CopyPlan::Keep,
    }
}

/// Whether there is a hash, though it may be one of a form that we cannot read.
fn has_chosen(profile: &Profile) -> bool {
    profile.member.avatar_hash.is_some() || profile.account.avatar_hash.is_some()
}

/// When a link to an attachment stops working: `ex` in its query, in hexadecimal seconds.
/// `None` where it does not say. Source: Discord's reference, "Signed Attachment CDN URLs".
pub fn expires_at(link: &str) -> Option<Timestamp> {
    let (_, query) = link.split_once('?')?;
    let ex = query.split('&').find_map(|part| part.strip_prefix("ex="))?;
    // No sign, and nothing that multiplies beyond what a time can be.
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
            // What is no hash is as good as none.
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
            // A copy that is not to be relied upon, and one that was lost.
            (Some("a"), None, true, make("a")),
            (Some("a"), Some("a"), false, make("a")),
            (None, Some("b"), true, CopyPlan::Drop),
            // A picture that cannot be found is no reason to lose the one before.
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
