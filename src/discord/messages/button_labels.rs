//! The labels of buttons that always read the same. A label that names a number of roles or levels
//! is written where they are counted.

/// The page before.
pub const BACK: &str = "⏪";
/// The page after.
pub const FORWARD: &str = "⏩";
/// Deletes the message.
pub const CLOSE: &str = "✅";

/// Creates a level's deleted role again.
pub const CREATE_AGAIN: &str = "Create it again";
/// Removes the name of a level whose role is missing.
pub const REMOVE_NAME: &str = "Remove the level's name";
/// Confirms that many members lose roles.
pub const ALLOW_REMOVALS: &str = "Let them lose the roles";

/// Makes a role that members hold already a level's role.
pub const TAKE_OVER: &str = "Take it over";
/// Makes a role that opens channels a level's role.
pub const USE_ANYWAY: &str = "Use it anyway";
/// Does not take a role over.
pub const LEAVE_ROLE: &str = "Leave it";
/// Asks about deleting the role of a level that has just lost its name.
pub const DELETE_ROLE_TOO: &str = "Delete the role too";
/// Deletes a role.
pub const DELETE_ROLE: &str = "Delete it";
/// Does not delete a role.
pub const KEEP_ROLE: &str = "Keep it";
/// Changes a setting of the guild.
pub const APPLY: &str = "Apply";
/// Does not do what was asked for.
pub const CANCEL: &str = "Cancel";

/// Drops all avatars, to copy them again.
pub const DROP_AVATARS: &str = "Drop all avatars";
/// Drops no avatars.
pub const LEAVE_EVERYTHING: &str = "Leave everything as it is";
