//! The whole grammar of the command line, and nothing else.

use clap::{Parser, Subcommand};

const EXIT_CODES: &str = "\
Exit codes:
  0    fine
  1    a build failed, or the tool itself did
  2    wrong command line, spec or input file
  3    the machine lacks something (engine, network, disk, rights)
  4    a smoke check failed
  5    a --check found drift
  130  interrupted";

/// Builds, smoke-tests and tags all-in-one containers. A tag is a proof.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, after_help = EXIT_CODES)]
pub struct Cli {
    /// Print each command that is run.
    #[arg(long, short, global = true)]
    pub verbose: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// One verb each; `commands/<verb>.rs` runs it.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run all tests, engine tests included.
    Test,
}
