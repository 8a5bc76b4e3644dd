//! The plans of all queries at a million users: none reads or sorts a whole table, but for those
//! that are listed here with the reason why they may.
//!
//! The texts and types of the queries are those that the compiler has checked: `.sqlx` holds
//! every one. A new query is explained by itself; one that reads too much fails the test until
//! it is rewritten, gets an index, or is listed.

use std::fs;

use serde_json::Value;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row};

use crate::support::TestDatabase;

/// Queries that may read everything, by words that no other has, and when they run.
const WHOLE_TABLES: [(&str, &str); 13] = [
    (r#"as "doubtful!" from user_point"#, "once, at the start"),
    (
        "select user_id from user_point where last_awarded_at >",
        "once, at the start",
    ),
    (
        "select max(last_awarded_at) from user_point",
        "at a start that finds ids from the future",
    ),
    (
        "group by bucket_number",
        "once a start, and when a thousand have no bucket",
    ),
    (
        r#"avatar_message_id as "id!" from user_point where avatar_copy_hash is not null"#,
        "twice for each reading of the whole avatar channel, a hundred messages a call",
    ),
    ("select not exists (select from user_point)", "an import"),
    (
        "is distinct from avatar_copy_hash and gone_at is null",
        "an import",
    ),
    (r#"as "unstored!""#, "/profile_queue"),
    (
        "profile_attempts from user_point where user_id >",
        "/reset_attempts all, whose pages together are one pass",
    ),
    ("order by profile_attempts desc", "/profile_queue"),
    (
        r#"as "delta!" from xp_change group by user_id"#,
        "wall_e check",
    ),
    ("from xp_day order by user_id, day", "wall_e check"),
    ("select user_id from banned_user", "once, at the start"),
];

/// Rows that one statement may read or sort: a bucket has 3,000 users at a million.
const MAX_ROWS: f64 = 10_000.0;
/// Rows that are there, and how many times as many the planner is told of.
const ROWS: u32 = 20_000;
const TIMES: u32 = 50;
/// Values in an array: what a batch or a page has.
const PAGE: u32 = 1_000;

#[tokio::test]
async fn no_query_reads_or_sorts_a_whole_table_of_a_million_users() {
    let database = TestDatabase::migrated().await;
    let mut session = database.session().await;
    fill(&mut session).await;
    let queries = queries();
    let mut wrong = Vec::new();
    for (number, query) in queries.iter().enumerate() {
        if WHOLE_TABLES.iter().any(|(words, _)| query.has(words)) {
            continue;
        }
        for mode in ["force_custom_plan", "force_generic_plan"] {
            let plan = query.plan(&mut session, number, mode).await;
            let mut found = Vec::new();
            look_for_waste(&plan[0]["Plan"], false, &mut found);
            if !found.is_empty() {
                wrong.push(format!("{}\n  {mode}: {}", query.text, found.join("; ")));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} plans:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    for (words, _) in WHOLE_TABLES {
        let those = queries.iter().filter(|query| query.has(words)).count();
        assert_eq!(those, 1, "queries that say {words}");
    }
}

/// Rows such as they are, and statistics such as a million of them would have. Making a million
/// takes a minute, and the planner asks only what the statistics say.
async fn fill(session: &mut PgConnection) {
    let copy = "case when n % 3 = 1 then";
    let rows = format!(
        "insert into user_point
            (user_id, points, message_count, last_awarded_at, username, avatar_hash, avatar_copy_hash,
             avatar_message_id, avatar_link, avatar_link_expires_at, bucket_number, gone_at)
         select n * 1000, n, n, 'epoch', 'user' || n, case when n % 3 > 0 then md5(n::text) end,
                {copy} md5(n::text) end, {copy} n * 1000 + 7 end, {copy} 'https://cdn.example/' || n end,
                {copy} timestamptz 'epoch' + n * interval '1 second' end, 1 + n % 336,
                case when n % 50 = 0 then timestamptz 'epoch' end
         from generate_series(1, {ROWS}) n;
         insert into updated_user (user_id, username, stored, queued_at, next_attempt_at)
         select user_id, username, points % 2 = 0, timestamptz 'epoch' + points * interval '1 second',
                case when points % 4 = 0 then timestamptz 'epoch' else now() + interval '1 hour' end
         from user_point;
         insert into role_work (user_id, asked_at)
         select user_id, timestamptz 'epoch' + points * interval '1 second' from user_point;
         insert into xp_day (user_id, day, points, messages)
         select user_id, date '2026-01-01' + (points % 100)::integer, 20, 1 from user_point;
         insert into xp_change (request_id, user_id, moderator_id, changed_at, points_before, points_after)
         select user_id, user_id, 7, 'epoch', 0, 1 from user_point;
         insert into banned_user (user_id) select user_id from user_point;
         insert into guild_setting (name, request_id, value, moderator_id)
         select 'role_rewards', user_id, 'stack', 7 from user_point;
         insert into open_buttons (message_id, channel_id, closes_at)
         select user_id, 7, timestamptz 'epoch' + points * interval '1 second' from user_point;
         analyze;
         update pg_class set reltuples = reltuples * {TIMES}
         where relnamespace = 'public'::regnamespace and reltuples >= {ROWS} / 4;"
    );
    let filled = sqlx::raw_sql(AssertSqlSafe(rows)).execute(session).await;
    filled.expect("the rows are made, by a superuser");
}

/// A query as the compiler has checked it.
struct Query {
    /// In one line.
    text: String,
    types: Vec<String>,
}

/// All of them.
fn queries() -> Vec<Query> {
    let files = fs::read_dir(".sqlx").expect("the tests run at the top of the checkout");
    let read = |path| {
        let text = fs::read_to_string(path).expect("a description");
        let described: Value = serde_json::from_str(&text).expect("JSON");
        let types = described["describe"]["parameters"]["Left"].as_array();
        let types = types.expect("types of parameters").iter();
        let query = described["query"].as_str().expect("a query");
        Query {
            text: query.split_whitespace().collect::<Vec<_>>().join(" "),
            types: types
                .map(|kind| kind.as_str().expect("a type").to_owned())
                .collect(),
        }
    };
    files
        .map(|file| read(file.expect("a file").path()))
        .collect()
}

impl Query {
    fn has(&self, words: &str) -> bool {
        self.text.contains(words)
    }

    async fn plan(&self, session: &mut PgConnection, number: usize, mode: &str) -> Value {
        let name = format!("query_{number}_{mode}");
        let types: Vec<_> = self.types.iter().map(|kind| sql_type(kind)).collect();
        let values = (1..).zip(&self.types).map(|(nth, kind)| {
            if self.has(&format!("limit ${nth}")) {
                PAGE.to_string()
            } else {
                value(kind)
            }
        });
        let values: Vec<String> = values.collect();
        let list = |items: String| {
            if items.is_empty() {
                items
            } else {
                format!("({items})")
            }
        };
        let prepare = format!(
            "set plan_cache_mode = {mode}; prepare {name}{} as {}",
            list(types.join(", ")),
            self.text
        );
        let explain = format!(
            "explain (format json) execute {name}{}",
            list(values.join(", "))
        );
        let prepared = sqlx::raw_sql(AssertSqlSafe(prepare))
            .execute(&mut *session)
            .await;
        prepared.unwrap_or_else(|error| panic!("{}: {error}", self.text));
        let row = sqlx::raw_sql(AssertSqlSafe(explain))
            .fetch_one(session)
            .await;
        let row = row.unwrap_or_else(|error| panic!("{}: {error}", self.text));
        let plan: String = row.try_get_unchecked(0).expect("a plan");
        serde_json::from_str(&plan).expect("JSON")
    }
}

/// Finds what reads too much. Below a `Limit` an index is read only as far as it takes, unless
/// something in between wants all of it.
fn look_for_waste(node: &Value, limited: bool, found: &mut Vec<String>) {
    let kind = node["Node Type"].as_str().unwrap_or_default();
    let rows = node["Plan Rows"].as_f64().unwrap_or_default();
    let children = node["Plans"].as_array().map_or(&[][..], Vec::as_slice);
    match kind {
        "Seq Scan" => {
            let relation = &node["Relation Name"];
            if HUGE.iter().any(|huge| relation == huge) {
                found.push(format!("all of {relation} is read"));
            }
        }
        "Sort" | "Hash" | "Materialize" => {
            let most = children
                .iter()
                .filter_map(|child| child["Plan Rows"].as_f64());
            if let Some(most) = most.reduce(f64::max).filter(|most| *most > MAX_ROWS) {
                found.push(format!("{kind} of {most} rows"));
            }
        }
        _ if kind.contains("Scan")
            && node["Relation Name"].is_string()
            && rows > MAX_ROWS
            && !limited =>
        {
            found.push(format!("{kind} of {rows} rows"));
        }
        _ => {}
    }
    let limited = match kind {
        "Limit" => true,
        "Sort" | "Hash" | "Aggregate" | "WindowAgg" | "Bitmap Heap Scan" => false,
        _ => limited,
    };
    for child in children {
        look_for_waste(child, limited, found);
    }
}

/// Tables with a row for each user, or more.
const HUGE: [&str; 5] = [
    "user_point",
    "updated_user",
    "role_work",
    "xp_day",
    "xp_change",
];

fn sql_type(kind: &str) -> String {
    let (element, array) = match kind.strip_suffix("Array") {
        Some(element) => (element, "[]"),
        None => (kind, ""),
    };
    let element = match element {
        "Int2" => "smallint",
        "Int4" => "integer",
        "Int8" => "bigint",
        "Bool" => "boolean",
        other => other,
    };
    format!("{element}{array}")
}

/// A value of this type; ids are those of users who are there.
fn value(kind: &str) -> String {
    let Some(element) = kind.strip_suffix("Array") else {
        return match kind {
            "Int2" => "7",
            "Int4" => "15",
            "Int8" => "5000",
            "Bool" => "true",
            "Text" => "'text'",
            "Timestamptz" => "now()",
            "Date" => "'2026-01-01'",
            other => panic!("a parameter of the type {other}: say here what is given for it"),
        }
        .to_owned();
    };
    let values = (1..=PAGE).map(|n| match element {
        "Int8" => (n * (ROWS / PAGE) * 1000).to_string(),
        other => value(other),
    });
    let values: Vec<String> = values.collect();
    format!("array[{}]::{}", values.join(", "), sql_type(kind))
}

#[test]
fn waste_is_found_where_it_is() {
    let scan = |rows: u32| serde_json::json!({ "Node Type": "Index Scan", "Relation Name": "user_point", "Plan Rows": rows });
    let over = |kind: &str, child: Value| serde_json::json!({ "Node Type": kind, "Plan Rows": 10, "Plans": [child] });
    let whole = serde_json::json!({ "Node Type": "Seq Scan", "Relation Name": "user_point", "Plan Rows": 1 });
    let small =
        serde_json::json!({ "Node Type": "Seq Scan", "Relation Name": "level", "Plan Rows": 101 });
    for (plan, wasteful) in [
        (scan(100), false),
        (scan(1_000_000), true),
        (over("Limit", scan(1_000_000)), false),
        (over("Limit", over("Sort", scan(1_000_000))), true),
        (over("Limit", over("Nested Loop", scan(1_000_000))), false),
        (over("Aggregate", scan(3_000)), false),
        (over("Limit", over("WindowAgg", scan(1_000_000))), true),
        (over("Limit", whole), true),
        (small, false),
    ] {
        let mut found = Vec::new();
        look_for_waste(&plan, false, &mut found);
        assert_eq!(!found.is_empty(), wasteful, "{plan}: {found:?}");
    }
}
