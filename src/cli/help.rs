//! What `--help` says beside what is written at the flags: commands in groups, examples, exit codes.

use clap::Command;

/// The commands in the order of the help, each in one group.
const GROUPS: &[(&str, &[&str])] = &[
    ("Run a gateway", &["demo", "serve", "check", "explain"]),
    ("Publish descriptors", &["push", "diff", "promote", "rollback", "versions", "history"]),
    ("Manage a gateway", &["apply", "get", "delete", "status", "audit"]),
    ("Other", &["store", "completions", "help"]),
];

/// Puts the commands into their groups.
pub(super) fn grouped(mut command: Command) -> Command {
    command.build();
    let mut listed = String::new();
    for (title, names) in GROUPS {
        listed.push_str(&format!("{title}:\n"));
        for name in *names {
            let about = command.find_subcommand(name).and_then(Command::get_about);
            let about = about.map(ToString::to_string).unwrap_or_default();
            listed.push_str(&format!("  {name:<12} {about}\n"));
        }
        listed.push('\n');
    }
    let template = format!(
        "{{before-help}}{{about}}\n\n{{usage-heading}} {{usage}}\n\n{listed}Options:\n{{options}}{{after-help}}"
    );
    command.help_template(template).after_help(
        "`transom COMMAND --help` has examples. Commands that ask a gateway find it by --admin or\n\
         TRANSOM_ADMIN, and show the token in TRANSOM_ADMIN_TOKEN.",
    )
}

/// Examples of a command that asks no gateway.
pub(super) fn examples(lines: &[&str]) -> String {
    let mut text = String::from(if lines.len() == 1 { "Example:" } else { "Examples:" });
    for line in lines {
        text.push_str(&format!("\n  {line}"));
    }
    text
}

/// Examples of a command that asks a gateway, and what its exit codes mean.
pub(super) fn client(lines: &[&str]) -> String {
    format!("{}\n\n{EXIT_CODES}", examples(lines))
}

const EXIT_CODES: &str = "Exit codes:\n  0  done\n  1  the gateway refused, or failed\n  2  wrong arguments or input, or no answer from the gateway\n\n\
     The token of the Admin API is read from TRANSOM_ADMIN_TOKEN, or from --token-file.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_is_in_one_group_with_a_line_and_an_example() {
        let mut all: Vec<_> = GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        all.sort_unstable();
        let command = crate::cli::command();
        let mut known: Vec<_> = command.get_subcommands().map(Command::get_name).collect();
        known.sort_unstable();
        assert_eq!(all, known);
        for command in command.get_subcommands().filter(|command| command.get_name() != "help") {
            let name = command.get_name();
            let about = command.get_about().unwrap_or_else(|| panic!("{name} says nothing")).to_string();
            assert!(!about.contains('\n') && about.len() < 90, "{name}: {about}");
            let after = command.get_after_long_help().unwrap_or_else(|| panic!("{name} has no example"));
            assert!(
                after.to_string().contains(&format!("\n  transom {name} "))
                    || name == "demo"
                    || name == "status",
                "{name}"
            );
        }
    }

    #[test]
    fn the_flags_of_all_commands_fit_together() {
        crate::cli::command().debug_assert();
    }
}
