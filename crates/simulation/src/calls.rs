//! A call to something outside: it may be delayed, fail before its effect, or fail after it (the answer is
//! lost). A dead process has no effects.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use moves::{Trouble, world::Answer};

use crate::state::{Sim, State};

/// Who is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Callee {
    /// The hot server.
    Hot,
    /// The NAS.
    Nas,
}

impl Callee {
    fn away(self, what: &str) -> Trouble {
        match self {
            Self::Hot => Trouble::HotAway(format!("{what}: no answer")),
            Self::Nas => Trouble::NasAway(format!("{what}: no answer")),
        }
    }
}

/// Lets others act so many times before it goes on.
struct Delay(u64);

impl Future for Delay {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        match self.0 {
            0 => Poll::Ready(()),
            _ => {
                self.0 -= 1;
                Poll::Pending
            }
        }
    }
}

impl Sim {
    async fn delay(&self) {
        let delay = self.with(|state| {
            let delayed = state.random.below(100) < state.plan.delayed;
            if state.faults && delayed { 1 + state.random.below(4) } else { 0 }
        });
        Delay(delay).await;
    }

    /// The call `what`, with its effect.
    pub async fn call<T>(
        &self,
        callee: Callee,
        what: &'static str,
        effect: impl FnOnce(&mut State) -> Answer<T> + Send,
    ) -> Answer<T> {
        self.delay().await;
        let answer = self.with(|state| {
            state.event += 1;
            let up = match callee {
                Callee::Hot => state.hot_up,
                Callee::Nas => state.nas_up,
            };
            let fails = state.faults && !state.dead && state.random.below(100) < state.plan.failing;
            let before = fails && state.random.percent(50);
            if state.dead || !up || before {
                state.note(|| format!("  {what}: fails"));
                return Err(callee.away(what));
            }
            let answer = effect(state);
            let lost = if fails { ", the answer is lost" } else { "" };
            let trouble = answer.as_ref().err().cloned();
            state.note(|| match trouble {
                Some(trouble) => format!("  {what}: {trouble}{lost}"),
                None => format!("  {what}{lost}"),
            });
            if fails { Err(callee.away(what)) } else { answer }
        });
        self.delay().await;
        answer
    }
}
