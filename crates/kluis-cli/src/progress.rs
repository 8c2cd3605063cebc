//! How far a transfer is: a bar on a terminal, a line now and then elsewhere,
//! an object a second under `--json`.

use crate::json::Message;
use crate::terminal::{Terminal, human_bytes};
use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// Counters that the transfers move and the display reads.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) bytes_done: AtomicU64,
    pub(crate) bytes_total: AtomicU64,
    pub(crate) items_done: AtomicU64,
    pub(crate) items_total: AtomicU64,
    /// Everything has been found; until then the totals are a lower bound.
    pub(crate) total_known: AtomicBool,
}

impl Progress {
    pub(crate) fn found(&self, bytes: u64) {
        self.items_total.fetch_add(1, Ordering::Relaxed);
        self.bytes_total.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn advance(&self, bytes: u64) {
        self.bytes_done.fetch_add(bytes, Ordering::Relaxed);
    }
}

const HEARTBEAT: Duration = Duration::from_secs(10);

/// Shows progress until dropped: a bar on a terminal, a line now and then
/// elsewhere, an object a second under `--json`.
pub(crate) struct Ticker {
    stop: Option<std::sync::mpsc::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Terminal {
    pub(crate) fn show(self: &Arc<Self>, progress: &Arc<Progress>) -> Ticker {
        if self.quiet() {
            return Ticker {
                stop: None,
                thread: None,
            };
        }
        let (stop, stopped) = std::sync::mpsc::channel();
        let (terminal, progress) = (self.clone(), progress.clone());
        let bar = !self.json() && io::stderr().is_terminal();
        let every = match (self.json(), bar) {
            (true, _) => Duration::from_secs(1),
            (_, true) => Duration::from_millis(150),
            _ => HEARTBEAT,
        };
        let thread = std::thread::spawn(move || {
            let start = Instant::now();
            let mut last = (start, 0);
            let mut rate = 0.0;
            while let Err(std::sync::mpsc::RecvTimeoutError::Timeout) = stopped.recv_timeout(every)
            {
                let now = (Instant::now(), progress.bytes_done.load(Ordering::Relaxed));
                let elapsed = (now.0 - last.0).as_secs_f64().max(0.001);
                let current = now.1.saturating_sub(last.1) as f64 / elapsed;
                // Smoothed over about three seconds, exact at the first look.
                let weight = if rate == 0.0 {
                    1.0
                } else {
                    (elapsed / 3.0).min(1.0)
                };
                rate += weight * (current - rate);
                last = now;
                terminal.tick(&progress, rate, bar);
            }
            if let Some(bar) = terminal
                .bar
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take()
            {
                bar.finish_and_clear();
            }
        });
        Ticker {
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    fn tick(&self, progress: &Progress, rate: f64, bar: bool) {
        let known = progress.total_known.load(Ordering::Relaxed);
        let bytes_done = progress.bytes_done.load(Ordering::Relaxed);
        let bytes_total = progress.bytes_total.load(Ordering::Relaxed);
        let items_done = progress.items_done.load(Ordering::Relaxed);
        let items_total = progress.items_total.load(Ordering::Relaxed);
        let left = bytes_total.saturating_sub(bytes_done) as f64;
        let eta = (known && rate >= 1.0).then(|| Duration::from_secs_f64((left / rate).min(1e9)));
        if self.json() {
            let _ = self.message(&Message::Progress {
                bytes_done,
                bytes_total: known.then_some(bytes_total),
                items_done,
                items_total: known.then_some(items_total),
                bytes_per_second: rate as u64,
                seconds_remaining: eta.map(|e| e.as_secs()),
            });
            return;
        }
        let text = format!(
            "{items_done} of {items_total}{} files, {} of {}, {}/s{}",
            if known { "" } else { "+" },
            human_bytes(bytes_done),
            human_bytes(bytes_total),
            human_bytes(rate as u64),
            eta.map(|e| format!(", ETA {:#}", HumanDuration(e)))
                .unwrap_or_default(),
        );
        if !bar {
            return self.line(&text);
        }
        let mut shown = self.bar.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = shown.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{bar:20} {wide_msg}") {
                bar.set_style(style);
            }
            bar
        });
        shown.set_length(bytes_total.max(1));
        shown.set_position(bytes_done.min(bytes_total));
        shown.set_message(text);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
