//! Who a user is to be shown as: what is known of them, what was seen, and whether that is
//! news.
//!
//! Names are kept as Discord sends them; `escape` is for where they are shown. What was not
//! seen is not empty: whoever sees a message in the history learns nothing of nicknames.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroU32;

/// What is known of a user's names and avatars.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// The same in all guilds.
    pub account: Account,
    /// In this guild.
    pub member: Membership,
}

/// What a user is in all guilds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Account {
    /// The unique account name.
    pub username: String,
    /// The name chosen for all guilds.
    pub display_name: Option<String>,
    /// Hash of the avatar; `None` for Discord's default one.
    pub avatar_hash: Option<String>,
}

/// What a user is in this guild only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Membership {
    /// The name chosen for this guild.
    pub nickname: Option<String>,
    /// Hash of the avatar chosen for this guild.
    pub avatar_hash: Option<String>,
}

/// What was seen of a user at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sighting {
    /// What Discord always tells.
    pub account: Account,
    /// Where they were seen as a member.
    pub member: Option<Membership>,
}

/// A short form of a profile, by which a sighting is compared with it: each half is 32 bits
/// of a hash. A change goes unnoticed once in four billion, until the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// Not zero, so that the cache keeps an `Option` of the whole in 8 bytes for each user.
    account: NonZeroU32,
    member: u32,
}

impl Profile {
    /// The name that Discord itself would show in the guild, not yet escaped.
    pub fn shown_name(&self) -> &str {
        self.member
            .nickname
            .as_deref()
            .or(self.account.display_name.as_deref())
            .unwrap_or(&self.account.username)
    }

    /// The profile after a sighting.
    #[must_use]
    pub fn after(self, seen: Sighting) -> Self {
        Self {
            account: seen.account,
            member: seen.member.unwrap_or(self.member),
        }
    }

    /// Its short form.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint {
            account: short_account(&self.account),
            member: short(&self.member),
        }
    }
}

impl From<Sighting> for Profile {
    /// Of someone of whom nothing was known.
    fn from(seen: Sighting) -> Self {
        Self::default().after(seen)
    }
}

impl Sighting {
    /// The short form of a profile after this sighting, if that makes a difference. `known` is
    /// what it was before, if anything was known.
    pub fn news(&self, known: Option<Fingerprint>) -> Option<Fingerprint> {
        let account = short_account(&self.account);
        let member = self.member.as_ref().map(short);
        let unseen = || known.map_or_else(|| short(&Membership::default()), |known| known.member);
        let after = Fingerprint {
            account,
            member: member.unwrap_or_else(unseen),
        };
        (known != Some(after)).then_some(after)
    }

    /// This and what was observed after it, as one observation.
    #[must_use]
    pub fn then(self, later: Self) -> Self {
        Self {
            account: later.account,
            member: later.member.or(self.member),
        }
    }
}

impl Account {
    /// Whether it looks as Discord makes those look that were deleted. Anyone may choose such
    /// a name: it says nothing of somebody who is in the guild.
    pub fn looks_deleted(&self) -> bool {
        let name = self.username.to_lowercase();
        let rest = ["deleted_user_", "deleted user "]
            .iter()
            .find_map(|start| name.strip_prefix(start));
        self.avatar_hash.is_none()
            && rest.is_some_and(|rest| {
                !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_hexdigit())
            })
    }
}

fn short_account(account: &Account) -> NonZeroU32 {
    NonZeroU32::new(short(account)).unwrap_or(NonZeroU32::MIN)
}

/// The same for the same content on every machine and in every process of this version.
fn short(content: &impl Hash) -> u32 {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    let [upper @ .., _, _, _, _] = hasher.finish().to_be_bytes();
    u32::from_be_bytes(upper)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_most_particular_name_is_shown() {
        let mut profile = Profile::default();
        profile.account.username = "alice42".into();
        assert_eq!(profile.shown_name(), "alice42");
        profile.account.display_name = Some("Alice".into());
        assert_eq!(profile.shown_name(), "Alice");
        profile.member.nickname = Some("Al".into());
        assert_eq!(profile.shown_name(), "Al");
    }

    #[test]
    fn a_deleted_account_is_told_by_name_and_lack_of_avatar() {
        for (username, avatar, deleted) in [
            ("deleted_user_a1b2c3d4e5f6", None, true),
            ("Deleted User 1a2b3c4d", None, true),
            ("deleted_user_a1b2c3d4e5f6", Some("a"), false),
            ("deleted_user_", None, false),
            ("deleted_user_xyz", None, false),
            ("undeleted_user_a1", None, false),
            ("alice", None, false),
        ] {
            let account = Account {
                username: username.into(),
                avatar_hash: avatar.map(Into::into),
                ..Account::default()
            };
            assert_eq!(account.looks_deleted(), deleted, "{username} {avatar:?}");
        }
    }

    fn text() -> impl Strategy<Value = Option<String>> {
        proptest::option::of("[ab]{0,2}")
    }

    prop_compose! {
        fn account()(username in "[ab]{1,2}", display_name in text(), avatar_hash in text()) -> Account {
            Account { username, display_name, avatar_hash }
        }
    }

    prop_compose! {
        fn membership()(nickname in text(), avatar_hash in text()) -> Membership {
            Membership { nickname, avatar_hash }
        }
    }

    prop_compose! {
        fn sighting()(account in account(), member in proptest::option::of(membership())) -> Sighting {
            Sighting { account, member }
        }
    }

    proptest! {
        #[test]
        fn a_difference_is_news_and_nothing_else_is(
            account in account(), member in membership(), seen in sighting()
        ) {
            let before = Profile { account, member };
            let known = before.fingerprint();
            let after = before.clone().after(seen.clone());
            prop_assert_eq!(seen.news(Some(known)).is_some(), before != after);
            // Seen again, it is no news; and the short form is that of the whole.
            let told = seen.news(Some(known)).unwrap_or(known);
            prop_assert_eq!(told, after.fingerprint());
            prop_assert_eq!(seen.news(Some(told)), None);
        }

        #[test]
        fn what_was_not_seen_stays(account in account(), before in membership(), first in account()) {
            let profile = Profile { account: first, member: before.clone() };
            let seen = Sighting { account: account.clone(), member: None };
            prop_assert_eq!(profile.after(seen), Profile { account, member: before });
        }

        #[test]
        fn two_observations_as_one_come_to_the_same(
            account in account(), member in membership(), first in sighting(), second in sighting()
        ) {
            let before = Profile { account, member };
            let one_by_one = before.clone().after(first.clone()).after(second.clone());
            prop_assert_eq!(before.after(first.then(second)), one_by_one);
        }

        #[test]
        fn whoever_was_not_known_is_news(seen in sighting()) {
            let told = seen.news(None);
            prop_assert_eq!(told, Some(Profile::from(seen).fingerprint()));
        }

        #[test]
        fn the_last_of_several_sightings_counts(seen in proptest::collection::vec(sighting(), 1..6)) {
            let profile = seen.iter().cloned().fold(Profile::default(), Profile::after);
            let last_member = seen.iter().rev().find_map(|seen| seen.member.clone());
            prop_assert_eq!(&profile.account, &seen.last().unwrap().account);
            prop_assert_eq!(profile.member, last_member.unwrap_or_default());
        }
    }
}
