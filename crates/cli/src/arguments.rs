//! The grammar: `clm <noun> <verb> [ARGUMENT] [--options]`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clm_types::OrganizationId;
use uuid::Uuid;

use crate::{
    access, api_keys, audit, authorities, certificates, contexts, crl, factors, groups, identities,
    integrity, login, mass_revocations, memberships, notifications, organizations, passkeys, passwords,
    policies, requests, roles, sessions, users, workflows, workload_rules,
};

const EXAMPLES: &str = "\
Examples:
  clm login https://localhost:8443 --ca-file ca.pem --token-file token   sign in, once
  clm request create --csr server.csr --profile tls-server --out server.pem
  clm approvals                                                          what waits for me
  clm approve 0199f0c0-5a2e-7c31-9d04-1f6b8a3e2c70 --comment 'as agreed'
  clm cert list --status active --expires-within 30d
  clm cert revoke 0199f0c1-1b7d-7e52-8a36-4c0d9e5f7b12 --reason keyCompromise
  clm audit list --operation 0199f0c2-6c48-7f03-b5d1-2e7a8f9c0d34    both databases

Exit codes: 0 done, 1 refused, 2 usage, 3 not signed in or not allowed, 4 not found, 5 conflict,
6 waits for approval, 7 unavailable.";

/// Certificates: request, approve, download, renew, revoke, audit.
#[derive(Parser)]
#[command(name = "clm", version, about, after_help = EXAMPLES, propagate_version = true, max_term_width = 110)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) global: Global,
}

/// Options of every command.
#[derive(Args, Clone)]
pub(crate) struct Global {
    /// How to print results
    #[arg(long, short, global = true, value_enum, default_value = "table", help_heading = "Global options")]
    pub(crate) output: Output,
    /// Which installation, by the name given at login
    #[arg(long, global = true, env = "CLM_CONTEXT", help_heading = "Global options")]
    pub(crate) context: Option<String>,
    /// Address of the API, instead of the context's
    #[arg(long, global = true, env = "CLM_URL", help_heading = "Global options")]
    pub(crate) url: Option<url::Url>,
    /// Trust anchors of the API (PEM), instead of the context's
    #[arg(long, global = true, env = "CLM_CA_FILE", help_heading = "Global options")]
    pub(crate) ca_file: Option<PathBuf>,
    /// File with the API key (`-` for standard input), instead of the context's
    #[arg(long, global = true, env = "CLM_TOKEN_FILE", help_heading = "Global options")]
    pub(crate) token_file: Option<PathBuf>,
    /// Organization to work in, for API keys that are good for several
    #[arg(long, global = true, env = "CLM_ORGANIZATION", help_heading = "Global options")]
    pub(crate) organization: Option<OrganizationId>,
}

/// How to print results.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people
    Table,
    /// The API's own JSON
    Json,
}

/// Which part of a list.
#[derive(Args, Clone, Default)]
pub(crate) struct PageArguments {
    /// Items per page, 1 to 200
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=200))]
    pub(crate) limit: Option<u32>,
    /// Read on where the last page ended
    #[arg(long)]
    pub(crate) cursor: Option<String>,
    /// Every page
    #[arg(long, conflicts_with = "cursor")]
    pub(crate) all: bool,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Sign in: remember an installation and its API key as a context
    Login(Box<login::Login>),
    Can(access::Can),
    /// Sign out: end the session in use, and forget it
    #[command(after_help = "Example:\n  clm logout")]
    Logout,
    /// Where you are signed in
    Session {
        #[command(subcommand)]
        command: sessions::Command,
    },
    /// Your second factor
    Factor {
        #[command(subcommand)]
        command: factors::Command,
    },
    /// Your passkeys, which browsers make
    Passkey {
        #[command(subcommand)]
        command: passkeys::Command,
    },
    /// OpenID providers that sign you in
    Identity {
        #[command(subcommand)]
        command: identities::Command,
    },
    /// Your password
    Password {
        #[command(subcommand)]
        command: passwords::Command,
    },
    /// Show who you are and what you may do
    #[command(after_help = "Example:\n  clm me")]
    Me,
    /// Choose between installations
    Context {
        #[command(subcommand)]
        command: contexts::Command,
    },
    /// Ask for certificates and follow requests
    Request {
        #[command(subcommand)]
        command: Box<requests::Command>,
    },
    /// Approve requests
    #[command(
        after_help = "Example:\n  clm approve 0199f0c0-5a2e-7c31-9d04-1f6b8a3e2c70 --comment 'change 4711'"
    )]
    Approve {
        /// Requests
        #[arg(required = true, value_name = "REQUEST")]
        ids: Vec<Uuid>,
        /// Why
        #[arg(long)]
        comment: Option<String>,
    },
    /// Reject requests
    #[command(
        after_help = "Example:\n  clm reject 0199f0c0-5a2e-7c31-9d04-1f6b8a3e2c70 --comment 'ask for one name only'"
    )]
    Reject {
        /// Requests
        #[arg(required = true, value_name = "REQUEST")]
        ids: Vec<Uuid>,
        /// Why
        #[arg(long)]
        comment: Option<String>,
    },
    /// List what waits for your decision
    #[command(after_help = "Example:\n  clm approvals --all")]
    Approvals(PageArguments),
    /// Find, download, renew, revoke certificates
    Cert {
        #[command(subcommand)]
        command: certificates::Command,
    },
    /// Revoke a certificate (the same as `cert revoke`)
    Revoke(certificates::Revoke),
    /// Revoke many certificates by one decision of two people
    MassRevocation {
        #[command(subcommand)]
        command: mass_revocations::Command,
    },
    /// Certificate authorities
    Ca {
        #[command(subcommand)]
        command: authorities::Command,
    },
    /// Revocation lists
    Crl {
        #[command(subcommand)]
        command: crl::Command,
    },
    /// Policies: who may have which certificate
    Policy {
        #[command(subcommand)]
        command: policies::Command,
    },
    /// Workflows: who decides on requests
    Workflow {
        #[command(subcommand)]
        command: workflows::Command,
    },
    /// Users
    User {
        #[command(subcommand)]
        command: users::Command,
    },
    /// Who belongs to your organization
    Member {
        #[command(subcommand)]
        command: memberships::MemberCommand,
    },
    /// Where you belong
    Membership {
        #[command(subcommand)]
        command: memberships::MembershipCommand,
    },
    /// Roles and who holds them
    Role {
        #[command(subcommand)]
        command: roles::Command,
    },
    /// Groups of users, and the roles that they give
    Group {
        #[command(subcommand)]
        command: groups::Command,
    },
    /// Organizations
    Org {
        #[command(subcommand)]
        command: organizations::Command,
    },
    /// API keys
    Key {
        #[command(subcommand)]
        command: api_keys::Command,
    },
    /// Workloads that get keys for tokens of their provider: CI jobs, Kubernetes service accounts
    WorkloadRule {
        #[command(subcommand)]
        command: workload_rules::Command,
    },
    /// The audit logs of both databases
    Audit {
        #[command(subcommand)]
        command: audit::Command,
    },
    /// Whether both databases agree
    Integrity {
        #[command(subcommand)]
        command: integrity::Command,
    },
    /// Notifications
    Notification {
        #[command(subcommand)]
        command: notifications::Command,
    },
    /// Print a completion script
    #[command(after_help = "Example:\n  clm completion bash > /etc/bash_completion.d/clm")]
    Completion {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_grammar_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn no_secret_is_taken_on_the_command_line() {
        fn walk(command: &clap::Command) {
            for argument in command.get_arguments() {
                let id = argument.get_id().as_str();
                let is_secret =
                    ["token", "password", "secret", "passphrase"].iter().any(|word| id.contains(word));
                assert!(!is_secret || id.ends_with("_file"), "{id}");
            }
            command.get_subcommands().for_each(walk);
        }
        walk(&Arguments::command());
    }

    #[test]
    fn every_command_says_what_it_is_for() {
        fn walk(command: &clap::Command) {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            let arguments = command.get_arguments().filter(|one| !one.is_hide_set());
            arguments.for_each(|one| {
                assert!(one.get_help().is_some(), "{} {}", command.get_name(), one.get_id());
            });
            // What is longer is broken into two lines, and can no longer be copied.
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let too_long = help.lines().find(|line| line.starts_with("  ") && line.chars().count() > 100);
            assert_eq!(too_long, None, "{}", command.get_name());
            let examples = examples(&help);
            let shows = |example: &Vec<String>| example.iter().any(|word| word == command.get_name());
            assert!(
                command.has_subcommands() || examples.iter().any(shows),
                "{} has no example",
                command.get_name()
            );
            for example in &examples {
                if let Err(error) = Arguments::try_parse_from(example) {
                    panic!("{}: {}\n{error}", command.get_name(), example.join(" "));
                }
            }
            command.get_subcommands().for_each(walk);
        }
        walk(&Arguments::command());
    }

    /// The calls of `clm` in the examples of a help text, in words.
    fn examples(help: &str) -> Vec<Vec<String>> {
        let whole_lines = help.split("\\\n").map(str::trim_start).collect::<String>();
        let calls = whole_lines.lines().filter_map(|line| match line.split_once("| clm ") {
            Some((_, call)) => Some(format!("clm {call}")),
            None => line.strip_prefix("  ").filter(|call| call.starts_with("clm ")).map(str::to_owned),
        });
        calls.map(|call| words(&call)).collect()
    }

    /// The words of a call as a shell takes them, up to a redirection, a pipe, or the remark behind two blanks.
    fn words(call: &str) -> Vec<String> {
        let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
        for c in call.chars() {
            match quote {
                Some(mark) if c == mark => quote = None,
                None if c == ' ' && word.is_empty() => break,
                None if c == ' ' => words.push(std::mem::take(&mut word)),
                None if "'\"".contains(c) => quote = Some(c),
                None if "<>|".contains(c) || c == '#' && word.is_empty() => break,
                Some(_) | None => word.push(c),
            }
        }
        assert!(quote.is_none(), "{call}");
        words.extend((!word.is_empty()).then_some(word));
        words
    }

    #[test]
    fn the_words_of_an_example_are_those_of_a_shell() {
        assert_eq!(words("clm a 'b  c' --d=\"e #\" -   remark"), ["clm", "a", "b  c", "--d=e #", "-"]);
        assert_eq!(words("clm a > 'b'"), ["clm", "a"]);
        assert_eq!(words("clm a # 'b'"), ["clm", "a"]);
    }
}
