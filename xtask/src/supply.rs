//! `cargo xtask supply`: what comes into the tree from outside, checked with cargo-deny.
//!
//! Bans, licences and sources need the registry only, and always count. Known vulnerabilities need
//! the advisory database, which is fetched from the network: where that cannot be reached, the step
//! says so and does not count, unless `PLANTWIN_ADVISORIES=required`. Absent: the rules (see
//! `deny.toml`) and installing cargo-deny (see `.ci/run`).

use std::{
    env,
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Result, bail};

use crate::steps::{Steps, cargo};

/// Says whether advisories must have been looked at.
const ADVISORIES: &str = "PLANTWIN_ADVISORIES";

/// The checks alone.
pub(crate) fn alone() -> Result<ExitCode> {
    let mut steps = Steps::default();
    check(&mut steps)?;
    Ok(steps.finish())
}

/// Two steps: what must always be checked, and known vulnerabilities.
pub(crate) fn check(steps: &mut Steps) -> Result<()> {
    let required = advisories_required(env::var(ADVISORIES).ok().as_deref())?;
    // The lock file as it is: what is checked must be what is built.
    let mut rules = cargo(&["deny", "--locked", "check", "bans", "licenses", "sources"]);
    // Without cargo-deny this fails, and cargo says that there is no such command.
    steps.run("supply chain", quiet_about_versions(&mut rules))?;
    let mut advisories = cargo(&["deny", "--locked", "check", "advisories"]);
    if required || fetched() {
        return steps.run("advisories", &mut advisories);
    }
    steps.skip(
        "advisories",
        &format!(
            "the advisory database cannot be fetched: known vulnerabilities were NOT looked for; \
             {ADVISORIES}=required makes this an error"
        ),
    );
    Ok(())
}

/// Two versions of one library are allowed; forty of them, each with its tree, would hide what is
/// not. `cargo deny check bans` shows them.
fn quiet_about_versions(command: &mut Command) -> &mut Command {
    command.args(["--allow", "duplicate"])
}

fn fetched() -> bool {
    let mut fetch = cargo(&["deny", "--locked", "fetch", "db"]);
    fetch.stdout(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn advisories_required(said: Option<&str>) -> Result<bool> {
    match said {
        None | Some("") => Ok(false),
        Some("required") => Ok(true),
        Some(other) => bail!("{ADVISORIES} is `{other}`: write `required`, or leave it away"),
    }
}

#[cfg(test)]
mod tests {
    use super::advisories_required;

    #[test]
    fn advisories_are_required_only_where_it_is_said_and_a_wrong_word_is_refused() {
        assert!(!advisories_required(None).unwrap());
        assert!(!advisories_required(Some("")).unwrap());
        assert!(advisories_required(Some("required")).unwrap());
        let error = advisories_required(Some("requierd")).unwrap_err().to_string();
        assert!(error.contains("requierd") && error.contains("`required`"), "{error}");
    }
}
