//! `completions` and `man`, from the definition of the command line.

use crate::args::{Cli, Completions, Man};
use crate::exit::{Failure, Result};
use crate::terminal::Output;
use clap::CommandFactory;

pub(super) fn completions(args: &Completions) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "kluis", &mut script);
    print(&script)
}

pub(super) fn man(args: &Man) -> Result<()> {
    let mut command = Cli::command();
    command.build();
    for name in &args.command {
        command = match command.find_subcommand(name) {
            Some(found) => found.clone(),
            None => {
                let message = format!("kluis has no command {}", args.command.join(" "));
                return Err(Failure::usage(
                    message,
                    "see `kluis --help` for the commands",
                ));
            }
        };
    }
    let title = ["kluis"]
        .into_iter()
        .chain(args.command.iter().map(String::as_str));
    let title = title.collect::<Vec<_>>().join("-");
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone().disable_help_subcommand(true))
        .title(title.to_uppercase())
        .source(concat!("kluis ", env!("CARGO_PKG_VERSION")))
        .render(&mut page)
        .map_err(|e| Failure::io("cannot make the page", &e))?;
    print(&page)
}

fn print(bytes: &[u8]) -> Result<()> {
    let mut out = Output::new();
    out.bytes(bytes)?;
    out.finish()
}
