//! Profiles that were observed and are not in the database yet: one entry for each user, which
//! merges observations in the order in which they came.
//!
//! Two tasks save them. The engine saves the profile of an author whose message earns, together
//! with the XP; the register queues all others. An entry belongs to one of the two, and stays
//! until its content is committed: so they never save the same user's profile at the same time,
//! and an older observation never overwrites a newer one. Saves nothing itself.

use std::sync::OnceLock;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use tokio::sync::mpsc;

use crate::leveling::{ObservedProfile, UserId};

/// Profiles that are not saved yet.
#[derive(Debug, Default)]
pub struct UnsavedProfiles {
    users: DashMap<UserId, Unsaved>,
    /// Tells the register which user to save. Weak, so that the register ends when the last
    /// observer is dropped.
    register: OnceLock<mpsc::WeakUnboundedSender<UserId>>,
}

/// Who saves an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saver {
    /// The engine, with the XP of a message that is on its way to it.
    Engine,
    /// The register, through the queue of changed profiles.
    Register,
}

/// How an observation compares with the known profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compared {
    /// It changes nothing.
    Known,
    /// It changes something.
    News,
    /// The user has no row yet. An author gets one with the first message that earns.
    Stranger,
}

/// The content of an entry at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// Everything that was observed since the last save.
    pub profile: ObservedProfile,
    /// Rises with each observation that is added.
    pub version: u32,
}

#[derive(Debug)]
struct Unsaved {
    observed: Observed,
    saver: Saver,
}

impl UnsavedProfiles {
    /// Sends the register's users to this sender from now on, while the caller keeps it. Only the
    /// first call has an effect.
    pub fn connect_register(&self, sender: &mpsc::UnboundedSender<UserId>) {
        let _ = self.register.set(sender.downgrade());
    }

    /// Adds an observation unless `compare` finds nothing new in it. `compare` runs under the
    /// entry's lock, so that what it changes keeps the order of the observations.
    pub fn add(
        &self,
        user: UserId,
        profile: ObservedProfile,
        saver: Saver,
        compare: impl FnOnce(&ObservedProfile) -> Compared,
    ) {
        // The register hears of an entry once, however often something is added: so its queue
        // has one place for each user at most while the database is unavailable.
        let left_to = match (self.users.entry(user), compare(&profile)) {
            (_, Compared::Known) => return,
            (Entry::Vacant(_), Compared::Stranger) if saver == Saver::Register => return,
            (Entry::Vacant(entry), _) => {
                let observed = Observed {
                    profile,
                    version: 0,
                };
                entry.insert(Unsaved { observed, saver });
                saver
            }
            (Entry::Occupied(mut entry), _) => {
                let entry = entry.get_mut();
                let observed = &mut entry.observed;
                observed.profile = std::mem::take(&mut observed.profile).then(profile);
                observed.version = observed.version.wrapping_add(1);
                return;
            }
        };
        if left_to == Saver::Register {
            self.tell_register(user);
        }
    }

    /// The content of a user's entry, if it belongs to this task.
    pub fn left_to(&self, saver: Saver, user: UserId) -> Option<Observed> {
        let entry = self.users.get(&user)?;
        (entry.saver == saver).then(|| entry.observed.clone())
    }

    /// Removes an entry whose content as of this version is committed, or can never be. If
    /// something was added since, the entry goes to the register, and `newer` sees it.
    pub fn saved(&self, user: UserId, version: u32, newer: impl FnOnce(&ObservedProfile)) {
        if let Entry::Occupied(mut entry) = self.users.entry(user) {
            if entry.get().observed.version == version {
                entry.remove();
                return;
            }
            newer(&entry.get().observed.profile);
            entry.get_mut().saver = Saver::Register;
        } else {
            return;
        }
        self.tell_register(user);
    }

    /// Hands a user's entry from the engine to the register.
    pub(super) fn leave_to_register(&self, user: UserId) {
        if let Some(mut entry) = self.users.get_mut(&user) {
            if entry.saver == Saver::Register {
                return;
            }
            entry.saver = Saver::Register;
        } else {
            return;
        }
        self.tell_register(user);
    }

    /// The same for all users who are known: the register can save no others.
    pub(super) fn leave_all_to_register(&self, is_known: impl Fn(UserId) -> bool) {
        let with_engine = self.users.iter();
        let with_engine = with_engine.filter(|entry| entry.saver == Saver::Engine);
        let users: Vec<UserId> = with_engine.map(|entry| *entry.key()).collect();
        for user in users.into_iter().filter(|user| is_known(*user)) {
            self.leave_to_register(user);
        }
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Whether everything is saved.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    fn tell_register(&self, user: UserId) {
        let register = self.register.get();
        let register = register.and_then(mpsc::WeakUnboundedSender::upgrade);
        let told = register.is_some_and(|register| register.send(user).is_ok());
        if !told {
            // The register has ended because the bot is shutting down. The next session compares
            // all members.
            self.users.remove(&user);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leveling::Field;

    const USER: UserId = UserId::new(7).unwrap();

    fn named(username: &str, nickname: Option<&str>) -> ObservedProfile {
        ObservedProfile {
            username: username.to_owned(),
            nickname: nickname.map_or(Field::Unseen, |nickname| Field::Value(nickname.to_owned())),
            ..ObservedProfile::default()
        }
    }

    struct Setup {
        unsaved: UnsavedProfiles,
        _sender: mpsc::UnboundedSender<UserId>,
        told: mpsc::UnboundedReceiver<UserId>,
    }

    fn setup() -> Setup {
        let (sender, told) = mpsc::unbounded_channel();
        let unsaved = UnsavedProfiles::default();
        unsaved.connect_register(&sender);
        Setup {
            unsaved,
            _sender: sender,
            told,
        }
    }

    impl Setup {
        fn news(&self, observed_profile: ObservedProfile, saver: Saver) {
            self.unsaved
                .add(USER, observed_profile, saver, |_| Compared::News);
        }

        fn left_to(&self, saver: Saver) -> Option<ObservedProfile> {
            let observed = self.unsaved.left_to(saver, USER);
            observed.map(|observed| observed.profile)
        }

        fn version(&self, saver: Saver) -> u32 {
            self.unsaved.left_to(saver, USER).unwrap().version
        }

        fn told(&mut self) -> usize {
            std::iter::from_fn(|| self.told.try_recv().ok()).count()
        }
    }

    #[test]
    fn an_observation_during_a_save_by_the_engine_waits_for_its_commit() {
        let mut setup = setup();
        setup.news(named("a", Some("al")), Saver::Engine);
        let version = setup.version(Saver::Engine);
        setup.news(named("b", None), Saver::Register);
        assert_eq!(setup.told(), 0);
        assert_eq!(setup.left_to(Saver::Register), None);
        setup.unsaved.saved(USER, version, |_| {});
        assert_eq!(setup.told(), 1);
        assert_eq!(
            setup.left_to(Saver::Register),
            Some(named("b", Some("al"))),
            "merged in the order in which it was observed"
        );
        assert_eq!(setup.left_to(Saver::Engine), None);
    }

    #[test]
    fn an_observation_during_a_save_by_the_register_is_told_again() {
        let mut setup = setup();
        setup.news(named("a", None), Saver::Register);
        let version = setup.version(Saver::Register);
        setup.news(named("b", None), Saver::Engine);
        assert_eq!(setup.left_to(Saver::Engine), None);
        setup.unsaved.saved(USER, version, |_| {});
        assert_eq!(setup.told(), 2, "once, and once it was saved");
        assert_eq!(setup.left_to(Saver::Register), Some(named("b", None)));
        let version = setup.version(Saver::Register);
        setup.unsaved.saved(USER, version, |_| {});
        assert!(setup.unsaved.is_empty());
    }

    #[test]
    fn a_stranger_is_kept_for_the_message_that_makes_them_known_and_for_nothing_else() {
        let mut setup = setup();
        let stranger = |setup: &Setup, name: &str, saver| {
            setup
                .unsaved
                .add(USER, named(name, None), saver, |_| Compared::Stranger);
        };
        stranger(&setup, "a", Saver::Register);
        assert!(setup.unsaved.is_empty());
        stranger(&setup, "a", Saver::Engine);
        stranger(&setup, "b", Saver::Register);
        assert_eq!(setup.left_to(Saver::Engine), Some(named("b", None)));
        setup.unsaved.leave_all_to_register(|_| false);
        assert_eq!(setup.told(), 0);
        setup.unsaved.leave_all_to_register(|_| true);
        assert_eq!(setup.told(), 1);
    }

    #[test]
    fn nothing_is_kept_for_a_register_that_has_ended() {
        let unsaved = UnsavedProfiles::default();
        unsaved.add(USER, named("a", None), Saver::Register, |_| Compared::News);
        assert!(unsaved.is_empty());
    }
}
