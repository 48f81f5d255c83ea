//! `transom completions`: what a shell must know to complete the commands.

use std::process::ExitCode;

use clap::Args;
use clap::ValueEnum;
use clap_complete::Shell;

use crate::cli::command;
use crate::cli::failure::Outcome;
use crate::cli::help;
use crate::cli::output::print;

/// Print the completions for a shell
#[derive(Debug, Args)]
#[command(after_long_help = help::examples(&[
    "transom completions bash > /etc/bash_completion.d/transom",
    "transom completions zsh > ~/.zfunc/_transom",
    "transom completions fish > ~/.config/fish/completions/transom.fish",
]))]
pub(super) struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Known,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Known {
    Bash,
    Zsh,
    Fish,
}

pub(super) fn run(args: &Completions) -> Outcome {
    let shell = match args.shell {
        Known::Bash => Shell::Bash,
        Known::Zsh => Shell::Zsh,
        Known::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), "transom", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}
