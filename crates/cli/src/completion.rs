//! Completion scripts.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::arguments::Arguments;

pub(crate) fn print(shell: Shell) {
    clap_complete::generate(shell, &mut Arguments::command(), "clm", &mut std::io::stdout());
}
