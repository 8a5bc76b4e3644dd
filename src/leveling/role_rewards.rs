//! Which of the level roles that a member has reached they hold: all of them, or only the highest.

/// How level roles reward members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RoleRewards {
    /// Members hold the roles of all levels up to theirs.
    #[default]
    Stack,
    /// Members hold only the role of their highest named level.
    Replace,
}

impl RoleRewards {
    /// The word that people type, which is also stored.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Stack => "stack",
            Self::Replace => "replace",
        }
    }

    /// Reads [`Self::word`], in upper or lower case.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Stack, Self::Replace]
            .into_iter()
            .find(|rewards| rewards.word().eq_ignore_ascii_case(word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_read_as_it_is_written() {
        for (word, rewards) in [
            ("stack", Some(RoleRewards::Stack)),
            ("REPLACE", Some(RoleRewards::Replace)),
            ("stacks", None),
            ("", None),
            (" stack", None),
        ] {
            assert_eq!(RoleRewards::parse(word), rewards, "{word:?}");
        }
        for rewards in [RoleRewards::Stack, RoleRewards::Replace] {
            assert_eq!(RoleRewards::parse(rewards.word()), Some(rewards));
        }
    }
}
