//! A world from its seed to its end.
//!
//! One thing happens at a time, chosen by chance: a step goes on to its next call, a user states something,
//! the servers work on their own, a query reads, time passes, the process dies. After so many of them the
//! faults stop; then everything has to come to its end.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use moves::{Change, Mover, Task};
use storage_types::MigrationId;

use crate::{
    catalog, effects, outside, readers,
    state::{Sim, State},
    truth::{Looks, Violation},
    users,
};

/// Once nothing fails, so many events must be enough.
const CALM_EVENTS: u64 = 10_000;
/// No move is withdrawn so often that all of them have more batches than this.
const MANY_BATCHES: usize = 1_000;
/// An operator is asked no more often than this.
const MANY_DECISIONS: u64 = 200;
/// Steps under way at a time.
const MANY_STEPS: usize = 6;

struct Step {
    /// `None`: planning, or settling whether the catalog is trusted and the gateway takes its batches.
    task: Option<Task>,
    future: Pin<Box<dyn Future<Output = ()>>>,
}

struct Run {
    sim: Sim,
    mover: Arc<Mover<Sim>>,
    steps: Vec<Step>,
    second: Option<Second>,
}

/// Another service at the same head and gateway.
struct Second {
    service: catalog::Service,
    mover: Arc<Mover<Sim>>,
    steps: Vec<Step>,
}

/// How a world ended.
#[derive(Debug)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// How many things happened.
    pub events: u64,
    /// The rule that was broken.
    pub violation: Option<Violation>,
    /// Its last events, when they were wanted.
    pub log: Vec<String>,
    /// Moves that came to their end by being reclaimed.
    pub batches: usize,
}

/// Runs the world of a seed; `logged`: its log is wanted.
pub fn world(seed: u64, logged: bool) -> Outcome {
    let state = State::new(seed, logged);
    let settings = state.plan.settings;
    let sim = Sim::new(state);
    let mover = Arc::new(Mover::new(sim.clone(), settings));
    let mut run = Run { sim, mover, steps: Vec::new(), second: None };
    run.begin();
    let troubled = run.sim.with(|state| state.plan.troubled);
    for _ in 0..troubled {
        run.trouble();
        if run.is_broken() {
            return run.outcome(seed);
        }
    }
    run.calm();
    run.outcome(seed)
}

impl Run {
    fn begin(&mut self) {
        self.sim.with(|state| {
            state.hot.keeps_numbers = state.plan.numbers_before;
            catalog::begin(state);
            for _ in 0..4 {
                users::insert(state);
            }
        });
        self.plan();
    }

    fn is_settled(&self) -> bool {
        self.sim.with(|state| state.catalog.trusted && state.catalog.claimed)
    }

    fn is_broken(&self) -> bool {
        self.sim.with(|state| state.truth.violation.is_some())
    }

    /// A second service starts, or has its turn.
    fn second(&mut self) {
        if self.second.is_none() && self.sim.with(|state| std::mem::take(&mut state.second_starts)) {
            let (service, settings) = self.sim.with(|state| {
                state.note(|| "a second service starts".into());
                (catalog::Service::second(state), state.plan.settings)
            });
            let mover = Arc::new(Mover::new(self.sim.clone(), settings));
            self.second = Some(Second { service, mover, steps: Vec::new() });
        }
        if !self.sim.with(|state| state.random.percent(30)) || !self.swap() {
            return;
        }
        self.plan();
        self.start();
        self.poll();
        self.swap();
    }

    /// The other service's turn. `false`: there is none.
    fn swap(&mut self) -> bool {
        let Some(second) = &mut self.second else { return false };
        self.sim.with(|state| second.service.swap(state));
        std::mem::swap(&mut second.mover, &mut self.mover);
        std::mem::swap(&mut second.steps, &mut self.steps);
        true
    }

    /// Anything may happen.
    fn trouble(&mut self) {
        let (choice, crash, user) = self.sim.with(|state| {
            state.event += 1;
            state.uptime_ms += state.random.below(400);
            let crash = state.random.one_in(state.plan.crash);
            let user = state.random.one_in(state.plan.users);
            (state.random.below(100), crash, user)
        });
        if crash || self.sim.with(|state| state.dead) {
            self.crash();
        }
        if user {
            self.user();
        }
        if self.second.is_some() || self.sim.with(|state| state.second_starts) {
            self.second();
        }
        match choice {
            0..45 => self.poll(),
            45..60 => self.start(),
            60..72 => self.sim.with(background),
            72..82 => self.sim.with(nas_works),
            82..92 => self.sim.with(readers::act),
            92..94 => self.sim.with(outside::act),
            94..96 => self.plan(),
            _ => self.wait(),
        }
    }

    fn user(&mut self) {
        let (cancels, operates) = self.sim.with(|state| {
            users::act(state);
            let cancels = state.plan.states(12) && state.random.one_in(12);
            (cancels, state.plan.states(13) && state.random.one_in(4))
        });
        if cancels && self.is_settled() {
            users::cancel(&self.sim, &self.mover);
        }
        if operates && self.is_settled() {
            users::operate(&self.sim, &self.mover);
        }
    }

    /// The process dies: what it had in memory is gone, and what the journal has is not.
    fn crash(&mut self) {
        self.steps.clear();
        let settings = self.sim.with(|state| {
            state.note(|| "the process dies and starts again".into());
            state.dead = false;
            state.leases.clear();
            let random = state.random.next();
            state.catalog.start(random);
            state.plan.settings
        });
        self.mover = Arc::new(Mover::new(self.sim.clone(), settings));
    }

    /// Starts steps that are due.
    fn start(&mut self) {
        if !self.is_settled() {
            return self.settle();
        }
        let due = self.mover.due();
        let due: Vec<Task> =
            due.into_iter().filter(|task| !self.steps.iter().any(|step| step.task == Some(*task))).collect();
        let Some(task) = self.sim.with(|state| state.random.pick(&due).copied()) else { return };
        if self.steps.len() >= MANY_STEPS {
            return;
        }
        self.sim.with(|state| {
            if let Task::Move(id) = task {
                state.looks.insert(id, Looks { began: state.event, ..Looks::default() });
            }
            state.note(|| format!("start {}", shown(task)));
        });
        let mover = Arc::clone(&self.mover);
        let future = Box::pin(async move {
            mover.run(task).await;
        });
        self.steps.push(Step { task: Some(task), future });
    }

    /// Whether the catalog is trusted is found out, and the gateway claimed.
    fn settle(&mut self) {
        if self.steps.iter().any(|step| step.task.is_none()) || self.sim.with(|state| state.catalog.refused) {
            return;
        }
        let sim = self.sim.clone();
        let future = Box::pin(async move {
            let _ = catalog::settle(&sim).await;
        });
        self.steps.push(Step { task: None, future });
    }

    /// The windows of the table are planned.
    fn plan(&mut self) {
        if self.steps.iter().any(|step| step.task.is_none()) || !self.is_settled() {
            return;
        }
        let (mover, sim) = (Arc::clone(&self.mover), self.sim.clone());
        let future = Box::pin(async move {
            let (table, before) = sim.with(|state| (state.described(), state.first_day() + 30 * 86_400));
            let Ok(windows) = mover.windows(&table, before).await else { return };
            let Some(migration) = MigrationId::from_u64(1) else { return };
            // Moves that were planned since then mean these windows already.
            for window in windows {
                let record = mover.planned(migration, &table, window);
                sim.with(|state| {
                    let busy = state.book.open_moves().any(|m| m.rows.window.overlaps(window.0));
                    if !busy && !state.dead {
                        let _ = crate::journal::write(state, vec![Change::from(record)]);
                    }
                });
            }
        });
        self.steps.push(Step { task: None, future });
    }

    /// One of the steps goes on to its next call.
    fn poll(&mut self) {
        let at = self.sim.with(|state| state.random.index(self.steps.len()));
        let Some(step) = self.steps.get_mut(at) else { return self.start() };
        self.sim.with(|state| state.running = step.task);
        let mut context = Context::from_waker(Waker::noop());
        let ended = matches!(step.future.as_mut().poll(&mut context), Poll::Ready(()));
        self.sim.with(|state| state.running = None);
        if ended {
            self.steps.swap_remove(at);
        }
    }

    /// Nothing is done until something that waits is due.
    fn wait(&mut self) {
        let next = self.mover.next_due_ms(|_| true);
        self.sim.with(|state| {
            let by = next.map_or(1_000, |next| next.saturating_sub(state.uptime_ms));
            state.uptime_ms += by.min(600_000);
        });
    }

    /// Nothing fails any more, and nobody wants anything: all of it has to come to an end.
    fn calm(&mut self) {
        if self.sim.with(|state| state.dead) {
            self.crash();
        }
        self.sim.with(|state| {
            state.note(|| "from now on nothing fails".into());
            (state.faults, state.hot_up, state.nas_up) = (false, true, true);
        });
        let (mut planned, mut operated) = (false, 0);
        for n in 0..CALM_EVENTS {
            self.sim.with(|state| {
                state.event += 1;
                state.uptime_ms += 20;
                let mut changed = Vec::new();
                effects::finish_update(state);
                mutations(state, &mut changed);
                nas_works(state);
                if n % 8 == 0 {
                    readers::act(state);
                }
            });
            self.start();
            self.poll();
            if self.is_broken() {
                return;
            }
            if self.sim.with(|state| state.book.batches().count()) > MANY_BATCHES {
                break;
            }
            if self.sim.with(|state| state.catalog.refused) {
                // The operator has the service begin anew.
                self.sim.with(catalog::forget);
                self.crash();
            }
            if !self.is_settled() || !self.steps.is_empty() || !self.mover.due().is_empty() {
                continue;
            }
            let over = self.sim.with(|state| state.book.open_moves().next().is_none());
            match over {
                true if planned => return self.end(),
                true => {
                    planned = true;
                    self.plan();
                }
                false if operated > MANY_DECISIONS => break,
                false if users::operate(&self.sim, &self.mover) => operated += 1,
                false => {
                    self.sim.with(readers::act);
                    self.wait();
                }
            }
        }
        self.sim.with(|state| {
            let open = state.book.open_moves().map(|m| {
                let waits = m.waiting.as_ref().map_or(String::new(), ToString::to_string);
                format!("move {} {} {:?}: {waits}", m.id.get() & 0xffff, m.state, m.decision)
            });
            let open = open.collect::<Vec<_>>().join("; ");
            state.truth.violated(|| format!("not over although nothing fails: {open}"));
        });
    }

    fn end(&self) {
        self.sim.with(|state| {
            users::restore(state);
            readers::last(state);
        });
    }

    fn outcome(self, seed: u64) -> Outcome {
        self.sim.with(|state| Outcome {
            seed,
            events: state.event,
            violation: state.truth.violation.clone(),
            log: state.log.take().unwrap_or_default().into(),
            batches: state.book.batches().filter(|b| b.state == moves::BatchState::Published).count(),
        })
    }
}

fn shown(task: Task) -> String {
    match task {
        Task::Move(id) => format!("a step of move {}", id.get() & 0xffff),
        Task::Batch(id, batch) => {
            format!("a step of batch {} of move {}", batch.get() & 0xffff, id.get() & 0xffff)
        }
    }
}

/// The hot server merges, finishes an update, or applies a mutation to a part.
fn background(state: &mut State) {
    let mut changed = Vec::new();
    if !state.hot.updates.is_empty() && state.random.percent(50) {
        return effects::finish_update(state);
    }
    if state.random.percent(50) {
        let State { hot, random, .. } = state;
        hot.merge(random, None, &mut changed);
        effects::background(state, &changed, None);
    } else {
        mutations(state, &mut changed);
    }
}

fn mutations(state: &mut State, changed: &mut Vec<crate::hot::Changed>) {
    let ours = state.hot.mutations.iter().find(|m| !m.done).and_then(|m| match m.effect {
        crate::hot::Effect::DeleteMoved(id, _) => Some(id),
        _ => None,
    });
    let State { hot, random, .. } = state;
    hot.apply_mutation(random, changed);
    effects::background(state, changed, ours);
}

fn nas_works(state: &mut State) {
    let (removal, uptime, event) = (state.plan.removal, state.uptime_ms, state.event);
    let State { nas, random, .. } = state;
    nas.work(random, removal, uptime, event);
}

impl State {
    /// The first day with rows.
    pub fn first_day(&self) -> i64 {
        20_000 * 86_400
    }
}
