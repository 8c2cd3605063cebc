//! `kluis`: encrypts files before they are uploaded to any object store.
//!
//! docs/CLI.md is the contract of this command.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod address;
mod args;
mod commands;
mod config;
mod exit;
mod gateway;
mod json;
mod local;
mod progress;
mod secrets;
mod session;
mod store;
mod terminal;
mod transfer;

use clap::Parser;
use clap::error::ErrorKind;
use exit::{Exit, Failure};
use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, setrlimit, umask};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

fn main() -> ExitCode {
    // A core dump would put keys on the disk.
    let _ = setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    );
    let cli = match args::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error)
            if error.use_stderr()
                && error.kind() != ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand =>
        {
            let terminal = terminal::Terminal::new(false, false, false);
            return end(&terminal, Err(Failure::arguments(&error.to_string())));
        }
        Err(help) => help.exit(),
    };
    // Only while no other thread is there: reading it means setting it.
    let mask = umask(Mode::from_raw_mode(0o077));
    umask(mask);
    // Fails only if somebody installed one before, and nobody does.
    let _ = rustls::crypto::ring::default_provider().install_default();

    let common = cli.common;
    let terminal = Arc::new(terminal::Terminal::new(
        common.json,
        common.quiet,
        common.verbose,
    ));
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(e) => return end(&terminal, Err(Failure::io("cannot start", &e))),
    };
    let (cancel, cancelled) = watch::channel(false);
    let session = session::Session::new(common, terminal.clone(), cancelled, mask);
    // A server is stopped by nothing else, and ends in good order.
    let serves = matches!(cli.verb, args::Verb::Serve(_));
    let result = runtime.block_on(async {
        let run = commands::run(&session, cli.verb);
        tokio::pin!(run);
        tokio::select! {
            result = &mut run => result,
            () = interrupt() => {
                // Whoever holds an unfinished file removes it now.
                let _ = cancel.send(true);
                if serves { run.await } else { Err(Failure::interrupted()) }
            }
        }
    });
    let interrupted = matches!(&result, Err(f) if f.exit == Exit::Interrupted);
    if interrupted {
        let _ = cancel.send(true);
        terminal::restore_echo();
        let patience = Instant::now() + Duration::from_secs(5);
        while transfer::busy() && Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(5));
        }
        // Uploads in parts that were dropped are taken back meanwhile.
        runtime.block_on(async { tokio::time::sleep(Duration::from_millis(300)).await });
    }
    // A thread that waits for input nobody will type must not hold us up.
    runtime.shutdown_timeout(Duration::from_millis(if interrupted { 500 } else { 0 }));
    end(&terminal, result)
}

/// Says the last word and leaves.
fn end(terminal: &terminal::Terminal, result: exit::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::from(Exit::Ok as u8),
        Err(failure) => {
            terminal.failure(&failure);
            ExitCode::from(failure.exit as u8)
        }
    }
}

/// The first signal that asks us to stop; the second one does not wait.
async fn interrupt() {
    let kinds = [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ];
    let (send, mut receive) = tokio::sync::mpsc::channel(2);
    for kind in kinds {
        let Ok(mut stream) = signal(kind) else {
            continue;
        };
        let send = send.clone();
        tokio::spawn(async move {
            let mut count = 0;
            while stream.recv().await.is_some() {
                count += 1;
                if count > 1 {
                    terminal::restore_echo();
                    std::process::exit(Exit::Interrupted as i32);
                }
                let _ = send.send(()).await;
            }
        });
    }
    drop(send);
    if receive.recv().await.is_none() {
        // No signal can be waited for, so none arrives.
        std::future::pending::<()>().await;
    }
}
