//! The made-up guild is what its generator makes.

use std::path::Path;

use discord_sim::{Sim, World, fixtures};

#[test]
fn the_committed_files_are_what_is_made() {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/sandbox");
    let made = tempfile::tempdir().expect("a directory");
    fixtures::write(made.path(), 7_120).expect("the files are written");
    for name in ["levels.json", "userpoints.json", "guild.json"] {
        let made = std::fs::read(made.path().join(name)).expect("it was made");
        let there = std::fs::read(committed.join(name)).expect("it is committed");
        assert!(
            made == there,
            "run: discord-sim fixtures fixtures/sandbox ({name} differs)"
        );
    }
}

#[tokio::test]
async fn the_guild_can_be_simulated() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/sandbox/guild.json");
    let world = World::read(&path).expect("a world");
    assert_eq!(world, fixtures::world(7_120));
    let sim = Sim::start(world).await.expect("it starts");
    assert_eq!(sim.member_count(), 7_120 + 6 + 1);
    assert_ne!(sim.user("carol"), sim.user("alice"));
    // alice has level 15, carol no XP.
    let of_levels = |name: &str| -> Vec<String> {
        let roles = sim.member_roles(sim.user(name));
        let names = sim.role_names().into_iter();
        names
            .filter(|name| roles.contains(&sim.role(name)))
            .collect()
    };
    let mut of_alice = of_levels("alice");
    of_alice.sort_unstable();
    assert_eq!(
        of_alice,
        [
            "Hello World",
            "Javascript Programmer",
            "Manual Tester",
            "Missing Semicolon"
        ]
    );
    assert_eq!(of_levels("carol"), [""; 0]);
    // Of those who have XP a few lack their roles.
    let users = std::fs::read(path.with_file_name("userpoints.json")).expect("a file");
    let users: Vec<serde_json::Value> = serde_json::from_slice(&users).expect("JSON");
    let users = users
        .iter()
        .filter_map(|one| one["fields"]["user_id"].as_u64());
    let members = users.filter(|&user| sim.is_member(user));
    let lacking = members.filter(|&user| sim.member_roles(user).is_empty());
    let lacking = lacking.count();
    assert!((20..60).contains(&lacking), "{lacking}");
}
