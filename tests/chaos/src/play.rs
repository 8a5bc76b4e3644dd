//! Plays the day to the real bot while the schedule's troubles happen, then compares
//! what was counted with what should have been.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use discord_sim::{DateHeader, Id, Method, Sim};
use fault_lab::{Gate, Position, Signal, Stop, WallClock};
use wall_e::leveling::{RoleId, UserId};

use crate::bot::{Bot, BotFault};
use crate::database::{PASSWORD, Scratch, url};
use crate::day::{Day, MESSAGES, Result, TOLD_MS};
use crate::rules::{self, Roles};
use crate::schedule::{End, MESSAGES_OF, Schedule, Trouble, What};

/// Where the bot keeps copies of avatars.
const AVATARS: &str = "leveling_website_avatar_images";
/// For a new start, a takeover, a session, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(45);
/// For everything to be counted after the day.
const COUNTED_WITHIN: Duration = Duration::from_mins(1);
/// For the last level-ups to be announced.
const ANNOUNCED_WITHIN: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(20);
/// Messages that are written at once.
const HANDFUL: usize = 25;
/// Longer than the bot's window for putting messages in order.
const QUIET: Duration = Duration::from_millis(100);
/// A thread that is put away whenever the bot is.
const QUIET_THREAD: &str = "thread-1";
/// Rows that are named when they differ.
const NAMED: usize = 10;
/// The exit code of a bot whose database another one took over.
const FENCED: i32 = 18;

/// What became of a seed.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Messages that should have earned and did not.
    pub lost: u64,
    /// Messages that earned more than once, or should not have.
    pub doubled: u64,
    /// What is wrong, in words; nothing if the seed has passed.
    pub problems: Vec<String>,
    /// Why the day could not be played to its end, if the bot was not the reason. Then
    /// nothing is said of lost messages.
    pub not_played: Option<String>,
    /// Messages that were written.
    pub played: usize,
}

/// Everything there is while a day is played.
struct Stage<'a> {
    day: &'a Day,
    schedule: &'a Schedule,
    sim: Sim,
    database: Scratch,
    gate: Gate,
    clock: Option<WallClock>,
    bot: Bot,
    log: PathBuf,
    /// Who holds the roles that rules name.
    roles: Roles,
    written: usize,
}

/// Plays one seed; the bot's log goes to `log`.
pub async fn play(day: &Day, schedule: &Schedule, log: &Path) -> Verdict {
    let mut stage = match Stage::set(day, schedule, log).await {
        Ok(stage) => stage,
        Err(error) => return Verdict::of(&error),
    };
    let mut verdict = match stage.play().await {
        Ok(verdict) => verdict,
        Err(error) => Verdict::of(&error),
    };
    verdict.played = stage.written;
    stage.search_log(&mut verdict);
    // Before the database goes, the bot does.
    let _ = stage.bot.kill().await;
    verdict
}

impl Verdict {
    /// The bot has failed.
    pub fn failed(why: String) -> Self {
        Self {
            problems: vec![why],
            ..Self::default()
        }
    }

    /// The chaos has failed, and nothing is known of the bot.
    pub fn not_played(why: String) -> Self {
        Self {
            not_played: Some(why),
            ..Self::default()
        }
    }

    /// A day that was not played to its end.
    fn of(error: &anyhow::Error) -> Self {
        let why = format!("{error:#}");
        if error.downcast_ref::<BotFault>().is_some() {
            Self::failed(why)
        } else {
            Self::not_played(why)
        }
    }

    /// Whether the day was played to its end and nothing is wrong.
    pub fn passed(&self) -> bool {
        self.problems.is_empty() && self.not_played.is_none()
    }
}

impl<'a> Stage<'a> {
    /// With a bot that has connected and knows from where on it counts.
    async fn set(day: &'a Day, schedule: &'a Schedule, log: &Path) -> anyhow::Result<Self> {
        let mut database = Scratch::make(day).await?;
        let sim = Sim::start(Day::world()).await?;
        sim.settings(|settings| {
            settings.rate_limits = schedule.rate_limits;
            settings.date = DateHeader::At(TOLD_MS);
        });
        let rules = rules::of_the_day(&sim, day.users[0]);
        database.make_rules(&rules).await?;
        let gate = database.gate().await?;
        let directory = log.parent().context("a log is in a directory")?;
        let clock = schedule
            .sets_the_clock()
            .then(|| WallClock::right(directory))
            .transpose()?;
        let bot = Bot::start(&sim, &url(&gate), clock.as_ref(), log)?;
        let mut stage = Self {
            day,
            schedule,
            database,
            gate,
            clock,
            bot,
            log: log.to_owned(),
            roles: Roles::new(&sim, &day.users),
            sim,
            written: 0,
        };
        stage.wait_for_sessions(1).await?;
        let started = Instant::now();
        while !stage.database.has_frontier().await? {
            stage.be_patient(started, "does not begin to count")?;
            tokio::time::sleep(LOOK).await;
        }
        Ok(stage)
    }

    async fn play(&mut self) -> anyhow::Result<Verdict> {
        let mut verdict = Verdict::default();
        if let Err(error) = self.play_the_day(&mut verdict).await {
            verdict = Verdict::of(&error);
            if verdict.not_played.is_some() {
                return Ok(verdict);
            }
        }
        // Also where the bot failed before the day's end: what is missing tells why.
        let rules = self.database.rules().await?;
        let expected = self.day.result(self.written, &self.sim, &rules);
        self.compare(&expected, &mut verdict).await?;
        self.check_lines(&expected, &mut verdict);
        Ok(verdict)
    }

    async fn play_the_day(&mut self, verdict: &mut Verdict) -> anyhow::Result<()> {
        let schedule = self.schedule;
        for trouble in &schedule.troubles {
            self.write(trouble.after.saturating_sub(self.written)).await;
            self.happens(trouble)
                .await
                .with_context(|| format!("{:?} after {}", trouble.what, trouble.after))?;
        }
        self.write(MESSAGES).await;
        let counted = self.counted(COUNTED_WITHIN).await?;
        if counted && !schedule.rate_limits {
            self.await_outbox(verdict).await?;
            self.await_roles(verdict).await?;
        }
        self.bot.still_runs()?;
        self.bot.terminate().await
    }

    /// Writes the next messages.
    async fn write(&mut self, count: usize) {
        let day = self.day;
        let end = (self.written + count).min(MESSAGES);
        for handful in day.lines[self.written..end].chunks(HANDFUL) {
            for line in handful {
                line.post(&self.sim);
                self.written += 1;
                self.roles.after(self.written, &self.sim);
            }
            tokio::time::sleep(self.schedule.pause).await;
        }
    }

    async fn happens(&mut self, trouble: &Trouble) -> anyhow::Result<()> {
        for (count, method, path, fault) in trouble.what.rest_faults() {
            self.sim.faults().next(count, method, path, fault);
        }
        let meanwhile = trouble.meanwhile;
        let sessions = self.sessions();
        match &trouble.what {
            What::Kill => {
                self.bot.kill().await?;
                self.start_anew(meanwhile).await?;
            }
            What::Restart => {
                self.bot.terminate().await?;
                self.start_anew(meanwhile).await?;
            }
            What::Handover(end) => return self.hand_over(*end, meanwhile).await,
            What::Drop => self.sim.gateway().drop_connections(),
            What::Reconnect => self.sim.gateway().reconnect(),
            What::Invalid { resumable } => self.sim.gateway().invalid_session(*resumable),
            What::RefusedResume => {
                self.sim.gateway().refuse_resumes(1);
                self.sim.gateway().drop_connections();
            }
            What::Close(code) => self.sim.gateway().close(*code),
            What::FailingReads(_) => self.sim.gateway().invalid_session(false),
            What::LostTwice(time) => return self.lose_twice(*time, meanwhile).await,
            What::ShutGate(time) => return self.gated(Position::Shut, *time, meanwhile).await,
            What::LoseCommits(time) => {
                return self.gated(Position::LosesCommits, *time, meanwhile).await;
            }
            What::StopServer(how, time) => {
                return self.restart_server(*how, *time, meanwhile).await;
            }
            What::SlowServer(by, time) => {
                return self.gated(Position::Slow(*by), *time, meanwhile).await;
            }
            What::EndSessions => return self.database.end_sessions().await,
            What::FailingPosts(..) => return Ok(()),
            What::Duplicates(count) => {
                self.sim.gateway().duplicate_next(*count);
                return Ok(());
            }
            What::Swaps(pairs) => return self.swap(*pairs).await,
            What::SetClock(offset_s) => {
                let clock = self.clock.as_ref().context("a clock that can be set")?;
                return clock.set(*offset_s);
            }
            What::Hold(time) => {
                self.sim.gateway().hold();
                self.write(meanwhile).await;
                tokio::time::sleep(*time).await;
                self.sim.gateway().release();
                return Ok(());
            }
        }
        // Those that have no session of their own any more will begin or resume one.
        if !matches!(trouble.what, What::Kill | What::Restart) {
            self.write(meanwhile).await;
        }
        if trouble.patient {
            self.wait_for_sessions(sessions + 1).await?;
        }
        Ok(())
    }

    async fn start_anew(&mut self, meanwhile: usize) -> anyhow::Result<()> {
        self.write(meanwhile).await;
        // What was written there must be found all the same.
        self.sim.archive(self.sim.channel(QUIET_THREAD));
        self.bot = self.launch()?;
        Ok(())
    }

    /// A second bot stands by, and the first ends.
    async fn hand_over(&mut self, end: End, meanwhile: usize) -> anyhow::Result<()> {
        // One that is still on its way up would be overtaken by its standby.
        self.wait_connected().await?;
        let said_before = self.stands_by();
        let mut next = self.launch()?;
        let started = Instant::now();
        while self.stands_by() == said_before {
            next.still_runs()?;
            self.be_patient(started, "does not stand by")?;
            self.write(HANDFUL).await;
            tokio::time::sleep(LOOK).await;
        }
        let sessions = self.sessions();
        let mut old = std::mem::replace(&mut self.bot, next);
        match end {
            End::Killed => old.kill().await?,
            End::Asked => old.terminate().await?,
            End::Stopped => old.signal(Signal::STOP)?,
        }
        self.write(meanwhile).await;
        self.wait_for_sessions(sessions + 1).await?;
        if matches!(end, End::Stopped) {
            old.signal(Signal::CONT)?;
            self.write(meanwhile).await;
            let status = old.ended().await?;
            if status.code() != Some(FENCED) {
                bail!(BotFault(format!(
                    "the old bot ended with {status}, not with exit code {FENCED}"
                )));
            }
        }
        Ok(())
    }

    /// Somebody writes all the while: some channels have been read by then, some not.
    async fn lose_twice(&mut self, time: Duration, meanwhile: usize) -> anyhow::Result<()> {
        let sessions = self.sessions();
        self.sim.clear_requests();
        self.sim.gateway().invalid_session(false);
        self.write(meanwhile).await;
        self.wait_for_sessions(sessions + 1).await?;
        let (sessions, started) = (self.sessions(), Instant::now());
        while self.sim.requests_to(&Method::GET, MESSAGES_OF).is_empty() {
            self.be_patient(started, "does not read the history")?;
            tokio::time::sleep(LOOK).await;
        }
        self.sim.gateway().invalid_session(false);
        for _ in 0..(meanwhile / HANDFUL).max(4) {
            self.write(HANDFUL).await;
            tokio::time::sleep(time / 4).await;
        }
        self.wait_for_sessions(sessions + 1).await
    }

    async fn restart_server(
        &mut self,
        how: Stop,
        time: Duration,
        meanwhile: usize,
    ) -> anyhow::Result<()> {
        self.database.stop(how).await?;
        self.write(meanwhile).await;
        tokio::time::sleep(time).await;
        self.database.start().await
    }

    async fn gated(
        &mut self,
        position: Position,
        time: Duration,
        meanwhile: usize,
    ) -> anyhow::Result<()> {
        self.gate.set(position);
        self.write(meanwhile).await;
        tokio::time::sleep(time).await;
        self.gate.set(Position::Open);
        Ok(())
    }

    /// Only what the bot's window for ordering can hold is swapped: everything before
    /// has been counted, and the pairs come at once.
    async fn swap(&mut self, pairs: u32) -> anyhow::Result<()> {
        if !self.counted(COUNTED_WITHIN).await? {
            bail!(BotFault("what was written before is not counted".into()));
        }
        tokio::time::sleep(QUIET).await;
        self.sim.gateway().swap_next(pairs);
        let end = (self.written + 2 * usize::try_from(pairs)?).min(MESSAGES);
        for line in &self.day.lines[self.written..end] {
            line.post(&self.sim);
        }
        self.written = end;
        self.sim.gateway().release();
        tokio::time::sleep(QUIET).await;
        Ok(())
    }

    fn launch(&self) -> anyhow::Result<Bot> {
        Bot::start(&self.sim, &url(&self.gate), self.clock.as_ref(), &self.log)
    }

    /// How often a session was begun or resumed.
    fn sessions(&self) -> u64 {
        self.sim.gateway().identifies() + self.sim.gateway().resumes()
    }

    async fn wait_for_sessions(&mut self, count: u64) -> anyhow::Result<()> {
        let started = Instant::now();
        while self.sessions() < count {
            self.be_patient(started, "does not come back")?;
            tokio::time::sleep(LOOK).await;
        }
        self.wait_connected().await
    }

    async fn wait_connected(&mut self) -> anyhow::Result<()> {
        let started = Instant::now();
        while !self.sim.is_connected() {
            self.be_patient(started, "does not connect")?;
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    fn be_patient(&mut self, since: Instant, what: &str) -> anyhow::Result<()> {
        self.bot.still_runs()?;
        if since.elapsed() > PATIENCE {
            bail!(BotFault(format!("the bot {what} within {PATIENCE:?}")));
        }
        Ok(())
    }

    /// How many bots have said that they wait for another.
    fn stands_by(&self) -> usize {
        self.read_log().matches("waiting to take over").count()
    }

    fn read_log(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Whether everything written so far is counted before long.
    async fn counted(&mut self, within: Duration) -> anyhow::Result<bool> {
        let started = Instant::now();
        // What is recorded may still change what the messages come to.
        while !self.is_counted().await? {
            if started.elapsed() > within {
                return Ok(false);
            }
            self.bot.still_runs()?;
            tokio::time::sleep(LOOK).await;
        }
        Ok(true)
    }

    async fn is_counted(&mut self) -> anyhow::Result<bool> {
        let rules = self.database.rules().await?;
        let expected = self.day.result(self.written, &self.sim, &rules);
        let totals = self.database.totals().await?;
        Ok(totals == (expected.messages(), expected.points()))
    }

    /// In the end it is recorded who holds which of the named roles, whatever events were missed.
    async fn await_roles(&mut self, verdict: &mut Verdict) -> anyhow::Result<()> {
        let started = Instant::now();
        loop {
            let rules = self.database.rules().await?;
            let wrong = self.roles.changed.iter().filter(|user| {
                let held = self.sim.member_roles(**user).into_iter();
                let held: Vec<RoleId> = held.filter_map(RoleId::new).collect();
                UserId::new(**user).is_some_and(|user| rules.differs(user, &held))
            });
            let wrong = wrong.count();
            if wrong == 0 {
                return Ok(());
            }
            if started.elapsed() > COUNTED_WITHIN {
                let problem = format!("the roles of {wrong} members are not what is recorded");
                verdict.problems.push(problem);
                return Ok(());
            }
            self.bot.still_runs()?;
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn await_outbox(&mut self, verdict: &mut Verdict) -> anyhow::Result<()> {
        let (started, first) = (Instant::now(), self.database.outbox().await?);
        let mut left = first;
        while left > 0 && started.elapsed() < ANNOUNCED_WITHIN {
            tokio::time::sleep(LOOK).await;
            left = self.database.outbox().await?;
        }
        // A line that has failed before waits longer and longer.
        if left > 0 && left == first {
            verdict
                .problems
                .push(format!("{left} level-ups wait, and none is announced"));
        }
        Ok(())
    }

    /// Row by row.
    async fn compare(&mut self, expected: &Result, verdict: &mut Verdict) -> anyhow::Result<()> {
        let found = self.database.result().await?;
        let mut differing = 0;
        let users: BTreeSet<_> = union(expected.standings.keys(), found.standings.keys());
        for user in users {
            let wanted = expected.standings.get(&user).copied().unwrap_or_default();
            let there = found.standings.get(&user).copied().unwrap_or_default();
            verdict.lost += wanted.message_count.saturating_sub(there.message_count);
            verdict.doubled += there.message_count.saturating_sub(wanted.message_count);
            if wanted != there {
                differing += 1;
                verdict.name(differing, || {
                    format!("user_point {user}: expected {wanted:?}, found {there:?}")
                });
            }
        }
        let mut differing = 0;
        for key in union(expected.days.keys(), found.days.keys()) {
            let (wanted, there) = (expected.days.get(&key), found.days.get(&key));
            if wanted != there {
                differing += 1;
                verdict.name(differing, || {
                    format!("xp_day {key:?}: expected {wanted:?}, found {there:?}")
                });
            }
        }
        Ok(())
    }

    /// Each level is announced once at most, and none that nobody reached. Late lines name
    /// nobody by id: of these, no level is announced more often than it was reached. Copies of
    /// avatars have a channel of their own, in which nothing else is said.
    fn check_lines(&self, expected: &Result, verdict: &mut Verdict) {
        let (mut announced, mut late) = (BTreeSet::new(), Vec::new());
        for channel in self.sim.channel_names() {
            if channel == AVATARS {
                continue;
            }
            for message in self.sim.bot_messages(self.sim.channel(&channel)) {
                let text = message["content"].as_str().unwrap_or_default();
                match level_up(text) {
                    Some(line) if !expected.level_ups.contains(&line) => verdict
                        .problems
                        .push(format!("nobody reached what is announced: {text}")),
                    Some(line) if !announced.insert(line) => {
                        verdict.problems.push(format!("announced twice: {text}"));
                    }
                    Some(_) => {}
                    None => match late_levels(text) {
                        Some(levels) => late.extend(levels),
                        None => verdict.problems.push(format!("the bot said: {text}")),
                    },
                }
            }
        }
        let mut unannounced = BTreeMap::<u32, i64>::new();
        for (_, level) in &expected.level_ups {
            *unannounced.entry(*level).or_default() += 1;
        }
        for level in announced.iter().map(|(_, level)| level).chain(&late) {
            *unannounced.entry(*level).or_default() -= 1;
        }
        for (level, count) in unannounced.iter().filter(|(_, count)| **count < 0) {
            verdict.problems.push(format!(
                "level {level} is announced {} times more than it was reached",
                -count
            ));
        }
    }

    fn search_log(&self, verdict: &mut Verdict) {
        let log = self.read_log();
        for (name, secret) in [("token", self.sim.token()), ("password", PASSWORD.into())] {
            if log.contains(&secret) {
                verdict
                    .problems
                    .push(format!("the log contains the {name}"));
            }
        }
    }
}

impl Verdict {
    /// Names the first of the rows that differ.
    fn name(&mut self, differing: usize, row: impl FnOnce() -> String) {
        if differing <= NAMED {
            self.problems.push(row());
        }
    }
}

fn union<'k, K: Ord + Copy + 'k>(
    some: impl Iterator<Item = &'k K>,
    others: impl Iterator<Item = &'k K>,
) -> BTreeSet<K> {
    some.chain(others).copied().collect()
}

/// Which levels a message tells of that were reached long ago; `None` if it is no such message.
fn late_levels(text: &str) -> Option<Vec<u32>> {
    let lines = text.strip_prefix("While I was away:\n")?.lines();
    lines.map(level_in).collect()
}

fn level_in(line: &str) -> Option<u32> {
    let (_, rest) = line.rsplit_once(" reached **level ")?;
    rest.split_once("**!")?.0.parse().ok()
}

/// Who reached which level, by the bot's own words.
fn level_up(text: &str) -> Option<(Id, u32)> {
    let (user, rest) = text.strip_prefix("<@")?.split_once("> reached **level ")?;
    let (level, _) = rest.split_once("**!")?;
    Some((user.parse().ok()?, level.parse().ok()?))
}
