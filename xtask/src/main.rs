//! `cargo xtask`: parses the command line and dispatches.

use std::process::ExitCode;

use xtask::cli::Cli;

fn main() -> ExitCode {
    // The private engine calls a copy of this binary in docker-proxy's place.
    if let Some(status) = engine::private::forward::serve_if_asked(std::env::args_os()) {
        return status;
    }
    let cli = Cli::read();
    xtask::entry::run(cli.root, cli.verbose, |host| {
        xtask::commands::run(cli.command, host)
    })
}
