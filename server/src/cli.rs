//! The command line: what there is, and who does it.

use std::process::ExitCode;

use clap::{ArgMatches, Command, CommandFactory, FromArgMatches};

use crate::config::{RoleName, Settings, file_arg, reference, with_options};
use crate::ctl::Ctl;
use crate::output;
use crate::run;
use crate::up::Up;

/// Bad usage or configuration: the operator's to mend.
const EXIT_USAGE: u8 = 2;

const ABOUT: &str = "A distributed key-value cache: nodes, discovery, gateway, and what it takes to run them";

const EXAMPLES: &str = "\
Examples:
  evanesce up                              a whole cluster here: 3 zones of 2 nodes, one gateway
  evanesce ctl status                      who is there and how they do
  evanesce node --standalone --memory 1GiB one node by itself, where memcached would be
  evanesce config print node --standalone  every option and its doc, as a file to start from

Exit codes: 0 ended in order; 1 failed, or a miss of `ctl get`; 2 bad usage or configuration.";

const LAYERS: &str =
    "Options come from defaults, over them --config FILE, over it the environment, over it flags.";

pub(crate) fn main() -> ExitCode {
    // clap prints and exits by itself where there is nothing to run: 0 for help, 2 for bad usage.
    let matches = command().get_matches();
    let (name, matches) = matches.subcommand().expect("clap requires a subcommand");
    match (name, role_named(name)) {
        (_, Some(role)) => with_settings(role, matches, true, run::main),
        ("config", _) => config(matches),
        ("ctl", _) => Ctl::of(matches).main(),
        ("up", _) => parsed::<Up>(matches).main(),
        _ => unreachable!("clap knows the same subcommands"),
    }
}

fn command() -> Command {
    let command = Command::new("evanesce")
        .about(ABOUT)
        .version(env!("CARGO_PKG_VERSION"))
        .after_help(EXAMPLES)
        .subcommand_required(true)
        .arg_required_else_help(true);
    RoleName::ALL
        .into_iter()
        .fold(command, |command, role| command.subcommand(role_command(role).arg(file_arg())))
        .subcommand(Up::command())
        .subcommand(Ctl::command())
        .subcommand(config_command())
}

/// What clap matched, as the type it was derived for.
fn parsed<T: FromArgMatches>(matches: &ArgMatches) -> T {
    T::from_arg_matches(matches).unwrap_or_else(|error| error.exit())
}

fn role_command(role: RoleName) -> Command {
    let (about, examples) = match role {
        RoleName::Node => ("Store items; speak memcached; register with every discovery", NODE_EXAMPLES),
        RoleName::Discovery => {
            ("Keep the membership of clusters and stream it to clients", DISCOVERY_EXAMPLES)
        }
        RoleName::Gateway => ("Speak memcached in front of a whole cluster", GATEWAY_EXAMPLES),
    };
    let command = Command::new(role.word()).about(about).after_help(format!("{LAYERS}\n\n{examples}"));
    with_options(command, role)
}

const NODE_EXAMPLES: &str = "\
Examples:
  evanesce node --standalone --listen 127.0.0.1:11211 --threads 2 --memory 1GiB
  evanesce node --cluster HOME --zone a --name a1 --discovery 127.0.0.1:11300 --memory 1GiB
  EVANESCE_CLUSTER=HOME EVANESCE_ZONE=a evanesce node --name a1 --discovery 127.0.0.1:11300
  evanesce node --config /etc/evanesce.toml --name a1";

const DISCOVERY_EXAMPLES: &str = "\
Examples:
  evanesce discovery --state-dir /var/lib/evanesce
  evanesce discovery --zone a --grpc 127.0.0.2:11300 --http off";

const GATEWAY_EXAMPLES: &str = "\
Examples:
  evanesce gateway --cluster HOME --zone a --discovery 127.0.0.1:11300
  evanesce gateway --config /etc/evanesce.toml --listen 127.0.0.1:11211,[::1]:11211
  evanesce gateway --cluster HOME --zone a --discovery 127.0.0.1:11300 \
      --node-tls-ca ca.pem --node-user gateway --node-password-file password";

fn config_command() -> Command {
    let roles = |about: &'static str| {
        move |name: &'static str| {
            let command =
                Command::new(name).about(about).subcommand_required(true).subcommand_value_name("ROLE");
            RoleName::ALL.into_iter().fold(command.arg(file_arg().global(true)), |command, role| {
                command.subcommand(role_command(role).about(format!("For a {role}")))
            })
        }
    };
    Command::new("config")
        .about("Check a role's configuration, or print it, or all there is to set")
        .after_help(CONFIG_EXAMPLES)
        .subcommand_required(true)
        .subcommand(roles("Report everything that is wrong with a role's configuration, and start nothing")(
            "check",
        ))
        .subcommand(roles("Print a role's configuration as it would hold, as a commented file")("print"))
        .subcommand(reference_command())
}

fn reference_command() -> Command {
    let command = Command::new(REFERENCE)
        .about(
            "Print every option of a role: what it does, its type, its bounds, its default; nothing is set",
        )
        .subcommand_required(true)
        .subcommand_value_name("ROLE");
    RoleName::ALL.into_iter().fold(command, |command, role| {
        command.subcommand(Command::new(role.word()).about(format!("For a {role}")))
    })
}

/// The verb that looks at no configuration.
const REFERENCE: &str = "reference";

const CONFIG_EXAMPLES: &str = "\
Examples:
  evanesce config check --config /etc/evanesce.toml node
  evanesce config print node --standalone > evanesce.toml
  evanesce config reference gateway";

fn config(matches: &ArgMatches) -> ExitCode {
    let (verb, matches) = matches.subcommand().expect("clap requires a verb");
    let (role, matches) = matches.subcommand().expect("clap requires a role");
    let role = role_named(role).expect("clap knows the same roles");
    if verb == REFERENCE {
        return say(&reference(role));
    }
    // What is printed may be meant for another machine.
    with_settings(role, matches, verb != "print", |settings| match verb {
        "print" => say(&settings.commented_file()),
        _ => say(&format!("the configuration of this {role} is good\n")),
    })
}

fn say(text: &str) -> ExitCode {
    match output::text(text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::complain(&format!("evanesce config: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn with_settings(
    role: RoleName,
    matches: &ArgMatches,
    looks_at_files: bool,
    act: impl FnOnce(Settings) -> ExitCode,
) -> ExitCode {
    match Settings::gather(role, matches, looks_at_files) {
        Ok(settings) => act(settings),
        Err(error) => {
            output::complain(&format!("evanesce {role}: {error}"));
            ExitCode::from(EXIT_USAGE)
        }
    }
}

fn role_named(word: &str) -> Option<RoleName> {
    RoleName::ALL.into_iter().find(|role| role.word() == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn file_may_be_named_before_or_after_the_role() {
        for words in [
            ["evanesce", "config", "check", "--config", "f.toml", "node"],
            ["evanesce", "config", "check", "node", "--config", "f.toml"],
        ] {
            let matches = command().try_get_matches_from(words).unwrap();
            let (_, matches) = matches.subcommand().unwrap();
            let (_, matches) = matches.subcommand().unwrap();
            let (_, matches) = matches.subcommand().unwrap();
            assert_eq!(matches.get_one::<std::path::PathBuf>("config").unwrap().as_os_str(), "f.toml");
        }
    }
}
