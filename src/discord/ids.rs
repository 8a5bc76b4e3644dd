//! serenity's ids and ours, turned into each other. An id that no database could
//! hold does not become one of ours.

use serenity::model::id as theirs;

use crate::leveling as ours;

macro_rules! convert {
    ($($name:ident),* $(,)?) => {$(
        impl From<ours::$name> for theirs::$name {
            fn from(id: ours::$name) -> Self {
                Self::new(id.get())
            }
        }

        impl TryFrom<theirs::$name> for ours::$name {
            type Error = ();

            fn try_from(id: theirs::$name) -> Result<Self, ()> {
                Self::new(id.get()).ok_or(())
            }
        }
    )*};
}

convert!(ChannelId, GuildId, MessageId, RoleId, UserId);
