//! A user's names and avatars: what is stored, what an event or response showed, and whether that
//! changes what is stored.
//!
//! Names are kept as Discord sends them; `escape` is applied where they are shown. A field that
//! was not shown is not empty: for example, a message of the history carries no nickname.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::without_nul;

/// The known names and avatars of a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// Names and avatar of the account, the same in all guilds.
    pub account: Account,
    /// Nickname and avatar in this guild.
    pub member: Membership,
}

/// A user's names and avatar in all guilds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// The unique account name.
    pub username: String,
    /// The name chosen for all guilds.
    pub display_name: Option<String>,
    /// Hash of the avatar; `None` for Discord's default one.
    pub avatar_hash: Option<String>,
}

/// A user's nickname and avatar in this guild.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// The name chosen for this guild.
    pub nickname: Option<String>,
    /// Hash of the avatar chosen for this guild.
    pub avatar_hash: Option<String>,
}

/// What one event or response showed of a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedProfile {
    /// The unique account name.
    pub username: String,
    /// The name chosen for all guilds.
    pub display_name: Field,
    /// Hash of the account's avatar.
    pub avatar_hash: Field,
    /// The name chosen for this guild.
    pub nickname: Field,
    /// Hash of the avatar chosen for this guild.
    pub guild_avatar_hash: Field,
}

/// What one event or response showed of one field of a profile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Field {
    /// Not shown. The field keeps its value.
    #[default]
    Unseen,
    /// Left out by an event that may leave it out even if it is set. The field keeps its value;
    /// only a request to Discord tells whether it is still set.
    Unclear,
    /// Shown, and empty.
    Empty,
    /// Shown with this value.
    Value(String),
}

/// A 32-bit hash for each field of a profile, to compare an observed profile with. One change in
/// four billion goes unnoticed, until the next change of that field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint([u32; 5]);

/// The hash of a field whose value is unknown. Any value differs from it.
const UNKNOWN: u32 = 0;
const EMPTY: u32 = 1;

impl Profile {
    /// The name that Discord shows in the guild, not escaped.
    pub fn shown_name(&self) -> &str {
        self.member
            .nickname
            .as_deref()
            .or(self.account.display_name.as_deref())
            .unwrap_or(&self.account.username)
    }

    /// The profile updated with the fields that an observed profile shows.
    #[must_use]
    pub fn after(self, seen: ObservedProfile) -> Self {
        let Self { account, member } = self;
        Self {
            account: Account {
                username: seen.username,
                display_name: seen.display_name.over(account.display_name),
                avatar_hash: seen.avatar_hash.over(account.avatar_hash),
            },
            member: Membership {
                nickname: seen.nickname.over(member.nickname),
                avatar_hash: seen.guild_avatar_hash.over(member.avatar_hash),
            },
        }
    }

    /// The hashes of the profile's fields.
    pub fn fingerprint(&self) -> Fingerprint {
        let field = |value: &Option<String>| value.as_ref().map_or(EMPTY, |text| short(text));
        Fingerprint([
            short(&self.account.username),
            field(&self.account.display_name),
            field(&self.account.avatar_hash),
            field(&self.member.nickname),
            field(&self.member.avatar_hash),
        ])
    }
}

impl From<ObservedProfile> for Profile {
    /// The profile of a user of whom nothing else is known.
    fn from(seen: ObservedProfile) -> Self {
        Self::default().after(seen)
    }
}

impl ObservedProfile {
    /// The name that Discord shows in the guild, as far as the fields were shown; not escaped.
    pub fn shown_name(&self) -> &str {
        let chosen = [&self.nickname, &self.display_name];
        let chosen = chosen.into_iter().find_map(|field| match field {
            Field::Value(name) => Some(name.as_str()),
            _ => None,
        });
        chosen.unwrap_or(&self.username)
    }

    /// The fingerprint after this observation, or `None` if it changes nothing. `known` is the
    /// fingerprint before it, if there is one.
    pub fn news(&self, known: Option<Fingerprint>) -> Option<Fingerprint> {
        let before = known.unwrap_or_default();
        let mut after = before;
        after.0[0] = short(&self.username);
        for (field, seen) in after.0[1..].iter_mut().zip(self.optional()) {
            match seen {
                Field::Unseen | Field::Unclear => {}
                Field::Empty => *field = EMPTY,
                Field::Value(text) => *field = short(text),
            }
        }
        (after != before).then_some(after)
    }

    /// Whether a known field may have been cleared, which only a request to Discord can tell.
    /// `is_stored` says whether a profile may be stored whose fields `known` does not contain.
    pub fn is_unclear(&self, known: Option<Fingerprint>, is_stored: bool) -> bool {
        let known = known.unwrap_or_default();
        let unclear = |(seen, known): (&Field, &u32)| {
            let may_be_there = match *known {
                UNKNOWN => is_stored,
                EMPTY => false,
                _ => true,
            };
            *seen == Field::Unclear && may_be_there
        };
        self.optional().into_iter().zip(&known.0[1..]).any(unclear)
    }

    /// Merges two observed profiles. A field that `later` shows takes precedence.
    #[must_use]
    pub fn then(self, later: Self) -> Self {
        Self {
            username: later.username,
            display_name: later.display_name.or(self.display_name),
            avatar_hash: later.avatar_hash.or(self.avatar_hash),
            nickname: later.nickname.or(self.nickname),
            guild_avatar_hash: later.guild_avatar_hash.or(self.guild_avatar_hash),
        }
    }

    /// Whether the account has the form that Discord gives to deleted accounts. Anyone may choose
    /// such a name, so this proves nothing for a member of the guild.
    pub fn looks_deleted(&self) -> bool {
        let name = self.username.to_lowercase();
        let rest = ["deleted_user_", "deleted user "]
            .iter()
            .find_map(|start| name.strip_prefix(start));
        !matches!(self.avatar_hash, Field::Value(_))
            && rest.is_some_and(|rest| {
                !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_hexdigit())
            })
    }

    /// The fields that may be empty, in the order of a [`Fingerprint`].
    fn optional(&self) -> [&Field; 4] {
        [
            &self.display_name,
            &self.avatar_hash,
            &self.nickname,
            &self.guild_avatar_hash,
        ]
    }
}

impl Field {
    /// The field's value after this observation, if it was `before`.
    fn over(self, before: Option<String>) -> Option<String> {
        match self {
            Self::Unseen | Self::Unclear => before,
            Self::Empty => None,
            Self::Value(text) => Some(text),
        }
    }

    /// This, or `before` if this shows nothing.
    fn or(self, before: Self) -> Self {
        match self {
            Self::Unseen | Self::Unclear => before,
            shown => shown,
        }
    }

    /// Turns `Unseen` into `Unclear`, for an event that can carry the field but did not.
    #[must_use]
    pub fn left_out(self) -> Self {
        match self {
            Self::Unseen => Self::Unclear,
            other => other,
        }
    }
}

impl From<Option<String>> for Field {
    /// For a source that always carries the field.
    fn from(value: Option<String>) -> Self {
        value.map_or(Self::Empty, Self::Value)
    }
}

impl Fingerprint {
    /// Fills unknown fields from `other`.
    #[must_use]
    pub fn completed_by(mut self, other: Self) -> Self {
        for (field, other) in self.0.iter_mut().zip(other.0) {
            if *field == UNKNOWN {
                *field = other;
            }
        }
        self
    }
}

/// A 32-bit hash, never [`UNKNOWN`] or [`EMPTY`]. It is the same in every process of this version.
fn short(text: &str) -> u32 {
    let mut hasher = DefaultHasher::new();
    // The database stores the text without NUL, and both must compare equal.
    without_nul(text).hash(&mut hasher);
    let [upper @ .., _, _, _, _] = hasher.finish().to_be_bytes();
    u32::from_be_bytes(upper).max(EMPTY + 1)
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
    fn a_name_is_no_news_where_the_database_left_nul_out() {
        let named = |name: &str| ObservedProfile {
            username: name.into(),
            nickname: Field::Value(name.into()),
            ..ObservedProfile::default()
        };
        let stored = Profile::from(named("ab")).fingerprint();
        assert_eq!(named("a\0b").news(Some(stored)), None);
        assert!(named("a b").news(Some(stored)).is_some());
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
            let avatar: Option<&str> = avatar;
            let seen = ObservedProfile {
                username: username.into(),
                avatar_hash: avatar.map(str::to_owned).into(),
                ..ObservedProfile::default()
            };
            assert_eq!(seen.looks_deleted(), deleted, "{username} {avatar:?}");
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

    fn observed() -> impl Strategy<Value = Field> {
        prop_oneof![
            Just(Field::Unseen),
            Just(Field::Unclear),
            text().prop_map(Field::from),
        ]
    }

    prop_compose! {
        fn observed_profile()(
            username in "[ab]{1,2}", display_name in observed(), avatar_hash in observed(),
            nickname in observed(), guild_avatar_hash in observed(),
        ) -> ObservedProfile {
            ObservedProfile { username, display_name, avatar_hash, nickname, guild_avatar_hash }
        }
    }

    prop_compose! {
        fn profile()(account in account(), member in membership()) -> Profile {
            Profile { account, member }
        }
    }

    proptest! {
        #[test]
        fn a_difference_is_news_and_nothing_else_is(before in profile(), seen in observed_profile()) {
            let known = before.fingerprint();
            let after = before.clone().after(seen.clone());
            prop_assert_eq!(seen.news(Some(known)).is_some(), before != after);
            // The fingerprint is that of the whole profile. Observing it again changes nothing.
            let told = seen.news(Some(known)).unwrap_or(known);
            prop_assert_eq!(told, after.fingerprint());
            prop_assert_eq!(seen.news(Some(told)), None);
        }

        #[test]
        fn what_was_not_shown_stays_and_is_asked_for_only_where_there_was_something(
            before in profile(), seen in observed_profile(),
        ) {
            let after = before.clone().after(seen.clone());
            let mut unclear = false;
            for (seen, before, after) in [
                (&seen.display_name, &before.account.display_name, &after.account.display_name),
                (&seen.avatar_hash, &before.account.avatar_hash, &after.account.avatar_hash),
                (&seen.nickname, &before.member.nickname, &after.member.nickname),
                (&seen.guild_avatar_hash, &before.member.avatar_hash, &after.member.avatar_hash),
            ] {
                match seen {
                    Field::Unseen | Field::Unclear => prop_assert_eq!(before, after),
                    Field::Empty => prop_assert_eq!(after, &None),
                    Field::Value(text) => prop_assert_eq!(after.as_ref(), Some(text)),
                }
                unclear |= *seen == Field::Unclear && before.is_some();
            }
            prop_assert_eq!(seen.is_unclear(Some(before.fingerprint()), true), unclear);
        }

        #[test]
        fn whoever_was_not_known_is_news(seen in observed_profile(), stored in profile()) {
            let told = seen.news(None);
            let whole = told.map(|told| told.completed_by(stored.fingerprint()));
            prop_assert_eq!(whole, Some(stored.after(seen.clone()).fingerprint()));
            prop_assert!(!seen.is_unclear(None, false));
            prop_assert_eq!(seen.is_unclear(None, true), seen.optional().contains(&&Field::Unclear));
        }

        #[test]
        fn several_observations_together_are_the_same_as_one_after_the_other(
            before in profile(), seen in proptest::collection::vec(observed_profile(), 1..6),
        ) {
            let one_by_one = seen.iter().cloned().fold(before.clone(), Profile::after);
            let together = seen.into_iter().reduce(ObservedProfile::then).unwrap();
            prop_assert_eq!(before.after(together), one_by_one);
        }
    }
}
