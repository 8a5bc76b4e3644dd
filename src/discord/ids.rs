//! Conversions between serenity's ids and the crate's own. An id that the database cannot store
//! has no equivalent in the crate's types.

use serenity::model::id as serenity_ids;

use crate::leveling as ours;

macro_rules! convert {
    ($($name:ident),* $(,)?) => {$(
        impl From<ours::$name> for serenity_ids::$name {
            fn from(id: ours::$name) -> Self {
                Self::new(id.get())
            }
        }

        impl TryFrom<serenity_ids::$name> for ours::$name {
            type Error = ();

            fn try_from(id: serenity_ids::$name) -> Result<Self, ()> {
                Self::new(id.get()).ok_or(())
            }
        }
    )*};
}

convert!(ChannelId, GuildId, MessageId, RoleId, UserId);
