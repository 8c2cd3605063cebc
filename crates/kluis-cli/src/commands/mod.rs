//! One module for each family of verbs.

mod access;
mod check;
mod contacts;
mod copy;
mod devices;
mod groups;
mod identity;
mod keys;
mod leases;
mod links;
mod list;
mod print;
mod read;
mod reencrypt;
mod remove;
mod serve;
mod sharing;

use crate::args::Verb;
use crate::exit::Result;
use crate::session::Session;

pub(crate) async fn run(session: &Session, verb: Verb) -> Result<()> {
    match verb {
        Verb::Init(args) => keys::init(session, args).await,
        Verb::Cp(args) => copy::cp(session, args).await,
        Verb::Ls(args) => list::ls(session, args).await,
        Verb::Cat(args) => read::cat(session, args).await,
        Verb::Stat(args) => list::stat(session, args).await,
        Verb::Mv(args) => copy::mv(session, args).await,
        Verb::Rm(args) => remove::rm(session, args).await,
        Verb::Check(args) => check::check(session, args).await,
        Verb::Passwd(args) => keys::passwd(session, args).await,
        Verb::Key(args) => keys::key(session, args).await,
        Verb::Device(verb) => devices::device(session, verb).await,
        Verb::Recovery(args) => keys::recovery(session, args).await,
        Verb::Identity(verb) => identity::identity(session, verb).await,
        Verb::Contact(verb) => contacts::contact(session, verb).await,
        Verb::Group(verb) => groups::group(session, verb).await,
        Verb::Share(args) => sharing::share(session, args).await,
        Verb::Shares => sharing::shares(session).await,
        Verb::Access(args) => access::access(session, args).await,
        Verb::Revoke(args) => sharing::revoke(session, args).await,
        Verb::Lease(args) => leases::lease(session, args).await,
        Verb::Reencrypt(args) => reencrypt::reencrypt(session, args).await,
        Verb::Link(verb) => links::link(session, verb).await,
        Verb::Get(args) => links::get(session, args).await,
        Verb::Serve(args) => serve::serve(session, args).await,
        Verb::Accept(args) => sharing::accept(session, args).await,
        Verb::Completions(args) => print::completions(&args),
        Verb::Man(args) => print::man(&args),
    }
}
